"""Generalised linear posteriors on the small bank, and their likelihoods written from the definitions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pytest
from scipy.special import expit
from small import open_strategy, small_contexts, small_rounds

from nba.arrays import FloatArray
from nba.feedback import RoundBatch
from nba.posteriors.glm_models import HazardModel, LogisticModel

Likelihood: TypeAlias = Callable[[FloatArray], FloatArray]
FORECAST = np.array([0.2, 0.2, 0.05])
MODELS: list[Any] = [
    LogisticModel(),
    LogisticModel(curvature="expected"),
    LogisticModel(organic=False),
    HazardModel(),
    HazardModel(organic=False),
]
NAMES = [f"{model.__struct_config__.tag}-{number}" for number, model in enumerate(MODELS)]
ALL = pytest.mark.parametrize("model", MODELS, ids=NAMES)
STATE = ("precision", "shift", "watched", "anchor", "anchor_covariance", "pace")


def start(model: Any) -> tuple[Any, FloatArray]:
    """The prior, and features (12, K)."""
    strategy = open_strategy(model=model)
    features = strategy.encode(small_contexts(strategy, 12, 5)).features
    return model.prior(strategy.catalogue, strategy.schema), features


def late_rounds(model: Any, n: int = 240, seed: int = 0) -> RoundBatch:
    """Rounds late in their windows, where the organic share is the larger one: a proper likelihood."""
    rng, rounds = np.random.default_rng(seed), small_rounds(open_strategy(model=model), n, seed)
    uplift = np.where(rounds.actions > 0, rng.uniform(0.3, 1.0, n), 0.0)
    return rounds._replace(
        rewards=(rng.random(n) < 0.2).astype(np.float64),
        exposure=rng.uniform(0.2, 1.0, n),
        uplift_share=uplift,
        organic_share=np.where(rounds.actions > 0, 2.0 - uplift, 1.0),
    )


def dense(posterior: Any, rounds: RoundBatch) -> tuple[FloatArray, FloatArray]:
    """(n, Q) rows of the contact part and of the organic part, written from methods A1."""
    (n_c, n_t, n_p), k = (2, 2, 3), rounds.features.shape[1]
    contact, organic = [], []
    for x, action, product in zip(rounds.features, rounds.actions, rounds.products, strict=True):
        blocks, pairs, gross = np.zeros((n_c + n_t + n_p, k)), np.zeros(16), np.zeros((n_p, k))
        if action > 0:
            c, t, p = np.unravel_index(action - 1, (n_c, n_t, n_p))
            blocks[[c, n_c + t, n_c + n_t + p]] = x
            pairs[[c * n_t + t, 4 + c * n_p + p, 10 + t * n_p + p]] = 1.0
        gross[product] = x
        contact.append(np.concatenate([blocks.ravel(), pairs, 0.0 * gross.ravel()]))
        organic.append(np.concatenate([0.0 * blocks.ravel(), 0.0 * pairs, gross.ravel()]))
    size = posterior.shift.size
    return np.array(contact)[:, :size], np.array(organic)[:, :size]


def log_likelihood(posterior: Any, rounds: RoundBatch) -> Likelihood:
    """Bernoulli and Poisson log-likelihoods with exposure, from their definitions: (Q, S) to (S,)."""
    (contact, organic), forecast = dense(posterior, rounds), FORECAST[rounds.products][:, None]
    has_organic = posterior.shift.size > posterior.layout.organic_start
    used = np.ones(rounds.n_rows, dtype=np.bool_) if has_organic else rounds.actions > 0
    y, e = rounds.rewards[used], rounds.exposure[used]
    u, w = rounds.uplift_share[used, None], rounds.organic_share[used, None]

    def logistic(theta: FloatArray) -> FloatArray:
        eta = (np.log(forecast / (1 - forecast)) + (contact + organic) @ theta)[used]
        return np.asarray(y @ eta - e @ np.logaddexp(0.0, eta))

    def poisson(theta: FloatArray) -> FloatArray:
        with_contact, without = np.exp((contact + organic) @ theta)[used], np.exp(organic @ theta)[used]
        lift = u * (with_contact - without) + w * without if has_organic else u * with_contact
        mean = forecast[used] * lift
        return np.asarray(y @ np.log(mean) - e @ mean)

    return logistic if "logistic" in posterior.__struct_config__.tag else poisson


def numeric_gradient(function: Likelihood, at: FloatArray) -> FloatArray:
    """(Q,) central differences."""
    steps = 1e-5 * np.eye(at.size)
    return (function(at[:, None] + steps) - function(at[:, None] - steps)) / 2e-5


def scores_of(posterior: Any, theta: FloatArray, x: FloatArray) -> FloatArray:
    """(A - 1,) scores of one context in float64, from methods A1 and the definition of uplift."""
    one = np.ones(12)
    rounds = RoundBatch(np.tile(x, (12, 1)), np.arange(1, 13), np.tile([0, 1, 2], 4), one, one, one, one)
    contact, organic = dense(posterior, rounds)
    forecast = np.tile(FORECAST, 4)
    if "logistic" in posterior.__struct_config__.tag:
        offset = np.log(forecast / (1 - forecast))
        rates = expit(offset + (contact + organic) @ theta), expit(offset + organic @ theta)
    else:
        rates = forecast * np.exp((contact + organic) @ theta), forecast * np.exp(organic @ theta)
    has_organic = posterior.shift.size > posterior.layout.organic_start
    return np.asarray(rates[0] - rates[1] if has_organic else rates[0])
