"""Contact fatigue: exponentially decayed contact counters on two time scales, per channel."""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from nba.arrays import FloatArray, IntArray
from nba.catalogue import Catalogue
from nba.errors import require


class FatigueKernel(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a contact raises the counters and how they recover (methods C1; half-lives in days)."""

    short_half_life_days: float = 2.0
    long_half_life_days: float = 15.0
    within_family: float = 0.3
    across_families: float = 0.1

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in ("short_half_life_days", "long_half_life_days"):
            value = getattr(self, name)
            require(0 < value < np.inf, "fatigue", name, f"must be finite and above 0, got {value}")
        for name in ("within_family", "across_families"):
            value = getattr(self, name)
            require(0 <= value < np.inf, "fatigue", name, f"must be finite and >= 0, got {value}")

    def spill(self, catalogue: Catalogue) -> FloatArray:
        """(C, C) what a contact in the row's channel adds to the counters of the column's channel."""
        families = np.array([channel.family for channel in catalogue.channels])
        same = families[:, None] == families[None, :]
        spill = np.where(same, self.within_family, self.across_families)
        np.fill_diagonal(spill, 1.0)
        return spill

    def recovery(self, days: float | FloatArray) -> FloatArray:
        """(..., 2) the share of each counter left after `days`."""
        half_lives = np.array([self.short_half_life_days, self.long_half_life_days])
        left: FloatArray = np.exp2(-np.asarray(days, dtype=np.float64)[..., None] / half_lives)
        return left

    def of_contacts(self, channels: IntArray, ages_days: FloatArray, spill: FloatArray) -> FloatArray:
        """(C, 2) counters of one customer from their contacts' channels (n,) and ages (n,)."""
        counters: FloatArray = np.einsum("nc,nk->ck", spill[channels], self.recovery(ages_days))
        return counters
