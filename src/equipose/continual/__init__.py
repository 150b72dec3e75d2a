"""Continual strategies: hooks into the training loop that keep what earlier experiences taught."""
