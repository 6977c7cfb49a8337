"""Which parameters the score of an action reads: disjoint, shared and hybrid features in one table."""

from __future__ import annotations

from functools import cached_property
from typing import Literal, TypeAlias

import numpy as np
from msgspec import Struct

from nba.arrays import FloatArray, IntArray
from nba.catalogue import Catalogue
from nba.posteriors.layout import Layout

Kind: TypeAlias = Literal["disjoint", "shared", "hybrid"]


class Design(Struct, frozen=True, eq=False, dict=True):
    """G independent parameter vectors of N numbers: J blocks of K, each times the features, then V constants.

    An action reads one vector, b of its blocks and p of its constants; these b + p effects add up to its
    lift. Disjoint: a vector of one block for each action. Shared: one vector with the channel, timing and
    product blocks and the pair tables of Layout. Hybrid: that plus a block of each action's own.
    """

    n_columns: int  # K
    n_groups: int  # G
    n_blocks: int  # J
    n_constants: int  # V
    groups: IntArray  # (A - 1,) vector of each contact action
    blocks: IntArray  # (A - 1, b)
    constants: IntArray  # (A - 1, p)

    @staticmethod
    def of(kind: Kind, catalogue: Catalogue, n_columns: int) -> Design:
        """The design of a catalogue and a feature matrix of K columns."""
        layout = Layout.of(catalogue, n_columns)
        actions = np.arange(catalogue.n_actions - 1)
        if kind == "disjoint":
            none = np.zeros((actions.size, 1), dtype=np.int64)
            return Design(n_columns, actions.size, 1, 0, actions, none, none[:, :0])
        blocks, n_blocks = layout.blocks_of, layout.n_factors
        if kind == "hybrid":
            blocks = np.concatenate([blocks, n_blocks + actions[:, None]], axis=1)
            n_blocks += actions.size
        return Design(n_columns, 1, n_blocks, layout.n_pairs, np.zeros_like(actions), blocks, layout.pairs_of)

    @property
    def n_actions(self) -> int:
        """A - 1, the number of contact actions."""
        return int(self.groups.shape[0])

    @property
    def start(self) -> int:
        """First constant of a vector."""
        return self.n_blocks * self.n_columns

    @property
    def size(self) -> int:
        """N, the length of a vector."""
        return self.start + self.n_constants

    @cached_property
    def effects(self) -> IntArray:
        """(A - 1, b + p) effects of each action among the J + V of its vector."""
        return np.concatenate([self.blocks, self.n_blocks + self.constants], axis=1)

    @cached_property
    def effect_pairs(self) -> IntArray:
        """(A - 1, (b + p)^2) places of their covariances in that of all effects, row after row."""
        n_effects = self.n_blocks + self.n_constants
        pairs = self.effects[:, :, None] * n_effects + self.effects[:, None, :]
        return pairs.reshape(self.n_actions, -1)

    @cached_property
    def incidence(self) -> FloatArray:
        """(A - 1, J + V) ones where an action reads an effect."""
        table = np.zeros((self.n_actions, self.n_blocks + self.n_constants))
        np.put_along_axis(table, self.effects, 1.0, axis=1)
        return table

    @cached_property
    def parameters(self) -> IntArray:
        """(A - 1, b K + p) parameters that each action reads of its vector, in the order of `rows`."""
        inner = self.blocks[:, :, None] * self.n_columns + np.arange(self.n_columns)
        return np.concatenate([inner.reshape(self.n_actions, -1), self.start + self.constants], axis=1)

    def rows(self, features: FloatArray) -> FloatArray:
        """(n, K) to (n, b K + p) what multiplies the parameters of one action."""
        ones = np.ones((features.shape[0], self.constants.shape[1]))
        return np.concatenate([*(features,) * self.blocks.shape[1], ones], axis=1)

    def row(self, action: int, features: FloatArray) -> FloatArray:
        """(N,) the same of a contact action (from 1) and features (K,), spread over its vector."""
        if self.size == self.n_columns:
            return features
        read = self.incidence[action - 1]
        blocks = read[: self.n_blocks, None] * features
        return np.concatenate([blocks.ravel(), read[self.n_blocks :]])

    def added(self, effects: FloatArray, tables: FloatArray | None) -> FloatArray:
        """(B, M, G J) effects of blocks and (M, A - 1) constants, added up to lifts (B, M, A - 1)."""
        if tables is None:
            return effects  # disjoint: a lift is one block's effect
        table = self.incidence[:, : self.n_blocks].T
        lifts: FloatArray = np.matmul(effects[:, :, None, :], table)[:, :, 0]
        return lifts + tables
