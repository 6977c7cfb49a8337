"""Coding the pieces of a table of candidates: texts and combinations of columns become small integers.

Shape letters: N customers, n candidates, V kinds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from experiments.tables.read import MISSING, told_rows
from nba.allocation.problem import LEAST, MOST
from nba.arrays import AnyArray, BoolArray, FloatArray, IntArray, KeyArray
from nba.errors import InvalidConfig
from nba.randomness import decision_keys


class Names(NamedTuple):
    """Columns of the table."""

    customer: str = "customer"
    action: str = "action"
    value: str = "value"


class Needed(NamedTuple):
    """Columns that resources ask for, with who asks: "FILE: pointer"."""

    texts: Mapping[str, str]
    amounts: Mapping[str, str]


class Candidates(NamedTuple):
    """Customers in the order of their keys, their candidates in the order of the actions' names."""

    customers: AnyArray  # (N,) texts
    actions: AnyArray  # texts, ascending
    keys: KeyArray  # (N,)
    starts: IntArray  # (N + 1,)
    action_of: AnyArray  # (n,) positions in `actions`
    kind_of: AnyArray  # (n,)
    values: FloatArray  # (n,) account currency
    columns: dict[str, AnyArray]  # (V,) of each kind, texts or floats
    n_kinds: int


class _Words:
    """Texts that were met, and their codes in the order of meeting."""

    def __init__(self) -> None:
        self.codes: dict[str, int] = {}

    def of(self, column: Any) -> IntArray:
        """Codes of a column of texts without nulls."""
        found = column.dictionary_encode()
        codes = self.codes
        table = [codes.setdefault(word, len(codes)) for word in found.dictionary.to_pylist()]
        places: IntArray = found.indices.to_numpy(zero_copy_only=False)
        return np.array(table, dtype=np.int64)[places]

    def texts(self) -> AnyArray:
        """All texts by their codes."""
        return np.array(list(self.codes), dtype=object)


def _truths(words: AnyArray) -> AnyArray:
    """(U,) texts of a column; one of truths alone has them in lower case, as Parquet's own are."""
    lower = [str(word).lower() for word in words]
    return np.array(lower, dtype=object) if {*lower} - {""} <= {"true", "false"} else words


class Coding:
    """What is kept of the pieces read so far."""

    def __init__(self, source: str, names: Names, needed: Needed) -> None:
        self.source, self.names, self.needed, self.n_rows = source, names, needed, 0
        self.customers, self.actions = _Words(), _Words()
        self.words = {name: _Words() for name in needed.texts}
        self.kinds: dict[tuple[float, ...], int] = {}
        self.pieces: list[tuple[AnyArray, ...]] = []

    def add(self, batch: Any) -> None:
        """Code one piece of the table."""
        customers = self.customers.of(self._text(batch, self.names.customer))
        actions = self.actions.of(self._text(batch, self.names.action))
        values = self._numbers(batch, self.names.value)
        columns: list[AnyArray] = [
            self.words[name].of(self._text(batch, name, "")) for name in self.needed.texts
        ]
        columns += [self._amounts(batch, name) for name in self.needed.amounts]
        kinds = self._kinds(columns, batch.num_rows)
        self.pieces.append((customers.astype(np.int32), actions.astype(np.int32), kinds, values))
        self.n_rows += batch.num_rows

    def ordered(self) -> Candidates:
        """All candidates, in an order that does not depend on the table's."""
        customers, actions, kinds, values = map(np.concatenate, zip(*self.pieces, strict=True))
        self.pieces.clear()
        names, keys, place = _by_key(self.customers.texts())
        by_name = np.argsort(self.actions.texts())
        rank = np.empty(by_name.size, dtype=np.int64)
        rank[by_name] = np.arange(by_name.size)
        joint = place[customers] * by_name.size + rank[actions]
        order = np.argsort(joint, kind="stable")
        joint = joint[order]
        self._check_twice(order, joint, names, self.actions.texts()[by_name])
        starts = np.searchsorted(joint, np.arange(names.size + 1) * by_name.size)
        joint -= np.repeat(np.arange(names.size) * by_name.size, np.diff(starts))
        columns, kind_rank = self._columns()
        return Candidates(
            names, self.actions.texts()[by_name], keys, starts,
            joint.astype(np.min_scalar_type(by_name.size)), kind_rank[kinds[order]], values[order],
            columns, kind_rank.size,
        )  # fmt: skip

    def _check_twice(self, order: IntArray, joint: IntArray, customers: AnyArray, actions: AnyArray) -> None:
        twice = np.flatnonzero(joint[1:] == joint[:-1])
        if twice.size:
            customer, action = divmod(int(joint[twice[0]]), actions.size)
            rows = f"rows {order[twice[0]] + 1} and {order[twice[0] + 1] + 1}"
            rule = f"{rows}: customer {customers[customer]!r} has the action {actions[action]!r} twice"
            rule += f" ({twice.size:,} such pairs); keep one row of each"
            raise InvalidConfig(self.source, self.names.action, rule)

    def _columns(self) -> tuple[dict[str, AnyArray], AnyArray]:
        """Columns of the kinds in their own order, and the place in it of each kind as it was met."""
        rows, texts = list(self.kinds), [words.texts() for words in self.words.values()]
        found: dict[str, AnyArray] = {}
        for number, (name, words) in enumerate(zip(self.words, texts, strict=True)):
            found[name] = _truths(words)[[int(row[number]) for row in rows]].astype(np.str_)
        for number, name in enumerate(self.needed.amounts, start=len(texts)):
            found[name] = np.array([row[number] for row in rows])
        order = np.lexsort(list(found.values())) if found else np.zeros(1, dtype=np.int64)
        rank = np.empty(order.size, dtype=np.min_scalar_type(order.size))
        rank[order] = np.arange(order.size)
        return {name: column[order] for name, column in found.items()}, rank

    def _kinds(self, columns: list[AnyArray], n_rows: int) -> AnyArray:
        """Code of each row's combination of columns; met combinations keep their codes."""
        joint = np.zeros(n_rows, dtype=np.int64)
        for column in columns:
            _, codes = np.unique(column, return_inverse=True)
            _, joint = np.unique(joint * (codes.max(initial=0) + 1) + codes, return_inverse=True)
        _, first, joint = np.unique(joint, return_index=True, return_inverse=True)
        rows = zip(*(column[first].tolist() for column in columns), strict=True) if columns else [()]
        table = [self.kinds.setdefault(tuple(row), len(self.kinds)) for row in rows]
        return np.array(table, dtype=np.int32)[joint.ravel()]

    def _text(self, batch: Any, name: str, missing: str | None = None) -> Any:
        """A column as texts; nothing is `missing`, or an error without it."""
        import pyarrow as pa
        import pyarrow.compute as pc

        column = batch.column(name)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if pa.types.is_nested(column.type) or pa.types.is_binary(column.type):
            raise InvalidConfig(self.source, name, f"holds {column.type}, not texts or numbers")
        column = pc.utf8_trim_whitespace(column.cast(pa.large_string()))
        if missing is not None:
            return pc.fill_null(column, missing)
        nothing = pc.fill_null(pc.equal(column, ""), True).to_numpy(zero_copy_only=False)
        self._refuse(name, nothing, "must not be missing")
        return column

    def _numbers(self, batch: Any, name: str) -> FloatArray:
        """A column as finite floats."""
        import pyarrow as pa
        import pyarrow.compute as pc

        column = batch.column(name)
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            column = pc.utf8_trim_whitespace(column.cast(pa.large_string()))
            column = pc.if_else(pc.is_in(column, pa.array(MISSING, pa.large_string())), None, column)
            try:
                column = column.cast(pa.float64())
            except pa.ArrowInvalid:
                strange = [not _is_number(one) for one in column.to_pylist()]
                self._refuse(name, np.array(strange), "must be a number")
        try:
            column = pc.fill_null(column.cast(pa.float64(), safe=False), np.nan)
        except pa.ArrowException:
            raise InvalidConfig(self.source, name, f"holds {column.type}, not numbers") from None
        numbers: FloatArray = column.to_numpy(zero_copy_only=False)
        rule = "must be a finite number; leave out candidates without one"
        self._refuse(name, ~np.isfinite(numbers), rule)
        self._refuse(name, np.abs(numbers) > MOST, f"must be at most {MOST:g} in size; count in another unit")
        return numbers

    def _amounts(self, batch: Any, name: str) -> FloatArray:
        numbers = self._numbers(batch, name)
        rule = f"must be >= 0, being what a contact uses ({self.needed.amounts[name]})"
        self._refuse(name, numbers < 0.0, rule)
        tiny = (numbers > 0.0) & (numbers < LEAST)
        self._refuse(name, tiny, f"must be 0 or at least {LEAST:g}; count in another unit")
        return numbers

    def _refuse(self, name: str, bad: BoolArray, rule: str) -> None:
        if bad.any():
            whole = np.concatenate([np.zeros(self.n_rows, dtype=np.bool_), bad])
            raise InvalidConfig(self.source, name, f"{told_rows(whole)} {rule}")


def _is_number(text: str | None) -> bool:
    try:
        float(text or "0")
    except ValueError:
        return False
    return "_" not in (text or "")  # Python reads 1_000, tables do not


def _by_key(customers: AnyArray) -> tuple[AnyArray, KeyArray, IntArray]:
    """Customers in the order of their hashed keys, the keys, and the place of each in that order.

    Hashing makes ties go to anybody and not to those whose names come first in the alphabet.
    """
    keys = decision_keys(customers)
    order = np.lexsort((customers, keys))
    keys = keys[order]
    while (same := np.flatnonzero(keys[1:] == keys[:-1])).size:  # one in 10^16 pairs
        keys[same + 1] += np.uint64(1)
    place = np.empty(order.size, dtype=np.int64)
    place[order] = np.arange(order.size)
    return customers[order], keys, place
