"""What each sensor contributes: exact Shapley values of pooled profits, while training and after."""
