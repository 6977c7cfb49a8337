"""Requests for people's time, one after the other (see simulator.capacity.served)."""

from __future__ import annotations

from typing import Any

import numpy as np

from nba.arrays import IntArray
from simulator.kernels.jit import jit


def served(cells: IntArray, desks: IntArray, wanted: IntArray, minutes: IntArray, n_days: int) -> IntArray:
    """(m,) days that each request waits, -1 if refused; a cell tells its desk."""
    days = np.full(wanted.size, -1, dtype=np.int64)
    _served(cells, wanted, minutes, n_days, days)
    return days


@jit
def _served(cells: Any, wanted: Any, minutes: Any, n_days: Any, days: Any) -> None:
    for one in range(wanted.size):
        for day in range(n_days):
            if cells[wanted[one] + day] >= minutes[one]:
                cells[wanted[one] + day] -= minutes[one]
                days[one] = day
                break
