"""Trials for analysts: planning one, assigning customers, and reading the lift off a table."""
