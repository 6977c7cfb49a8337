"""Turning scores into money: value of the expected reward, minus cost, shadow prices and fatigue price."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from msgspec import Struct

from nba.arrays import BoolArray, Float32Array, FloatArray, IntArray
from nba.catalogue import Catalogue, Combination
from nba.errors import InvalidConfig, require


class Lever(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A business multiplier on the value of a group of actions."""

    factor: float
    channel: str | None = None
    timing: str | None = None
    product: str | None = None


class FatiguePrice(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Long-run value lost by one more contact: level + slope x long fatigue counter (methods C3.2).

    Levels in account currency per contact, by channel (a channel that is not named costs `otherwise`);
    the slope in account currency per unit of the channel's counter.
    """

    levels: dict[str, float] = {}
    otherwise: float = 0.0
    slope: float = 0.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        named = {f"levels.{name}": level for name, level in self.levels.items()}
        for name, value in {**named, "otherwise": self.otherwise, "slope": self.slope}.items():
            require(0 <= value < np.inf, "fatigue price", name, f"must be finite and >= 0, got {value}")

    def per_channel(self, catalogue: Catalogue) -> FloatArray:
        """(C,) price of a contact of an unfatigued customer; an unknown channel is an UnknownAction."""
        for name in self.levels:
            catalogue.level("channel", name)
        return np.array([self.levels.get(channel.name, self.otherwise) for channel in catalogue.channels])


class Arbitration(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the business adds to belief: levers and the fatigue price."""

    levers: tuple[Lever, ...] = ()
    fatigue_price: FatiguePrice = FatiguePrice()

    def __post_init__(self) -> None:
        """Check the levers."""
        for index, lever in enumerate(self.levers):
            if not 0 <= lever.factor < np.inf:
                raise InvalidConfig("arbitration", f"levers[{index}].factor", "must be finite and >= 0")

    def values(self, catalogue: Catalogue) -> FloatArray:
        """(A,) account currency per expected reward, levers included."""
        values = catalogue.values.copy()
        for lever in self.levers:
            group = Combination(channel=lever.channel, timing=lever.timing, product=lever.product)
            values[catalogue.matching(group)] *= lever.factor
        return values

    def tariff(self, catalogue: Catalogue, prices: FloatArray) -> Tariff:
        """What actions cost at the shadow prices (J,) of resources; unknown channels are an UnknownAction."""
        fixed = catalogue.costs + catalogue.resource_use @ prices
        levels = self.fatigue_price.per_channel(catalogue)
        fixed += np.where(catalogue.channel_of >= 0, levels[catalogue.channel_of], 0.0)
        return Tariff(
            self.values(catalogue).astype(np.float32),
            fixed,
            fixed.astype(np.float32),
            catalogue.channel_of,
            catalogue.product_of,
            self.fatigue_price.slope,
        )


class Tariff(NamedTuple):
    """Values and costs of actions as they are for an unfatigued customer."""

    values: Float32Array  # (A,) account currency per expected reward, levers included
    fixed: FloatArray  # (A,) account currency: contact, shadow prices, fatigue price's level
    charges: Float32Array  # (A,) `fixed` as it is served
    channel_of: IntArray  # (A,) -1 for no-contact
    product_of: IntArray  # (A,) -1 for no-contact
    slope: float  # account currency per unit of the channel's long fatigue counter

    def money(
        self, fatigue: FloatArray, worth: FloatArray | None = None, ratios: FloatArray | None = None
    ) -> Money:
        """For customers with fatigue counters (B, C, 2).

        `worth` (B, C) is account currency that a contact on a channel brings beside conversions (methods B6),
        `ratios` (B, P) what a conversion is expected to bring in multiples of its product's value.
        """
        charges = self.charges[None]  # where all customers cost the same
        if self.slope or worth is not None:
            charges = self.charges[None].repeat(fatigue.shape[0], axis=0)
            charges[:, 1:] = self._due(fatigue, worth)
        if ratios is None:
            return Money(self.values[None], charges)
        own = ratios.astype(np.float32).take(self.product_of, axis=1, mode="wrap")
        return Money(self.values * own, charges)

    def _due(self, fatigue: FloatArray, worth: FloatArray | None) -> FloatArray:
        """(B, A - 1) what each contact costs each customer, in 64 bits."""
        due, channels = self.fixed[None, 1:], self.channel_of[1:]
        if self.slope:
            due = due + self.slope * fatigue[:, channels, 1]
        return due if worth is None else due - worth.take(channels, axis=1)


class Money(NamedTuple):
    """From expected rewards to utilities, in 32 bits as they are served."""

    values: Float32Array  # (1, A) for all customers or (B, A): account currency per expected reward
    charges: Float32Array  # (1, A) or (B, A): account currency

    @staticmethod
    def of(values: FloatArray, charges: FloatArray) -> Money:
        """From 64 bits: values and charges, each (1, A) or (B, A)."""
        return Money(values.astype(np.float32), charges.astype(np.float32))

    def take(self, rows: IntArray | slice) -> Money:
        """The money of some customers."""
        return Money(*(part if part.shape[0] == 1 else part[rows] for part in self))

    def utilities(self, scores: Float32Array) -> Float32Array:
        """(M, B, A) scores to (M, B, A) utilities, in place of the scores."""
        scores *= self.values
        scores -= self.charges
        return scores


def masked(utilities: Float32Array, eligible: BoolArray) -> FloatArray:
    """(B, A) utilities in 64 bits, -inf where not eligible."""
    return np.where(eligible, utilities.astype(np.float64), -np.inf)
