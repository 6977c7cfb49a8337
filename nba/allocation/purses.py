"""What is used of a budget, and the price of its next unit, at one position of the log of decisions."""

from __future__ import annotations

from datetime import datetime
from math import fsum

import numpy as np
from msgspec import Struct, structs

from nba.allocation.budgets import Budget
from nba.allocation.pacing import Pacer, contacts_of
from nba.allocation.shards import Units


class Purse(Struct, frozen=True, kw_only=True):
    """A budget, or one row of it, at one position of the log of decisions."""

    period: int
    price: float  # account currency per unit
    anchor: float  # account currency per unit: prices stay within the pacer's leash of it
    hour: int  # since 1970, in which the anchor was tied
    traffic: float  # decisions still expected in the period, or in `rolling` days
    used: float = 0.0  # units, in the period
    waiting: int = 0  # decisions since the last step of the price
    waiting_use: float = 0.0  # units used by them
    waiting_squares: float = 0.0  # units^2: the squares of what each used
    drift: float  # contacts: the pacer's smoothed error
    noise: float  # contacts^2: its variance, were there nothing but chance
    days: tuple[
        tuple[int, float], ...
    ] = ()  # of a rolling budget: days before `period`, and units used on them

    @staticmethod
    def start(price: float) -> Purse:
        """Before any decision: the first one opens its period."""
        return Purse(period=-1, price=price, anchor=price, hour=-1, traffic=0.0, drift=0.0, noise=0.0)

    def left(self, budget: Budget, at: datetime) -> float:
        """Units that a decision made at `at` may use; none in a past period, should a clock go back."""
        return max(self.room(budget, at), 0.0)

    def room(self, budget: Budget, at: datetime) -> float:
        """The same of a budget that nothing enforces: below 0 where more is used."""
        period = budget.period_of(at)
        if period < self.period:
            return 0.0
        used = self.used if period == self.period else 0.0
        return budget.at_most - self._before(budget, period) - used

    def after(self, budget: Budget, use: float, at: datetime) -> Purse:
        """The purse after a decision made at `at` that uses some units."""
        period, hour = budget.period_of(at), int(at.timestamp()) // 3600
        if period < self.period:  # committed after the first decision of the next period; it counted before
            return self._on(period, use) if use and budget.rolling is not None else self
        fresh = self
        if period > self.period:
            fresh = structs.replace(
                Purse.start(self.price),
                period=period,
                hour=hour,
                traffic=budget.traffic,
                days=self._days(budget, period),
            )
        elif hour != self.hour:
            fresh = structs.replace(self, anchor=self.price, hour=hour)  # methods D6: the leash is per hour
        return structs.replace(
            fresh,
            used=fresh.used + use,
            waiting=fresh.waiting + 1,
            waiting_use=fresh.waiting_use + use,
            waiting_squares=fresh.waiting_squares + use**2,
        )

    def returned(self, budget: Budget, use: float, at: datetime) -> Purse:
        """The purse after the units of a decision made at `at` came back; those of a past period are lost."""
        period = budget.period_of(at)
        if period != self.period:
            return self._on(period, -use)
        return structs.replace(
            self,
            used=max(self.used - use, 0.0),
            waiting_use=self.waiting_use - use,
            waiting_squares=max(self.waiting_squares - use**2, 0.0),
        )

    def stepped(self, budget: Budget, units: Units) -> Purse:
        """The purse with its price moved by what was used since the last step; one only measured has none."""
        if self.waiting == 0:
            return self
        if budget.report_only:
            return self.counted(max(self.traffic - self.waiting, 0.0))
        pacer = Pacer(
            prices=np.array([self.price]),
            left=np.array([max(self._aim(budget), self.waiting_use)]),  # equal but for the rounding of sums
            traffic=self.traffic,
            units=units.prices,
            money=units.money,
            anchors=np.array([self.anchor]),
            contacts=contacts_of(np.array([budget.at_most]), units, budget.traffic),
            drift=np.array([self.drift]),
            noise=np.array([self.noise]),
        ).after(np.array([self.waiting_use]), self.waiting, squares=np.array([self.waiting_squares]))
        return structs.replace(
            self.counted(pacer.traffic),
            price=float(pacer.prices[0]),
            drift=float(pacer.drift[0]),
            noise=float(pacer.noise[0]),
        )

    def counted(self, traffic: float) -> Purse:
        """The purse with nothing waiting, and so many decisions still expected."""
        return structs.replace(self, traffic=traffic, waiting=0, waiting_use=0.0, waiting_squares=0.0)

    def _aim(self, budget: Budget) -> float:
        """Units for the traffic that is expected, as they were at the last step, what has come back included.

        A rolling budget aims at what lasts for the days to come, and at no more than is left of today.
        """
        before = budget.at_most - (self.used - self.waiting_use)
        if budget.rolling is not None:
            today = self.traffic - budget.traffic * (1.0 - 1.0 / budget.rolling)
            free = before - self._before(budget, self.period)
            before = min(before, max(free, 0.0) * self.traffic / max(today, 1.0))
        return max(before, 0.0)

    def _before(self, budget: Budget, period: int) -> float:
        """Units of the days before `period` that still count in it; 0 without `rolling`."""
        return fsum(units for _, units in self._days(budget, period))

    def _days(self, budget: Budget, period: int) -> tuple[tuple[int, float], ...]:
        """Days before `period` that lie in the window that ends with it, and the units used on them."""
        if budget.rolling is None:
            return ()
        days = self.days if period <= self.period else (*self.days, (self.period, self.used))
        return tuple((day, units) for day, units in days if day > period - budget.rolling and units)

    def _on(self, period: int, use: float) -> Purse:
        """The purse with more or less used on a day before; a day that no window needs is not kept."""
        days = dict(self.days)
        if use > 0.0 or period in days:
            days[period] = max(days.get(period, 0.0) + use, 0.0)
        return structs.replace(self, days=tuple(sorted(days.items())))
