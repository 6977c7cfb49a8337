"""A table of logged decisions whose rewards no linear model can tell, and a bandit on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from small import product

from nba.arrays import FloatArray, IntArray
from nba.catalogue import Catalogue, Channel, Timing
from nba.features import FeatureSchema, Numeric
from nba.feedback import RoundBatch
from nba.policies import Policy
from nba.posteriors.bagged import BaggedModel

N_NUMBERS = 4  # columns besides the intercept
TREE = "sklearn.tree.DecisionTreeRegressor"
Truth: TypeAlias = Callable[[FloatArray, IntArray], FloatArray]  # contexts (n, K), actions (n,) to rates (n,)


def trees(**changes: Any) -> BaggedModel:
    """Fifty times faster to fit than boosting, hence in most tests."""
    parts: dict[str, Any] = {"regressor": TREE, "settings": {"max_depth": 6, "min_samples_leaf": 5}}
    return BaggedModel(**(parts | changes))


def table(n_actions: int) -> tuple[Catalogue, FeatureSchema]:
    """Labels as products of value 1 and forecast 1, numbers as contexts."""
    catalogue = Catalogue(
        channels=(Channel(name="table", family="digital", cost=0.0),),
        timings=(Timing(name="now"),),
        products=tuple(product(f"label-{n}", value=1.0, forecast_rate=1.0) for n in range(n_actions)),
    )
    columns = tuple(Numeric(name=f"x{n}") for n in range(N_NUMBERS))
    return catalogue, FeatureSchema(columns=columns, moments=False)


def contexts(n: int, rng: np.random.Generator) -> FloatArray:
    return np.concatenate([np.ones((n, 1)), rng.uniform(-1.0, 1.0, (n, N_NUMBERS))], axis=1)


def logged(x: FloatArray, actions: IntArray, truth: Truth, rng: np.random.Generator) -> RoundBatch:
    """What came of actions (n,) in contexts (n, K)."""
    rewards = (rng.random(actions.size) < truth(x, actions)).astype(np.float64)
    ones = np.ones(actions.size)
    return RoundBatch(x, actions, actions - 1, rewards, ones, ones, 0.0 * ones)


def random_log(n: int, truth: Truth, seed: int, n_actions: int) -> RoundBatch:
    rng = np.random.default_rng(seed)
    x = contexts(n, rng)
    return logged(x, rng.integers(1, n_actions + 1, n), truth, rng)


def parity(x: FloatArray, actions: IntArray) -> FloatArray:
    """Odd actions pay where x1 and x2 have one sign, even ones where they have not."""
    return np.where((x[:, 1] * x[:, 2] > 0) == (actions % 2 == 1), 0.8, 0.2)


def linear(x: FloatArray, actions: IntArray) -> FloatArray:
    slopes = np.random.default_rng(9).normal(0.0, 0.15, (8, N_NUMBERS))
    return np.clip(0.5 + (x[:, 1:] * slopes[actions]).sum(axis=1), 0.0, 1.0)


def quarters(x: FloatArray, actions: IntArray) -> FloatArray:
    """One of four actions pays: a threshold on |x1| says which pair, the sign of x2 which of the pair."""
    best = 1 + 2 * (np.abs(x[:, 1]) < 0.5) + (x[:, 2] > 0)
    return np.where(best == actions, 0.8, 0.2)


def greedy_reward(model: Any, truth: Truth, n: int, seed: int, n_actions: int = 3) -> tuple[float, float]:
    """After n random rounds: reward of playing the mean's best action, and its root mean square error."""
    posterior = model.prior(*table(n_actions))
    posterior = posterior.absorb(posterior.evidence(random_log(n, truth, seed, n_actions)))
    x = contexts(2000, np.random.default_rng(1000 + seed))
    rates = np.stack([truth(x, np.full(2000, a)) for a in range(1, n_actions + 1)], axis=1)
    mean = posterior.mean(x)[:, 1:]
    return rates[np.arange(2000), mean.argmax(axis=1)].mean(), np.sqrt(((mean - rates) ** 2).mean())


class Played(NamedTuple):
    """Mean reward of a bandit by seed: over all rounds, and over the last quarter."""

    mean: FloatArray  # (seeds,)
    last: FloatArray  # (seeds,)


def played(model: Any, policy: Policy, seeds: int, rounds: int = 1500, every: int = 150) -> Played:
    """The policy on `quarters`, published after each batch when it wants to be."""
    each = [_played(model, policy, seed, rounds, every) for seed in range(seeds)]
    return Played(*(np.array(column) for column in zip(*each, strict=True)))


def _played(model: Any, policy: Policy, seed: int, rounds: int, every: int) -> tuple[float, float]:
    rng, posterior = np.random.default_rng(seed), model.prior(*table(4))
    published, ready, rewards = posterior, policy.freeze(posterior, rng), []
    eligible = np.tile([False, True, True, True, True], (every, 1))
    for _ in range(rounds // every):
        x = contexts(every, rng)
        scores = policy.scores(published, ready, x)
        distribution = policy.base_distribution(ready, scores, eligible)
        actions = (distribution.cumsum(axis=1) > rng.random((every, 1))).argmax(axis=1)
        batch = logged(x, actions, quarters, rng)
        rewards.append(batch.rewards.mean())
        posterior = posterior.absorb(posterior.evidence(batch))
        if policy.publishes(published.rounds, posterior.rounds):
            published, ready = posterior, policy.freeze(posterior, rng)
    return float(np.mean(rewards)), float(np.mean(rewards[-len(rewards) // 4 :]))


def standard_error(values: FloatArray) -> float:
    return float(values.std(ddof=1) / np.sqrt(values.size))
