"""What the log of one strategy says another is worth over whole journeys: fitted Q evaluation, sequential DR.

Weights of whole journeys multiply beyond use, so that the doubly robust estimate corrects the first few
decisions and takes the model's word for the rest: unbiased but for what the model gets wrong beyond them.
Models are cross-fitted by customers. Shape letters: N customers, n decisions, H corrected decisions.
"""

from __future__ import annotations

from math import sqrt
from typing import NamedTuple

import numpy as np

from experiments.longrun.journeys import Decisions, Journeys
from nba.arrays import FloatArray, IntArray, take_rows
from nba.errors import require
from nba.ope.fitted_q import FittedQEvaluation, Transitions
from nba.ope.paths import Paths, sequential_doubly_robust
from nba.ope.reward_models import Ridge
from nba.ope.terms import Estimate, Moments, covering

_FOLDS = 2


class LogVerdict(NamedTuple):
    """Discounted net value per customer from the first decision on, account currency."""

    logged: Estimate  # of who made the log
    fitted_q: Estimate  # the error is the spread of customers alone, not that of the model
    doubly_robust: Estimate
    corrected: int  # decisions


def returns(lived: Journeys, discount: float) -> FloatArray:
    """(N,) discounted net value of each life from its first decision on; `discount` is per decision."""
    done = lived.decisions
    worth = done.rewards * np.power(discount, done.order)
    return np.bincount(done.seats, worth, minlength=lived.net.size).astype(np.float64)


def verdict(log: Journeys, target: int, discount: float, corrected: int = 1) -> LogVerdict:
    """Judge the log's `target` by its decisions; `discount` is per decision."""
    require(corrected >= 0, "log verdict", "corrected", f"must be at least 0, got {corrected}")
    done, n = log.decisions, log.net.size
    q, v = _values(log, target, discount)
    first = done.order == 0
    paths, place = _paths(done, target, n, corrected, discount), _place(done, n)
    at = place[:, : corrected + 1]
    there = at >= 0
    table = np.stack([np.where(there, values[at], 0.0) for values in (q, v)]) * paths.discounts
    if (
        corrected < place.shape[1]
    ):  # the model's word for all that follows stands as the reward of one more step
        paths.rewards[:, corrected] = np.where(there[:, -1], v[at[:, -1]], 0.0)
        table[0, :, corrected] = table[1, :, corrected]
    terms = sequential_doubly_robust(paths.checked(), *table)
    return LogVerdict(
        _estimate(returns(log, discount)),
        _estimate(v[first]),
        Moments.of(terms).estimate(self_normalised=False),
        corrected,
    )


def _values(log: Journeys, target: int, discount: float) -> tuple[FloatArray, FloatArray]:
    """(n,) Q of the logged action and (n,) its mean under the target, each by a model of other customers."""
    done, after = log.decisions, log.following
    features = _features(done)
    is_last, mass = after < 0, done.targets[:, target]
    steps = Transitions(features, done.actions, done.rewards, features[after], mass[after], is_last)
    q, v, n_actions = np.zeros(after.size), np.zeros(after.size), mass.shape[1]
    possible = covering(np.concatenate([returns(log, 1.0), [0.0]]))
    for fold in range(_FOLDS):
        mine = done.seats % _FOLDS == fold
        found = FittedQEvaluation(discount=discount).fit(
            Ridge(), take_rows(steps, ~mine), n_actions, possible
        )
        table = np.clip(found.predict(features[mine]), possible.low, possible.high)
        q[mine] = table[np.arange(table.shape[0]), done.actions[mine]]
        v[mine] = np.einsum("na,na->n", mass[mine], table)
    return q, v


def _features(done: Decisions) -> FloatArray:
    """(n, K + 2): lives end, so that the decisions already made, and their square, are part of the state."""
    progress = done.order / max(int(done.order.max()), 1)
    return np.column_stack([done.features, progress, progress**2])


def _place(done: Decisions, n: int) -> IntArray:
    """(N, T) row of every customer's decisions, -1 where there is none."""
    place = np.full((n, int(done.order.max()) + 1), -1)
    place[done.seats, done.order] = np.arange(done.seats.size)
    return place


def _paths(done: Decisions, target: int, n: int, corrected: int, discount: float) -> Paths:
    """The first H decisions and one step more, whose ratio is one."""
    at = _place(done, n)[:, : corrected + 1]
    there = at >= 0
    logged = done.targets[np.arange(done.actions.size), target, done.actions]
    propensities, targets = (np.where(there, column[at], 1.0) for column in (done.propensities, logged))
    propensities[:, corrected:], targets[:, corrected:] = 1.0, 1.0
    rewards = np.where(there, done.rewards[at], 0.0)
    return Paths(
        rewards, propensities, targets, there, np.power(discount, np.arange(at.shape[1], dtype=np.float64))
    )


def _estimate(values: FloatArray) -> Estimate:
    return Estimate(float(values.mean()), float(values.std(ddof=1)) / sqrt(values.size))
