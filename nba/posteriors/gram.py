"""Sufficient statistics of many rounds of the factored model, block by block instead of row by row.

A round touches the blocks of its channel, timing and product and three pair parameters, all with the same
features: whatever two of them share is one weighted sum of x x' (or of x, or of 1) over the rounds of a cell,
such as a channel and a timing. So some hundred small symmetric products, and sums of them, replace a
product of all parameters of a round with one another for each round.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nba.arrays import FloatArray, IntArray, take_rows
from nba.feedback import RoundBatch
from nba.posteriors.layout import Layout


class _Weights(NamedTuple):
    """What a round counts for, by the parts that meet."""

    contact: FloatArray  # (n,) contact part with contact part
    mixed: FloatArray  # (n,) contact part with organic part
    organic: FloatArray  # (n,) organic part with organic part

    @staticmethod
    def of(rounds: RoundBatch, forecast: FloatArray) -> _Weights:
        """Exposure x forecast x the shares of both parts."""
        weight, up, own = (
            rounds.exposure * forecast[rounds.products],
            rounds.uplift_share,
            rounds.organic_share,
        )
        return _Weights(weight * up * up, weight * up * own, weight * own * own)


def gram_of(layout: Layout, rounds: RoundBatch, forecast: FloatArray) -> FloatArray:
    """(Q, Q) sum of exposure x forecast x r r' over rounds, exactly symmetric."""
    gram = np.zeros((layout.n_parameters, layout.n_parameters))
    weights, start = _Weights.of(rounds, forecast), layout.organic_start
    p, k, f = layout.n_products, layout.n_columns, layout.n_factors
    own = gram[start:, start:].reshape(p, k, p, k)
    products = np.arange(p)
    own[products, :, products, :] = _grams(rounds.features, weights.organic, rounds.products, p)
    contacts = np.flatnonzero(rounds.actions > 0)
    rounds, weights = take_rows(rounds, contacts), take_rows(weights, contacts)
    main = gram[: layout.pair_start, : layout.pair_start].reshape(f, k, f, k)
    mixed = gram[: layout.pair_start, start:].reshape(f, k, p, k)
    _blocks(layout, rounds, weights, main, mixed)
    _pairs(layout, rounds, weights, gram)
    gram[start:, : layout.pair_start] = gram[: layout.pair_start, start:].T
    return gram


def moment_of(layout: Layout, rounds: RoundBatch) -> FloatArray:
    """(Q,) sum of reward x r over rounds."""
    rounds = take_rows(rounds, np.flatnonzero(rounds.rewards))
    c, t, p, k = layout.n_channels, layout.n_timings, layout.n_products, layout.n_columns
    own = _sums(rounds.features, rounds.rewards * rounds.organic_share, rounds.products, p)
    rounds = take_rows(rounds, np.flatnonzero(rounds.actions > 0))
    weight = rounds.rewards * rounds.uplift_share
    sums = _sums(rounds.features, weight, rounds.actions - 1, c * t * p).reshape(c, t, p, k)
    counts = np.bincount(rounds.actions - 1, weight, minlength=c * t * p).reshape(c, t, p)
    blocks = (sums.sum(axis=axes) for axes in ((1, 2), (0, 2), (0, 1)))
    pairs = (counts.sum(axis=axis) for axis in (2, 1, 0))
    return np.concatenate([part.ravel() for part in (*blocks, *pairs, own)])


def _blocks(
    layout: Layout, rounds: RoundBatch, weights: _Weights, main: FloatArray, mixed: FloatArray
) -> None:
    """Fill main (F, K, F, K) and mixed (F, K, P, K): blocks with blocks, blocks with organic blocks."""
    c, t, p = layout.n_channels, layout.n_timings, layout.n_products
    channels, timings, products = layout.blocks_of[rounds.actions - 1].T - [[0], [c], [c + t]]
    first, second, third = slice(0, c), slice(c, c + t), slice(c + t, c + t + p)
    x, k = rounds.features, layout.n_columns
    met = {}
    for one, other, rows, columns in (
        (first, second, channels, timings),
        (first, third, channels, products),
        (second, third, timings, products),
    ):
        n = one.stop - one.start, other.stop - other.start
        cells = _grams(x, weights.contact, rows * n[1] + columns, n[0] * n[1]).reshape(*n, k, k)
        main[one, :, other] = cells.transpose(0, 2, 1, 3)
        main[other, :, one] = cells.transpose(1, 2, 0, 3)
        met[one.start, other.start] = cells
    _diagonal(main, first, met[0, c].sum(axis=1))
    _diagonal(main, second, met[0, c].sum(axis=0))
    _diagonal(main, third, met[0, c + t].sum(axis=0))
    for one, rows in ((first, channels), (second, timings)):
        n = one.stop - one.start, p
        cells = _grams(x, weights.mixed, rows * p + products, n[0] * p).reshape(*n, k, k)
        mixed[one] = cells.transpose(0, 2, 1, 3)
    _diagonal(mixed[third], slice(0, p), cells.sum(axis=0))


def _diagonal(blocks: FloatArray, which: slice, values: FloatArray) -> None:
    """Set the blocks of a factor with itself."""
    numbers = np.arange(which.start, which.stop)
    blocks[numbers, :, numbers, :] = values


def _pairs(layout: Layout, rounds: RoundBatch, weights: _Weights, gram: FloatArray) -> None:
    """Fill rows and columns of the pair tables."""
    n, k, start = layout.blocks_of.shape[0], layout.n_columns, layout.pair_start
    rows = rounds.actions - 1
    sums = _sums(rounds.features, weights.contact, rows, n)
    mixed = _sums(rounds.features, weights.mixed, rows, n)
    counts = np.bincount(rows, weights.contact, minlength=n)
    table = np.zeros((layout.n_pairs, layout.n_parameters))
    blocks = table[:, :start].reshape(layout.n_pairs, layout.n_factors, k)
    own = table[:, layout.organic_start :].reshape(layout.n_pairs, layout.n_products, k)
    for pair in layout.pairs_of.T:
        for block in layout.blocks_of.T:
            np.add.at(blocks, (pair, block), sums)
        np.add.at(own, (pair, layout.product_of), mixed)
        for other in layout.pairs_of.T:
            np.add.at(table, (pair, start + other), counts)
    gram[start : layout.organic_start] = table
    gram[:, start : layout.organic_start] = table.T


def _grams(features: FloatArray, weights: FloatArray, cells: IntArray, n_cells: int) -> FloatArray:
    """(n_cells, K, K) sum of weight x x' over the rows (n, K) of each cell, exactly symmetric."""
    grams = np.zeros((n_cells, features.shape[1], features.shape[1]))
    order, numbers, bounds = _cells(cells)
    scaled = (features * np.sqrt(weights)[:, None])[order]
    for number, begin, end in zip(numbers, bounds[:-1], bounds[1:], strict=True):
        part = scaled[begin:end]
        grams[number] = part.T @ part  # NumPy calls syrk, which is symmetric to the last bit
    return grams


def _sums(features: FloatArray, weights: FloatArray, cells: IntArray, n_cells: int) -> FloatArray:
    """(n_cells, K) sum of weight x over the rows (n, K) of each cell."""
    sums = np.zeros((n_cells, features.shape[1]))
    if cells.size:
        order, numbers, bounds = _cells(cells)
        sums[numbers] = np.add.reduceat((features * weights[:, None])[order], bounds[:-1], axis=0)
    return sums


def _cells(cells: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """Rows in the order of their cells, the cells there are, and where the rows of each begin and end."""
    order = np.argsort(cells, kind="stable")
    numbers, begins = np.unique(cells[order], return_index=True)
    return order, numbers, np.append(begins, cells.size)
