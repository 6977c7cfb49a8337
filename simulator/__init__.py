"""Customers who respond: the only place that knows the truth."""
