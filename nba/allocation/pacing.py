"""Online pacing: prices follow what is left of the budgets over what is left of the traffic.

    lambda <- max(0, lambda - eta (left / traffic left - used)),  eta_j = step x unit_j^2 / money / sqrt(T)

dual mirror descent with the Euclidean mirror and a recomputed target rate (Balseiro, Lu and Mirrokni 2022;
methods D6), begun at the prices of the last plan. A price unit is money per amount of one contact, so that
a step moves prices by the same money, whatever a row counts, seconds or hours. Whoever decides logs
`version`, so that a decision can be replayed at the prices it was made at.
"""

from __future__ import annotations

import numpy as np
from msgspec import Struct, structs

from nba.allocation.shards import Units
from nba.arrays import FloatArray, check_shape
from nba.errors import require


class Pacer(Struct, frozen=True, kw_only=True, eq=False):
    """Prices of resources in the course of a day; `after` some decisions there is another one."""

    prices: FloatArray  # (J,) account currency per unit, charged now
    left: FloatArray  # (J,) units
    traffic: float  # decisions that are still expected
    units: FloatArray  # (J,) account currency per unit: the size of a price, as Units.prices of a plan
    money: float  # account currency: the size of a value, as Units.money of a plan
    anchors: FloatArray  # (J,) account currency per unit; prices stay within `leash` of them
    total_traffic: float  # decisions of the whole day, which set the step
    step: float = 2.5  # measured: 99.9 % of the hindsight bound i.i.d., 97.0 % if worth rises by half
    leash: float = 4.0  # times and parts of the anchor; methods D6: per hour
    version: int = 0

    def __post_init__(self) -> None:
        """Check shapes and numbers."""
        for name in ("prices", "left", "units", "anchors"):
            array = getattr(self, name)
            check_shape(array, self.prices.shape, name)
            fine = bool((np.isfinite(array) & (array >= 0.0)).all())
            require(fine, "pacer", name, "must be finite and >= 0")
        for name, least in (("traffic", 0.0), ("total_traffic", 1.0), ("step", 0.0), ("leash", 1.0)):
            value = getattr(self, name)
            require(least <= value < np.inf, "pacer", name, f"must be finite and >= {least:g}, got {value}")
        rule = f"must be finite and > 0, got {self.money}"
        require(0.0 < self.money < np.inf, "pacer", "money", rule)

    @staticmethod
    def start(prices: FloatArray, budgets: FloatArray, units: Units, traffic: float) -> Pacer:
        """From the prices of a plan (J,) and its units, budgets (J,) in units, and the decisions expected."""
        return Pacer(
            prices=prices,
            left=budgets,
            traffic=traffic,
            units=units.prices,
            money=units.money,
            anchors=prices,
            total_traffic=traffic,
        )

    @property
    def open(self) -> FloatArray:
        """(J,) units that may still be used: what does not fit must not be chosen, whatever it is worth."""
        return self.left

    def after(self, used: FloatArray, decisions: int, traffic: float | None = None) -> Pacer:
        """After some decisions used units (J,); `traffic` is what an intraday curve now expects to come.

        Update every 100 to 1,000 decisions. Raises InvalidConfig when more was used than was left.
        """
        check_shape(used, self.left.shape, "used")
        fits = bool((used <= self.left + 1e-9 * np.maximum(self.left, 1.0)).all())
        require(fits, "pacer", "used", f"must not exceed what was left, {self.left}, got {used}")
        left = np.maximum(self.left - used, 0.0)
        ahead = max(self.traffic - decisions, 0.0) if traffic is None else traffic
        rate = left / max(ahead, 1.0)
        # Units over money is one over a contact's amount: the error counts contacts, whatever a row counts.
        eta = self.step * self.units * (self.units / self.money) / np.sqrt(self.total_traffic)
        moved = np.maximum(self.prices - eta * (decisions * rate - used), 0.0)
        # A leash of nothing would hold a price at nothing: an unpriced row may rise to its unit.
        most = np.where(self.anchors > 0.0, self.leash * self.anchors, self.leash * self.units)
        prices = np.clip(moved, self.anchors / self.leash, most)
        return structs.replace(self, prices=prices, left=left, traffic=ahead, version=self.version + 1)

    def anchored(self) -> Pacer:
        """The leash tied to the prices of now: call it once an hour."""
        return structs.replace(self, anchors=self.prices)
