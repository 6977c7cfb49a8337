"""Posterior standard deviation of every action's score, as one quadratic form per action."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nba.arrays import FloatArray, rowwise
from nba.posteriors.layout import Layout


class QuadraticSpread(NamedTuple):
    """Variance of each action's score: x' Q_a x + l_a' x + c_a, times the squared scale.

    Q_a is symmetric, so its upper triangle meets the products x_i x_j (i <= j) in one matrix product
    for all contexts and actions.
    """

    quadratic: FloatArray  # (K (K + 1) / 2, A - 1), off-diagonal terms doubled
    linear: FloatArray  # (K, A - 1)
    constant: FloatArray  # (A - 1,)
    scale: FloatArray  # (A - 1,) forecast rate of each action's product

    @staticmethod
    def of_blocks(
        blocks: FloatArray, linear: FloatArray, constant: FloatArray, scale: FloatArray
    ) -> QuadraticSpread:
        """From full matrices Q (A - 1, K, K)."""
        rows, columns = np.triu_indices(blocks.shape[1])
        packed = blocks[:, rows, columns] * np.where(rows == columns, 1.0, 2.0)
        return QuadraticSpread(np.ascontiguousarray(packed.T), linear, constant, scale)

    @staticmethod
    def of_factored(layout: Layout, covariance: FloatArray, forecast: FloatArray) -> QuadraticSpread:
        """From the covariance (pair_start + V, same) of the factored model's contact parameters.

        An action adds three main blocks u (each times x) and three pair parameters v, hence
        sum_ij x' S[u_i, u_j] x + 2 sum_ij x' S[u_i, v_j] + sum_ij S[v_i, v_j].
        """
        f, k, start = layout.n_factors, layout.n_columns, layout.pair_start
        main = covariance[:start, :start].reshape(f, k, f, k)
        cross = covariance[:start, start:].reshape(f, k, layout.n_pairs)
        table = covariance[start:, start:]
        blocks = np.zeros((layout.blocks_of.shape[0], k, k))
        linear = np.zeros((layout.blocks_of.shape[0], k))
        constant = np.zeros(layout.blocks_of.shape[0])
        for i in range(3):
            for j in range(3):
                ui, uj = layout.blocks_of[:, i], layout.blocks_of[:, j]
                vi, vj = layout.pairs_of[:, i], layout.pairs_of[:, j]
                blocks += main[ui, :, uj, :]
                linear += 2.0 * cross[ui, :, vj]
                constant += table[vi, vj]
        return QuadraticSpread.of_blocks(blocks, linear.T.copy(), constant, forecast[layout.product_of])

    def stddev(self, features: FloatArray) -> FloatArray:
        """(B, K) to (B, A): standard deviation of the expected reward, 0 for no-contact."""
        rows, columns = np.triu_indices(features.shape[1])
        variance = rowwise(features[:, rows] * features[:, columns], self.quadratic)
        variance += rowwise(features, self.linear) + self.constant
        out = np.zeros((features.shape[0], 1 + self.scale.shape[0]))
        np.multiply(np.sqrt(np.maximum(variance, 0.0)), self.scale, out=out[:, 1:])
        return out

    def reach(self, features: FloatArray, mean: FloatArray, width: float) -> FloatArray:
        """(B, K), means (B, A) to (B, A): mean + width standard deviations (see Spread)."""
        return mean + width * self.stddev(features)

    def bounds(self, features: FloatArray, mean: FloatArray, slack: float) -> FloatArray:
        """(2, B, A) lowest and highest expected reward within `slack` (see Spread)."""
        return around(mean, self.stddev(features), slack)


def around(mean: FloatArray, stddev: FloatArray, slack: float) -> FloatArray:
    """(2, B, A) mean -+ sqrt(slack) standard deviations: the range of all linear models whose squared loss is
    within slack, in units of the noise's variance, of the best one's (Foster et al. 2018).
    """
    wide = np.sqrt(slack) * stddev
    return np.stack([mean - wide, mean + wide])
