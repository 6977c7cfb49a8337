"""Contact fatigue: decayed contact counters on two time scales per channel, and the price of one more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from msgspec import Struct

from nba.arrays import FloatArray, IntArray
from nba.catalogue import Catalogue
from nba.errors import require
from nba.features import FeatureSchema


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
        of_one = np.zeros(channels.size, dtype=np.int64)
        (counters,) = self.of_customers(1, of_one, channels, ages_days, spill)
        return np.asarray(counters)

    def of_customers(
        self, n: int, rows: IntArray, channels: IntArray, ages_days: FloatArray, spill: FloatArray
    ) -> FloatArray:
        """(n, C, 2) counters of n customers; contact i is of customer rows[i], and added in its turn."""
        counters = np.zeros((n, len(spill), 2))
        np.add.at(counters, rows, spill[channels][:, :, None] * self.recovery(ages_days)[:, None, :])
        return counters


class SegmentPrice(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Long-run value lost by one more contact: level + slope x long fatigue counter (methods C3.2).

    Levels in account currency per contact, slopes in account currency per unit of the channel's long
    counter, both by channel; a channel that is not named has the level `otherwise` and the slope `slope`.
    """

    levels: dict[str, float] = {}
    otherwise: float = 0.0
    slopes: dict[str, float] = {}
    slope: float = 0.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name, value in self._numbers():
            require(0 <= value < np.inf, "fatigue price", name, f"must be finite and >= 0, got {value}")

    def _numbers(self) -> Iterator[tuple[str, float]]:
        for table in ("levels", "slopes"):
            for channel, value in getattr(self, table).items():
                yield f"{table}.{channel}", value
        yield from (("otherwise", self.otherwise), ("slope", self.slope))

    def per_channel(self, catalogue: Catalogue) -> FloatArray:
        """(C,) price of a contact of an unfatigued customer; an unknown channel is an UnknownAction."""
        return _by_channel(self.levels, self.otherwise, catalogue)

    def slope_per_channel(self, catalogue: Catalogue) -> FloatArray:
        """(C,) what a unit of the long counter adds to it; an unknown channel is an UnknownAction."""
        return _by_channel(self.slopes, self.slope, catalogue)


class FatiguePrice(SegmentPrice, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fatigue price of everybody, and of segments that have a price of their own.

    A segment that is not named, and a customer of none, pay what stands outside of `segments`.
    """

    segments: dict[str, SegmentPrice] = {}

    def surcharges(self, catalogue: Catalogue, schema: FeatureSchema) -> Surcharges | None:
        """What is added to level + `slope` x counter for some customers; None if that is all for everybody.

        An unknown channel is an UnknownAction, an unknown segment InvalidConfig.
        """
        known = schema.segments if schema.segment is not None else ()
        for name in self.segments:
            rule = f"is no segment of the schema, which has {', '.join(known) or 'none'}"
            require(name in known, "fatigue price", f"segments.{name}", rule)
        prices = [*(self.segments.get(name, self) for name in schema.segments), self]
        levels = np.array([price.per_channel(catalogue) for price in prices]) - self.per_channel(catalogue)
        slopes = np.array([price.slope_per_channel(catalogue) for price in prices]) - self.slope
        if not (self.segments or self.slopes):
            return None
        return Surcharges(levels, slopes, schema.segment_columns)


class Surcharges(NamedTuple):
    """What fatigue prices add to the level and common slope, by segment; the last row is of no segment."""

    levels: FloatArray  # (S + 1, C) account currency per contact
    slopes: FloatArray  # (S + 1, C) account currency per unit of the long counter
    columns: IntArray  # (S,) of the feature matrix, with the segment's one-hot code

    def of(self, features: FloatArray, fatigue: FloatArray) -> FloatArray:
        """(B, C) account currency, from features (B, K) and fatigue (B, C, 2)."""
        codes = features[:, self.columns]
        rows = np.where(codes.any(axis=1), codes.argmax(axis=1), self.columns.size)
        surcharge: FloatArray = self.levels[rows] + self.slopes[rows] * fatigue[:, :, 1]
        return surcharge


def _by_channel(named: Mapping[str, float], otherwise: float, catalogue: Catalogue) -> FloatArray:
    for name in named:
        catalogue.level("channel", name)
    return np.array([named.get(channel.name, otherwise) for channel in catalogue.channels])
