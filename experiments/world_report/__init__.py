"""Whether to believe a world: targets, two-sample tests, conservation, rankings, mechanisms on one page."""
