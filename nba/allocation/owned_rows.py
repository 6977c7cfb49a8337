"""Limits of a day with a row for each value of customers' attributes, made of resources.

The frame of resources knows columns of actions. A limit `per` attributes of customers goes through it as one
row, which tells what actions use of it, and is then repeated for each value.

Shape letters: A actions, J rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from msgspec import structs

from nba.allocation.frame import Entry
from nba.allocation.owners import Owned, Owners, levels_of, values_of
from nba.allocation.problem import Rows
from nba.allocation.resources import Limit, Resources, columns_of
from nba.arrays import FloatArray
from nba.errors import require
from nba.features import Category, FeatureSchema

MOST_OWNED = 200  # rows: a lottery solves for every pair of them that a customer might use


class ByOwner(NamedTuple):
    """A limit whose values are customers' attributes."""

    names: tuple[str, ...]
    levels: tuple[int, ...]
    limits: dict[str, float]  # units, by value; several are joined by "/"
    is_enforced: bool


def without_owners(
    resources: Resources, columns: Sequence[str], schema: FeatureSchema, source: str
) -> tuple[Resources, dict[str, ByOwner]]:
    """Resources whose limits are by `columns` of actions alone, and what was taken out of them, by name."""
    found, limits = dict[str, ByOwner](), list[Limit]()
    for index, limit in enumerate(resources.limits):
        if not _is_owned(limit, columns, schema):
            limits.append(limit)
            continue
        found[limit.name] = _by_owner(limit, columns, schema, source, f"limits[{index}]")
        limits.append(structs.replace(limit, per=(), each={}, at_most=limit.at_most or 0.0))
    n_rows = sum(len(one.limits) for one in found.values())
    rule = f"make {n_rows} rows of customers, and at most {MOST_OWNED} can be; name coarser attributes"
    require(n_rows <= MOST_OWNED, source, "limits", rule)
    return structs.replace(resources, limits=tuple(limits)), found


def with_owners(
    uses: FloatArray, rows: Rows, entries: tuple[Entry, ...], owned: Mapping[str, ByOwner]
) -> tuple[FloatArray, Rows, tuple[Entry, ...], Owners | None]:
    """Uses (A, J), rows and entries with as many rows for each of `owned` as it has values."""
    times, places = np.ones(rows.limits.size, dtype=np.int64), dict[str, int]()
    for entry in entries:
        if entry.rule in owned:
            places[entry.rule] = entry.row
            times[entry.row] = len(owned[entry.rule].limits)
    firsts, old = np.cumsum(times) - times, np.repeat(np.arange(times.size), times)
    names, limits = [rows.names[row] for row in old], rows.limits[old]
    told, uses = list[Entry](), uses[:, old]
    for entry in entries:
        first = int(firsts[entry.row])
        if entry.rule not in owned:
            moved = entry.measured and (int(firsts[entry.measured[0]]), int(firsts[entry.measured[1]]))
            told.append(entry._replace(row=first, measured=moved))
            continue
        for row, (word, units) in enumerate(owned[entry.rule].limits.items(), start=first):
            names[row], limits[row] = f"{entry.rule}/{word}", units
            told.append(entry._replace(name=names[row], row=row, limit=units))
    found = (
        Owned(one.names, one.levels, int(firsts[row]), uses[:, firsts[row]], one.is_enforced)
        for one, row in ((owned[name], row) for name, row in places.items())
    )
    return uses, Rows(tuple(names), limits, rows.ceilings[old]), tuple(told), Owners.of(found)


def _is_owned(limit: Limit, columns: Sequence[str], schema: FeatureSchema) -> bool:
    categories = {column.name for column in schema.columns if isinstance(column, Category)}
    return any(name in categories and name not in columns for name in columns_of(limit.per))


def _by_owner(
    limit: Limit, columns: Sequence[str], schema: FeatureSchema, source: str, pointer: str
) -> ByOwner:
    names = columns_of(limit.per)
    mixed = [name for name in names if name in columns]
    rule = f"mixes {', '.join(mixed)} of actions with attributes of customers; write a limit for each, with "
    require(not mixed, source, f"{pointer}.per", rule + "its own `where`")
    words = ["/".join(value) for value in values_of(limit.per, limit.each, schema, source, pointer)]
    missing = [word for word in words if word not in limit.each]
    rule = f"no limit for {', '.join(map(repr, missing[:5]))}; name them, or give at_most"
    require(limit.at_most is not None or not missing, source, f"{pointer}.each", rule)
    limits = {word: limit.each.get(word, limit.at_most or 0.0) for word in words}
    return ByOwner(names, levels_of(names, schema), limits, not limit.report_only)
