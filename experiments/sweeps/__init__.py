"""Sweeps: many strategies in many worlds under many seeds, kept cell by cell, compared with common noise."""
