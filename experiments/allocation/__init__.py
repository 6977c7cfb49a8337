"""Allocation of tables: candidates and resources in, a plan and its certificate out."""
