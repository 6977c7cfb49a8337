"""Ordinary tables: learn a policy from logged decisions, or play a classification table as a bandit."""
