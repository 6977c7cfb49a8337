"""Shared resources and caps as a person writes them.

`where` picks candidates by columns of their table (all candidates without it); `uses` is what one contact
takes: a number, or the column that says. nba.allocation.frame makes rows of an allocation of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
from msgspec import Struct

from nba.errors import require

Word: TypeAlias = str | int | bool
Where: TypeAlias = dict[str, Word | tuple[Word, ...]]


class Cap(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """At most so many candidates of one customer that are equal in the column `by`."""

    by: str
    at_most: int


class Limit(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A capacity or a budget; with `per` one for each value of a column, such as the customer's manager."""

    name: str
    at_most: float | None = None  # units; with `per`, of each value that `each` does not name
    where: Where = {}
    uses: float | str = 1.0
    per: str | None = None
    each: dict[str, float] = {}  # units, by values of `per`
    report_only: bool = False  # measured, not enforced
    may_be_empty: bool = False  # no error if no candidate is picked


class Guarantee(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """At least so much; what is missing in the end is told, and costs `price` a unit while it is planned."""

    name: str
    at_least: float  # units
    where: Where = {}
    uses: float | str = 1.0
    price: float | None = None  # account currency per unit; ten times the largest value per unit without it
    report_only: bool = False
    may_be_empty: bool = False


class Share(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A band for the part `where` of the candidates in `whole`: of contacts, or of what `uses` counts."""

    name: str
    where: Where
    whole: Where = {}
    at_most: float | None = None  # of 1
    at_least: float | None = None  # of 1
    uses: float | str = 1.0
    report_only: bool = False
    may_be_empty: bool = False


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
            if isinstance(row, Limit) and row.per is not None:
                found.setdefault(row.per, f"{pointer}.per")
        return found

    def amounts(self) -> dict[str, str]:
        """Number columns that are needed of the table, each with the pointer of the first field naming it."""
        found: dict[str, str] = {}
        for pointer, row in self._entries():
            if isinstance(row.uses, str):
                found.setdefault(row.uses, f"{pointer}.uses")
        return found

    def _entries(self) -> Iterator[tuple[str, Limit | Guarantee | Share]]:
        for field in ("limits", "guarantees", "shares"):
            for index, row in enumerate(getattr(self, field)):
                yield f"{field}[{index}]", row


def _numbers(row: Limit | Guarantee | Share) -> Iterator[tuple[str, float, float]]:
    """Numbers of a row that are given: field, number, and the most it may be."""
    most = 1.0 if isinstance(row, Share) else np.inf
    for field in ("at_most", "at_least", "price"):
        number = getattr(row, field, None)
        if number is not None:
            yield field, number, most
    if not isinstance(row.uses, str):
        yield "uses", row.uses, np.inf
    if isinstance(row, Limit):
        yield from ((f"each.{value}", number, np.inf) for value, number in row.each.items())


def _check_complete(row: Limit | Guarantee | Share, source: str, pointer: str) -> None:
    if isinstance(row, Limit) and row.per is None:
        require(not row.each, source, f"{pointer}.each", "needs `per`, the column whose values it names")
        require(row.at_most is not None, source, f"{pointer}.at_most", "is missing: the limit in units")
    if isinstance(row, Share):
        given = row.at_most is not None or row.at_least is not None
        require(given, source, pointer, "needs at_most, at_least or both")
        rule = f"at_least {row.at_least} is above at_most {row.at_most}"
        require((row.at_least or 0.0) <= (1.0 if row.at_most is None else row.at_most), source, pointer, rule)
