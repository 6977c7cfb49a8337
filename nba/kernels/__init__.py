"""Hot loops for Numba. Each has its definition in NumPy, where it is used, and gives the same bits."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any


@cache
def compiled(name: str) -> Any:
    """A module of this package by its name, None where Numba is missing or cannot keep code."""
    try:
        return import_module(f"nba.kernels.{name}")
    except (ImportError, RuntimeError):
        return None
