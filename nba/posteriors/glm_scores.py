"""Scores of generalised linear posteriors: draws laid out for fast scoring, their spread and their range."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nba.arrays import AnyArray, Float32Array, FloatArray, IntArray, rowwise
from nba.posteriors.glm_links import CAP, Link
from nba.posteriors.layout import Layout
from nba.posteriors.uncertainty import QuadraticSpread


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


class Derivatives(NamedTuple):
    """How scores vary with linear predictors, each (B, A - 1), or None without organic blocks."""

    contact: FloatArray  # linear predictor with a contact, offset included
    organic: FloatArray | None  # and without
    with_contact: FloatArray  # cov(score, predictor with a contact)
    without: FloatArray | None  # cov(score, predictor without)
    variance: FloatArray  # var(score)


class GlmSpread(NamedTuple):
    """How far every score may be off: its standard deviation, and its range over a confidence ellipsoid.

    With slopes g and h of the rates with and without a contact, and c and o the two parts of the predictor,
    var(score) = g^2 var(c) + 2 g (g - h) cov(c, o) + (g - h)^2 var(o). The three are quadratic in x.

    `reach` is the score itself where the ellipsoid of `width` standard deviations reaches furthest along its
    gradient. A width in the score, g sd(c), would vanish where a rate is small, and with it the exploration
    of all that is thought to be poor; the predictor's does not (GLM-UCB: Filippi, Cappe, Garivier, Szepesvari
    2010; Li, Lu, Zhou 2017). For gross rates it is rate(c + width sd(c)), the ellipsoid's exact maximum.
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
        """(B, K) to (B, A): standard deviation of the score (delta method), 0 for no-contact."""
        variance = self._derivatives(features).variance
        return _with_no_contact(np.sqrt(np.maximum(variance, 0.0)))

    def reach(self, features: FloatArray, mean: FloatArray, width: float) -> FloatArray:
        """(B, K), means (B, A) to (B, A): the score where the ellipsoid ends (see the class and Spread)."""
        at = self._derivatives(features)
        # Where nothing is uncertain there is no direction to go, and nowhere to go.
        step = width / np.sqrt(np.where(at.variance > 0.0, at.variance, np.inf))
        contact = at.contact + step * at.with_contact
        scores = self.link.rate(_capped(contact, self.mean.offset[1:]))
        if at.organic is not None and at.without is not None:
            offset = self.mean.organic_offset[self.product_of]
            scores -= self.link.rate(_capped(at.organic + step * at.without, offset))
        further = np.maximum if width > 0.0 else np.minimum
        return further(_with_no_contact(scores), mean)  # the mean is in the ellipsoid too

    def bounds(self, features: FloatArray, mean: FloatArray, slack: float) -> FloatArray:
        """(2, B, A) lowest and highest expected reward within `slack` (see Spread)."""
        width = float(np.sqrt(slack))
        return np.stack([self.reach(features, mean, -width), self.reach(features, mean, width)])

    def _derivatives(self, features: FloatArray) -> Derivatives:
        """Linear predictors (B, K) to (B, A - 1), and how they vary together with the score."""
        rows, columns = np.triu_indices(features.shape[1])
        values = rowwise(features[:, rows] * features[:, columns], self.quadratic)
        values += rowwise(features, self.linear) + self.constant
        n, own = self.product_of.size, self.product_of
        contact, organic = (one[:, 0].astype(np.float64) for one in self.mean.predictors(features))
        contact, slope = contact[:, 1:], self.link.slope(contact[:, 1:])
        if not organic.size:
            return Derivatives(contact, None, slope * values[:, :n], None, slope**2 * values[:, :n])
        less = slope - self.link.slope(organic)[:, own]
        own_part = slope * values[:, :n] + less * values[:, n : 2 * n]
        without = slope * values[:, n : 2 * n] + less * values[:, 2 * n :][:, own]
        variance = slope * own_part + less * without
        return Derivatives(contact, organic[:, own], own_part + without, without, variance)


def _capped(predictor: FloatArray, offset: Float32Array) -> FloatArray:
    """Predictors with offset, kept where draws are kept."""
    kept: FloatArray = np.clip(predictor - offset, -CAP, CAP) + offset
    return kept


def _with_no_contact(scores: FloatArray) -> FloatArray:
    """(B, A - 1) to (B, A): 0 for no-contact."""
    return np.concatenate([np.zeros((scores.shape[0], 1)), scores], axis=1)


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
