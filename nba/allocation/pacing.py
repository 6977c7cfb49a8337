"""Online pacing: prices follow what is left of the budgets over what is left of the traffic.

    lambda_j <- max(0, lambda_j + eta_j e_j),  e_j = used_j - decisions left_j / traffic left,
    eta_j = step x gain_j x unit_j x (unit_j / money) / sqrt(contacts_j)

dual mirror descent with the Euclidean mirror and a recomputed target rate (Balseiro, Lu and Mirrokni 2022;
methods D6), begun at the prices of the last plan. A price unit is money per amount of one contact, so that
a step moves prices by the same money, whatever a row counts, seconds or hours. Errors are sums of uses,
whose squares add up to the contacts that a budget pays for: the step is theirs as in AdaGrad (Duchi, Hazan
and Singer 2011), not the traffic's, of which a scarce row sees little.

A row whose errors persist is at a wrong price, and gains speed: with errors smoothed over the last steps
(a control chart, Roberts 1959) and z the smoothed error in standard deviations of what chance makes of it,
gain = min(max(|z| / 2, 1), 3) while the error keeps its sign, and 1 else. Whoever decides logs `version`, so
that a decision can be replayed at the prices it was made at.
"""

from __future__ import annotations

import numpy as np
from msgspec import Struct, structs

from nba.allocation.shards import Units
from nba.arrays import FloatArray, check_shape
from nba.errors import require

_KEEP = 0.8  # of the smoothed error, from one step to the next
_CHANCE, _FASTEST = 2.0, 3.0  # standard deviations, times


class Pacer(Struct, frozen=True, kw_only=True, eq=False):
    """Prices of resources in the course of a day; `after` some decisions there is another one."""

    prices: FloatArray  # (J,) account currency per unit, charged now
    left: FloatArray  # (J,) units
    traffic: float  # decisions that are still expected
    units: FloatArray  # (J,) account currency per unit: the size of a price, as Units.prices of a plan
    money: float  # account currency: the size of a value, as Units.money of a plan
    anchors: FloatArray  # (J,) account currency per unit; prices stay within `leash` of them
    contacts: FloatArray  # (J,) that the budgets of the whole day pay for, which set the step
    drift: FloatArray  # (J,) contacts: the smoothed error
    noise: FloatArray  # (J,) contacts^2: its variance, were there nothing but chance
    step: float = 0.7
    leash: float = 4.0  # times and parts of the anchor; methods D6: per hour
    version: int = 0

    def __post_init__(self) -> None:
        """Check shapes and numbers."""
        for name in ("prices", "left", "units", "anchors", "contacts", "drift", "noise"):
            array = getattr(self, name)
            check_shape(array, self.prices.shape, name)
            fine = bool((np.isfinite(array) & ((array >= 0.0) | (name == "drift"))).all())
            require(fine, "pacer", name, "must be finite and >= 0")
        for name, least in (("traffic", 0.0), ("step", 0.0), ("leash", 1.0)):
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
            contacts=contacts_of(budgets, units, traffic),
            drift=np.zeros_like(prices),
            noise=np.zeros_like(prices),
        )

    @property
    def open(self) -> FloatArray:
        """(J,) units that may still be used: what does not fit must not be chosen, whatever it is worth."""
        return self.left

    def after(
        self,
        used: FloatArray,
        decisions: int,
        traffic: float | None = None,
        squares: FloatArray | None = None,
    ) -> Pacer:
        """After some decisions used units (J,); `traffic` is what an intraday curve now expects to come.

        `squares` (J,) are the sums of squared uses, as if all contacts used the same without it. Update
        every 20 to 1,000 decisions. Raises InvalidConfig when more was used than was left.
        """
        check_shape(used, self.left.shape, "used")
        fits = bool((used <= self.left + 1e-9 * np.maximum(self.left, 1.0)).all())
        require(fits, "pacer", "used", f"must not exceed what was left, {self.left}, got {used}")
        left = np.maximum(self.left - used, 0.0)
        ahead = max(self.traffic - decisions, 0.0) if traffic is None else traffic
        # Units over money is one over a contact's amount: the error counts contacts, whatever a row counts.
        per_unit = self.units / self.money
        wanted = decisions * left / max(ahead, 1.0) * per_unit
        error = used * per_unit - wanted
        drift = _KEEP * self.drift + error
        # By chance contacts come as in a Poisson process, each of the size of those that came.
        squares = used / per_unit if squares is None else squares
        size = np.divide(squares, used, out=1.0 / per_unit, where=used > 0.0)
        noise = _KEEP**2 * self.noise + wanted * size * per_unit
        persists = (drift * error > 0.0) & (noise > 0.0)
        z = np.divide(np.abs(drift), np.sqrt(noise), out=np.ones_like(drift), where=persists)
        gain = np.clip(z / _CHANCE, 1.0, _FASTEST)
        moved = self.prices + self.step * gain * self.units * error / np.sqrt(self.contacts)
        # A leash of nothing would hold a price at nothing: an unpriced row may rise to its unit.
        most = np.where(self.anchors > 0.0, self.leash * self.anchors, self.leash * self.units)
        prices = np.clip(np.maximum(moved, 0.0), self.anchors / self.leash, most)
        return structs.replace(
            self, prices=prices, left=left, traffic=ahead, drift=drift, noise=noise, version=self.version + 1
        )

    def anchored(self) -> Pacer:
        """The leash tied to the prices of now: call it once an hour."""
        return structs.replace(self, anchors=self.prices)


def contacts_of(budgets: FloatArray, units: Units, traffic: float) -> FloatArray:
    """(J,) contacts that budgets (J,), in units, pay for: one at least, and no more than there is traffic."""
    contacts: FloatArray = np.clip(budgets * units.prices / units.money, 1.0, max(traffic, 1.0))
    return contacts
