"""Common noise: the variance of a difference by hand, and in a small bank."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest
from small import small_world

from experiments.noise import nets_by_seed, variance_reduction
from experiments.spec import Phase, StrategySpec
from nba.policies import NoContact, Policy, RandomEligible
from nba.posteriors import SegmentRatesModel
from nba.snapshot import Snapshot

ONE = np.array([[1.0, 3.0, 5.0], [2.0, 2.0, 8.0]])
OTHER = np.array([[0.0, 4.0, 2.0], [1.0, 0.0, 5.0]])


def test_the_figures_by_hand() -> None:
    found = variance_reduction(ONE, OTHER)
    # Over customers: variances 4 + 4 and 12 + 7, of the differences (1, -1, 3) and (1, 2, 3) 4 + 1.
    assert found.over_customers == pytest.approx((4 + 4 + 12 + 7) / (4 + 1))
    # Over seeds: means 3 and 4, 2 and 2, of the differences 1 and 2.
    assert found.over_seeds == pytest.approx((0.5 + 0.0) / 0.5)


def test_what_is_equal_but_for_a_constant_is_compared_without_noise() -> None:
    assert variance_reduction(ONE, ONE + 2.0) == (inf, inf, inf, inf)


def test_independent_noise_gains_nothing() -> None:
    one, other = np.random.default_rng(1).normal(size=(2, 200, 50))
    found = variance_reduction(one, other)
    assert found.over_customers == pytest.approx(1.0, abs=4 * 0.02)
    assert found.over_seeds == pytest.approx(1.0, abs=4 * 0.1)
    assert found.over_seeds_low < 1.0 < found.over_seeds_high < 1.5


def test_two_strategies_meet_the_same_people_on_the_same_days() -> None:
    world = small_world(off=("opt_out", "complaints"))  # rare and dear: they would drown the rest
    phase = Phase(customers=200, days=16, settle_days=8, seed=1)

    def nets(policy: Policy) -> np.ndarray:
        spec = StrategySpec(name="one", model=SegmentRatesModel(), policy=policy)
        return nets_by_seed(world, Snapshot.start(spec.strategy(world, 1)), phase, range(1, 5))

    one, other = nets(RandomEligible()), nets(NoContact())
    assert one.shape == other.shape == (4, 200)
    assert variance_reduction(one, other).over_customers > 1.5
    # Other people under the next seed: that pairing is worth nothing.
    assert variance_reduction(one, np.roll(other, 1, axis=0)).over_customers == pytest.approx(1.0, abs=0.2)
