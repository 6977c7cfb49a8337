"""Questions asked of strategies, at scale, and recorded."""
