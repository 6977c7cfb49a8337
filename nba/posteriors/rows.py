"""Rounds kept as rows: the evidence of posteriors that have no sufficient statistics.

A tree or a network cannot be brought up to date by addition. What adds is the data: evidence is a set of
rows, and what is fitted to them is a pure function of that set, whatever parts it came in.
"""

from __future__ import annotations

from hashlib import blake2b
from math import isfinite
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from msgspec import structs
from scipy.special import gammaln

from nba.arrays import FloatArray, IntArray
from nba.errors import require
from nba.feedback import RoundBatch, watched, watched_by_row
from nba.posteriors.base import Scoring
from nba.randomness import Purpose, keyed_uniforms

# The columns behind a row's K features, from the last one backwards.
_KEY, _FITTED, _KEPT, _ORGANIC, _UPLIFT, _EXPOSURE, _REWARD, _PRODUCT, _ACTION = range(-1, -10, -1)
N_NOTES = 9
_KEY_BITS = 52  # whole numbers that a float64 holds exactly
_POISSON = np.cumsum(np.exp(-gammaln(np.arange(1.0, 21.0)) - 1.0))  # distribution function of Poisson(1)
_FORGOTTEN = 1e-3  # a row of which less than this is remembered is dropped


class RowEvidence(NamedTuple):
    """Rounds as rows, in an order that follows from their content alone.

    A row holds the round's K features, then action, product, reward, exposure, uplift and organic share,
    how much of it is remembered, whether the fit has seen it, and the key of its content.
    """

    rows: FloatArray  # (n, K + 9)
    watched: FloatArray  # (1,) rounds

    @staticmethod
    def of(rounds: RoundBatch) -> RowEvidence:
        """The evidence of rounds; the order of its rows is that of their keys, random but repeatable."""
        return RowEvidence(canonical(as_rows(rounds)), watched(rounds))

    def __add__(self, other: object) -> RowEvidence:
        """Evidence of both sets of rounds; which comes first makes no difference."""
        assert isinstance(other, RowEvidence)
        rows = canonical(np.concatenate([self.rows, other.rows]))
        return RowEvidence(rows, self.watched + other.watched)


class RowPosterior(Scoring, frozen=True, kw_only=True, eq=False, dict=True):
    """A posterior that is a set of rows; what is fitted to them is computed when it is asked for.

    Without a window rows lie in the order of their content, so that the order of learning leaves no
    trace. With `most_rows` they lie in the order of arrival and the oldest are dropped; rounds of one
    batch are equally old, their keys decide. A fit sees new rows as soon as these are more than the
    share `refit_after` of those it has seen: at 0 it always sees all, above 0 it depends on the order.
    """

    rows: FloatArray  # (n, K + 9), see RowEvidence
    watched: FloatArray  # (1,) rounds, in whole attribution windows
    most_rows: int | None = None
    refit_after: float = 0.0
    half_life_days: float | None = None

    # Cached properties that depend on `basis` alone: they outlive learning that leaves it as it is.
    LASTING: ClassVar[tuple[str, ...]] = ()

    @property
    def rounds(self) -> float:
        """Rounds watched so far, in whole attribution windows; forgotten ones count less."""
        return float(self.watched[0])

    @property
    def learnt(self) -> FloatArray:
        """(n, K + 9) rows that the fit sees, in the order of their content."""
        return canonical(self.rows[self.rows[:, _FITTED] > 0])

    @property
    def basis(self) -> FloatArray:
        """The rows as far as the fit depends on them."""
        return self.learnt

    def evidence(self, rounds: RoundBatch) -> RowEvidence:
        """The rounds themselves."""
        return RowEvidence.of(rounds)

    def absorb(self, evidence: RowEvidence) -> Self:
        """The posterior after some evidence, fitted at most once."""
        new = evidence.rows
        return self._grown(new, [new.shape[0]], self.watched + evidence.watched)

    def fold(self, rounds: RoundBatch) -> Self:
        """The posterior after rounds, row by row: the bits do not depend on how a log was cut."""
        return self._grown(as_rows(rounds), [1] * rounds.n_rows, watched_by_row(self.watched, rounds))

    def decayed(self, elapsed_days: float) -> Self:
        """Remember less of every row, with the model's half-life; what is forgotten is dropped."""
        if self.half_life_days is None or elapsed_days == 0:
            return self
        keep = float(np.exp2(-elapsed_days / self.half_life_days))
        rows = self.rows.copy()
        rows[:, _KEPT] *= keep
        return self._with(rows[rows[:, _KEPT] >= _FORGOTTEN], keep * self.watched)

    def primed(self, **computed: Any) -> Self:
        """The same posterior that holds the values of some cached properties already."""
        copy = structs.replace(self)
        copy.__dict__.update(computed)
        return copy

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        """Pickle what was fitted with the rows: a worker need not fit again what came fitted."""
        return _restored, (type(self), structs.asdict(self), self._lasting())

    def _lasting(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in self.LASTING if name in self.__dict__}

    def _grown(self, new: FloatArray, steps: list[int], watched: FloatArray) -> Self:
        """With new rows, which come in steps: after each the window and the rule of refits apply."""
        if new.shape[0] == 0:
            return self
        fitted = int(self.rows[:, _FITTED].sum())
        pending, refitted = self.rows.shape[0] - fitted, False
        most = self.rows.shape[0] + new.shape[0] if self.most_rows is None else self.most_rows
        for step in steps:
            pending += step
            over = max(fitted + pending - most, 0)
            gone = min(over, fitted)  # what the fit has seen is older than what it has not
            fitted, pending = fitted - gone, pending - (over - gone)
            if pending > self.refit_after * fitted:
                fitted, pending, refitted = fitted + pending, 0, True
        rows = np.concatenate([self.rows, new])
        if refitted:
            rows[:, _FITTED] = np.arange(rows.shape[0]) < rows.shape[0] - pending
        return self._with(canonical(rows) if self.most_rows is None else rows[-most:], watched)

    def _with(self, rows: FloatArray, watched: FloatArray) -> Self:
        """Other rows; what was computed stays if the fit would be the same."""
        after = structs.replace(self, rows=rows, watched=watched)
        lasting = self._lasting()
        if lasting and np.array_equal(self.basis, after.basis):
            after.__dict__.update(lasting)
        return after


def _restored(kind: type[RowPosterior], fields: dict[str, Any], lasting: dict[str, Any]) -> RowPosterior:
    return kind(**fields).primed(**lasting)


def no_rows(n_columns: int) -> FloatArray:
    """(0, K + 9) the rows of a posterior that has seen nothing."""
    return np.zeros((0, n_columns + N_NOTES))


def as_rows(rounds: RoundBatch) -> FloatArray:
    """(n, K + 9) rows of rounds in their order, remembered in full and not yet fitted."""
    notes = [column[:, None].astype(np.float64) for column in rounds[1:]]
    content = np.concatenate([rounds.features, *notes], axis=1) + 0.0  # no negative zeros
    more = np.tile([1.0, 0.0, 0.0], (rounds.n_rows, 1))
    more[:, 2] = [_key(row) for row in np.ascontiguousarray(content)]
    return np.concatenate([content, more], axis=1)


def canonical(rows: FloatArray) -> FloatArray:
    """The rows in the order of their keys; of equal rows those less remembered and less seen come first."""
    ordered: FloatArray = rows[np.lexsort((rows[:, _FITTED], rows[:, _KEPT], rows[:, _KEY]))]
    return ordered


def rounds_of(rows: FloatArray) -> RoundBatch:
    """The rounds that rows hold."""
    return RoundBatch(
        features=rows[:, :-N_NOTES],
        actions=rows[:, _ACTION].astype(np.int64),
        products=rows[:, _PRODUCT].astype(np.int64),
        rewards=rows[:, _REWARD],
        exposure=rows[:, _EXPOSURE],
        uplift_share=rows[:, _UPLIFT],
        organic_share=rows[:, _ORGANIC],
    )


def kept_of(rows: FloatArray) -> FloatArray:
    """(n,) how much of each row is remembered, in (0, 1]."""
    kept: FloatArray = rows[:, _KEPT]
    return kept


def contents_of(rows: FloatArray) -> FloatArray:
    """(n, K + 7) the rows without how well they are remembered and whether they were seen."""
    return np.delete(rows, [rows.shape[1] + _KEPT, rows.shape[1] + _FITTED], axis=1)


def identities(rows: FloatArray) -> tuple[IntArray, IntArray]:
    """(n,) key of each canonical row, and (n,) how many equal ones stand before it.

    Customers may look alike: without the second number all of them would share one random weight.
    """
    keys = rows[:, _KEY].astype(np.int64)
    starts = np.flatnonzero(np.diff(keys, prepend=-1))
    lengths = np.diff(np.append(starts, keys.size))
    return keys, np.arange(keys.size) - np.repeat(starts, lengths)


def bootstrap(rows: FloatArray, seed: int, member: int) -> FloatArray:
    """(n,) how often a member sees each canonical row: Poisson(1), keyed by (content, copy, member)."""
    keys, copies = identities(rows)
    uniforms = keyed_uniforms(seed, Purpose.BOOTSTRAP, keys, day=copies, block=member)
    return np.searchsorted(_POISSON, uniforms, side="right").astype(np.float64)


def check_rows(source: str, most_rows: int | None, share: tuple[str, float], half_life: float | None) -> None:
    """Raise InvalidConfig unless the settings of a row store make sense; `share` is named by its model."""
    require(most_rows is None or most_rows >= 1, source, "most_rows", f"must be at least 1, got {most_rows}")
    name, value = share
    require(isfinite(value) and value >= 0, source, name, f"must be finite and >= 0, got {value}")
    sound = half_life is None or (isfinite(half_life) and half_life > 0)
    require(sound, source, "half_life_days", f"must be finite and above 0, got {half_life}")


def _key(content: FloatArray) -> float:
    digest = blake2b(content.tobytes(), digest_size=8).digest()
    return float(int.from_bytes(digest, "little") >> (64 - _KEY_BITS))
