"""How delayed conversions fill the window, estimated from a ledger that is still open (methods B2)."""

from __future__ import annotations

import numpy as np

from nba.arrays import FloatArray, IntArray, check_shape
from nba.errors import require


def pooled_completion(
    intervals: IntArray, conversions: FloatArray, watched: FloatArray, n_intervals: int
) -> FloatArray:
    """(N,) share of the window's conversions that fall into each interval, 1 in sum.

    A row (n,) says which interval of a contact's window was watched, the share of the interval
    watched, in [0, 1], and how many conversions came. A share is the interval's conversions per contact that
    watched it, over the sum of all of them: the maximum-likelihood piecewise-constant hazard without
    covariates, to which young contacts bring the early intervals only and no bias. A row's exposure is then
    shares[interval] x watched. Raises InvalidConfig if an interval was never watched or nothing converted.
    """
    check_shape(conversions, intervals.shape, "conversions")
    check_shape(watched, intervals.shape, "watched")
    exposed = np.bincount(intervals, watched, minlength=n_intervals)
    require(
        exposed.size == n_intervals and bool((exposed > 0).all()),
        "completion",
        "intervals",
        f"each of 0 to {n_intervals - 1} must have been watched, and no other; watched {exposed.tolist()}",
    )
    hazards = np.bincount(intervals, conversions, minlength=n_intervals) / exposed
    total = float(hazards.sum())
    require(total > 0.0, "completion", "conversions", "must not all be 0: wait for the first conversions")
    return hazards / total
