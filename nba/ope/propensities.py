"""Propensities for a log that has none: estimated, cross-fitted, and checked against what was chosen.

A poor substitute. Whatever the logging policy knew and the features do not tell stays hidden in every
weighted estimate, and no check of the log alone can find it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from msgspec import Struct

from nba.arrays import BoolArray, FloatArray, IntArray, KeyArray, check_shape
from nba.errors import require
from nba.ope.logged import FOLDS_RULE, folds_of

_EDGES = np.array([0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9])  # of predicted probabilities
_LEAST_EXPECTED = 10.0  # choices in a bin, from where on its deviation is close to normal


class Calibration(NamedTuple):
    """Per bin of predicted probability, sums over rounds and eligible actions; they add over partitions."""

    counts: FloatArray  # (11,)
    predicted: FloatArray  # (11,) sum of probabilities
    chosen: FloatArray  # (11,) how often the action was chosen
    variances: FloatArray  # (11,) sum of p (1 - p)

    @staticmethod
    def of(distribution: FloatArray, actions: IntArray, eligible: BoolArray | None = None) -> Calibration:
        """The sums of distributions (n, A) that did not see the actions (n,) they predict."""
        asked = np.ones(distribution.shape, dtype=np.bool_) if eligible is None else eligible
        hits = np.zeros(distribution.shape)
        hits[np.arange(actions.size), actions] = 1.0
        p, bins = distribution[asked], np.searchsorted(_EDGES, distribution[asked], side="right")
        sums = np.zeros((4, _EDGES.size + 1))
        for total, column in zip(sums, (np.ones_like(p), p, hits[asked], p * (1.0 - p)), strict=True):
            np.add.at(total, bins, column)
        return Calibration(*sums)

    def __add__(self, other: object) -> Calibration:
        """The sums of both partitions."""
        if not isinstance(other, Calibration):
            return NotImplemented
        return Calibration(*(one + its for one, its in zip(self, other, strict=True)))

    @property
    def z(self) -> FloatArray:
        """(11,) deviation of each bin in standard errors, nan where too little was to be expected."""
        told = (self.predicted >= _LEAST_EXPECTED) & (self.variances > 0.0)
        z = np.full(self.counts.size, np.nan)
        z[told] = (self.chosen - self.predicted)[told] / np.sqrt(self.variances[told])
        return z

    @property
    def error(self) -> float:
        """Mean distance between predicted and observed share over bins, weighted by what was predicted."""
        gaps = np.abs(self.chosen - self.predicted)
        return float(gaps.sum() / max(float(self.predicted.sum()), 1e-300))


class ChoiceModel(Struct, frozen=True, kw_only=True, tag="choice_model"):
    """Multinomial logistic regression of the chosen action, over the eligible ones.

    precision is that of a normal prior on the coefficients.
    """

    precision: float = 1.0

    def __post_init__(self) -> None:
        """Check the precision."""
        require(self.precision > 0.0, "choice_model", "precision", f"must be > 0, got {self.precision}")

    def fit(self, features: FloatArray, actions: IntArray, eligible: BoolArray) -> FloatArray:
        """(A, K) coefficients at the mode, of features (n, K) and eligible actions (n, A)."""
        from scipy.optimize import minimize

        rows, shape = np.arange(actions.size), (eligible.shape[1], features.shape[1])

        def loss(flat: FloatArray) -> tuple[float, FloatArray]:
            coefficients = flat.reshape(shape)
            distribution = softmax(features @ coefficients.T, eligible)
            likelihood = np.log(np.maximum(distribution[rows, actions], 1e-300)).sum()
            distribution[rows, actions] -= 1.0
            slope = distribution.T @ features + self.precision * coefficients
            return 0.5 * self.precision * float(flat @ flat) - float(likelihood), slope.ravel()

        flat: FloatArray = minimize(loss, np.zeros(shape[0] * shape[1]), jac=True, method="L-BFGS-B").x
        return flat.reshape(shape)


def softmax(scores: FloatArray, eligible: BoolArray) -> FloatArray:
    """(n, A) probabilities proportional to exp(score) over the eligible actions."""
    barred = np.where(eligible, scores, -np.inf)
    shares: FloatArray = np.exp(barred - barred.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    return shares


def estimated_logging(
    model: ChoiceModel,
    features: FloatArray,
    actions: IntArray,
    clusters: KeyArray,
    eligible: BoolArray,
    *,
    n_folds: int = 3,
    seed: int = 0,
) -> tuple[FloatArray, Calibration]:
    """(n, A) logging distributions by models that saw no round of the customer, and their calibration.

    features (n, K) should hold all that the logging policy may have decided by, the intercept first;
    eligible is (n, A). Evaluate with Settings(propensities_estimated=True).
    """
    check_shape(features, (actions.size, None), "features")
    check_shape(eligible, (actions.size, None), "eligible")
    require(n_folds >= 2, "choice_model", "n_folds", f"must be at least 2, got {n_folds}")
    folds, distribution = folds_of(clusters, n_folds, seed), np.zeros(eligible.shape)
    for fold in np.unique(folds):
        seen, unseen = folds != fold, folds == fold
        require(bool(seen.any()), "choice_model", "clusters", FOLDS_RULE)
        coefficients = model.fit(features[seen], actions[seen], eligible[seen])
        distribution[unseen] = softmax(features[unseen] @ coefficients.T, eligible[unseen])
    return distribution, Calibration.of(distribution, actions, eligible)
