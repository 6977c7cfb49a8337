"""A small network in NumPy whose last hidden layer serves as features.

    h_0 = x,  h_l = act([1, h_{l-1}] W_l),  lift = [1, h] . (sum of the blocks of V that a row adds up)

x has its own intercept. A row adds the blocks of its channel, timing and product, times its uplift share,
and its product's organic block, times its organic share: the same factored head as that of the linear model.
Trained by Adam (Kingma, Ba 2015) on minibatches; every random number comes from the generator given.
"""

from __future__ import annotations

from math import pi
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from nba.arrays import FloatArray, rowwise

Activation: TypeAlias = Literal["tanh", "relu"]
Weights: TypeAlias = tuple[
    FloatArray, ...
]  # the hidden layers (1 + H_in, H_out), then the head (blocks, 1 + H)

_BETAS, _TINY = (0.9, 0.999), 1e-8


class Targets(NamedTuple):
    """Rows to train on."""

    inputs: FloatArray  # (n, K) intercept first
    blocks: FloatArray  # (n, blocks) share of each head block in the row's lift
    offset: FloatArray  # (n,) lift that is believed before any row
    weight: FloatArray  # (n,) expected conversions: exposure x forecast
    rewards: FloatArray  # (n,)


class Training(NamedTuple):
    """How a network is trained."""

    steps: int
    batch: int
    rate: float  # of the first step; it falls to zero along a cosine
    l2: float  # prior precision of every weight, in the unit of one expected conversion


def started(sizes: tuple[int, ...], n_blocks: int, rng: np.random.Generator) -> Weights:
    """Random weights: inputs (K, H_1, ..., H_L) and a head of almost nothing."""
    widths = [sizes[0], *(1 + size for size in sizes[1:])]
    hidden = [rng.standard_normal((n, m)) / np.sqrt(n) for n, m in zip(widths, sizes[1:], strict=False)]
    return (*hidden, 0.1 * rng.standard_normal((n_blocks, widths[-1])) / np.sqrt(widths[-1]))


def hidden_features(weights: Weights, inputs: FloatArray, activation: Activation) -> FloatArray:
    """(B, K) to (B, 1 + H): one and the last hidden layer, row by row (see rowwise)."""
    layer = inputs
    for matrix in weights[:-1]:
        layer = _with_one(_activated(rowwise(layer, matrix), activation))
    return layer


def loss_and_gradients(
    weights: Weights, rows: Targets, activation: Activation, l2: float
) -> tuple[float, Weights]:
    """Mean over rows of weight lift^2 / 2 - reward lift, plus l2 |weights|^2 / 2, and its gradients.

    That is the weighted squared loss up to a constant, written so that a conversion told before its
    exposure (weight 0) counts as it should.
    """
    layers = [rows.inputs]
    for matrix in weights[:-1]:
        layers.append(_with_one(_activated(layers[-1] @ matrix, activation)))
    mixed = rows.blocks @ weights[-1]
    lifts = rows.offset + (mixed * layers[-1]).sum(axis=1)
    loss = np.mean((rows.weight * lifts / 2.0 - rows.rewards) * lifts)
    slope = ((rows.weight * lifts - rows.rewards) / lifts.size)[:, None]
    gradients = [(rows.blocks * slope).T @ layers[-1]]
    back = slope * mixed
    for matrix, below, above in zip(weights[-2::-1], layers[-2::-1], layers[:0:-1], strict=True):
        back = back[:, 1:] * _slope(above[:, 1:], activation)
        gradients.append(below.T @ back)
        back = back @ matrix.T
    penalty = sum(float((matrix**2).sum()) for matrix in weights) * l2 / 2.0
    penalised = (g + l2 * matrix for g, matrix in zip(gradients[::-1], weights, strict=True))
    return float(loss) + penalty, tuple(penalised)


def trained(
    weights: Weights, rows: Targets, activation: Activation, training: Training, rng: np.random.Generator
) -> Weights:
    """Weights after Adam over minibatches drawn with replacement."""
    n_rows = rows.rewards.size
    means = [np.zeros_like(matrix) for matrix in weights]
    squares = [np.zeros_like(matrix) for matrix in weights]
    current = [matrix.copy() for matrix in weights]
    for step in range(1, training.steps + 1):
        which = rng.integers(n_rows, size=min(training.batch, n_rows))
        some = Targets(*(column[which] for column in rows))
        _, gradients = loss_and_gradients(tuple(current), some, activation, training.l2 / n_rows)
        rate = training.rate * 0.5 * (1.0 + np.cos(pi * (step - 1) / training.steps))
        rate *= np.sqrt(1.0 - _BETAS[1] ** step) / (1.0 - _BETAS[0] ** step)
        for matrix, mean, square, gradient in zip(current, means, squares, gradients, strict=True):
            mean += (1.0 - _BETAS[0]) * (gradient - mean)
            square += (1.0 - _BETAS[1]) * (gradient**2 - square)
            matrix -= rate * mean / (np.sqrt(square) + _TINY)
    return tuple(current)


def _activated(values: FloatArray, activation: Activation) -> FloatArray:
    return np.tanh(values) if activation == "tanh" else np.maximum(values, 0.0)


def _slope(activated: FloatArray, activation: Activation) -> FloatArray:
    """Derivative of the activation, from its value."""
    return 1.0 - activated**2 if activation == "tanh" else (activated > 0.0).astype(np.float64)


def _with_one(hidden: FloatArray) -> FloatArray:
    """(n, H) to (n, 1 + H)."""
    return np.concatenate([np.ones((hidden.shape[0], 1)), hidden], axis=1)
