"""Where each factor's parameters lie in the vector of the factored model."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from msgspec import Struct

from nba.arrays import FloatArray, IntArray
from nba.catalogue import Catalogue


class Layout(Struct, frozen=True, dict=True):
    """Parameters in order: channel, timing and product blocks (K each), three pair tables, organic blocks.

    Methods A1: score = A_c . x + B_t . x + G_p . x + H_ct + J_cp + K_tp, plus an organic block O_p . x
    that a no-contact row carries alone.
    """

    n_channels: int
    n_timings: int
    n_products: int
    n_columns: int

    @staticmethod
    def of(catalogue: Catalogue, n_columns: int) -> Layout:
        """The layout of a catalogue and a feature matrix of K columns."""
        return Layout(*catalogue.shape, n_columns)

    @property
    def n_factors(self) -> int:
        """Number of main blocks, C + T + P."""
        return self.n_channels + self.n_timings + self.n_products

    @property
    def pair_start(self) -> int:
        """First parameter of the pair tables."""
        return self.n_factors * self.n_columns

    @property
    def n_pairs(self) -> int:
        """Number of pair parameters, CT + CP + TP."""
        c, t, p = self.n_channels, self.n_timings, self.n_products
        return c * t + c * p + t * p

    @property
    def organic_start(self) -> int:
        """First parameter of the organic blocks."""
        return self.pair_start + self.n_pairs

    @property
    def n_parameters(self) -> int:
        """Q, the length of the parameter vector."""
        return self.organic_start + self.n_products * self.n_columns

    @cached_property
    def _action_factors(self) -> tuple[IntArray, IntArray, IntArray]:
        shape = (self.n_channels, self.n_timings, self.n_products)
        levels = np.unravel_index(np.arange(int(np.prod(shape))), shape)
        return levels[0].astype(np.int64), levels[1].astype(np.int64), levels[2].astype(np.int64)

    @property
    def product_of(self) -> IntArray:
        """(A - 1,) product of each contact action."""
        return self._action_factors[2]

    @cached_property
    def blocks_of(self) -> IntArray:
        """(A - 1, 3) main blocks of each contact action: its channel, timing and product."""
        c, t, p = self._action_factors
        return np.stack([c, self.n_channels + t, self.n_channels + self.n_timings + p], axis=1)

    @cached_property
    def pairs_of(self) -> IntArray:
        """(A - 1, 3) pair parameters of each contact action, counted from `pair_start`."""
        c, t, p = self._action_factors
        ct = c * self.n_timings + t
        cp = self.n_channels * self.n_timings + c * self.n_products + p
        tp = self.n_channels * (self.n_timings + self.n_products) + t * self.n_products + p
        return np.stack([ct, cp, tp], axis=1)

    def block(self, number: int) -> IntArray:
        """(K,) parameters of a main block."""
        return np.arange(number * self.n_columns, (number + 1) * self.n_columns)

    def organic_block(self, product: int) -> IntArray:
        """(K,) parameters of a product's organic block."""
        return self.organic_start + self.block(product)

    def organic_lifts(self, features: FloatArray, parameters: FloatArray) -> FloatArray:
        """(B, K) features and (Q,) parameters to (B, P): what the organic blocks say of each product."""
        blocks = parameters[self.organic_start :].reshape(self.n_products, self.n_columns)
        lifts: FloatArray = features @ blocks.T
        return lifts

    def parameters_of(self, action: int, product: int) -> IntArray:
        """(nnz,) parameters of a round: contact blocks and pairs if there was a contact, then organic."""
        if action == 0:
            return self.organic_block(product)
        blocks = [self.block(int(number)) for number in self.blocks_of[action - 1]]
        pairs = self.pair_start + self.pairs_of[action - 1]
        return np.concatenate([*blocks, pairs, self.organic_block(product)])

    def design(
        self, features: FloatArray, uplift: FloatArray, organic: FloatArray, contacted: bool
    ) -> FloatArray:
        """(n, nnz) design rows of rounds with one action, in the order of `parameters_of`."""
        plain = features * organic[:, None]
        if not contacted:
            return plain
        lifted = features * uplift[:, None]
        return np.concatenate([lifted, lifted, lifted, np.repeat(uplift[:, None], 3, axis=1), plain], axis=1)
