"""Turning scores into money: value of the expected reward, minus cost, shadow prices and fatigue price."""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from nba.arrays import Float32Array, FloatArray
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

    def charges(self, catalogue: Catalogue, prices: FloatArray, fatigue: FloatArray) -> FloatArray:
        """(B, A) what an action costs: contact, shadow prices (J,) of resources, fatigue (B, C, 2)."""
        fixed = catalogue.costs + catalogue.resource_use @ prices
        levels = self.fatigue_price.per_channel(catalogue)
        per_channel = levels + self.fatigue_price.slope * fatigue[:, :, 1]
        charges: FloatArray = fixed + per_channel[:, catalogue.channel_of]
        charges[:, 0] = 0.0
        return charges


def utilities(scores: Float32Array, values: FloatArray, charges: FloatArray) -> Float32Array:
    """(M, B, A) scores, (A,) values and (B, A) charges to (M, B, A) utilities, in place of the scores."""
    scores *= values.astype(np.float32)
    scores -= charges.astype(np.float32)
    return scores
