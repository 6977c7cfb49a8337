"""Shared resources and caps as a person writes them.

`where` picks candidates by columns of their table (all candidates without it); `uses` is what one contact
takes: a number, the column that says, or a number for each value of the column `uses_by`. With `per` there is
a row for each value of a column, or for each combination of the values of several, whose names `each` joins
with "/". nba.allocation.frame makes rows of an allocation of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
from msgspec import Struct

from nba.errors import require

Word: TypeAlias = str | int | bool
Where: TypeAlias = dict[str, Word | tuple[Word, ...]]
Uses: TypeAlias = float | str | dict[str, float]
Per: TypeAlias = str | tuple[str, ...]


class Cap(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """At most so many candidates of one customer that are equal in the column `by`."""

    by: str
    at_most: int


class Limit(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A capacity or a budget; with `per` one for each value, such as a month, or the customer's manager.

    `rolling` makes it hold in every so many days that follow each other, by the column `day` of whole
    numbers; `spent` is what was used on days before those of the table, by their numbers.
    """

    name: str
    at_most: float | None = None  # units; with `per`, of each value that `each` does not name
    where: Where = {}
    uses: Uses = 1.0
    uses_by: str | None = None
    per: Per = ()
    each: dict[str, float] = {}  # units, by values of `per`
    rolling: int | None = None  # days
    day: str = "day"
    spent: dict[str, float] = {}  # units, by days
    report_only: bool = False  # measured, not enforced
    may_be_empty: bool = False  # no error if no candidate is picked


class Guarantee(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """At least so much; what is missing in the end is told, and costs `price` a unit while it is planned."""

    name: str
    at_least: float | None = None  # units; with `per`, of each value that `each` does not name
    where: Where = {}
    uses: Uses = 1.0
    uses_by: str | None = None
    per: Per = ()
    each: dict[str, float] = {}  # units, by values of `per`
    price: float | None = None  # account currency per unit; ten times the largest value per unit without it
    report_only: bool = False
    may_be_empty: bool = False


class Share(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A band for the part `where` of the candidates in `whole`: of contacts, or of what `uses` counts.

    With `per` the band is that of each value's part, such as of each age band.
    """

    name: str
    where: Where = {}
    whole: Where = {}
    at_most: float | None = None  # of 1
    at_least: float | None = None  # of 1
    uses: Uses = 1.0
    uses_by: str | None = None
    per: Per = ()
    report_only: bool = False
    may_be_empty: bool = False


Row: TypeAlias = Limit | Guarantee | Share


class Resources(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that bounds a plan."""

    at_most: int = 1  # candidates of a customer
    caps: tuple[Cap, ...] = ()
    limits: tuple[Limit, ...] = ()
    guarantees: tuple[Guarantee, ...] = ()
    shares: tuple[Share, ...] = ()

    def check(self, source: str) -> None:
        """Raise InvalidConfig, which names the file and the field, for a number or a name that cannot be."""
        must_be_whole = f"must be at least 1, got {self.at_most}"
        require(self.at_most >= 1, source, "at_most", must_be_whole)
        for index, cap in enumerate(self.caps):
            rule = f"must be at least 1, got {cap.at_most}; leave out candidates that nobody may get"
            require(cap.at_most >= 1, source, f"caps[{index}].at_most", rule)
        names: set[str] = set()
        for pointer, row in self._entries():
            fresh = bool(row.name) and row.name not in names
            require(fresh, source, f"{pointer}.name", f"must be there and unique, got {row.name!r}")
            names.add(row.name)
            for field, number, most in _numbers(row):
                rule = f"must be a finite number >= 0{'' if most == np.inf else ' and <= 1'}, got {number}"
                require(0.0 <= number <= most and number < np.inf, source, f"{pointer}.{field}", rule)
            _check_complete(row, source, pointer)

    def columns(self) -> dict[str, str]:
        """Text columns that are needed of the table, each with the pointer of the first field naming it."""
        found: dict[str, str] = {}
        for index, cap in enumerate(self.caps):
            found.setdefault(cap.by, f"caps[{index}].by")
        for pointer, row in self._entries():
            whole = row.whole if isinstance(row, Share) else {}
            for field, where in (("where", row.where), ("whole", whole)):
                for column in where:
                    found.setdefault(column, f"{pointer}.{field}.{column}")
            for column in columns_of(row.per):
                found.setdefault(column, f"{pointer}.per")
            if row.uses_by is not None:
                found.setdefault(row.uses_by, f"{pointer}.uses_by")
            if isinstance(row, Limit) and row.rolling is not None:
                found.setdefault(row.day, f"{pointer}.day")
        return found

    def amounts(self) -> dict[str, str]:
        """Number columns that are needed of the table, each with the pointer of the first field naming it."""
        found: dict[str, str] = {}
        for pointer, row in self._entries():
            if isinstance(row.uses, str):
                found.setdefault(row.uses, f"{pointer}.uses")
        return found

    def _entries(self) -> Iterator[tuple[str, Row]]:
        for field in ("limits", "guarantees", "shares"):
            for index, row in enumerate(getattr(self, field)):
                yield f"{field}[{index}]", row


def columns_of(per: Per) -> tuple[str, ...]:
    """The columns whose values make rows."""
    return (per,) if isinstance(per, str) else per


def _numbers(row: Row) -> Iterator[tuple[str, float, float]]:
    """Numbers of a row that are given: field, number, and the most it may be."""
    most = 1.0 if isinstance(row, Share) else np.inf
    for field in ("at_most", "at_least", "price"):
        number = getattr(row, field, None)
        if number is not None:
            yield field, number, most
    for field in ("uses", "each", "spent"):
        given = getattr(row, field, {})
        if isinstance(given, dict):
            yield from ((f"{field}.{value}", number, np.inf) for value, number in given.items())
        elif not isinstance(given, str):
            yield field, given, np.inf


def _check_complete(row: Row, source: str, pointer: str) -> None:
    by_value = isinstance(row.uses, dict)
    rule = "names the column whose values `uses` has numbers for; give both or neither"
    require(by_value == (row.uses_by is not None), source, f"{pointer}.uses_by", rule)
    if isinstance(row, Share):
        given = row.at_most is not None or row.at_least is not None
        require(given, source, pointer, "needs at_most, at_least or both")
        require(bool(row.where or row.per), source, f"{pointer}.where", "is missing: the part, or `per`")
        rule = f"at_least {row.at_least} is above at_most {row.at_most}"
        require((row.at_least or 0.0) <= (1.0 if row.at_most is None else row.at_most), source, pointer, rule)
        return
    field = "at_most" if isinstance(row, Limit) else "at_least"
    if not row.per:
        require(not row.each, source, f"{pointer}.each", "needs `per`, the column whose values it names")
        given = getattr(row, field) is not None
        require(given, source, f"{pointer}.{field}", "is missing: the number of units")
    if isinstance(row, Limit):
        _check_rolling(row, source, pointer)


def _check_rolling(limit: Limit, source: str, pointer: str) -> None:
    rule = f"must be at least 1 day, got {limit.rolling}"
    require(limit.rolling is None or limit.rolling >= 1, source, f"{pointer}.rolling", rule)
    rule = "is what was used on days before; without `rolling` lower the limit"
    require(limit.rolling is not None or not limit.spent, source, f"{pointer}.spent", rule)
    rule = "cannot be told apart by `per`; write a limit for each value, with its own `where`"
    require(not (limit.per and limit.spent), source, f"{pointer}.spent", rule)
    for day in limit.spent:
        rule = "must be the number of a day, as 3 or -1"
        require(whole_number(day), source, f"{pointer}.spent.{day}", rule)


def whole_number(text: str) -> bool:
    """Tell whether a text is a whole number that can be a day."""
    digits = text.removeprefix("-")
    return digits.isascii() and digits.isdigit() and len(digits) <= 9
