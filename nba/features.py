"""Feature schema: declared columns, their encoders and scaling; records to columns to a matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import TypeAlias

import numpy as np
from msgspec import Struct, structs

from nba.arrays import AnyArray, FloatArray, IntArray, TimeArray, check_shape
from nba.context import AttributeValue
from nba.errors import BadContext, InvalidConfig, require
from nba.since import Since
from nba.timing import SATURDAY, weekdays

RESERVED = ("consents", "owned")
_LARGEST = float(np.finfo(np.float64).max)
_CLIP = 4.0  # standard deviations; an outlier must not dominate a linear score


class Numeric(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="numeric"):
    """A number, standardised by `mean` and `scale`.

    A missing one is NaN in the raw column, so that rules can fail closed; the model sees the mean.
    """

    name: str
    mean: float = 0.0
    scale: float = 1.0
    in_model: bool = True

    def raw(self, value: AttributeValue) -> float:
        """Check one attribute value."""
        if value is None:
            return float("nan")
        # An integer beyond the floats compares well; isfinite would overflow on it.
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not -_LARGEST <= value <= _LARGEST:  # type: ignore[operator]
            raise BadContext(f"/{self.name}", f"must be a finite number, got {value!r}")
        return float(value)  # type: ignore[arg-type]

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the encoded columns."""
        return (self.name,)


class Flag(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="flag"):
    """True or false; a missing one is NaN in the raw column, as a number's, and the model sees false."""

    name: str
    in_model: bool = True

    def raw(self, value: AttributeValue) -> float:
        """Check one attribute value."""
        if value is not None and not isinstance(value, bool):
            raise BadContext(f"/{self.name}", f"must be true or false, got {value!r}")
        return float("nan") if value is None else float(value)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the encoded columns."""
        return (self.name,)


class Category(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="category"):
    """One of some levels, one-hot over all of them; a missing one is all zeros."""

    name: str
    levels: tuple[str, ...]
    in_model: bool = True

    def raw(self, value: AttributeValue) -> float:
        """Check one attribute value; the raw column holds the level's index, -1 if missing."""
        if value is None:
            return -1.0
        if not isinstance(value, str) or value not in self.levels:
            raise BadContext(f"/{self.name}", f"must be one of {', '.join(self.levels)}; got {value!r}")
        return float(self.levels.index(value))

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the encoded columns."""
        return tuple(f"{self.name}={level}" for level in self.levels)


Column: TypeAlias = Numeric | Flag | Category | Since
_SEVERAL = 8  # values; for fewer NumPy is the slower way
_PLAIN: dict[type, frozenset[type]] = {  # what NumPy reads as `raw` does
    Numeric: frozenset({float, int, type(None)}),
    Flag: frozenset({bool, type(None)}),
    Category: frozenset(),
    Since: frozenset(),
}


class FeatureSchema(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """The columns a model sees: intercept, declared attributes, fatigue (short, long) and weekend.

    `segment` names the category by which segment-level models count; without one everybody is one
    segment. Without `moments` a model sees the declared columns only, neither fatigue nor weekend.
    """

    columns: tuple[Column, ...]
    segment: str | None = None
    moments: bool = True

    def __post_init__(self) -> None:
        """Check that names are unique and that the segment is a category of the model."""
        names = [column.name for column in self.columns]
        if len(set(names)) != len(names) or set(names) & set(RESERVED):
            raise InvalidConfig(
                "schema", "columns", f"names must be unique and not one of {RESERVED}: {names}"
            )
        for index, column in enumerate(self.columns):
            if isinstance(column, Numeric):
                where = f"columns[{index}]"
                require(0 < column.scale < np.inf, "schema", f"{where}.scale", "must be finite and > 0")
                require(abs(column.mean) < np.inf, "schema", f"{where}.mean", "must be finite")
            if isinstance(column, Category) and (
                not column.levels or len(set(column.levels)) != len(column.levels)
            ):
                raise InvalidConfig("schema", f"columns[{index}].levels", "must be present and unique")
        if self.segment is not None and not any(
            isinstance(c, Category) and c.in_model and c.name == self.segment for c in self.columns
        ):
            raise InvalidConfig(
                "schema", "segment", f"{self.segment!r} must be a category column of the model"
            )

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """(K,) names of the matrix columns."""
        declared = [label for column in self.columns if column.in_model for label in column.labels]
        moments = ("fatigue_short", "fatigue_long", "weekend") if self.moments else ()
        return ("intercept", *declared, *moments)

    @property
    def n_columns(self) -> int:
        """K, the width of the feature matrix."""
        return len(self.labels)

    @cached_property
    def segment_columns(self) -> IntArray:
        """(S,) matrix columns that hold the segment's one-hot code."""
        if self.segment is None:
            return np.zeros(1, dtype=np.int64)  # the intercept
        prefix = f"{self.segment}="
        return np.array([i for i, label in enumerate(self.labels) if label.startswith(prefix)])

    @cached_property
    def segments(self) -> tuple[str, ...]:
        """(S,) names of the segments."""
        return tuple(self.labels[i].split("=", 1)[-1] for i in self.segment_columns)

    def parse(self, records: Sequence[Mapping[str, AttributeValue]]) -> dict[str, FloatArray]:
        """Attribute records to raw columns (B,); an undeclared name or a wrong type is a BadContext."""
        known = self._known
        for record in records:
            for name in () if record.keys() <= known else record.keys() - known:
                raise BadContext(f"/{name}", f"is not declared; the schema knows {', '.join(sorted(known))}")
        return {
            column.name: _raws(column, [record.get(column.name) for record in records])
            for column in self.columns
        }

    @property
    def since(self) -> tuple[Since, ...]:
        """The columns that are counted from a customer's history."""
        return tuple(column for column in self.columns if isinstance(column, Since))

    def matrix(self, columns: Mapping[str, AnyArray], fatigue: FloatArray, at: TimeArray) -> FloatArray:
        """Raw columns (B,), fatigue (B, C, 2) and times (B,) to the feature matrix (B, K)."""
        n_contexts = at.shape[0]
        check_shape(fatigue, (n_contexts, None, 2), "fatigue")
        weekend = weekdays(at) >= SATURDAY
        blocks = [np.ones((n_contexts, 1)), self._encoded(columns, n_contexts).T]
        if self.moments:
            blocks += [np.log1p(fatigue.sum(axis=1)), weekend[:, None].astype(np.float64)]
        return np.concatenate(blocks, axis=1)

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(column.name for column in self.columns) | set(RESERVED)

    @cached_property
    def _modelled(self) -> tuple[Column, ...]:
        return tuple(column for column in self.columns if column.in_model)

    @cached_property
    def _kinds(self) -> tuple[IntArray, ...]:
        """Numbers, flags, categories, days since, each (3, n): column of the model, encoded place, level."""
        cells = [(of, level) for of, one in enumerate(self._modelled) for level in range(len(one.labels))]
        rows = [(of, at, level) for at, (of, level) in enumerate(cells)]
        kinds = [
            [row for row in rows if isinstance(self._modelled[row[0]], kind)]
            for kind in (Numeric, Flag, Category, Since)
        ]
        return tuple(np.array(found, dtype=np.int64).reshape(-1, 3).T for found in kinds)

    @cached_property
    def _scaling(self) -> FloatArray:
        """(2, n, 1) means and scales of numbers."""
        numbers = [(one.mean, one.scale) for one in self._modelled if isinstance(one, Numeric)]
        return np.array(numbers, dtype=np.float64).reshape(-1, 2).T[:, :, None]

    @cached_property
    def _spans(self) -> FloatArray:
        """(2, n, 1) first days and ends of the bands of days since."""
        spans = [span for one in self._modelled if isinstance(one, Since) for span in one.spans]
        return np.array(spans, dtype=np.float64).reshape(-1, 2).T[:, :, None]

    def _encoded(self, columns: Mapping[str, AnyArray], n_contexts: int) -> FloatArray:
        """Raw columns (B,) to those of a model (m, B): all of a kind at once, also for one customer."""
        raw = np.array([columns[column.name] for column in self._modelled], dtype=np.float64)
        raw = raw.reshape(len(self._modelled), n_contexts)
        (numbers, at, _), (flags, flags_at, _), (categories, categories_at, levels), days = self._kinds
        encoded = np.empty((at.size + flags.size + categories.size + days.shape[1], n_contexts))
        mean, scale = self._scaling
        standardised = np.minimum(np.maximum((raw[numbers] - mean) / scale, -_CLIP), _CLIP)
        encoded[at] = np.where(np.isnan(standardised), 0.0, standardised)
        encoded[flags_at] = raw[flags] > 0
        encoded[categories_at] = raw[categories] == levels[:, None]
        (since, since_at, _), (begins, ends) = days, self._spans
        encoded[since_at] = (raw[since] >= begins) & (raw[since] < ends)
        return encoded

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        """Pickle the fields only, not the cached labels."""
        return _schema, structs.astuple(self)


def _raws(column: Column, values: list[AttributeValue]) -> FloatArray:
    """(B,) checked raw values: all at once if they are of the plain types, and one by one if any is not."""
    if len(values) >= _SEVERAL and _PLAIN[type(column)].issuperset(map(type, values)):
        with suppress(OverflowError):
            found: FloatArray = np.array(values, dtype=np.float64)  # None becomes NaN
            if np.count_nonzero(np.abs(found) < _LARGEST) + values.count(None) == len(values):
                return found
    return np.array([column.raw(value) for value in values], dtype=np.float64)


def _schema(columns: tuple[Column, ...], segment: str | None, moments: bool) -> FeatureSchema:
    return FeatureSchema(columns=columns, segment=segment, moments=moments)
