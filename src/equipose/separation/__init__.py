"""Noise identification and separation: which sensor of which sample, and which label, cannot be trusted."""
