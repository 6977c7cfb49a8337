"""What a next-best-action decision is, how it is made, learnt from and judged."""
