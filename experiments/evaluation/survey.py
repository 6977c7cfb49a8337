"""The first look at a log: its labels, eligible sets, rewards, and rows enough to see what features are."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable
from functools import partial, reduce
from math import inf
from operator import add
from typing import Any, NamedTuple

import numpy as np

from experiments.evaluation.names import Names
from experiments.evaluation.stored import LIST_SEPARATOR, Part, Stored
from experiments.executor import Executor, Report
from experiments.tables.columns import Reading, Wish, read_schema
from experiments.tables.read import Table, coded, is_missing, is_numeric, numbers
from nba.arrays import BoolArray, FloatArray
from nba.errors import InvalidConfig, require
from nba.features import FeatureSchema
from nba.ope import Range

_ROWS = 65_536  # read at a time
_SAMPLE_ROWS = 100_000
_MOST_LABELS, _MOST_SETS = 2_000, 100_000
TRUTHS = {"true": 1.0, "false": 0.0}
_SEPARATORS = (LIST_SEPARATOR, "|", ";", ",")  # of the labels in a set


class Survey(NamedTuple):
    """What was found in some rows; it merges."""

    n: int
    labels: Counter[str]  # rows per label
    sets: frozenset[str]  # eligible sets as they are written
    segments: Counter[str]
    groups: frozenset[tuple[str, str]]  # label and what the columns of its group say, one for each label
    low: float  # of the rewards
    high: float
    is_binary: bool
    samples: tuple[Table, ...]

    def __add__(self, other: object) -> Survey:
        """What was found in both."""
        if not isinstance(other, Survey):
            return NotImplemented
        return Survey(
            self.n + other.n,
            self.labels + other.labels,
            self.sets | other.sets,
            self.segments + other.segments,
            self.groups | other.groups,
            min(self.low, other.low),
            max(self.high, other.high),
            self.is_binary and other.is_binary,
            self.samples + other.samples,
        )

    @property
    def range(self) -> Range | None:
        """The rewards' range if they tell it by themselves: where they are 0 and 1."""
        both = self.is_binary and (self.low, self.high) == (0.0, 1.0)
        return Range(0.0, 1.0) if both else None

    def ordered_labels(self) -> tuple[str, ...]:
        """All labels, those that are numbers in their order before the others."""
        return tuple(sorted(self.labels, key=_by_number))

    def groups_of(self, labels: Iterable[str]) -> tuple[int, ...]:
        """(A,) the group of each label, numbered; a label without a row is alone."""
        group_of = dict(self.groups)
        words = [group_of.get(label, f"\x1f{label}") for label in labels]
        place = {word: number for number, word in enumerate(dict.fromkeys(words))}
        return tuple(place[word] for word in words)

    def reading(self, names: Names) -> Reading:
        """What the features are taken for."""
        if not names.features:
            return Reading(FeatureSchema(columns=(), moments=False), {}, {})
        wish = Wish(only=names.features, category=names.categories)
        try:
            return read_schema(self._sample(), (names.reward,), wish, (names.action,))
        except InvalidConfig as error:  # its ways out are those of `nba learn`
            rule = f"{error.rule.partition(';')[0]}; leave it out of --features"
            raise InvalidConfig(error.source, error.pointer, rule) from None

    def _sample(self) -> Table:
        import pyarrow as pa

        first = self.samples[0]
        columns = {
            name: pa.concat_arrays([one.columns[name] for one in self.samples]) for name in first.columns
        }
        return Table(first.source, columns, sum(one.n_rows for one in self.samples))


def surveyed(log: Stored, names: Names, executor: Executor, report: Report) -> Survey:
    """Look at all rows; InvalidConfig for too many labels or eligible sets."""
    step = -(-log.n_rows // _SAMPLE_ROWS)
    found = reduce(add, executor.map(partial(_of_part, log, names, step), log.parts, report))
    n_labels = len(found.labels)
    rule = f"holds {n_labels:,} different labels, and at most {_MOST_LABELS:,} are judged; is it an id?"
    require(n_labels <= _MOST_LABELS, log.source, names.action, rule)
    require(n_labels > 0, log.source, names.action, "holds no label in any row")
    rule = f"holds more than {_MOST_SETS:,} different sets; name sets of labels, or columns"
    require(len(found.sets) <= _MOST_SETS, log.source, str(names.eligible), rule)
    _check_groups(found.groups, log.source, names)
    return found


def eligible_sets(texts: Iterable[str], labels: Collection[str]) -> dict[str, tuple[str, ...]]:
    """The labels in each set as it is written: a JSON list, or labels between | or ; or commas.

    Of the separators the one whose pieces are `labels` of the log most often: a label may have a | in it.
    """
    written, known = list(texts), {*labels}
    plain = [text for text in written if not text.startswith("[")]

    def share(separator: str) -> float:
        pieces = [piece for text in plain for piece in _labels(text, separator)]
        return sum(piece in known for piece in pieces) / max(len(pieces), 1)

    separator = max(_SEPARATORS, key=share)  # of equals the first
    return {text: _labels(text, separator) for text in written}


def _labels(text: str, separator: str) -> tuple[str, ...]:
    if text.startswith("["):
        try:
            return tuple(str(one) for one in json.loads(text))
        except (ValueError, TypeError):
            return tuple(one.strip(" '\"") for one in text.strip("[] ").replace(",", " ").split())
    return tuple(label for one in text.split(separator) if (label := one.strip()))


def floats_of(column: Any) -> FloatArray:
    """(n,) numbers of a column, 1 and 0 for true and false, NaN where a cell is missing or neither."""
    if is_numeric(column):
        return numbers(column)
    codes, texts = coded(column)
    return np.array([_float(text) for text in texts] + [np.nan])[codes]


def _of_part(log: Stored, names: Names, step: int, part: Part, report: Report) -> Survey:
    """What is found in one part."""
    columns = [names.reward, names.action, *names.features]
    columns += [name for name in (names.eligible, names.segment, *names.groups) if name is not None]
    found = []
    for first, table in log.read(part, columns, names.texts, _ROWS):
        rewards = floats_of(table.columns[names.reward])
        told = rewards[np.isfinite(rewards)]
        kept = (np.arange(table.n_rows) + first) % step == 0
        found.append(
            Survey(
                table.n_rows,
                _counts(table, names.action),
                frozenset(_counts(table, names.eligible)),
                _counts(table, names.segment),
                _groups(table, names),
                float(told.min(initial=inf)),
                float(told.max(initial=-inf)),
                bool(np.isin(told, (0.0, 1.0)).all()),
                (_finite(table, names.features).keep(kept),) if names.features else (),
            )
        )
        report(table.n_rows)
    return reduce(add, found)


def _groups(table: Table, names: Names) -> frozenset[tuple[str, str]]:
    """Each label with the texts of its group, one behind the other."""
    if not names.groups:
        return frozenset()
    columns = [coded(table.columns[name]) for name in (names.action, *names.groups)]
    rows = np.unique(np.column_stack([codes for codes, _ in columns]), axis=0).tolist()
    words = [(*texts, "") for _, texts in columns]  # the last for a cell without any
    told = ([texts[code] for code, texts in zip(row, words, strict=True)] for row in rows)
    found = frozenset((label, LIST_SEPARATOR.join(group)) for label, *group in told if label)
    _check_groups(found, table.source, names)
    return found


def _check_groups(groups: frozenset[tuple[str, str]], source: str, names: Names) -> None:
    """Raise InvalidConfig unless every label is in one group."""
    label, n = max(Counter(label for label, _ in groups).items(), key=lambda one: one[1], default=("", 1))
    rule = (
        f"make groups of actions (--groups), and the action {label!r} is in {n} of them; name columns that "
    )
    require(n == 1, source, ", ".join(names.groups), rule + "the action determines, such as its channel")


def without(column: Any, bad: BoolArray) -> Any:
    """A column of numbers (n,) with some cells emptied."""
    import pyarrow as pa

    return pa.array(numbers(column), mask=bad | is_missing(column))


def _finite(table: Table, names: Iterable[str]) -> Table:
    """A table without the infinite numbers of some columns, which are told when rows are checked."""
    found = {
        name: without(table.columns[name], np.isinf(numbers(table.columns[name])))
        for name in names
        if is_numeric(table.columns[name])
    }
    return table._replace(columns=table.columns | found)


def _counts(table: Table, name: str | None) -> Counter[str]:
    """Rows per text of a column."""
    if name is None:
        return Counter()
    codes, texts = coded(table.columns[name])
    if len(texts) > _MOST_SETS:
        raise InvalidConfig(table.source, name, f"holds {len(texts):,} different texts in a few rows")
    counts = np.bincount(codes[codes >= 0], minlength=len(texts)).tolist()
    return Counter(dict(zip(texts, counts, strict=True)))


def _float(text: str) -> float:
    if text.lower() in TRUTHS:
        return TRUTHS[text.lower()]
    try:
        return float(text)
    except ValueError:
        return np.nan


def _by_number(text: str) -> tuple[float, str]:
    """Labels that are numbers in their order, before all others."""
    value = _float(text)
    return (value if np.isfinite(value) else inf, text)
