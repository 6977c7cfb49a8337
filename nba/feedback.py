"""What came back: outcomes, the exposure schedule of delayed conversions, and rounds to learn from.

A contact that has not converted yet is not a failure. Its attribution window is cut at a few ages;
when interval k has passed, a row with exposure e_k and reward 0 says "watched that long", and a
conversion in interval k adds a row with exposure 0 and reward 1. Both rows add to the posterior, so
a censored contact simply has no exposure after its age (methods B2, with an identity link).
"""

from __future__ import annotations

from functools import cached_property
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from msgspec import Struct

from nba.arrays import FloatArray, IntArray
from nba.catalogue import Catalogue, Product

OutcomeKind: TypeAlias = Literal[
    "delivered", "seen", "engaged", "converted", "rejected", "opted_out", "complained"
]
N_INTERVALS = 4


class RoundBatch(NamedTuple):
    """Rows to learn from.

    The expected reward of a row is exposure x (uplift_share x uplift(action) + organic_share x
    organic(product)); rows of no-contact have action 0, uplift_share 0 and the product observed.
    """

    features: FloatArray  # (n, K)
    actions: IntArray  # (n,)
    products: IntArray  # (n,)
    rewards: FloatArray  # (n,) conversions
    exposure: FloatArray  # (n,) share of the attribution window watched
    uplift_share: FloatArray  # (n,)
    organic_share: FloatArray  # (n,)

    @property
    def n_rows(self) -> int:
        """n, the number of rows."""
        return int(self.actions.shape[0])

    @staticmethod
    def join(parts: list[RoundBatch]) -> RoundBatch:
        """All rows of `parts`, in that order."""
        return RoundBatch(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


class ExposureSchedule(Struct, frozen=True, eq=False, dict=True):
    """When the intervals of each product's attribution window end, and what each of them weighs."""

    cuts_days: IntArray  # (P, N_INTERVALS) ends of the intervals, rising; the last is the window
    uplift: FloatArray  # (P, N_INTERVALS) share of contact-caused conversions that fall inside
    organic: FloatArray  # (P, N_INTERVALS) share of organic conversions that fall inside

    @staticmethod
    def of(catalogue: Catalogue) -> ExposureSchedule:
        """The schedule of a catalogue's products."""
        rows = [_intervals(product) for product in catalogue.products]
        cuts, uplift, organic = (np.array(column) for column in zip(*rows, strict=True))
        return ExposureSchedule(cuts.astype(np.int64), uplift, organic)

    def interval(self, products: IntArray, ages_days: FloatArray) -> IntArray:
        """(n,) interval that holds an age in days; N_INTERVALS when the window has passed."""
        return (ages_days[:, None] > self.cuts_days[products]).sum(axis=1)

    @cached_property
    def exposure(self) -> FloatArray:
        """(P, N_INTERVALS) exposure of a contact's intervals; a full window sums to 1."""
        return (self.uplift + self.organic) / 2.0

    def shares(self, products: IntArray, intervals: IntArray, contacted: IntArray) -> tuple[FloatArray, ...]:
        """(exposure, uplift_share, organic_share), each (n,), of some rows' intervals.

        contacted (n,) is 1 for a contact and 0 for a no-contact row, whose exposure is organic only.
        """
        uplift = self.uplift[products, intervals] * contacted
        organic = self.organic[products, intervals]
        exposure = np.where(contacted > 0, (uplift + organic) / 2.0, organic)
        return exposure, uplift / exposure, organic / exposure


def completion(age_days: FloatArray, mean_days: float) -> FloatArray:
    """Share of decisions taken by an age: the gamma distribution of shape 2 and the given mean."""
    scaled = 2.0 * age_days / mean_days
    return 1.0 - np.exp(-scaled) * (1.0 + scaled)


def _intervals(product: Product) -> tuple[list[int], list[float], list[float]]:
    window, mean = product.attribution_window_days, product.decision_delay_days
    days = np.arange(window + 1, dtype=np.float64)
    done = completion(days, mean) / completion(np.array([float(window)]), mean)
    cuts = [0]
    for number, share in enumerate((0.25, 0.5, 0.75)):
        latest = window - (N_INTERVALS - 1 - number)  # leave a day for each interval still to come
        cuts.append(min(max(int(np.searchsorted(done, share)), cuts[-1] + 1), latest))
    cuts.append(window)
    return cuts[1:], list(np.diff(done[cuts])), list(np.diff(cuts) / window)
