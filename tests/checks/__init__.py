"""Checks that every member of a union must pass; a new member joins by being in the union."""
