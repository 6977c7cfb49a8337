"""Worlds fitted to data: direct moments, simulated moments, an ensemble, and the command `nba calibrate`."""
