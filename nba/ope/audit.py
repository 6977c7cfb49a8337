"""PAS-IF: the error of estimators on a copy of the problem whose answer the log itself contains.

Policy-adaptive estimator selection by importance fitting (Udagawa, Kiyohara, Narita, Saito and Tateno 2023,
2211.13904). Each round falls by chance rho(x, a) into a part that is as if a pseudo-target had made it, whose
mean reward is its value, or else into one as of a pseudo-logging policy, which estimators judge it by. The
paper fits rho by gradient so that the weights between the parts resemble the real ones. Here

    rho = c w / (1 + c w),    c(x) such that sum_a mu(a|x) rho(x, a) = share,

for which they are proportional to the real ones within every context, and contexts are as in the log. The
smaller the share, the more alike they are and the rougher is the answer. An audit for once in a while: it
costs a model per split.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nba.arrays import FloatArray
from nba.errors import require
from nba.ope.estimators import EstimatorLike
from nba.ope.logged import LoggedRounds, table_ratios
from nba.ope.pieces import MRDR_MODEL
from nba.ope.reward_models import RewardModel, cross_fitted, mrdr_weights
from nba.ope.terms import Moments

_HALVINGS = 50
_LEAST_ROUNDS = 50  # of the pseudo-target: with fewer its own mean is too rough an answer


class Split(NamedTuple):
    """How rounds fall apart into two logs with known policies."""

    chances: FloatArray  # (n, A) rho: of falling to the pseudo-target
    share: float  # of rounds that do, in every context
    target: FloatArray  # (n, A) the pseudo-target
    logging: FloatArray  # (n, A) the pseudo-logging policy


class Audit(NamedTuple):
    """What some splits tell of estimators."""

    errors: FloatArray  # (E,) root of the mean squared error over splits
    best: int  # place of the least
    share: float  # of rounds that told the pseudo-target's value
    likeness: float  # effective share of rounds under the pseudo-weights, over that under the real ones


def split_of(rounds: LoggedRounds, target: FloatArray, share: float = 0.2) -> Split:
    """The split whose weights resemble those of the target (n, A), which the log must support.

    Where the target plays only actions that the log seldom has, the share is smaller: at most half of the
    mass that the logging policy gives the target's actions, in every context.
    """
    require(0.0 < share < 1.0, "audit", "share", f"must lie strictly between 0 and 1, got {share}")
    logging = rounds.whole_logging()
    ratios = table_ratios(target, logging)
    share = min(share, 0.5 * float((logging * (ratios > 0.0)).sum(axis=1).min()))
    require(share > 0.0, "audit", "target", "must have support in every context")
    low, high = np.full(rounds.n_rounds, -60.0), np.full(rounds.n_rounds, 60.0)  # of log c
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        odds = np.exp(middle)[:, None] * ratios
        too_many = (logging * (odds / (1.0 + odds))).sum(axis=1) > share
        low, high = np.where(too_many, low, middle), np.where(too_many, middle, high)
    odds = np.exp(0.5 * (low + high))[:, None] * ratios
    chances = odds / (1.0 + odds)
    pseudo, rest = logging * chances, logging * (1.0 - chances)
    return Split(
        chances, share, pseudo / pseudo.sum(axis=1, keepdims=True), rest / rest.sum(axis=1, keepdims=True)
    )


def audit(
    estimators: Sequence[EstimatorLike],
    rounds: LoggedRounds,
    target: FloatArray,
    features: FloatArray,
    model: RewardModel,
    rng: np.random.Generator,
    *,
    n_splits: int = 10,
    share: float = 0.2,
) -> Audit:
    """The errors of estimators over random splits of a log; features (n, K) are those of the reward model.

    The model is fitted anew to each pseudo-log, and never sees the rounds that tell the answer.
    """
    split = split_of(rounds, target, share)
    n_told = split.share * rounds.n_rounds
    enough = n_told >= _LEAST_ROUNDS
    require(enough, "audit", "rounds", f"must leave {_LEAST_ROUNDS} for the pseudo-target, not {n_told:.1f}")
    squares = np.zeros(len(estimators))
    for _ in range(n_splits):
        told = rng.random(rounds.n_rounds) < rounds.at(split.chances)
        truth = float(rounds.rewards[told].mean())
        log = rounds.take(~told)._replace(logging=split.logging[~told], eligible=None)
        log = log._replace(propensities=log.at(split.logging[~told]))
        squares += (_values(estimators, log, split.target[~told], features[~told], model) - truth) ** 2
    errors: FloatArray = np.sqrt(squares / n_splits)
    return Audit(errors, int(errors.argmin()), split.share, _likeness(rounds, target, split))


def _values(
    estimators: Sequence[EstimatorLike],
    log: LoggedRounds,
    target: FloatArray,
    features: FloatArray,
    model: RewardModel,
) -> FloatArray:
    """(E,) estimates of a pseudo-target's value."""
    weights = {MRDR_MODEL: mrdr_weights(log, target)}
    predicted = {
        name: cross_fitted(model, features, log, target.shape[1], weights=weights.get(name))
        for name in {one.model for one in estimators} - {""}
    }
    terms = ((one, one.terms(log, target, predicted.get(one.model))) for one in estimators)
    return np.array([Moments.of(told).value(self_normalised=one.self_normalised) for one, told in terms])


def _likeness(rounds: LoggedRounds, target: FloatArray, split: Split) -> float:
    """Mean squared real weight over mean squared pseudo-weight, both expected under their logging policy."""
    logging = rounds.whole_logging()
    squares = [
        np.divide(ours * ours, theirs, out=np.zeros_like(ours), where=theirs > 0.0).sum()
        for ours, theirs in ((target, logging), (split.target, split.logging))
    ]
    return float(squares[0] / squares[1])
