"""Reward models for estimators that use one, cross-fitted: no model predicts a round it was fitted on.

Folds are drawn by customer (`folds_of`), so that no model saw the customer either. Predictions are (n, A),
one for every action. `Ridge` is sums that add, and cross-fits by leaving out a fold's sums; any other model
is fitted per fold (`cross_fitted`). Gradient boosting is in experiments.reward_models.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
from msgspec import Struct
from scipy.special import expit

from nba.arrays import FloatArray, IntArray, check_shape, take_rows
from nba.errors import require
from nba.ope.logged import FOLDS_RULE, LoggedRounds, folds_of

N_FOLDS = 3  # methods E2
_NEWTON_STEPS = 30
_SETTLED = 1e-9

Predictor: TypeAlias = Callable[[FloatArray], FloatArray]  # features (n, K) to predictions (n, A)


class RewardRows(NamedTuple):
    """Rounds to learn rewards from."""

    features: FloatArray  # (n, K), the intercept first
    actions: IntArray  # (n,)
    rewards: FloatArray  # (n,)
    weights: FloatArray  # (n,)

    @staticmethod
    def of(features: FloatArray, rounds: LoggedRounds, weights: FloatArray | None = None) -> RewardRows:
        """The rounds of a log, each counting for one unless weights (n,) are given."""
        check_shape(features, (rounds.n_rounds, None), "features")
        weighing = np.ones(rounds.n_rounds) if weights is None else weights
        return RewardRows(features, rounds.actions, rounds.rewards, weighing)


class RewardModel(Protocol):
    """What learns the mean reward of every action."""

    def fit(self, rows: RewardRows, n_actions: int) -> Predictor:
        """The predictions of a model fitted to weighted rounds."""


class RewardSums(NamedTuple):
    """Per fold and action the weighted sums of x x' and of reward x; they add over partitions."""

    grams: FloatArray  # (F, A, K, K)
    moments: FloatArray  # (F, A, K)

    def __add__(self, other: object) -> RewardSums:
        """The sums of both partitions."""
        if not isinstance(other, RewardSums):
            return NotImplemented
        return RewardSums(self.grams + other.grams, self.moments + other.moments)

    def without(self, fold: int) -> tuple[FloatArray, FloatArray]:
        """(A, K, K) and (A, K) sums over all other folds."""
        others = np.arange(self.grams.shape[0]) != fold
        return self.grams[others].sum(axis=0), self.moments[others].sum(axis=0)

    def before(self, fold: int) -> tuple[FloatArray, FloatArray]:
        """(A, K, K) and (A, K) sums over the folds of a smaller number: the past, if folds are stretches."""
        return self.grams[:fold].sum(axis=0), self.moments[:fold].sum(axis=0)


class Ridge(Struct, frozen=True, kw_only=True, tag="ridge"):
    """Linear regression per action, shrunk towards the mean reward of all actions.

    precision is in rounds: an action seen so often is half its own mean, half that of all.
    """

    precision: float = 10.0

    def __post_init__(self) -> None:
        """Check the precision."""
        require(self.precision > 0.0, "ridge", "precision", f"must be > 0, got {self.precision}")

    def sums(self, rows: RewardRows, folds: IntArray, shape: tuple[int, int]) -> RewardSums:
        """The sums of a partition with folds (n,), for `shape` = (folds, actions)."""
        cells, k = folds * shape[1] + rows.actions, rows.features.shape[1]
        scaled = rows.features * rows.weights[:, None]
        grams, moments = np.zeros((shape[0] * shape[1], k, k)), np.zeros((shape[0] * shape[1], k))
        order = np.argsort(cells, kind="stable")
        numbers, begins = np.unique(cells[order], return_index=True)
        for number, some in zip(numbers, np.split(order, begins[1:]), strict=True):
            grams[number] = scaled[some].T @ rows.features[some]
            moments[number] = scaled[some].T @ rows.rewards[some]
        return RewardSums(grams.reshape(*shape, k, k), moments.reshape(*shape, k))

    def predict(self, sums: RewardSums, features: FloatArray, folds: IntArray) -> FloatArray:
        """(n, A) predictions of rounds by the sums of all folds but their own."""
        predicted = np.empty((features.shape[0], sums.grams.shape[1]))
        for fold in range(sums.grams.shape[0]):
            rows = folds == fold
            predicted[rows] = features[rows] @ self.coefficients(*sums.without(fold)).T
        return predicted

    def fit(self, rows: RewardRows, n_actions: int) -> Predictor:
        """The regressions on all rounds."""
        sums = self.sums(rows, np.zeros_like(rows.actions), (1, n_actions))
        coefficients = self.coefficients(sums.grams[0], sums.moments[0])
        return lambda features: features @ coefficients.T

    def coefficients(self, grams: FloatArray, moments: FloatArray) -> FloatArray:
        """(A, K) of sums (A, K, K) and (A, K), whose first feature is the intercept."""
        n = grams[:, 0, 0].sum()
        centre = np.zeros(moments.shape[1])
        centre[0] = moments[:, 0].sum() / n if n > 0.0 else 0.0
        left = grams + self.precision * np.eye(centre.size)
        return centre + np.linalg.solve(left, (moments - grams @ centre)[..., None])[..., 0]


class Logistic(Struct, frozen=True, kw_only=True, tag="logistic"):
    """Penalised logistic regression on the features and one effect per action, for rewards in [0, 1].

    precision is that of a normal prior on every coefficient but the intercept.
    """

    precision: float = 1.0

    def __post_init__(self) -> None:
        """Check the precision."""
        require(self.precision > 0.0, "logistic", "precision", f"must be > 0, got {self.precision}")

    def fit(self, rows: RewardRows, n_actions: int) -> Predictor:
        """The mode by Newton steps, halved while they do not climb."""
        inside = bool(((rows.rewards >= 0.0) & (rows.rewards <= 1.0)).all())
        require(inside, "logistic", "rewards", "must lie in [0, 1]; take ridge or boosting for other rewards")
        design = np.hstack([rows.features, np.eye(n_actions)[rows.actions]])
        penalty = np.full(design.shape[1], self.precision)
        penalty[0] = 1e-6  # the intercept is free, up to a hair that keeps an empty log solvable
        beta = np.zeros(design.shape[1])
        for _ in range(_NEWTON_STEPS):
            step = _newton_step(design, rows, penalty, beta)
            beta = beta + step
            if np.abs(step).max() < _SETTLED:
                break
        k = rows.features.shape[1]
        return lambda features: expit((features @ beta[:k])[:, None] + beta[k:])


def _newton_step(design: FloatArray, rows: RewardRows, penalty: FloatArray, beta: FloatArray) -> FloatArray:
    """The step to the mode of logistic coefficients (Q,), halved until it climbs."""
    means = expit(design @ beta)
    slope = design.T @ (rows.weights * (rows.rewards - means)) - penalty * beta
    curvature = (design * (rows.weights * means * (1.0 - means))[:, None]).T @ design + np.diag(penalty)
    step: FloatArray = np.linalg.solve(curvature, slope)
    loss = _loss(design, rows, penalty, beta)
    while np.abs(step).max() >= _SETTLED and _loss(design, rows, penalty, beta + step) > loss:
        step = step / 2.0
    return step


def _loss(design: FloatArray, rows: RewardRows, penalty: FloatArray, beta: FloatArray) -> float:
    """Negative log posterior of logistic coefficients (Q,)."""
    scores = design @ beta
    likelihood = rows.weights @ (np.logaddexp(0.0, scores) - rows.rewards * scores)
    return float(likelihood + 0.5 * penalty @ (beta * beta))


def cross_fitted(
    model: RewardModel,
    features: FloatArray,
    rounds: LoggedRounds,
    n_actions: int,
    *,
    n_folds: int = N_FOLDS,
    seed: int = 0,
    weights: FloatArray | None = None,
) -> FloatArray:
    """(n, A) predictions of each round by a model fitted on other customers, cut to the possible rewards."""
    require(n_folds >= 2, "reward model", "n_folds", f"must be at least 2, got {n_folds}")
    rows, folds = RewardRows.of(features, rounds, weights), folds_of(rounds.clusters, n_folds, seed)
    predicted = np.empty((rounds.n_rounds, n_actions))
    for fold in np.unique(folds):
        seen = folds != fold
        require(bool(seen.any()), "reward model", "clusters", FOLDS_RULE)
        predicted[~seen] = model.fit(take_rows(rows, seen), n_actions)(features[~seen])
    low, high = rounds.possible_rewards
    return np.clip(predicted, low, high)


def mrdr_weights(rounds: LoggedRounds, target: FloatArray) -> FloatArray:
    """(n,) weights pi (1 - mu) / mu^2 under which least squares makes the variance of DR least.

    Farajtabar, Chow and Ghavamzadeh (2018); for a stochastic target as in Open Bandit Pipeline.
    """
    weights: FloatArray = rounds.ratios(target) * (1.0 - rounds.propensities) / rounds.propensities
    return weights
