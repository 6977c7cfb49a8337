"""Scores of generalised linear posteriors: draws laid out for fast scoring, and the delta method."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nba.arrays import AnyArray, Float32Array, FloatArray, IntArray, rowwise
from nba.posteriors.glm_links import CAP, Link
from nba.posteriors.layout import Layout
from nba.posteriors.uncertainty import QuadraticSpread, around


class GlmDraws(NamedTuple):
    """M draws of all parameters; G = C + T + P blocks, and P organic ones if the model has them."""

    main: Float32Array  # (K, M G)
    spread: Float32Array  # (G, A) 0/1: which blocks each action adds up
    tables: Float32Array  # (M, A) the three pair tables, added up
    offset: Float32Array  # (A,) predictor of the forecast of each action's product
    owner: Float32Array  # (P, A) 0/1: each contact's product; (0, A) without organic blocks
    organic_offset: Float32Array  # (P,), or (0,)

    @staticmethod
    def of(layout: Layout, theta: FloatArray, offset: FloatArray) -> GlmDraws:
        """From parameters (M, Q) and the products' offsets (P,)."""
        n_draws, size = theta.shape
        has_organic = size > layout.organic_start
        n_organic = layout.n_products if has_organic else 0
        parts = [theta[:, : layout.pair_start], theta[:, layout.organic_start :]]
        main = np.concatenate(parts, axis=1).reshape(-1, layout.n_columns)
        actions = 1 + np.arange(layout.product_of.size)
        tables = np.zeros((n_draws, 1 + actions.size), dtype=np.float32)
        tables[:, 1:] = theta[:, layout.pair_start + layout.pairs_of].sum(axis=2)
        owner = np.zeros((n_organic, 1 + actions.size), dtype=np.float32)
        if has_organic:
            owner[layout.product_of, actions] = 1.0
        spread = np.zeros((layout.n_factors, 1 + actions.size), dtype=np.float32)
        for blocks in layout.blocks_of.T:
            spread[blocks, actions] = 1.0
        by_action = np.concatenate([[0.0], offset[layout.product_of]])
        return GlmDraws(
            main=np.ascontiguousarray(main.T, dtype=np.float32),
            spread=np.concatenate([spread, owner]),
            tables=tables,
            offset=by_action.astype(np.float32),
            owner=owner,
            organic_offset=offset[:n_organic].astype(np.float32),
        )

    def predictors(self, features: FloatArray) -> tuple[Float32Array, Float32Array]:
        """(B, K) to those of contacts (B, M, A) and of no contact (B, M, P), with offsets."""
        shape = (features.shape[0], self.tables.shape[0], self.spread.shape[0])
        main = rowwise(features.astype(np.float32), self.main).reshape(shape)
        contact: AnyArray = np.matmul(main, self.spread)  # context by context, see rowwise
        contact += self.tables
        np.clip(contact, -CAP, CAP, out=contact)
        contact += self.offset
        organic = np.clip(main[:, :, shape[2] - self.owner.shape[0] :], -CAP, CAP)
        organic += self.organic_offset
        return contact, organic

    def scores(self, features: FloatArray, link: Link) -> Float32Array:
        """(B, K) to (M, B, A): rate with a contact less the rate without, 0 for no-contact."""
        contact, organic = self.predictors(features)
        scores = link.rate(contact)
        if self.owner.size:
            scores -= np.matmul(link.rate(organic), self.owner)
        scores[:, :, 0] = 0.0
        return scores.transpose(1, 0, 2)


class GlmSpread(NamedTuple):
    """Standard deviation of every score by the delta method.

    With slopes g and h of the rates with and without a contact, and c and o the two parts of the predictor,
    var(score) = g^2 var(c) + 2 g (g - h) cov(c, o) + (g - h)^2 var(o). The three are quadratic in x.
    """

    quadratic: FloatArray  # (K (K + 1) / 2, N), N = 2 (A - 1) + P, or A - 1 without organic blocks
    linear: FloatArray  # (K, N)
    constant: FloatArray  # (N,)
    product_of: IntArray  # (A - 1,)
    mean: GlmDraws
    link: Link

    @staticmethod
    def of(layout: Layout, covariance: FloatArray, mean: GlmDraws, link: Link) -> GlmSpread:
        """From the covariance (Q, Q) and the mean as one draw."""
        start, n_products = layout.organic_start, layout.n_products
        contact = covariance[:start, :start]
        forms = [QuadraticSpread.of_factored(layout, contact, np.ones(n_products))]
        if covariance.shape[0] > start:
            forms += _organic_forms(layout, covariance)
        return GlmSpread(
            quadratic=np.concatenate([form.quadratic for form in forms], axis=1),
            linear=np.concatenate([form.linear for form in forms], axis=1),
            constant=np.concatenate([form.constant for form in forms]),
            product_of=layout.product_of,
            mean=mean,
            link=link,
        )

    def stddev(self, features: FloatArray) -> FloatArray:
        """(B, K) to (B, A): standard deviation of the score, 0 for no-contact."""
        rows, columns = np.triu_indices(features.shape[1])
        values = rowwise(features[:, rows] * features[:, columns], self.quadratic)
        values += rowwise(features, self.linear) + self.constant
        n = self.product_of.size
        contact, organic = (one[:, 0].astype(np.float64) for one in self.mean.predictors(features))
        slope = self.link.slope(contact[:, 1:])
        variance = slope**2 * values[:, :n]
        if organic.size:
            less = slope - self.link.slope(organic)[:, self.product_of]
            variance += 2.0 * slope * less * values[:, n : 2 * n]
            variance += less**2 * values[:, 2 * n :][:, self.product_of]
        out = np.zeros((features.shape[0], 1 + n))
        np.sqrt(np.maximum(variance, 0.0), out=out[:, 1:])
        return out

    def bounds(self, features: FloatArray, mean: FloatArray, slack: float) -> FloatArray:
        """(2, B, A) lowest and highest expected reward within `slack` (see Spread)."""
        return around(mean, self.stddev(features), slack)


def _organic_forms(layout: Layout, covariance: FloatArray) -> list[QuadraticSpread]:
    """cov(c, o) of every contact (A - 1) and var(o) of every product (P)."""
    f, k, p, start = layout.n_factors, layout.n_columns, layout.n_products, layout.organic_start
    main = covariance[: layout.pair_start, start:].reshape(f, k, p, k)
    pairs = covariance[layout.pair_start : start, start:].reshape(layout.n_pairs, p, k)
    own, each = layout.product_of, np.arange(p)
    blocks, linear = np.zeros((own.size, k, k)), np.zeros((own.size, k))
    for i in range(3):
        blocks += main[layout.blocks_of[:, i], :, own, :]
        linear += pairs[layout.pairs_of[:, i], own]
    blocks = (blocks + blocks.transpose(0, 2, 1)) / 2.0
    organic = covariance[start:, start:].reshape(p, k, p, k)[each, :, each, :]
    return [
        QuadraticSpread.of_blocks(blocks, linear.T, np.zeros(own.size), np.ones(own.size)),
        QuadraticSpread.of_blocks(organic, np.zeros((k, p)), np.zeros(p), np.ones(p)),
    ]
