"""Budgets of a service: what may be used in a period, and what using it costs meanwhile.

A budget is a limit (nba.allocation.resources) that comes back every period, and its words are those of a
limit: `where`, `uses`, `per`, `each`, `rolling`, `report_only`. It is counted when a decision is made,
whenever the contact is, so that what is left is known before the draw; a decision that does not fit is not
eligible, and a price paces the others (nba.allocation.pacing).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

import numpy as np
from msgspec import Struct, structs

from nba.allocation.columns import COST, action_columns
from nba.allocation.owners import MOST_ROWS, Owned, levels_of, values_of
from nba.allocation.resources import Per, Where, columns_of
from nba.allocation.shards import Units
from nba.arrays import FloatArray
from nba.catalogue import Catalogue
from nba.errors import require
from nba.features import FeatureSchema

_COLUMNS = ("channel", "timing", "product", "channel_family", "product_family")
_SWING, _MOST = 2.5, 100.0


class Budget(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """At most so much in a calendar day, ISO week or month, or in any `rolling` days, all in UTC.

    `where` picks actions by channel, timing, product, channel_family and product_family (all without it);
    `uses` is what one contact takes: a number of units, or "cost" for its cost in account currency.
    `per` names categories of the customer, such as the own manager: every value, or combination of values
    joined by "/", has a budget of its own of `at_most` units, or of what `each` says of it, and a price of
    its own. Who has no such value gets nothing of what the budget is about.
    `returned_if` are the outcomes that give the units back within the period, when they are the first that is
    told of a contact. Without it both do, for the contact was never made; leave out "refused" where an
    attempt is paid for, or takes the caller's time, all the same.
    """

    name: str
    at_most: float  # units in a period; with `per`, of each value that `each` does not name
    traffic: float = 0.0  # decisions expected in a period (in `rolling` days), contacts or not, of everybody
    period: Literal["day", "week", "month"] = "day"
    where: Where = {}
    uses: float | str = 1.0
    returned_if: tuple[Literal["refused", "cancelled"], ...] = ("refused", "cancelled")
    per: Per = ()
    each: dict[str, float] = {}  # units, by values of `per`
    rolling: int | None = None  # days
    report_only: bool = False  # measured, not enforced, and without a price

    def period_of(self, at: datetime) -> int:
        """The number of the period that holds a moment, the day's of a rolling one; later ones are larger."""
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

    def check(self, catalogue: Catalogue, schema: FeatureSchema, source: str) -> None:
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
            values_of(budget.per, budget.each, schema, source, pointer)
        rows = self.tally(catalogue, schema).rows
        twice = [name for name, count in Counter(row.name for row in rows).items() if count > 1]
        rule = f"two are both reported as {', '.join(map(repr, twice))}; give one another name"
        require(not twice, source, "pacing.budgets", rule)
        rule = f"make {len(rows)} rows, and at most {MOST_ROWS} can be; name coarser attributes in `per`"
        require(len(rows) <= MOST_ROWS, source, "pacing.budgets", rule)

    @property
    def batch(self) -> int:
        """Decisions after which prices move."""
        if self.every is not None:
            return self.every
        least = min((budget.traffic for budget in self.budgets if not budget.report_only), default=1.0)
        return int(np.clip(np.sqrt(least) / _SWING, 1.0, _MOST))

    def use(self, catalogue: Catalogue) -> FloatArray:
        """(A, J) units of each budget that an action uses."""
        rows = [budget.use(catalogue) for budget in self.budgets]
        return np.stack(rows, axis=1) if rows else np.zeros((catalogue.n_actions, 0))

    def tally(self, catalogue: Catalogue, schema: FeatureSchema) -> Tally:
        """The rows that are counted: one of a budget, or with `per` one of each value."""
        rows, places = list[Budget](), list[dict[tuple[str | None, ...], int]]()
        for budget in self.budgets:
            values = values_of(budget.per, budget.each, schema, "pacing", budget.name)
            places.append({value: len(rows) + n for n, value in enumerate(values)})
            rows += [_row(budget, "/".join(value)) for value in values]
        return Tally(self.budgets, tuple(rows), tuple(places), self.use(catalogue))

    def owned(self, catalogue: Catalogue, schema: FeatureSchema, first: int) -> list[Owned]:
        """The budgets with a row for each value; the first row of all has the place `first`."""
        tally, found = self.tally(catalogue, schema), list[Owned]()
        for budget, places, use in zip(self.budgets, tally.places, tally.use.T, strict=True):
            if budget.per:
                names, start = columns_of(budget.per), first + min(places.values())
                found.append(Owned(names, levels_of(names, schema), start, use, not budget.report_only))
        return found


class Tally(NamedTuple):
    """What is counted of budgets: R rows, and which of them a contact of a customer uses."""

    budgets: tuple[Budget, ...]  # J
    rows: tuple[Budget, ...]  # R
    places: tuple[dict[tuple[str | None, ...], int], ...]  # J, of each budget: values of `per` -> row
    use: FloatArray  # (A, J) units

    @property
    def of(self) -> list[int]:
        """(R) the budget of each row."""
        return [number for number, places in enumerate(self.places) for _ in places]

    def own(self, attributes: Mapping[str, Any]) -> tuple[int | None, ...]:
        """(J) the customer's row of each budget; None where an attribute of `per` is not known."""
        return tuple(
            places.get(tuple(_word(attributes.get(name)) for name in columns_of(budget.per)))
            for budget, places in zip(self.budgets, self.places, strict=True)
        )

    def uses(self, action: int, own: Sequence[int | None] = ()) -> list[float]:
        """(R) units of each row that an action uses for a customer with `own` rows (J); () has none."""
        found = [0.0] * len(self.rows)
        for row, use in zip(own or self.own({}), self.use[action].tolist(), strict=True):
            if row is not None:
                found[row] = use
        return found


def units_of(budget: Budget, catalogue: Catalogue) -> Units:
    """The size of a value, and of the budget's price: what the forecast makes of a contact, by its use."""
    use, value = budget.use(catalogue), catalogue.values.copy()
    value[1:] *= catalogue.forecast_rates[catalogue.product_of[1:]]
    picked = use > 0.0
    money = float(np.abs(value[picked]).mean())
    return Units(prices=np.array([money / use[picked].mean()]), money=money)


def _row(budget: Budget, value: str) -> Budget:
    """What one value of `per` has."""
    if not budget.per:
        return budget
    at_most = budget.each.get(value, budget.at_most)
    return structs.replace(budget, name=f"{budget.name}/{value}", at_most=at_most, per=(), each={})


def _word(value: object) -> str | None:
    """A value that names a row; what is no word names none."""
    return value if isinstance(value, str) else None


def _check_budget(budget: Budget, catalogue: Catalogue, source: str, pointer: str) -> None:
    given = {"at_most": budget.at_most, "traffic": budget.traffic}
    given |= {f"each.{name}": units for name, units in budget.each.items()}
    for field, number in given.items():
        least = 1.0 if field == "traffic" and not budget.report_only else 0.0
        rule = f"must be a finite number >= {least:g}, got {number}"
        require(least <= number < np.inf, source, f"{pointer}.{field}", rule)
    _check_words(budget, source, pointer)
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


def _check_words(budget: Budget, source: str, pointer: str) -> None:
    """Raise InvalidConfig for words that do not go together."""
    rule = "needs `per`, the attribute whose values it names"
    require(bool(budget.per) or not budget.each, source, f"{pointer}.each", rule)
    if budget.rolling is not None:
        rule = f"must be between 1 and 366 days, got {budget.rolling}"
        require(1 <= budget.rolling <= 366, source, f"{pointer}.rolling", rule)
        rule = f"a rolling budget counts days; drop period = {budget.period!r}"
        require(budget.period == "day", source, f"{pointer}.period", rule)
