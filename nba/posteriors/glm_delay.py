"""How delayed conversions fill the window, estimated from a ledger that is still open (methods B2)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nba.arrays import FloatArray, IntArray, check_shape
from nba.errors import require

_DRAWS = 4_000


class PooledDelays(NamedTuple):
    """Conversions and exposure of N intervals of a window, over all contacts, young ones included.

    Organic conversions come evenly, at the rate of people who were left in silence; what an interval has
    beyond them is caused by contacts. Shape letter: N intervals.
    """

    conversions: FloatArray  # (N,)
    exposed: FloatArray  # (N,) contacts that watched the interval; one that watched half of it counts half
    widths_days: FloatArray  # (N,)
    organic_conversions: float = 0.0
    organic_days: float = 1.0  # person-days of silence in which these came

    def shares(self) -> FloatArray:
        """(N,) share of the window's contact-caused conversions that falls into each interval, 1 in sum.

        Conversions per contact that watched an interval, over the sum of all of them: the maximum-likelihood
        piecewise-constant hazard without covariates, to which young contacts bring the early intervals only
        and no bias. Raises InvalidConfig if an interval was never watched or contacts caused nothing.
        """
        watched = [round(float(contacts), 1) for contacts in self.exposed]
        rule = f"each of 0 to {len(watched) - 1} must have been watched, watched {watched}"
        require(bool((self.exposed > 0).all()), "completion", "intervals", rule)
        caused = self._caused(self.conversions, np.array(self.organic_conversions))
        rule = "must not all be 0, nor all be organic: wait for the first that contacts cause"
        require(float(caused.sum()) > 0.0, "completion", "conversions", rule)
        shares: FloatArray = caused / caused.sum()
        return shares

    def interval(self, rng: np.random.Generator, level: float = 0.95) -> FloatArray:
        """(2, N) lower and upper ends of the share that has come by the end of each interval.

        Quantiles under Gamma posteriors of all counts (Jeffreys prior of a Poisson mean), each by itself.
        """
        counts = rng.gamma(self.conversions + 0.5, size=(_DRAWS, self.conversions.size))
        organic = np.zeros((_DRAWS, 1))
        if self.organic_conversions:
            organic = rng.gamma(self.organic_conversions + 0.5, size=(_DRAWS, 1))
        done = np.cumsum(self._caused(counts, organic), axis=1)
        tail = (1.0 - level) / 2.0
        total = np.maximum(done[:, -1:], np.finfo(np.float64).tiny)  # all of a draw may be organic
        ends: FloatArray = np.quantile(done / total, (tail, 1.0 - tail), axis=0)
        return ends

    def _caused(self, conversions: FloatArray, organic: FloatArray) -> FloatArray:
        """(..., N) conversions per contact beyond the organic ones, at least 0."""
        caused: FloatArray = conversions / self.exposed - organic / self.organic_days * self.widths_days
        return np.maximum(caused, 0.0)


def pooled_completion(
    intervals: IntArray, conversions: FloatArray, watched: FloatArray, n_intervals: int
) -> FloatArray:
    """(N,) share of the window's conversions that fall into each interval, 1 in sum.

    A row (n,) says which interval of a contact's window was watched, the share of the interval
    watched, in [0, 1], and how many conversions came. A row's exposure is then shares[interval] x watched.
    Raises InvalidConfig if an interval was never watched or nothing converted.
    """
    check_shape(conversions, intervals.shape, "conversions")
    check_shape(watched, intervals.shape, "watched")
    rule = f"must lie in 0 to {n_intervals - 1}, got {int(intervals.max(initial=0))}"
    require(int(intervals.max(initial=0)) < n_intervals, "completion", "intervals", rule)
    came, exposed = (_summed(of, intervals, n_intervals) for of in (conversions, watched))
    return PooledDelays(came, exposed, np.ones(n_intervals)).shares()


def _summed(values: FloatArray, intervals: IntArray, n_intervals: int) -> FloatArray:
    """(N,) sums of values (n,) by interval."""
    return np.bincount(intervals, values, minlength=n_intervals).astype(np.float64)
