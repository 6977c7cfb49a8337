"""Tables of labels as bandits: a label is the product of one channel and one timing, its reward 0 or 1."""

from __future__ import annotations

from typing import Any

import numpy as np
from small import product

from nba.arrays import FloatArray, IntArray
from nba.catalogue import Catalogue, Channel, Timing
from nba.features import FeatureSchema, Numeric
from nba.feedback import RoundBatch
from nba.policies import Policy


def labels(n: int) -> Catalogue:
    """Contact number i offers label i - 1."""
    return Catalogue(
        channels=(Channel(name="table", family="table", cost=0.0),),
        timings=(Timing(name="now"),),
        products=tuple(product(f"p{i}", value=1.0, forecast_rate=1.0) for i in range(n)),
    )


def columns(k: int) -> FeatureSchema:
    return FeatureSchema(columns=tuple(Numeric(name=f"x{i}") for i in range(k - 1)), moments=False)


def table(features: FloatArray, actions: IntArray, rewards: FloatArray) -> RoundBatch:
    one = np.ones(len(actions))
    return RoundBatch(features, actions, actions - 1, rewards, one, one, 0.0 * one)


def random_table(n: int, n_labels: int, k: int, seed: int = 0) -> RoundBatch:
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n, k))
    features[:, 0] = 1.0
    return table(features, rng.integers(1, n_labels + 1, n), (rng.random(n) < 0.4).astype(np.float64))


def played(policy: Policy, posterior: Any, n: int, seed: int) -> tuple[float, Any]:
    """Mean reward of the second half of a bandit whose right label is the one hot feature, row by row."""
    rng, hits = np.random.default_rng(seed), []
    for _ in range(n):
        right = int(rng.integers(3))
        x = np.concatenate([[1.0], np.eye(3)[right]])[None]
        scores = policy.scores(posterior, policy.freeze(posterior, rng), x)
        draw = int(rng.integers(len(scores)))
        action = 1 + int(scores[draw, 0, 1:].argmax())
        hits.append(float(action == 1 + right))
        posterior = posterior.fold(table(x, np.array([action]), np.array(hits[-1:])))
    return float(np.mean(hits[n // 2 :])), posterior
