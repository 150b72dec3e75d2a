"""Balance strategies: hooks into the training loop that keep every sensor learning."""
