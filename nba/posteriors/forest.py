"""Averaging trees as arrays: grown by scikit-learn where they are fitted, read by NumPy where they decide.

Shape letters: N nodes, T trees, n rows, D inputs of a tree.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from nba.arrays import FloatArray, IntArray
from nba.errors import require

EXTRA_TREES = "sklearn.ensemble.ExtraTreesRegressor"
_COLUMN, _THRESHOLD, _BELOW, _ABOVE, VALUE = range(5)
N_FIELDS = 5


class Forest(NamedTuple):
    """Trees side by side; a leaf is a node that leads to itself.

    A node holds the input that it splits, a threshold, the nodes for inputs up to and above it, and a value.
    """

    nodes: FloatArray  # (N, 5)
    roots: IntArray  # (T,)

    @staticmethod
    def none() -> Forest:
        """No tree: it says 0 of everything."""
        return Forest(np.zeros((0, N_FIELDS)), np.zeros(0, dtype=np.int64))

    @staticmethod
    def of(regressor: Any, source: str) -> Forest:
        """The trees of a fitted forest of scikit-learn (ExtraTrees, RandomForest)."""
        trees: list[Any] = [getattr(one, "tree_", None) for one in getattr(regressor, "estimators_", [])]
        rule = (
            f"{type(regressor).__name__} is no forest of averaged trees; take {EXTRA_TREES} or RandomForest"
        )
        require(bool(trees) and all(tree is not None for tree in trees), source, "regressor", rule)
        parts, roots, first = [], [], 0
        for tree in trees:
            own = np.arange(tree.node_count)
            is_leaf = tree.children_left < 0
            ways = [np.where(is_leaf, own, way) for way in (tree.children_left, tree.children_right)]
            columns = np.where(is_leaf, 0, tree.feature)
            parts.append(
                np.stack([columns, tree.threshold, *(first + way for way in ways), tree.value.ravel()], 1)
            )
            roots.append(first)
            first += tree.node_count
        return Forest(np.concatenate(parts), np.array(roots))

    def leaves(self, inputs: FloatArray) -> IntArray:
        """(n, D) to (n, T): the leaf of every tree in which a row ends; inputs count in 32 bits, as grown."""
        table = inputs.astype(np.float32)
        columns, below, above = (self.nodes[:, name].astype(np.int64) for name in (_COLUMN, _BELOW, _ABOVE))
        thresholds, rows = self.nodes[:, _THRESHOLD], np.arange(inputs.shape[0])[:, None]
        at = np.repeat(self.roots[None], inputs.shape[0], axis=0)
        while True:
            after = np.where(table[rows, columns[at]] <= thresholds[at], below[at], above[at])
            if np.array_equal(after, at):
                return at
            at = after

    def predict(self, inputs: FloatArray) -> FloatArray:
        """(n, D) to (n,): the mean over trees of the values of leaves; 0 without trees."""
        if self.roots.size == 0:
            return np.zeros(inputs.shape[0])
        predicted: FloatArray = self.read(self.leaves(inputs))
        return predicted

    def read(self, leaves: IntArray) -> FloatArray:
        """(..., T) leaves to (...): the mean of their values."""
        mean: FloatArray = self.nodes[:, VALUE].take(leaves).mean(axis=-1)
        return mean

    def valued(self, leaves: IntArray, targets: FloatArray) -> Forest:
        """The same trees, each leaf with the mean of targets (n,) of the rows that end there: leaves (n, T).

        Leaves that no row is in keep their value.
        """
        cells, n = leaves.ravel(), self.nodes.shape[0]
        counts = np.bincount(cells, minlength=n)
        sums = np.bincount(cells, np.repeat(targets, leaves.shape[1]), minlength=n)
        nodes = self.nodes.copy()
        np.divide(sums, counts, out=nodes[:, VALUE], where=counts > 0)
        return Forest(nodes, self.roots)
