"""From the columns of a table to a feature schema: what each column is, and what is left out and why.

Numbers are standardised by the table's own mean and scale; a missing one counts as the mean, and a flag
says that it was missing. Texts are categories; missing is a level of its own and rare levels are pooled.
Shape letters: N rows, L distinct texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.tables.read import Table, coded, is_missing, is_numeric, numbers, told_rows
from nba.arrays import BoolArray, FloatArray, IntArray
from nba.context import AttributeValue
from nba.errors import InvalidConfig, require
from nba.features import RESERVED, Category, Column, FeatureSchema, Flag, Numeric

NONE_LEVEL, OTHER_LEVEL = "(missing)", "(other)"
IS_MISSING = " is missing"  # ends the name of the flag beside a number that may be missing
_ENOUGH = 20  # rows, before what a column shows of an outcome is no chance
_ROWS_PER_VALUE = 5  # likewise, on average for each value of the outcome
_TRUTHS = {"true": True, "false": False}
_BOUNDS = "an infinite value; empty the cell if it is not known, or leave the column out"


class Wish(NamedTuple):
    """What the user says about columns; without a word, all of them but the outcome's are features."""

    only: tuple[str, ...] = ()  # the features, all others are left out
    leave: tuple[str, ...] = ()
    category: tuple[str, ...] = ()  # numbers that are names
    force: tuple[str, ...] = ()  # features although they give the outcome away
    most_levels: int = 30

    def found(self, table: Table) -> Wish:
        """The same with lists such as "age,income" taken apart; raises for a column that is not there."""
        return Wish(
            only=_found(table, "--features", self.only),
            leave=_found(table, "--leave-out", self.leave),
            category=_found(table, "--category", self.category),
            force=_found(table, "--force-feature", self.force),
            most_levels=self.most_levels,
        )


class Reading(NamedTuple):
    """A schema and what was done to come to it."""

    schema: FeatureSchema
    kinds: dict[str, str]  # column of the table -> what it is taken for
    left_out: dict[str, str]  # column of the table -> why


def read_schema(table: Table, outcomes: Sequence[str], wish: Wish, actions: Sequence[str] = ()) -> Reading:
    """The schema of a table whose columns `outcomes` (label, reward, ...) and `actions` are no features."""
    wish = wish.found(table)
    both = [name for name in wish.only if name in {*outcomes, *actions}]
    require(not both, table.source, ", ".join(both), "cannot be a feature and what is learnt from")
    names = [name for name in wish.only or table.columns if name not in {*outcomes, *actions, *wish.leave}]
    kinds, left_out = {}, dict.fromkeys(table.passed_over, "holds lists or records")
    columns: tuple[Column, ...] = ()
    for name in names:
        found, kind = _declared(table, name, wish)
        if found:
            if name not in wish.force:
                _check_leak(table, name, outcomes, actions)
            kinds[name], columns = kind, (*columns, *found)
        else:
            left_out[name] = kind
    return Reading(FeatureSchema(columns=columns, moments=False), kinds, left_out)


class Encoded(NamedTuple):
    """The cells of a table as `schema.parse` gives them, ready to become rows of the feature matrix."""

    schema: FeatureSchema
    raw: dict[str, FloatArray]  # (N,) each
    n_rows: int

    @staticmethod
    def of(table: Table, schema: FeatureSchema) -> Encoded:
        """Raises InvalidConfig if a column of the schema is missing or of another kind."""
        return Encoded(schema, {column.name: _raw(table, column) for column in schema.columns}, table.n_rows)

    def matrix(self, rows: IntArray | slice = slice(None)) -> FloatArray:  # noqa: B008
        """(n, K) feature matrix of some rows; a table has neither fatigue nor moments."""
        n_rows = np.arange(self.n_rows)[rows].size
        part = {name: column[rows] for name, column in self.raw.items()}
        return self.schema.matrix(part, np.zeros((n_rows, 1, 2)), np.zeros(n_rows, dtype="datetime64[s]"))

    def records(self, rows: Sequence[int]) -> list[dict[str, AttributeValue]]:
        """Some rows as the attributes of a decision request, one dictionary each."""
        columns = self.schema.columns
        return [
            {column.name: _value(column, self.raw[column.name][row]) for column in columns} for row in rows
        ]


def unknown_texts(table: Table, schema: FeatureSchema) -> dict[str, str]:
    """Columns whose texts the schema does not know, and where; they count as missing."""
    found = {}
    for column in schema.columns:
        if isinstance(column, Category) and OTHER_LEVEL not in column.levels:
            codes, texts = coded(table.columns[column.name])
            strange = np.array([text not in column.levels for text in texts] + [False])[codes]
            if strange.any():
                found[column.name] = told_rows(strange)
    return found


def _found(table: Table, option: str, given: Sequence[str]) -> tuple[str, ...]:
    lists = (
        [text] if text in table.columns else [name.strip() for name in text.split(",")] for text in given
    )
    names = tuple(name for names in lists for name in names)
    for name in names:
        table.column(name, option)
    return names


def _declared(table: Table, name: str, wish: Wish) -> tuple[tuple[Column, ...], str]:
    """What a column becomes, in a word; nothing, with the reason, if it can teach nothing."""
    if name in RESERVED:
        rule = f"{', '.join(RESERVED)} have a meaning of their own in a request; rename the column"
        raise InvalidConfig(table.source, name, rule)
    column = table.columns[name]
    missing = is_missing(column)
    if missing.all():
        return (), "holds nothing"
    if is_numeric(column) and name not in wish.category:
        return _number(table, name, numbers(column), missing)
    codes, texts = coded(column)
    asked = name in {*wish.only, *wish.category}
    return _texts(name, codes, texts, missing, wish.most_levels, asked)


def _number(
    table: Table, name: str, values: FloatArray, missing: BoolArray
) -> tuple[tuple[Column, ...], str]:
    infinite = np.isinf(values)
    require(not infinite.any(), table.source, name, f"{told_rows(infinite)} hold {_BOUNDS}")
    present = values[~missing]
    flag = (Flag(name=name + IS_MISSING),) if missing.any() else ()
    share = f", missing in {missing.sum():,} rows" if flag else ""
    low, high = float(present.min()), float(present.max())
    if low == high:
        return flag, f"flag: is it missing{share}" if flag else f"is always {low:g}"
    if np.isin(present, (0.0, 1.0)).all():
        return (Flag(name=name), *flag), f"flag{share}"
    # In units of the largest value, so that no square overflows.
    unit = max(abs(low), abs(high))
    scale = float((present / unit).std()) * unit
    require(0 < scale < np.inf, table.source, name, "spreads too little or too far to be standardised")
    number = Numeric(name=name, mean=float((present / unit).mean()) * unit, scale=scale)
    return (number, *flag), f"number {low:g} to {high:g}{share}"


def _texts(
    name: str, codes: IntArray, texts: tuple[str, ...], missing: BoolArray, most: int, asked: bool
) -> tuple[tuple[Column, ...], str]:
    n_present = int((~missing).sum())
    if len(texts) == 1 and not missing.any():
        return (), f"is always {texts[0]!r}"
    if {text.lower() for text in texts} == set(_TRUTHS):
        flag = (Flag(name=name + IS_MISSING),) if missing.any() else ()
        return (Flag(name=name), *flag), "flag" + (f", missing in {missing.sum():,} rows" if flag else "")
    counts = np.bincount(codes[codes >= 0], minlength=len(texts))
    ordered = sorted(range(len(texts)), key=lambda one: (-counts[one], texts[one]))
    if 2 * counts[ordered[:most]].sum() < n_present and not asked:
        frequent = f"{len(texts):,} different texts, of which the {most} most frequent fill few of the rows"
        return (), f"{frequent}, look like names; --category keeps it"
    levels = sorted(texts[one] for one in ordered[:most])
    rare = len(texts) - len(levels)
    extra = ([OTHER_LEVEL] if rare else []) + ([NONE_LEVEL] if missing.any() else [])
    levels += [level for level in extra if level not in levels]
    pooled = f", {rare:,} rare ones pooled" if rare else ""
    share = f", missing in {missing.sum():,} rows" if missing.any() else ""
    return (Category(name=name, levels=tuple(levels)),), f"category of {len(texts):,} levels{pooled}{share}"


def _raw(table: Table, column: Column) -> FloatArray:
    name = column.name
    of = name.removesuffix(IS_MISSING)
    if isinstance(column, Flag) and name not in table.columns and of in table.columns:
        return is_missing(table.columns[of]).astype(np.float64)
    cells = table.column(name, "the bundle")
    if isinstance(column, Category):
        codes, texts = coded(cells)
        return _level_numbers(column, texts)[codes]
    if not is_numeric(cells):
        codes, texts = coded(cells)
        strange = np.array([text.lower() not in _TRUTHS for text in texts] + [False])[codes]
        kind = "flags" if isinstance(column, Flag) else "numbers"
        is_wrong = strange if isinstance(column, Flag) else codes >= 0
        rule = f"must hold {kind}, as the schema says; {told_rows(is_wrong)} do not"
        require(not is_wrong.any(), table.source, name, rule)
        nothing = 0.0 if isinstance(column, Flag) else np.nan
        return np.array([float(_TRUTHS[text.lower()]) for text in texts] + [nothing])[codes]
    values = numbers(cells)
    infinite = np.isinf(values)
    require(not infinite.any(), table.source, name, f"{told_rows(infinite)} hold {_BOUNDS}")
    return np.nan_to_num(values) if isinstance(column, Flag) else values


def _level_numbers(column: Category, texts: tuple[str, ...]) -> FloatArray:
    """(L + 1,) level of each distinct text; the last entry, which -1 finds, is that of a missing one."""
    place = {level: float(number) for number, level in enumerate(column.levels)}
    nothing = place.get(NONE_LEVEL, -1.0)
    rare = place.get(OTHER_LEVEL, nothing)
    return np.array([place.get(text, rare) for text in texts] + [nothing])


def _value(column: Column, raw: float) -> AttributeValue:
    if isinstance(column, Category):
        return column.levels[int(raw)] if raw >= 0 else None
    if isinstance(column, Flag):
        return bool(raw)
    return None if np.isnan(raw) else float(raw)


def _check_leak(table: Table, name: str, outcomes: Sequence[str], actions: Sequence[str]) -> None:
    """Refuse a column that says the outcome in other words: it will not be known when deciding."""
    column = table.columns[name]
    for other in (*outcomes, *actions) if len(column) >= _ENOUGH else ():
        how = _repeats(column, table.columns[other]) or _fixed(column, table.columns[other], other in actions)
        if how:
            way_out = f"leave it out (--leave-out {name!r}) or insist (--force-feature {name!r})"
            rule = f"{how} {other!r}, so it cannot be known when deciding; {way_out}"
            raise InvalidConfig(table.source, name, rule)


def _repeats(column: Any, outcome: Any) -> str:
    """How a column shows a numeric outcome; empty if it does not."""
    if not is_numeric(outcome):
        return ""
    result = numbers(outcome)
    if _same(is_missing(column), result == 0.0):
        return "is missing exactly where 0 is"
    if is_numeric(column) and _same(numbers(column) == 0.0, result == 0.0):
        return "is 0 exactly where 0 is"
    return "repeats" if is_numeric(column) and _same(numbers(column), result) else ""


def _fixed(column: Any, outcome: Any, is_action: bool) -> str:
    """How a column that varies follows from an outcome of few values; empty if it does not.

    A symptom may always come with a label, so there it has to be one to one; nothing that is known before
    an action may follow from it.
    """
    pairs = 0
    for length in (1_000, len(column)):  # almost always the first rows are enough to see that it is not so
        codes, _ = coded(column.slice(0, length))
        others, words = coded(outcome.slice(0, length))
        pairs, n_codes = np.unique(codes * (len(words) + 1) + others).size, np.unique(codes).size
        if pairs != np.unique(others).size or not (is_action or pairs == n_codes) or n_codes == 1:
            return ""
    few = _ROWS_PER_VALUE * pairs <= len(column)
    return "is always the same for the same" if few else ""


def _same(one: Any, two: Any) -> bool:
    return bool(np.array_equal(one, two) and (one != one[0]).any())
