"""What estimators are put together from: ranges of weights, and a model's predictions."""

from __future__ import annotations

import numpy as np

from nba.arrays import FloatArray, check_shape
from nba.errors import InvalidConfig
from nba.ope.logged import LoggedRounds
from nba.ope.terms import Range, covering

REWARD_MODEL = "rewards"  # predictions of a model fitted to the rewards as they are
MRDR_MODEL = "mrdr"  # of one fitted for the least variance of DR


def ratio_range(rounds: LoggedRounds, target: FloatArray) -> Range:
    """The weights that the rounds' contexts could have led to, or only the observed ones.

    The largest possible weight tells an interval what it has not seen; without the whole logging
    distribution it has to do with the largest that was.
    """
    seen = covering(rounds.ratios(target))
    if rounds.logging is None:
        return seen
    possible = rounds.logging > 0.0
    return seen.union(covering(target[possible] / rounds.logging[possible]))


def modelled(
    name: str, rounds: LoggedRounds, target: FloatArray, predicted: FloatArray | None
) -> tuple[FloatArray, FloatArray, Range]:
    """(n,) predicted values of the target, (n,) residuals of the rewards, and the residuals' range."""
    predictions = checked_predictions(name, target, predicted)
    residuals = rounds.rewards - rounds.at(predictions)
    rewards, said = rounds.possible_rewards, covering(predictions.ravel())
    spread = Range(rewards.low - said.high, rewards.high - said.low)
    return np.einsum("na,na->n", target, predictions), residuals, spread


def checked_predictions(name: str, target: FloatArray, predicted: FloatArray | None) -> FloatArray:
    """The predictions; InvalidConfig where an estimator has none, ShapeMismatch where they do not fit."""
    if predicted is None:
        raise InvalidConfig(name, "predicted", "needs the predictions (n, A) of a cross-fitted reward model")
    check_shape(predicted, target.shape, "predicted")
    return predicted
