"""Budgets of a service: what may be used in a period, and what using it costs meanwhile.

A budget is a limit (nba.allocation.resources) that comes back every period. It is counted when a decision
is made, whenever the contact is, so that what is left is known before the draw; a decision that does not
fit is not eligible, and a price paces the others (nba.allocation.pacing).
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import numpy as np
from msgspec import Struct, structs

from nba.allocation.columns import COST, action_columns
from nba.allocation.pacing import Pacer, contacts_of
from nba.allocation.resources import Where
from nba.allocation.shards import Units
from nba.arrays import FloatArray
from nba.catalogue import Catalogue
from nba.errors import require

_COLUMNS = ("channel", "timing", "product", "channel_family", "product_family")
_SWING, _MOST = 2.5, 100.0


class Budget(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """At most so much in a calendar day, ISO week or month, all in UTC.

    `where` picks actions by channel, timing, product, channel_family and product_family (all without it);
    `uses` is what one contact takes: a number of units, or "cost" for its cost in account currency.
    `returned_if` are the outcomes that give the units back within the period, when they are the first that is
    told of a contact. Without it both do, for the contact was never made; leave out "refused" where an
    attempt is paid for, or takes the caller's time, all the same.
    """

    name: str
    at_most: float  # units in a period
    traffic: float  # decisions expected in a period, contacts or not
    period: Literal["day", "week", "month"] = "day"
    where: Where = {}
    uses: float | str = 1.0
    returned_if: tuple[Literal["refused", "cancelled"], ...] = ("refused", "cancelled")

    def period_of(self, at: datetime) -> int:
        """The number of the period that holds a moment; later periods have larger numbers."""
        if self.period == "month":
            return at.year * 12 + at.month
        return at.toordinal() if self.period == "day" else (at.toordinal() - 1) // 7

    def use(self, catalogue: Catalogue) -> FloatArray:
        """(A,) units that each action uses; 0 for no-contact."""
        columns, picked = action_columns(catalogue), np.ones(catalogue.n_actions - 1, dtype=np.bool_)
        for column, words in self.where.items():
            wanted = words if isinstance(words, tuple) else (words,)
            picked &= np.isin(columns[column], [str(word) for word in wanted])
        units = columns[COST] if self.uses == COST else float(self.uses)
        return np.concatenate([[0.0], np.where(picked, units, 0.0)])


class Pacing(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The budgets of a strategy; their prices move after every so many decisions.

    Without `every` that is sqrt(traffic) / 2.5 of the budget with the least traffic, at most 100: a step
    grows with the decisions behind it, and larger ones swing around the price (measured at 2,000 decisions
    a period: 99.5 % of the hindsight bound i.i.d.; a step after every 100 lost a tenth of the value).
    """

    budgets: tuple[Budget, ...] = ()
    every: int | None = None  # decisions

    def check(self, catalogue: Catalogue, source: str) -> None:
        """Raise InvalidConfig for a number or a name that cannot be."""
        sound = self.every is None or self.every >= 1
        require(sound, source, "pacing.every", f"must be at least 1, got {self.every}")
        names: set[str] = set()
        for index, budget in enumerate(self.budgets):
            pointer = f"pacing.budgets[{index}]"
            fresh = bool(budget.name) and budget.name not in names
            require(fresh, source, f"{pointer}.name", f"must be there and unique, got {budget.name!r}")
            names.add(budget.name)
            _check_budget(budget, catalogue, source, pointer)

    @property
    def batch(self) -> int:
        """Decisions after which prices move."""
        if self.every is not None:
            return self.every
        least = min((budget.traffic for budget in self.budgets), default=1.0)
        return int(np.clip(np.sqrt(least) / _SWING, 1.0, _MOST))

    def use(self, catalogue: Catalogue) -> FloatArray:
        """(A, J) units of each budget that an action uses."""
        rows = [budget.use(catalogue) for budget in self.budgets]
        return np.stack(rows, axis=1) if rows else np.zeros((catalogue.n_actions, 0))


class Purse(Struct, frozen=True, kw_only=True):
    """A budget at one position of the log of decisions: what is used, and the price of the next unit."""

    period: int
    price: float  # account currency per unit
    anchor: float  # account currency per unit: prices stay within the pacer's leash of it
    hour: int  # since 1970, in which the anchor was tied
    traffic: float  # decisions still expected in the period
    used: float = 0.0  # units, in the period
    waiting: int = 0  # decisions since the last step of the price
    waiting_use: float = 0.0  # units used by them
    waiting_squares: float = 0.0  # units^2: the squares of what each used
    drift: float  # contacts: the pacer's smoothed error
    noise: float  # contacts^2: its variance, were there nothing but chance

    @staticmethod
    def start(price: float) -> Purse:
        """Before any decision: the first one opens its period."""
        return Purse(period=-1, price=price, anchor=price, hour=-1, traffic=0.0, drift=0.0, noise=0.0)

    def left(self, budget: Budget, at: datetime) -> float:
        """Units that a decision made at `at` may use; none in a past period, should a clock go back."""
        period = budget.period_of(at)
        if period > self.period:
            return budget.at_most
        return max(budget.at_most - self.used, 0.0) if period == self.period else 0.0

    def after(self, budget: Budget, use: float, at: datetime) -> Purse:
        """The purse after a decision made at `at` that uses some units."""
        period, hour = budget.period_of(at), int(at.timestamp()) // 3600
        if period < self.period:
            return self  # committed after the first decision of the next period; it counted before
        fresh = self
        if period > self.period:
            fresh = structs.replace(Purse.start(self.price), period=period, hour=hour, traffic=budget.traffic)
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
        if budget.period_of(at) != self.period:
            return self
        return structs.replace(
            self,
            used=max(self.used - use, 0.0),
            waiting_use=self.waiting_use - use,
            waiting_squares=max(self.waiting_squares - use**2, 0.0),
        )

    def stepped(self, budget: Budget, units: Units) -> Purse:
        """The purse with its price moved by what was used since the last step."""
        if self.waiting == 0:
            return self
        before = max(budget.at_most - (self.used - self.waiting_use), 0.0)  # what has come back included
        pacer = Pacer(
            prices=np.array([self.price]),
            left=np.array([max(before, self.waiting_use)]),  # equal but for the rounding of sums
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


def units_of(budget: Budget, catalogue: Catalogue) -> Units:
    """The size of a value, and of the budget's price: what the forecast makes of a contact, by its use."""
    use, value = budget.use(catalogue), catalogue.values.copy()
    value[1:] *= catalogue.forecast_rates[catalogue.product_of[1:]]
    picked = use > 0.0
    money = float(np.abs(value[picked]).mean())
    return Units(prices=np.array([money / use[picked].mean()]), money=money)


def _check_budget(budget: Budget, catalogue: Catalogue, source: str, pointer: str) -> None:
    for field, least in (("at_most", 0.0), ("traffic", 1.0)):
        number = getattr(budget, field)
        rule = f"must be a finite number >= {least:g}, got {number}"
        require(least <= number < np.inf, source, f"{pointer}.{field}", rule)
    is_number = not isinstance(budget.uses, str) and 0.0 < budget.uses < np.inf
    rule = f'must be a finite number > 0 or "{COST}", got {budget.uses!r}'
    require(is_number or budget.uses == COST, source, f"{pointer}.uses", rule)
    for column, words in budget.where.items():
        rule = f"is no column of an action; use one of {', '.join(_COLUMNS)}"
        require(column in _COLUMNS, source, f"{pointer}.where.{column}", rule)
        known = sorted(set(action_columns(catalogue)[column].tolist()))
        for word in words if isinstance(words, tuple) else (words,):
            rule = f"no action has {word!r}; known are {', '.join(known)}"
            require(str(word) in known, source, f"{pointer}.where.{column}", rule)
    rule = "picks no action that uses anything"
    require(bool(budget.use(catalogue).any()), source, pointer, rule)
    require(
        units_of(budget, catalogue).money > 0.0, source, pointer, "picks no action that is worth anything"
    )
