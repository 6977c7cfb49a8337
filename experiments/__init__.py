"""Questions asked of strategies, at scale, recorded."""
