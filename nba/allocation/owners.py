"""Limits with a row for each value of an attribute of customers, such as each one's own manager.

Of such a limit a contact uses one row, that of its customer. Who has no known value has no row, and gets
nothing of what the limit is about: fail closed.

Shape letters: B customers, A actions, J rows of everything that is priced, L limits with owners.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product
from typing import NamedTuple

import numpy as np

from nba.allocation.resources import Per, columns_of
from nba.arrays import AnyArray, BoolArray, FloatArray, IntArray, rowwise
from nba.errors import require
from nba.features import Category, FeatureSchema

MOST_ROWS = 1_000  # each is counted in every decision
NO_OWNER = "limit_owner"  # the rule that removes what an unknown owner's limit is about


class Owned(NamedTuple):
    """One limit with owners; its rows follow each other, the values of the last attribute fastest."""

    attributes: tuple[str, ...]
    levels: tuple[int, ...]  # values of each attribute
    first: int  # place of its first row
    use: FloatArray  # (A,) units of a contact
    is_enforced: bool = True

    @property
    def n_rows(self) -> int:
        """How many rows there are."""
        return int(np.prod(self.levels))

    def rows(self, attributes: Mapping[str, AnyArray]) -> IntArray:
        """(B,) places of the customers' own rows, by codes (B,) of their values; -1 where one is unknown."""
        codes = np.array([attributes[name] for name in self.attributes]).astype(np.int64)
        place = np.ravel_multi_index(tuple(np.maximum(codes, 0)), self.levels)
        own: IntArray = np.where((codes >= 0).all(axis=0), self.first + place, -1)
        return own


class Owners(NamedTuple):
    """All limits with owners."""

    limits: tuple[Owned, ...]

    @staticmethod
    def of(limits: Iterable[Owned]) -> Owners | None:
        """Those limits; None where there are none."""
        found = tuple(limits)
        return Owners(found) if found else None

    @property
    def attributes(self) -> tuple[str, ...]:
        """Attributes that say whose limit a contact uses."""
        return tuple(dict.fromkeys(name for one in self.limits for name in one.attributes))

    def rows(self, attributes: Mapping[str, AnyArray]) -> IntArray:
        """(B, L) places of the customers' own rows, -1 where nobody knows."""
        return np.stack([one.rows(attributes) for one in self.limits], axis=1)

    def of_all(self, prices: FloatArray) -> FloatArray:
        """(J,) the prices of rows that everybody uses, 0 for those with owners."""
        common = prices.copy()
        for one in self.limits:
            common[one.first : one.first + one.n_rows] = 0.0
        return common

    def charges(self, own: IntArray, prices: FloatArray) -> FloatArray:
        """(B, A) account currency for what contacts use of the customers' own rows (B, L)."""
        return rowwise(np.where(own < 0, 0.0, prices[own]), np.array([one.use for one in self.limits]))

    def mask(self, own: IntArray) -> BoolArray:
        """(B, A) actions that use no enforced limit of an unknown owner."""
        asked = np.array([(one.use > 0.0) & one.is_enforced for one in self.limits])
        closed: BoolArray = ((own < 0)[:, :, None] & asked).any(axis=1)
        return ~closed

    def members(self, own: IntArray, n_rows: int) -> BoolArray:
        """(B, J) rows that a contact of the customer can use: those of all, and the own ones (B, L)."""
        found = np.ones((own.shape[0], n_rows), dtype=np.bool_)
        for column, one in enumerate(self.limits):
            places = one.first + np.arange(one.n_rows)
            found[:, places] = own[:, column, None] == places
        return found


def values_of(
    per: Per, each: Mapping[str, float], schema: FeatureSchema, source: str, pointer: str
) -> list[tuple[str, ...]]:
    """The values that a limit `per` attributes has rows for, in order; InvalidConfig for what cannot be."""
    names = columns_of(per)
    known = {column.name: column.levels for column in schema.columns if isinstance(column, Category)}
    for name in names:
        rule = f"{name!r} is no category of the schema; it has {', '.join(known) or 'none'}"
        require(name in known, source, f"{pointer}.per", rule)
        slashed = [level for level in known[name] if "/" in level]
        rule = (
            f"joins values with '/', and {name!r} has {', '.join(map(repr, slashed[:5]))}; name one attribute"
        )
        require(len(names) == 1 or not slashed, source, f"{pointer}.per", rule)
    require(len(set(names)) == len(names), source, f"{pointer}.per", "must name each attribute once")
    values = list(product(*(known[name] for name in names)))
    words = {"/".join(value) for value in values}
    for word in each:
        rule = f"{'/'.join(names)} has no value {word!r}; it has {', '.join(sorted(words)[:8])}"
        require(word in words, source, f"{pointer}.each", rule)
    rule = f"makes {len(values)} rows, and at most {MOST_ROWS} can be; name a coarser attribute"
    require(len(values) <= MOST_ROWS, source, f"{pointer}.per", rule)
    return values


def levels_of(names: tuple[str, ...], schema: FeatureSchema) -> tuple[int, ...]:
    """How many values each of some categories has."""
    known = {column.name: column for column in schema.columns}
    return tuple(len(known[name].levels) for name in names)  # type: ignore[union-attr]
