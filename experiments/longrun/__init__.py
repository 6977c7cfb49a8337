"""Experiments on the long run: what one more contact costs, learnt, tuned and drawn."""
