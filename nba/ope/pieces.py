"""What estimators are put together from: ranges of weights, and a model's predictions."""

from __future__ import annotations

import numpy as np

from nba.arrays import FloatArray, check_shape
from nba.errors import InvalidConfig
from nba.ope.logged import LoggedRounds, table_ratios
from nba.ope.terms import Range, Tail, covering

REWARD_MODEL = "rewards"  # predictions of a model fitted to the rewards as they are
MRDR_MODEL = "mrdr"  # of one fitted for the least variance of DR


def weights_known(rounds: LoggedRounds, target: FloatArray) -> tuple[FloatArray, Range, Tail]:
    """(n,) importance weights, the range that the rounds' contexts could have led to, and their tail.

    The weights that were possible tell an interval what it has not seen; without the whole logging
    distribution it has to do with those that were observed.
    """
    ratios = rounds.ratios(target)
    if rounds.logging is None:
        return ratios, covering(ratios), Tail.of(ratios)
    possible, tail = table_tail(target, rounds.logging)
    return ratios, covering(ratios).union(possible), tail


def table_tail(target: FloatArray, logging: FloatArray) -> tuple[Range, Tail]:
    """Range and tail of the weights of two tables of distributions (n, A), where logging has mass.

    The range begins at 0 where some action is impossible: lower than need be, which only widens intervals.
    """
    ratios = table_ratios(target, logging)
    expected = target * ratios  # mu w^2 = pi w
    return covering(ratios), Tail(float(expected.sum()), float(expected.ravel() @ ratios.ravel()))


def modelled(
    name: str, rounds: LoggedRounds, target: FloatArray, predicted: FloatArray | None
) -> tuple[FloatArray, FloatArray, Range]:
    """(n,) predicted values of the target, (n,) residuals of the rewards, and the residuals' range."""
    predictions = checked_predictions(name, target, predicted)
    bases = np.einsum("na,na->n", target, predictions)  # first: in order, the tables come into the cache fast
    rewards, said = rounds.possible_rewards, covering(predictions.ravel())
    spread = Range(rewards.low - said.high, rewards.high - said.low)
    return bases, rounds.rewards - rounds.at(predictions), spread


def checked_predictions(name: str, target: FloatArray, predicted: FloatArray | None) -> FloatArray:
    """The predictions; InvalidConfig where an estimator has none, ShapeMismatch where they do not fit."""
    if predicted is None:
        raise InvalidConfig(name, "predicted", "needs the predictions (n, A) of a cross-fitted reward model")
    check_shape(predicted, target.shape, "predicted")
    return predicted
