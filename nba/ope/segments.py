"""Rates per action beside the same rates at one mix of segments, so that a mix is not taken for an effect."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nba.arrays import FloatArray, IntArray, check_shape


class SegmentRates(NamedTuple):
    """Rounds and rewards per action and segment; they add over partitions."""

    counts: FloatArray  # (A, S)
    rewards: FloatArray  # (A, S)

    @staticmethod
    def of(
        actions: IntArray, segments: IntArray, rewards: FloatArray, shape: tuple[int, int]
    ) -> SegmentRates:
        """The sums over rounds (n,), for `shape` = (actions, segments)."""
        check_shape(segments, actions.shape, "segments")
        cells, size = actions * shape[1] + segments, shape[0] * shape[1]
        counts, sums = (np.bincount(cells, column, size) for column in (None, rewards))
        return SegmentRates(counts.reshape(shape).astype(np.float64), sums.reshape(shape).astype(np.float64))

    def __add__(self, other: object) -> SegmentRates:
        """The sums of both partitions."""
        if not isinstance(other, SegmentRates):
            return NotImplemented
        return SegmentRates(self.counts + other.counts, self.rewards + other.rewards)

    @property
    def rates(self) -> FloatArray:
        """(A, S) mean reward; nan where an action has no round in a segment."""
        return np.divide(
            self.rewards, self.counts, out=np.full_like(self.rewards, np.nan), where=self.counts > 0.0
        )

    def raw(self) -> FloatArray:
        """(A,) mean reward over the segments as each action met them."""
        counts = self.counts.sum(axis=1)
        rates: FloatArray = self.rewards.sum(axis=1) / np.where(counts > 0.0, counts, np.nan)
        return rates

    def standardised(self) -> FloatArray:
        """(A,) mean reward at the mix of segments of all rounds; nan if an action missed a segment.

        Direct standardisation. It compares actions rightly if within a segment chance decided; where
        propensities are known the estimators compare them without that.
        """
        shares = self.counts.sum(axis=0) / self.counts.sum()
        present = shares > 0.0
        rates: FloatArray = self.rates[:, present] @ shares[present]
        return rates

    def is_reversed(self, one: int, other: int) -> bool:
        """Whether the raw and the standardised rates disagree on which of two actions is better (Simpson)."""
        raw, fair = self.raw(), self.standardised()
        return bool((raw[one] - raw[other]) * (fair[one] - fair[other]) < 0.0)
