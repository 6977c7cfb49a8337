"""The cluster bootstrap: whole customers drawn again, without a second look at the log.

Each customer gets a Poisson(1) weight per replicate, keyed by (seed, replicate, customer). The weight is
the same in every partition, so that sums of replicates merge by addition, and the same for every target,
so that replicates of two targets may be subtracted. Chamandy, Muralidharan, Najmi and Naidu (2012).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, factorial, nan
from typing import NamedTuple

import numpy as np

from nba.arrays import FloatArray, KeyArray
from nba.errors import require
from nba.ope.intervals import CONFIDENCE, Interval, check_confidence
from nba.ope.terms import N_COLUMNS, Terms, values
from nba.randomness import Purpose, keyed_words

REPLICATES = 1_000  # methods E3
_WORDS = 4  # 32-bit numbers a Philox block gives
# Where a 32-bit number passes from one count to the next; beyond 12 there is less than 2^-32.
_CUTS = np.array(
    [
        min(round(2**32 * sum(exp(-1.0) / factorial(k) for k in range(most + 1))), 2**32 - 1)
        for most in range(13)
    ],
    dtype=np.uint32,
)


class Replicates(NamedTuple):
    """Sums of 1, ratio, weight, base and correction over rounds, once per replicate."""

    totals: FloatArray  # (R, 5)

    @staticmethod
    def of(terms: Terms, clusters: KeyArray, seed: int, n_replicates: int = REPLICATES) -> Replicates:
        """The sums of one partition under every replicate's weights of its customers (n,)."""
        return replicates_of([terms], clusters, seed, n_replicates)[0]

    def __add__(self, other: object) -> Replicates:
        """The sums of both partitions."""
        return Replicates(self.totals + other.totals) if isinstance(other, Replicates) else NotImplemented

    def values(self, *, self_normalised: bool) -> FloatArray:
        """(R,) the estimate of each replicate."""
        return values(self.totals, self_normalised=self_normalised)


def replicates_of(
    terms: Sequence[Terms], clusters: KeyArray, seed: int, n_replicates: int = REPLICATES
) -> tuple[Replicates, ...]:
    """The sums of several estimators' terms of one partition (n,), under the same weights of customers."""
    require(n_replicates >= 2, "bootstrap", "n_replicates", f"must be at least 2, got {n_replicates}")
    keys, which = np.unique(clusters, return_inverse=True)
    # One draw per customer, not per round.
    columns = (column for one in terms for column in one.columns().T)
    sums = np.column_stack([np.bincount(which, column, minlength=keys.size) for column in columns])
    totals = np.empty((-(-n_replicates // _WORDS) * _WORDS, sums.shape[1]))
    for block in range(totals.shape[0] // _WORDS):
        counts = poisson_counts(keyed_words(seed, Purpose.BOOTSTRAP, keys, block=block))
        totals[_WORDS * block : _WORDS * (block + 1)] = counts.T @ sums
    ends = range(0, sums.shape[1], N_COLUMNS)
    return tuple(Replicates(totals[:n_replicates, begin : begin + N_COLUMNS]) for begin in ends)


def percentile(replicated: FloatArray, confidence: float = CONFIDENCE) -> Interval:
    """The middle `confidence` of replicated estimates (R,), or of differences of two targets' estimates."""
    tail = (1.0 - check_confidence(confidence)) / 2.0
    told = replicated[np.isfinite(replicated)]
    low, high = np.quantile(told, [tail, 1.0 - tail]) if told.size else (nan, nan)
    return Interval(float(low), float(high), "cluster-bootstrap")


def poisson_counts(words: np.typing.NDArray[np.uint32]) -> FloatArray:
    """Poisson(1) counts of 32-bit random numbers, of their shape, by inversion."""
    return np.searchsorted(_CUTS, words, side="right").astype(np.float64)
