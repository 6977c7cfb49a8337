"""The decision service: decides, keeps the log, learns from it while running."""
