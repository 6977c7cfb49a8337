"""Reward models of a log in parts: ridge from sums of all rounds, any other from a sample of the customers.

Shape letters: n rounds, m of them sampled, A actions, K feature columns, M models of one kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from experiments.evaluation.rounds import Coded
from experiments.reward_models import Boosting
from nba.arrays import BoolArray, FloatArray, IntArray, KeyArray, join_rows, take_rows
from nba.errors import InvalidConfig, require
from nba.ope import Logistic, Range, RewardModel, Ridge
from nba.ope.logged import FOLDS_RULE, folds_of
from nba.ope.reward_models import N_FOLDS, Predictor, RewardRows, RewardSums

RIDGE = "ridge"
KINDS = (RIDGE, "logistic", "boosting", "lightgbm")
SAYS = {
    RIDGE: "ridge per action",
    "logistic": "logistic regression with an effect per action",
    "boosting": "boosted trees (scikit-learn)",
    "lightgbm": "boosted trees (LightGBM)",
}
_MOST_ROWS, _MOST_CELLS = 200_000, 2**26  # of a sample, and of its design: half a gigabyte


class Rewarded(NamedTuple):
    """Rounds to learn rewards from."""

    features: FloatArray  # (m, K)
    actions: IntArray  # (m,)
    rewards: FloatArray  # (m,)
    weights: FloatArray  # (m, M) of each model
    clusters: KeyArray  # (m,)


class Predictions(NamedTuple):
    """Cross-fitted reward models."""

    models: Mapping[str, Sequence[Predictor]]  # (F,) that saw no round of the fold, by the model's name
    range: Range  # that predictions are cut to
    seed: int

    def of(self, rows: Coded) -> dict[str, FloatArray]:
        """Model -> (n, A) predictions of rounds by models that saw no round of the customer."""
        folds = folds_of(rows.rounds.clusters, N_FOLDS, self.seed)
        found = {}
        for name, models in self.models.items():
            predicted = np.empty((folds.size, rows.targets[0].shape[1]))
            for fold, model in enumerate(models):
                some = folds == fold
                if some.any():
                    predicted[some] = model(rows.features[some])
            found[name] = np.clip(predicted, *self.range)
        return found


def check_kind(kind: str) -> None:
    """Raise InvalidConfig for a kind of reward model that is not known, or not installed."""
    if kind not in KINDS:
        raise InvalidConfig("--reward-model", "", f"{kind!r} is not one of {', '.join(KINDS)}")
    _model(kind)


def share_of(n_rounds: int, shape: tuple[int, int]) -> float:
    """The share of the customers that a model of `shape` = (K, A) is fitted to: as many as memory bears."""
    return min(min(_MOST_ROWS, _MOST_CELLS // sum(shape)) / n_rounds, 1.0)


def from_sums(sums: Mapping[str, RewardSums]) -> dict[str, list[Predictor]]:
    """Ridge without one fold each."""
    model, found = Ridge(), dict[str, list[Predictor]]()
    for name, one in sums.items():
        seen = one.grams[:, :, 0, 0].sum(axis=1)  # per fold: the first feature is the intercept
        _check_folds((seen == seen.sum()) & (seen > 0.0))
        coefficients = (model.coefficients(*one.without(fold)) for fold in range(N_FOLDS))
        found[name] = [partial(_linear, each) for each in coefficients]
    return found


def from_rows(
    kind: str, names: Sequence[str], parts: Sequence[Rewarded], n_actions: int, seed: int
) -> dict[str, list[Predictor]]:
    """Models of another kind, fitted to a sample (m,) without one fold each."""
    rows = join_rows(parts)
    folds, found = folds_of(rows.clusters, N_FOLDS, seed), dict[str, list[Predictor]]()
    _check_folds(np.bincount(folds, minlength=N_FOLDS) == folds.size)
    for number, name in enumerate(names):
        weighed = RewardRows(rows.features, rows.actions, rows.rewards, rows.weights[:, number])
        found[name] = [
            _model(kind).fit(take_rows(weighed, folds != fold), n_actions) for fold in range(N_FOLDS)
        ]
    return found


def _linear(coefficients: FloatArray, features: FloatArray) -> FloatArray:
    """(n, A) rewards by a regression per action (A, K) of features (n, K)."""
    return features @ coefficients.T


def _model(kind: str) -> RewardModel:
    if kind in {"boosting", "lightgbm"}:
        return Boosting(library="lightgbm" if kind == "lightgbm" else "scikit-learn")
    return Logistic() if kind == "logistic" else Ridge()


def _check_folds(alone: BoolArray) -> None:
    require(not alone.any(), "reward model", "--cluster", FOLDS_RULE)
