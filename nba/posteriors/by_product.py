"""The factored precision, factored product by product and only then in what products share.

Given the parameters of channels, timings and their pairs, products are independent: no round is about two of
them. Taken in this order the Cholesky factor keeps that (it is an arrowhead; George and Liu 1981), and the
bank's 2,422 parameters need a sixth of the arithmetic. With own parameters a of product p and shared ones b,

    A_p = L_p L_p'    H_p = L_p^-1 B_p    F F' = C - sum over p of H_p' H_p

where A_p, B_p and C are the blocks (a, a), (a, b) and (b, b) of the precision.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from nba.arrays import AnyArray, FloatArray, IntArray
from nba.lapack import cholesky, solved, solved_upper
from nba.posteriors.layout import Layout


class Order(NamedTuple):
    """Which parameters are a product's own, and which are shared."""

    own: IntArray  # (P, N) main block, pairs with channels and timings, organic block
    shared: IntArray  # (S,) blocks of channels and timings, and their pairs

    @staticmethod
    @cache
    def of(layout: Layout) -> Order:
        """The order of a layout."""
        c, t, p = layout.n_channels, layout.n_timings, layout.n_products
        products, first = np.arange(p)[:, None], layout.pair_start + c * t
        rows = layout.block(0) + (c + t) * layout.n_columns + products * layout.n_columns
        pairs = first + np.arange(c + t) * p + products
        organic = layout.organic_block(0) + products * layout.n_columns
        blocks, tables = np.arange((c + t) * layout.n_columns), np.arange(layout.pair_start, first)
        return Order(np.concatenate([rows, pairs, organic], axis=1), np.concatenate([blocks, tables]))


class ByProduct(NamedTuple):
    """A factored precision; solves and draws as its whole factor would."""

    order: Order
    own: FloatArray  # (P, N, N) L
    leaning: FloatArray  # (P, N, S) H
    shared: FloatArray  # (S, S) F, as `nba.lapack.cholesky` gives it

    @staticmethod
    def of(layout: Layout, precision: FloatArray) -> ByProduct | None:
        """From a precision (Q, Q); None where products are tied, as after a channel was marginalised."""
        order = Order.of(layout)
        own = precision[order.own[:, :, None], order.own[:, None, :]]
        cross = precision[order.own[:, :, None], order.shared]
        shared = precision[np.ix_(order.shared, order.shared)]
        told = np.count_nonzero(own) + 2 * np.count_nonzero(cross) + np.count_nonzero(shared)
        if told != np.count_nonzero(precision):
            return None
        lower: AnyArray = np.linalg.cholesky(own)
        leaning: AnyArray = np.linalg.solve(lower, cross)
        flat = leaning.reshape(-1, order.shared.size)
        return ByProduct(order, lower, leaning, cholesky(shared - flat.T @ flat))

    def solved(self, shift: FloatArray) -> FloatArray:
        """(Q,) the solution for a shift (Q,): the posterior mean."""
        half: AnyArray = np.linalg.solve(self.own, shift[self.order.own][:, :, None])
        rest = shift[self.order.shared] - np.einsum("pns,pn->s", self.leaning, half[:, :, 0])
        return self._joined(half, solved(self.shared, rest)[:, None])[:, 0]

    def spread(self, noise: FloatArray) -> FloatArray:
        """(Q, M) standard normal noise to draws whose precision this is, around 0."""
        shared = solved_upper(self.shared, noise[self.order.shared])
        return self._joined(noise[self.order.own], shared)

    def _joined(self, half: FloatArray, shared: FloatArray) -> FloatArray:
        """Halves (P, N, M) and shared parameters (S, M) to all parameters (Q, M), in the layout's order."""
        found = np.empty((half[:, :, 0].size + shared.shape[0], shared.shape[1]))
        found[self.order.shared] = shared
        own = np.linalg.solve(self.own.transpose(0, 2, 1), half - self.leaning @ shared)
        found[self.order.own.ravel()] = own.reshape(-1, shared.shape[1])
        return found
