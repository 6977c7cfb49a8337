"""How much the same noise for two strategies sharpens the difference between them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from msgspec import structs

from experiments.rollout import rollout
from experiments.spec import Phase
from nba.arrays import FloatArray
from nba.randomness import draw_generator
from nba.snapshot import Snapshot
from simulator.world import World

_RESAMPLES = 2_000


class VarianceReduction(NamedTuple):
    """Variance of a difference with independent noise, over its variance with common noise."""

    over_customers: float  # of a customer's difference
    over_seeds: float  # of the difference of means between whole runs
    over_seeds_low: float  # 95 % interval, bootstrap over seeds
    over_seeds_high: float


def variance_reduction(nets_one: FloatArray, nets_other: FloatArray) -> VarianceReduction:
    """From the net values (S, N) of two strategies, row s of both under the noise of one seed; S and N >= 2.

    With independent noise the variances of the two would add; with common noise the differences are
    simply taken. Seeds change the customers too: independent noise means other people on other days.
    """
    both = np.stack([nets_one, nets_other, nets_one - nets_other])
    people, means = both.var(axis=2, ddof=1).sum(axis=1), both.mean(axis=2)
    again = draw_generator(0, 0).integers(means.shape[1], size=(_RESAMPLES, means.shape[1]))
    resampled = _ratio(means[:, again].var(axis=2, ddof=1))
    low, high = np.quantile(resampled, (0.025, 0.975), method="nearest")
    return VarianceReduction(
        float(_ratio(people)), float(_ratio(means.var(axis=1, ddof=1))), float(low), float(high)
    )


def _ratio(variances: FloatArray) -> FloatArray:
    """Variances (3, ...) of one, other and difference to their ratio; infinite if nothing is left."""
    one, other, common = variances
    ratio: FloatArray = np.where(common > 0.0, (one + other) / np.where(common > 0.0, common, 1.0), np.inf)
    return ratio


def nets_by_seed(world: World, snapshot: Snapshot, phase: Phase, seeds: range) -> FloatArray:
    """(S, N) net values of a strategy's customers under each seed."""
    runs = (rollout(world, snapshot, structs.replace(phase, seed=seed), with_oracle=False) for seed in seeds)
    return np.array([run.totals.net for run in runs])
