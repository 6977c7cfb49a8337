"""Variances and joint covariances of all actions' scores, straight from a covariance of parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nba.arrays import FloatArray
from nba.posteriors.online_design import Design
from nba.posteriors.uncertainty import around


class OnlineSpread(NamedTuple):
    """Nothing is prepared, so that a loop which publishes after every round pays for one context only.

    At a context x the covariance (N, N) of a vector shrinks to that of its J + V effects, in N^2 steps; the
    score of an action adds up b + p of them. Each row is computed alone: its bits are the same in any batch.
    """

    design: Design
    covariances: Sequence[FloatArray]  # G of (N, N)
    scale: FloatArray  # (A - 1,) forecast rate of each action's product

    def stddev(self, features: FloatArray) -> FloatArray:
        """(B, K) to (B, A): standard deviation of the expected reward, 0 for no-contact."""
        out = np.zeros((features.shape[0], 1 + self.scale.shape[0]))
        np.multiply(np.sqrt(self.variances(features)), self.scale, out=out[:, 1:])
        return out

    def reach(self, features: FloatArray, mean: FloatArray, width: float) -> FloatArray:
        """(B, K), means (B, A) to (B, A): mean + width standard deviations (see Spread)."""
        return mean + width * self.stddev(features)

    def bounds(self, features: FloatArray, mean: FloatArray, slack: float) -> FloatArray:
        """(2, B, A) lowest and highest expected reward within `slack` (see Spread)."""
        return around(mean, self.stddev(features), slack)

    def variances(self, features: FloatArray) -> FloatArray:
        """(B, K) to (B, A - 1): variance of each contact's lift, at least 0."""
        if self.design.n_groups > 1:
            apart = np.array([self._apart(row) for row in features])
            found = apart.reshape(-1, self.design.n_actions)
        else:
            # The order in which a sum runs, and so its bits, follow the layout: this one holds for any B.
            effects = self.effects(features)
            flat = effects.reshape(features.shape[0], effects.shape[1] ** 2)
            found = np.take(flat, self.design.effect_pairs, axis=1).sum(axis=2)
        variances: FloatArray = np.maximum(found, 0.0)
        return variances

    def effects(self, features: FloatArray) -> FloatArray:
        """(B, K) to (B, J + V, J + V): covariance of the effects of the one vector (G = 1)."""
        covariance, n_contexts = self.covariances[0], features.shape[0]
        j, k, start = self.design.n_blocks, self.design.n_columns, self.design.start
        half = np.matmul(features[:, None, None, :], covariance[:start].reshape(j, k, -1))[:, :, 0, :]
        left = half[:, :, :start].reshape(n_contexts, j, j, k)
        whole = np.empty((n_contexts, *2 * (j + self.design.n_constants,)))
        whole[:, :j, :j] = np.matmul(left, features[:, None, :, None])[..., 0]
        whole[:, :j, j:] = half[:, :, start:]
        whole[:, j:, :j] = whole[:, :j, j:].transpose(0, 2, 1)
        whole[:, j:, j:] = covariance[start:, start:]
        return whole

    def roots(self, features: FloatArray) -> FloatArray:
        """(B, K) to (B, A - 1, A - 1): factors R with R R' = joint covariance of all lifts (G = 1)."""
        table = self.design.incidence
        joint = np.matmul(np.matmul(table, self.effects(features)), table.T)
        return np.stack([root(one) for one in joint]) if joint.shape[0] else joint

    def _apart(self, features: FloatArray) -> FloatArray:
        """(K,) to (A - 1,): variances of disjoint lifts, from the matrices where they lie."""
        moved = np.empty((len(self.covariances), features.shape[0]))
        for covariance, place in zip(self.covariances, moved, strict=True):
            np.dot(covariance, features, out=place)
        found: FloatArray = moved @ features
        return found


def root(covariance: FloatArray) -> FloatArray:
    """(n, n) a factor R with R R' = a covariance, which may be singular."""
    n = covariance.shape[0]
    jitter = 1e-12 * np.trace(covariance) / max(n, 1)
    try:
        factor: FloatArray = np.linalg.cholesky(covariance + jitter * np.eye(n))
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(covariance)
        factor = vectors * np.sqrt(np.maximum(values, 0.0))
    return factor


def moments(precision: FloatArray, shift: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Exactly symmetric inverse (N, N) of a positive definite matrix, and the solution (N,) for a shift.

    Solving is more accurate than multiplying by the inverse where columns differ much in size.
    """
    from scipy.linalg.lapack import dpotrf, dpotri, dpotrs

    factor, failed = dpotrf(precision)
    if failed:
        raise np.linalg.LinAlgError(
            f"A posterior precision of {precision.shape[0]} parameters is not positive definite: features "
            "are too large (above 1e7) or differ too much in size; standardise them in the schema."
        )
    upper, _ = dpotri(factor)
    # Row after row in memory, as a bundle brings it back: the bits of later products depend on it.
    covariance = np.ascontiguousarray(np.triu(upper) + np.triu(upper, 1).T)
    return covariance, dpotrs(factor, shift)[0]
