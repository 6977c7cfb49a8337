"""Learning from logged rows in their order, and judging every prediction before its row is learnt from.

Shape letters: N rows, n of a part, K columns of the feature matrix, A actions with no-contact.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from operator import add
from typing import Any, NamedTuple

import numpy as np

from experiments.executor import Report
from experiments.tables.columns import Encoded
from nba.arrays import AnyArray, BoolArray, FloatArray, IntArray
from nba.catalogue import NO_ACTION, Catalogue
from nba.feedback import RoundBatch
from nba.learning import learnt_batch
from nba.posteriors.glm import FactoredGlm
from nba.posteriors.glm_laplace import Curvature

_MOST_ROWS = 16_384  # of a part: bounds the memory of the feature matrix
_PROBES = 4_096  # rows whose mean is the middle from which effects are told
_LEAST = 1e-6  # no prediction of a probability is taken for surer than that
_RIDGE = 1.0  # penalty of the no-contact regression; its features are standardised


class Lessons(NamedTuple):
    """The rows of a log, ready to be learnt from."""

    encoded: Encoded
    catalogue: Catalogue
    actions: IntArray  # (N,)
    rewards: FloatArray  # (N,) as the table has them
    weights: FloatArray  # (N,) how many rows each counts as
    scale: float  # reward that the model sees as 1
    baseline: FloatArray  # (K,) coefficients of what comes without contact, in rewards as the table has them
    is_probability: bool  # whether the model takes the reward for one

    def parts(self) -> Iterator[slice]:
        """Parts of the rows that grow by a quarter, so that no prediction uses a belief much older."""
        start, n_rows = 0, self.actions.size
        while start < n_rows:
            stop = min(start + min(max(start // 4, 1), _MOST_ROWS), n_rows)
            yield slice(start, stop)
            start = stop

    def contacts(self) -> Iterator[RoundBatch]:
        """All contacts as rounds, a part at a time."""
        for rows in self.parts():
            yield self.rounds(rows, self.encoded.matrix(rows))[0]

    def rounds(self, rows: slice, features: FloatArray) -> tuple[RoundBatch, BoolArray]:
        """The contacts of some rows as rounds, and which rows (n,) they are.

        Rows of no-contact have taught the baseline; a contact's reward counts from there.
        """
        contacted = self.actions[rows] != NO_ACTION
        actions, weights = self.actions[rows][contacted], self.weights[rows][contacted]
        gained = self.rewards[rows][contacted] - features[contacted] @ self.baseline
        rounds = RoundBatch(
            features=features[contacted],
            actions=actions,
            products=self.catalogue.product_of[actions],
            rewards=weights * (gained / self.scale),
            exposure=weights,
            uplift_share=np.ones(actions.size),
            organic_share=np.zeros(actions.size),
        )
        return rounds, contacted


class Score(NamedTuple):
    """Mean loss of predictions that were made before their rows were learnt from."""

    measure: str  # "log-loss" for probabilities, "squared error" else
    model: float
    constant: float  # of each action's mean reward so far
    n_rows: int

    @staticmethod
    def of(lessons: Lessons, sums: FloatArray, n_rows: int) -> Score:
        """From sums (2,) of losses, of the model and of the constant, over some rows."""
        model, constant = (sums / max(n_rows, 1)).tolist()
        return Score("log-loss" if lessons.is_probability else "squared error", model, constant, n_rows)

    @property
    def gain(self) -> float:
        """Share of the constant's loss that the model spares."""
        return 1.0 - self.model / self.constant if self.constant > 0 else 0.0


class Fit(NamedTuple):
    """How the posterior came about."""

    method: str  # "laplace": at the mode of all rows together; "fold": row by row, exact for linear models
    passes: int  # over the rows


def learn(prior: Any, lessons: Lessons, report: Report) -> tuple[Any, Score, Fit]:
    """The posterior after all rows, how well it predicted each part before, and how it was fitted.

    Generalised linear models go to the mode of every part for the score, and from the prior to that of all
    rows for the posterior, which so depends neither on parts nor on their order. Raises NotConverged.
    """
    posterior, is_glm = prior, isinstance(prior, FactoredGlm)
    tally = Means.none(lessons.catalogue.n_actions)
    sums, n_rows = np.zeros(2), 0
    for rows in lessons.parts():
        features = lessons.encoded.matrix(rows)
        rounds, contacted = lessons.rounds(rows, features)
        if rounds.n_rows:
            rewards = lessons.rewards[rows][contacted]
            sums += losses(posterior, lessons, rounds, rewards, tally)
            n_rows += rounds.n_rows
            tally.add(rounds.actions, rewards)
            posterior = learnt_batch(posterior, rounds) if is_glm else posterior.fold(rounds)
        report(rows.stop - rows.start)
    score = Score.of(lessons, sums, n_rows)
    if not is_glm:
        return posterior, score, Fit("fold", 1)
    posterior, fit = _to_the_mode(prior, lessons)
    return posterior, score, fit


def losses(
    posterior: Any, lessons: Lessons, rounds: RoundBatch, rewards: FloatArray, tally: Means
) -> FloatArray:
    """(2,) summed losses of contacts with rewards (n,) as the table has them: the model's, the constant's."""
    loss = _log_loss if lessons.is_probability else _squared_error
    believed: FloatArray = posterior.mean(rounds.features)[np.arange(rounds.n_rows), rounds.actions]
    expected: FloatArray = lessons.scale * believed + rounds.features @ lessons.baseline
    return np.array([loss(rewards, expected).sum(), loss(rewards, tally.expected(rounds.actions)).sum()])


def _to_the_mode(prior: FactoredGlm, lessons: Lessons) -> tuple[FactoredGlm, Fit]:
    """The posterior at the mode of all rows, which are read again in every pass and never held together."""
    passes = [0]

    def total(at: FloatArray) -> Curvature:
        passes[0] += 1
        parts = (prior.gradient_and_curvature(rounds, at) for rounds in lessons.contacts())
        return reduce(add, parts)

    return prior.laplace(total), Fit("laplace", passes[0])


def baseline_of(encoded: Encoded, rewards: FloatArray, silent: BoolArray) -> FloatArray:
    """(K,) ridge regression of the rewards that came without contact; zeros if none did."""
    k = encoded.schema.n_columns
    rows = np.flatnonzero(silent)
    if not rewards[rows].any():
        return np.zeros(k)
    gram, moment = _RIDGE * np.eye(k), np.zeros(k)
    for start in range(0, rows.size, _MOST_ROWS):
        part = rows[start : start + _MOST_ROWS]
        features = encoded.matrix(part)
        gram += features.T @ features
        moment += features.T @ rewards[part]
    coefficients: AnyArray = np.linalg.solve(gram, moment)
    return coefficients


def effects(posterior: Any, lessons: Lessons) -> FloatArray:
    """(K, A) change of each action's expected reward by one unit of a column, at the middle of the rows.

    A unit is a standard deviation of a number, a yes of a flag and being of a level of a category.
    """
    step = max(lessons.actions.size // _PROBES, 1)
    middle = lessons.encoded.matrix(slice(0, None, step)).mean(axis=0)
    raised = middle + np.eye(middle.size)
    change: FloatArray = posterior.mean(raised) - posterior.mean(middle[None])
    return lessons.scale * change


class Means(NamedTuple):
    """Sums and counts (A,) of the rewards so far."""

    sums: FloatArray
    counts: FloatArray

    @staticmethod
    def none(n_actions: int) -> Means:
        """Nothing seen yet."""
        return Means(np.zeros(n_actions), np.zeros(n_actions))

    def expected(self, actions: IntArray) -> FloatArray:
        """(n,) mean reward of each action so far, of all actions where it is new."""
        overall = self.sums.sum() / max(self.counts.sum(), 1.0)
        means = np.divide(self.sums, self.counts, out=np.full(self.sums.size, overall), where=self.counts > 0)
        found: FloatArray = means[actions]
        return found

    def add(self, actions: IntArray, rewards: FloatArray) -> None:
        """Take in further rewards (n,)."""
        self.sums[:] += np.bincount(actions, rewards, minlength=self.sums.size)
        self.counts[:] += np.bincount(actions, minlength=self.counts.size)


def _squared_error(rewards: FloatArray, expected: FloatArray) -> FloatArray:
    loss: FloatArray = (rewards - expected) ** 2
    return loss


def _log_loss(rewards: FloatArray, expected: FloatArray) -> FloatArray:
    sure = np.clip(expected, _LEAST, 1.0 - _LEAST)
    loss: FloatArray = -(rewards * np.log(sure) + (1.0 - rewards) * np.log(1.0 - sure))
    return loss
