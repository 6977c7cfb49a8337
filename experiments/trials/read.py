"""From the columns of a table to the customers of a trial, one row each."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.evaluation.survey import floats_of
from experiments.tables.read import (
    Format,
    Table,
    coded,
    is_missing,
    is_numeric,
    numbers,
    read_table,
    told_rows,
)
from nba.arrays import BoolArray, FloatArray, IntArray
from nba.errors import InvalidConfig, require


class Columns(NamedTuple):
    """Names of columns."""

    arm: str
    outcome: str
    customer: str | None = None
    before: str | None = None
    segment: str | None = None
    day: str | None = None
    score: str | None = None
    chance: str | None = None  # of treatment: a column, or a number for everybody


class Customers(NamedTuple):
    """The customers of a trial, in any order."""

    source: str
    labels: tuple[str, ...]  # of arms, sorted
    arms: IntArray  # (n,) place in labels
    outcomes: FloatArray  # (n,) sums over a customer's rows
    before: FloatArray | None  # (n,)
    segments: tuple[str, ...]
    segment_of: IntArray | None  # (n,) place in segments
    days: tuple[str, ...]  # in order of time
    day_of: IntArray | None  # (n,) place in days, of a customer's last row
    scores: FloatArray | None  # (n,)
    chances: FloatArray | None  # (n,)
    n_outside: int  # rows without an arm, which are passed over


def read_customers(path: Path, columns: Columns, form: Format = Format()) -> Customers:  # noqa: B008 - frozen
    """Read a table; InvalidConfig where a column is missing or holds what no trial can use."""
    _check_asked(columns)
    named = {columns.arm, columns.customer, columns.segment} - {None}
    table = read_table(path, [name for name in named if name is not None], form)
    inside = ~is_missing(table.column(columns.arm, "--arm"))
    require(bool(inside.any()), table.source, columns.arm, "is empty in every row")
    n_outside = int((~inside).sum())
    table = table if inside.all() else table.keep(inside)
    arms, labels = _labelled(table, columns.arm, "--arm")
    require(len(labels) >= 2, table.source, columns.arm, f"has the one arm {labels[0]!r}; a trial has two")
    segment_of, segments = _optional_labels(table, columns.segment, "--segment")
    day_of, days = _days(table, columns.day)
    chance = None
    if columns.chance is not None and not _is_number(columns.chance):
        chance = _numeric(table, columns.chance, "--chance")
    elif columns.chance is not None:
        chance = np.full(table.n_rows, float(columns.chance))
    one_each = Customers(
        source=table.source,
        labels=labels,
        arms=arms,
        outcomes=_numeric(table, columns.outcome, "--outcome"),
        before=_numeric(table, columns.before, "--before") if columns.before else None,
        segments=segments,
        segment_of=segment_of,
        days=days,
        day_of=day_of,
        scores=_numeric(table, columns.score, "--score") if columns.score else None,
        chances=chance,
        n_outside=n_outside,
    )
    if columns.customer is None:
        return one_each
    ids = table.column(columns.customer, "--customer")
    missing = is_missing(ids)
    require(not missing.any(), table.source, columns.customer, f"is empty in {told_rows(missing)}")
    return _summed(one_each, coded(ids)[0], columns)


def _summed(rows: Customers, customers: IntArray, columns: Columns) -> Customers:
    """One row per customer: outcomes summed, the last day, and all else, which must not change, as it is."""
    ids, first, place = np.unique(customers, return_index=True, return_inverse=True)

    def kept(column: Any, name: str | None) -> Any:
        if column is None:
            return None
        differs = column != column[first][place]
        n = np.unique(place[differs]).size
        rule = f"must be the same in all rows of a customer; {n:,} customers have several"
        require(n == 0, rows.source, str(name), rule)
        return column[first]

    last = None
    if rows.day_of is not None:
        last = np.full(ids.size, -1, dtype=np.int64)
        np.maximum.at(last, place, rows.day_of)
    return rows._replace(
        arms=kept(rows.arms, columns.arm),
        outcomes=np.bincount(place, rows.outcomes, ids.size).astype(np.float64),
        before=kept(rows.before, columns.before),
        segment_of=kept(rows.segment_of, columns.segment),
        day_of=last,
        scores=kept(rows.scores, columns.score),
        chances=kept(rows.chances, columns.chance),
    )


def _labelled(table: Table, name: str, option: str) -> tuple[IntArray, tuple[str, ...]]:
    """(n,) places in the sorted labels of a column."""
    codes, words = coded(table.column(name, option))
    missing = codes < 0
    require(not missing.any(), table.source, name, f"is empty in {told_rows(missing)}")
    order = sorted(set(codes.tolist()), key=lambda code: words[code])
    place = np.full(len(words), -1, dtype=np.int64)
    place[order] = np.arange(len(order))
    return place[codes], tuple(words[code] for code in order)


def _check_asked(columns: Columns) -> None:
    """Refuse what would be looked at in vain."""
    rule = "is the outcome itself; a covariate is from before the trial"
    require(columns.before != columns.outcome, "lift", f"--before {columns.before}", rule)


def _optional_labels(table: Table, name: str | None, option: str) -> tuple[IntArray | None, tuple[str, ...]]:
    return (None, ()) if name is None else _labelled(table, name, option)


def _days(table: Table, name: str | None) -> tuple[IntArray | None, tuple[str, ...]]:
    """(n,) places of the days that come up, in order of time: numbers, or dates such as 2026-03-31."""
    if name is None:
        return None, ()
    column = table.column(name, "--day")
    missing = is_missing(column)
    require(not missing.any(), table.source, name, f"is empty in {told_rows(missing)}")
    if is_numeric(column):
        days, place = np.unique(np.floor(numbers(column)), return_inverse=True)
        return place.astype(np.int64), tuple(f"{day:.0f}" for day in days)
    codes, words = coded(column)
    try:
        dates = np.array([word[:10] for word in words], dtype="datetime64[D]")
    except ValueError:
        raise InvalidConfig(table.source, name, "must hold numbers, or dates such as 2026-03-31") from None
    days, place = np.unique(dates, return_inverse=True)
    return place.astype(np.int64)[codes], tuple(str(day) for day in days)


def _numeric(table: Table, name: str, option: str) -> FloatArray:
    """(n,) finite numbers of a column."""
    column = table.column(name, option)
    values = floats_of(column)
    texts: BoolArray = np.isnan(values) & ~is_missing(column)
    rule = f"must hold numbers, or true and false (named by {option}), does not in {told_rows(texts)}"
    require(not texts.any() or is_numeric(column), table.source, name, rule)
    bad: BoolArray = ~np.isfinite(values)
    rule = f"must be a finite number (named by {option}), is not in {told_rows(bad)}; a 0 is written as 0"
    require(not bad.any(), table.source, name, rule)
    return values


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
