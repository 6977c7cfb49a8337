"""Parts of the benchmark of the long run: a peer, and what a wrong half-life costs."""
