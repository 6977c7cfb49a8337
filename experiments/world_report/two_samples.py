"""Classifier two-sample tests: whether anybody can tell simulated customer-weeks from others.

A classifier is trained on one half of the rows to tell two samples apart and scored on the other half. An
area under its curve (AUC) of 0.5 means that it cannot. The p-value is exact whatever the classifier: see
`statistics.auc_p_value` (rank-based on held-out rows, in the spirit of conformal two-sample tests; Lopez-
Paz, Oquab 2017; Bansal et al. 2025).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct

from experiments.world_report.statistics import auc, auc_p_value
from experiments.world_report.weeks import Weeks, is_given, one_week_each
from nba.arrays import FloatArray, IntArray
from nba.errors import require

LEVEL = 0.01  # of a page with several tests that should not cry wolf
WANTED_AUC = 0.60  # methods F4
PERMUTATIONS = 1999
_FEWEST = 200  # rows per sample
_TELLING = 3  # columns named
_MANY = 3.0  # earlier contacts from which on their number does not matter for a match


class Verdict(Struct, frozen=True, kw_only=True):
    """What one classifier can tell."""

    classifier: str
    auc: float
    p: float


class Telling(Struct, frozen=True, kw_only=True):
    """A column whose values differ, with its means and the AUC that it has alone (0.5: tells nothing)."""

    name: str
    first: float
    second: float
    auc: float


class Comparison(Struct, frozen=True, kw_only=True):
    """Two samples of customer-weeks and whether they can be told apart."""

    name: str
    expected: str  # "same" or "different" if it is known, else ""
    rows: int  # of each sample
    verdicts: tuple[Verdict, ...]
    telling: tuple[Telling, ...]
    note: str = ""

    @property
    def auc(self) -> float:
        """The best that a classifier does."""
        return max(one.auc for one in self.verdicts)

    @property
    def p(self) -> float:
        """Of all classifiers together, by Bonferroni."""
        return min(1.0, len(self.verdicts) * min(one.p for one in self.verdicts))

    @property
    def rejected(self) -> bool:
        """Tell whether the samples differ."""
        return self.p <= LEVEL

    @property
    def as_expected(self) -> bool:
        """Tell whether the test said what it should."""
        return self.expected != ("different" if not self.rejected else "same")


class _Half(NamedTuple):
    """Rows for training or for scoring, half of them from either sample."""

    counts: FloatArray
    labels: np.ndarray


def compare_weeks(
    name: str, first: Weeks, second: Weeks, seed: int, expected: str = "", matched: bool = False
) -> Comparison:
    """Test two samples of customer-weeks on the columns that both have, one random week per customer.

    `matched` compares answers to the same contacts only: rows are paired off by the contacts of their week
    and a band of those before, and what finds no partner is left out.
    """
    rng = np.random.default_rng(seed)
    names = tuple(column for column in second.names if column in first.names)
    first, second = one_week_each(first, rng), one_week_each(second, rng)
    one, other = first.columns(names), second.columns(names)
    note = ""
    if matched:
        given = [place for place, column in enumerate(names) if is_given(column)]
        require(bool(given), name, "contacts_*", "at least one column of contacts is needed for a match")
        rows = _paired(_cells(one, given, names), _cells(other, given, names), rng)
        note = f"{rows[0].size} of {len(one)} customer-weeks have a partner with the same contacts"
        one, other = one[rows[0]], other[rows[1]]
    n = min(len(one), len(other))
    require(n >= _FEWEST, name, "rows", f"needs {_FEWEST} customers in either sample, found {n}")
    one, other = rng.permutation(one)[:n], rng.permutation(other)[:n]
    return Comparison(
        name=name,
        expected=expected,
        rows=n,
        verdicts=tuple(_verdict(*one_kind, one, other, rng) for one_kind in _CLASSIFIERS.items()),
        telling=_telling(names, one, other),
        note=note,
    )


def _cells(counts: FloatArray, given: list[int], names: tuple[str, ...]) -> FloatArray:
    """(n, k) what rows must share to be partners."""
    return np.minimum(
        counts[:, given], np.where([names[at] == "contacts_before" for at in given], _MANY, np.inf)
    )


def _paired(one: FloatArray, other: FloatArray, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
    """Rows of either sample, as many of one as of the other in every cell, at random."""
    _, cell = np.unique(np.concatenate([one, other]), axis=0, return_inverse=True)
    sides = cell.ravel()[: len(one)], cell.ravel()[len(one) :]
    places = [_places(side, rng) for side in sides]
    rows = [
        np.flatnonzero(place < np.bincount(against, minlength=int(cell.max()) + 1)[side])
        for side, place, against in zip(sides, places, sides[::-1], strict=True)
    ]
    return rows[0], rows[1]


def _places(cell: IntArray, rng: np.random.Generator) -> IntArray:
    """(n,) place of each row among those of its cell, in random order."""
    order = rng.permutation(cell.size)
    sort = order[np.argsort(cell[order], kind="stable")]
    place = np.empty_like(sort)
    place[sort] = np.arange(cell.size) - np.searchsorted(cell[sort], cell[sort])
    return place


def _verdict(
    name: str, build: Callable[[], Any], one: FloatArray, other: FloatArray, rng: np.random.Generator
) -> Verdict:
    half = len(one) // 2
    train, test = (
        _Half(np.concatenate([one[part], other[part]]), np.repeat([False, True], len(one[part])))
        for part in (slice(0, half), slice(half, None))
    )
    scores = build().fit(train.counts, train.labels).predict_proba(test.counts)[:, 1]
    return Verdict(
        classifier=name,
        auc=auc(scores, test.labels),
        p=auc_p_value(scores, test.labels, PERMUTATIONS, rng),
    )


def _logistic() -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(C=0.1))


def _boosting() -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(
        max_iter=60, max_leaf_nodes=8, min_samples_leaf=40, early_stopping=False, random_state=0
    )


_CLASSIFIERS: dict[str, Callable[[], Any]] = {
    "logistic regression": _logistic,
    "gradient boosting": _boosting,
}


def _telling(names: tuple[str, ...], one: FloatArray, other: FloatArray) -> tuple[Telling, ...]:
    """The columns that tell most alone."""
    labels = np.repeat([False, True], [len(one), len(other)])
    alone = [auc(np.concatenate([one[:, at], other[:, at]]), labels) for at in range(len(names))]
    most = np.argsort(-np.abs(np.array(alone) - 0.5), kind="stable")[:_TELLING].tolist()
    return tuple(
        Telling(
            name=names[at],
            first=float(one[:, at].mean()),
            second=float(other[:, at].mean()),
            auc=alone[at],
        )
        for at in most
    )
