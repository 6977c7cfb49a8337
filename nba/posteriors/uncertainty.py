"""Posterior standard deviation of every action's score, from block covariances."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nba.arrays import FloatArray, IntArray
from nba.posteriors.layout import Layout

_TILE = 64  # contexts at a time: keeps the (tile, F, F, K) intermediate small


class FactoredCovariance(NamedTuple):
    """Covariance of the contact parameters of the factored model, split into blocks.

    An action picks three main blocks u (each multiplied by the features x) and three pair
    parameters v, so that its variance is
    sum_ij x' S[u_i, u_j] x + 2 sum_ij x' S[u_i, v_j] + sum_ij S[v_i, v_j].
    """

    main: FloatArray  # (F, K, F, K)
    cross: FloatArray  # (F, K, V)
    pair_variance: FloatArray  # (A - 1,)
    blocks_of: IntArray  # (A - 1, 3)
    pairs_of: IntArray  # (A - 1, 3)
    scale: FloatArray  # (A - 1,) forecast rate of each action's product

    @staticmethod
    def of(layout: Layout, covariance: FloatArray, forecast: FloatArray) -> FactoredCovariance:
        """Split a covariance (pair_start + V, same) of the contact parameters."""
        f, k, start = layout.n_factors, layout.n_columns, layout.pair_start
        blocks, pairs = layout.blocks_of, layout.pairs_of
        table = covariance[start:, start:]
        return FactoredCovariance(
            main=covariance[:start, :start].reshape(f, k, f, k),
            cross=covariance[:start, start:].reshape(f, k, layout.n_pairs),
            pair_variance=table[pairs[:, :, None], pairs[:, None, :]].sum(axis=(1, 2)),
            blocks_of=blocks,
            pairs_of=pairs,
            scale=forecast[layout.product_of],
        )

    def stddev(self, features: FloatArray) -> FloatArray:
        """(B, K) to (B, A): standard deviation of the expected reward, 0 for no-contact."""
        n_contexts = features.shape[0]
        out = np.zeros((n_contexts, 1 + self.scale.shape[0]))
        for start in range(0, n_contexts, _TILE):
            rows = slice(start, min(start + _TILE, n_contexts))
            out[rows, 1:] = np.sqrt(np.maximum(self._variance(features[rows]), 0.0)) * self.scale
        return out

    def _variance(self, x: FloatArray) -> FloatArray:
        """(b, K) to (b, A - 1) variance of the lift."""
        f, k, n = self.main.shape[0], self.main.shape[1], x.shape[0]
        half = (x @ self.main.transpose(1, 0, 2, 3).reshape(k, f * f * k)).reshape(n, f * f, k)
        quadratic = np.matmul(half, x[:, :, None]).reshape(n, f, f)
        cross = (x @ self.cross.transpose(1, 0, 2).reshape(k, -1)).reshape(n, f, -1)
        variance = np.broadcast_to(self.pair_variance, (n, self.scale.shape[0])).copy()
        for i in range(3):
            for j in range(3):
                variance += quadratic[:, self.blocks_of[:, i], self.blocks_of[:, j]]
                variance += 2.0 * cross[:, self.blocks_of[:, i], self.pairs_of[:, j]]
        return variance
