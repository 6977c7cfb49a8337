"""Promotion by proof: what is judged, by which gates, and what is written of it."""
