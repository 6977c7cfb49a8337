"""Load on a real service, from a process of its own, and what it is compared with."""
