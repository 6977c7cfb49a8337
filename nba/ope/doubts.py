"""What a log's rewards and customers say against its intervals: sums that merge, and sentences at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nba.arrays import IntArray, KeyArray
from nba.ope.logged import LoggedRounds
from nba.ope.terms import Range, covering

_MOST_AGAIN = 0.05  # share of rounds by customers seen before, from where on rounds are not independent
_FEWEST_CUSTOMERS = 40  # below which a bootstrap's interval is known to be too narrow
_LARGEST_SHARE = 0.05  # of one reward in the sum of all sizes, from where on larger ones may yet come
_MOST_CUSTOMERS = 4_096  # of the sample that is counted
_MULTIPLIERS = np.array([0xBF58476D1CE4E5B9, 0x94D049BB133111EB], dtype=np.uint64)


class Returning(NamedTuple):
    """Rounds per customer, for a sample of customers by hash that is the same in every partition.

    The sample halves whenever it outgrows its bound, so that the order of partitions leaves no trace.
    Wegman's adaptive sampling (Flajolet 1990).
    """

    level: int  # customers are kept whose hash begins with so many zeros
    hashes: KeyArray  # (m,) rising
    counts: IntArray  # (m,)

    @staticmethod
    def of(clusters: KeyArray) -> Returning:
        """The sample of one partition."""
        keys, counts = np.unique(clusters, return_counts=True)
        return Returning(0, _mixed(keys), counts.astype(np.int64)).bounded()

    def __add__(self, other: object) -> Returning:
        """The sample of both partitions."""
        if not isinstance(other, Returning):
            return NotImplemented
        hashes, which = np.unique(np.concatenate([self.hashes, other.hashes]), return_inverse=True)
        counts = np.bincount(which, np.concatenate([self.counts, other.counts]), hashes.size)
        return Returning(max(self.level, other.level), hashes, counts.astype(np.int64)).bounded()

    def bounded(self) -> Returning:
        """The same, halved until it is small enough."""
        level, hashes, counts = self
        while True:
            kept = hashes >> np.uint64(64 - level) == 0 if level else np.ones(hashes.size, dtype=np.bool_)
            if kept.sum() <= _MOST_CUSTOMERS:
                order = np.argsort(hashes[kept])
                return Returning(level, hashes[kept][order], counts[kept][order])
            level += 1

    @property
    def share(self) -> float:
        """Share of rounds by customers who had a round before."""
        return 1.0 - self.counts.size / max(int(self.counts.sum()), self.counts.size, 1)


class Seen(NamedTuple):
    """Sums over the rewards and the customers of a log."""

    n: int
    reward_sum: float
    size_sum: float  # of |reward|
    observed: Range | None  # None without rounds
    stated: Range | None
    returning: Returning

    @staticmethod
    def none() -> Seen:
        """The sums of no rounds."""
        return Seen(0, 0.0, 0.0, None, None, Returning.of(np.zeros(0, dtype=np.uint64)))

    @staticmethod
    def of(rounds: LoggedRounds) -> Seen:
        """The sums of one partition."""
        rewards, n = rounds.rewards, rounds.n_rounds
        observed = covering(rewards) if n else None
        sizes = float(np.abs(rewards).sum())
        again = Returning.of(rounds.clusters)
        return Seen(n, float(rewards.sum()), sizes, observed, rounds.reward_range, again)

    def __add__(self, other: object) -> Seen:
        """The sums of both partitions; a range is stated where both state one."""
        if not isinstance(other, Seen):
            return NotImplemented
        both = self.stated is not None and other.stated is not None
        return Seen(
            self.n + other.n,
            self.reward_sum + other.reward_sum,
            self.size_sum + other.size_sum,
            _joined(self.observed, other.observed),
            _joined(self.stated, other.stated) if both else None,
            self.returning + other.returning,
        )

    def doubts(self, *, bootstrapped: bool, propensities_estimated: bool) -> tuple[str, ...]:
        """Why intervals or estimates may be worse than they say."""
        told = self._of_rewards()
        if not bootstrapped and self.returning.share > _MOST_AGAIN:
            told.append(
                f"{100.0 * self.returning.share:.0f} % of rounds are of customers who had one before, and "
                "these intervals take rounds as independent; set n_replicates (--replicates) to draw "
                "customers."
            )
        customers = self.returning.counts.size << self.returning.level
        if bootstrapped and customers < _FEWEST_CUSTOMERS:
            told.append(
                f"the bootstrap draws {customers} customers, too few to know how customers differ; take a "
                "finer key of customers (--cluster)."
            )
        if propensities_estimated:
            told.append(
                "propensities were estimated from the log: what the logging policy knew beyond the features "
                "is in no estimate, and may be in every one; log the propensities."
            )
        return tuple(told)

    def _of_rewards(self) -> list[str]:
        """Doubts because rewards yet unseen may be of another size than all that were seen."""
        low, high = self.observed or Range(0.0, 0.0)
        if self.stated is not None:
            return []
        if low == high:
            return [
                f"all rewards are {low:g} and their range is not stated, so intervals know of no other; "
                "state reward_range (--reward-range)."
            ]
        share = max(-low, high) / self.size_sum
        if share <= _LARGEST_SHARE:
            return []
        return [
            f"one reward is {share:.3f} of the size of all, and the range of rewards is not stated, so "
            "intervals know of none beyond it; state reward_range (--reward-range)."
        ]


def outside(names: Sequence[str], mean_ratio: float, known: float = 1.0) -> tuple[str, ...]:
    """The doubt that values lie outside their intervals, which know the mean weight; empty without names."""
    if not names:
        return ()
    return (
        f"{', '.join(names)}: the value is outside the interval; the mean weight is {mean_ratio:.4f}, and "
        f"the interval knows that it is {known:g}: read the interval.",
    )


def _joined(one: Range | None, other: Range | None) -> Range | None:
    return one.union(other) if one is not None and other is not None else one or other


def _mixed(keys: KeyArray) -> KeyArray:
    """(n,) keys as numbers that look even over 64 bits (the finaliser of SplitMix64, Steele et al. 2014)."""
    words = keys.astype(np.uint64, copy=True)
    for shift, multiplier in zip((30, 27), _MULTIPLIERS, strict=True):
        words = (words ^ (words >> np.uint64(shift))) * multiplier
    return words ^ (words >> np.uint64(31))
