"""Forgetting block by block, and the choice of half-lives by what foresees the next day."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from checks.posteriors import features_of, rounds_of, same_state, strategy_of, taught
from learning_fixtures import SCHEMA, drifting_days
from msgspec import json, structs
from small import small_catalogue, small_world

from experiments import half_lives
from experiments.executor import RayExecutor
from experiments.half_lives import choose_half_lives, rounds_by_day
from experiments.spec import Phase, StrategySpec
from nba.bundle import posterior_bytes
from nba.errors import InvalidConfig
from nba.learning import prequential
from nba.policies import RandomEligible
from nba.posteriors import FactoredModel, SegmentRatesModel
from nba.posteriors.forgetting import HalfLives
from nba.snapshot import Snapshot

EVEN = HalfLives(contact=10.0, product=10.0, slope=10.0, pair=10.0, organic=10.0)
UNEVEN = HalfLives(contact=5.0, product=10.0, slope=40.0, pair=20.0, organic=None)


def forgetful(half_life_days: float | HalfLives | None) -> Any:
    return structs.replace(taught(FactoredModel()), half_life_days=half_life_days)


def test_equal_half_lives_are_one_half_life_to_the_last_bit() -> None:
    assert posterior_bytes(forgetful(EVEN).decayed(3.7)) == posterior_bytes(forgetful(10.0).decayed(3.7))
    never = HalfLives(contact=None, product=None, slope=None, pair=None, organic=None)
    same_state(forgetful(never).decayed(30.0), forgetful(None))


def test_each_block_keeps_its_own_share() -> None:
    layout, days = forgetful(UNEVEN).layout, UNEVEN.of_parameters(forgetful(UNEVEN).layout)
    # 2 channels and 2 timings, then 3 products, of 8 columns each; 16 pairs; 3 organic blocks.
    assert days[[0, 8, 16, 24]].tolist() == [5.0] * 4 and days[[32, 40, 48]].tolist() == [10.0] * 3
    assert days[[1, 31, 33, 55]].tolist() == [40.0] * 4
    assert (days[56:72] == 20.0).all() and np.isinf(days[72:]).all() and days.size == layout.n_parameters
    before, after = forgetful(UNEVEN), forgetful(UNEVEN).decayed(10.0)
    keep = np.exp2(-10.0 / days)
    evidence = before.precision - np.diag(before.prior_precision)
    expected = evidence * np.sqrt(np.outer(keep, keep)) + np.diag(before.prior_precision)
    np.testing.assert_allclose(after.precision, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(after.precision, after.precision.T)


def test_widening_holds_the_mean_until_the_prior_pulls() -> None:
    """Under a prior whose mean is the posterior's, forgetting moves nothing and widens every score.

    A single parameter may gain half a per cent: what it shares with a faster one is counted to it alone.
    """
    posterior = forgetful(HalfLives(contact=5.0, product=10.0, slope=40.0, pair=20.0, organic=80.0))
    mean = posterior.parameters()
    centred = structs.replace(posterior, prior_shift=posterior.prior_precision * mean)
    after = centred.decayed(6.0)
    np.testing.assert_allclose(after.parameters(), mean, rtol=1e-9, atol=1e-11)
    wide, narrow = np.linalg.inv(after.precision), np.linalg.inv(posterior.precision)
    assert (np.diag(wide) > 0.99 * np.diag(narrow)).all()
    features = features_of(FactoredModel())
    assert (after.stddev(features)[:, 1:] > posterior.stddev(features)[:, 1:]).all()


def test_what_is_forgotten_becomes_the_prior_and_never_less() -> None:
    posterior, prior = forgetful(UNEVEN), np.diag(forgetful(UNEVEN).prior_precision)
    for elapsed in (1.0, 30.0, 400.0):
        left = np.linalg.eigvalsh(posterior.decayed(elapsed).precision - prior)
        assert left.min() > -1e-10
    old, organic = posterior.decayed(5000.0), posterior.layout.organic_start
    np.testing.assert_allclose(old.precision[:organic, :organic], prior[:organic, :organic], atol=1e-12)
    np.testing.assert_allclose(old.shift[:organic], posterior.prior_shift[:organic], atol=1e-12)
    # Organic blocks never forget: what they know alone is still there.
    kept = posterior.precision[organic:, organic:]
    np.testing.assert_allclose(old.precision[organic:, organic:], kept, rtol=1e-12)
    assert 0 < old.rounds < posterior.rounds


def test_half_lives_are_part_of_the_model() -> None:
    model = FactoredModel(half_life_days=UNEVEN)
    assert json.decode(json.encode(model), type=FactoredModel) == model
    strategy = strategy_of(FactoredModel())
    prior = model.prior(strategy.catalogue, strategy.schema)
    posterior = prior.absorb(prior.evidence(rounds_of(FactoredModel())))
    assert posterior_bytes(posterior.decayed(3.0)) == posterior_bytes(forgetful(UNEVEN).decayed(3.0))
    np.testing.assert_allclose(prior.decayed(9.0).precision, prior.precision, rtol=1e-12)
    np.testing.assert_allclose(prior.decayed(9.0).parameters(), prior.parameters(), atol=1e-12)


@pytest.mark.parametrize("days", [0.0, -1.0, float("inf"), float("nan")])
def test_a_half_life_is_a_number_of_days(days: float) -> None:
    with pytest.raises(InvalidConfig, match="half-lives: slope: must be finite and above 0.*1e9"):
        HalfLives(slope=days)
    with pytest.raises(InvalidConfig, match="model factored: level_sd"):
        FactoredModel(half_life_days=UNEVEN, level_sd=-1.0)


# --- The choice ---

PACES = (None, 15.0, 5.0)
MODEL = SegmentRatesModel()


@pytest.mark.parametrize(("drift", "best"), [(0.0, 0), (0.8, 2)])
def test_forgetting_wins_where_the_world_moves_and_only_there(drift: float, best: int) -> None:
    days = drifting_days(small_catalogue(), n_days=90, n_rows=400, drift=drift, seed=3)
    found = choose_half_lives(FactoredModel(), small_catalogue(), SCHEMA, days, settings=PACES)
    worst = 2 - best
    assert found.best == best and found.excess[worst] > 2.0 * found.errors[worst], found


def test_the_choice_is_that_of_the_scores_one_by_one() -> None:
    days = drifting_days(small_catalogue(), n_days=12, n_rows=60, drift=0.5, seed=1)
    found = choose_half_lives(MODEL, small_catalogue(), SCHEMA, days, settings=PACES, step_days=2.0)
    for pace, mean in zip(PACES, found.means, strict=True):
        prior: Any = structs.replace(MODEL, half_life_days=pace).prior(small_catalogue(), SCHEMA)
        assert prequential(prior, days, step_days=2.0).mean == mean
    assert found.excess[found.best] == found.errors[found.best] == 0.0


@pytest.mark.ray
def test_the_choice_does_not_depend_on_workers(ray_session: ModuleType) -> None:
    ray_session.cloudpickle.register_pickle_by_value(half_lives)
    ray_session.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    days = drifting_days(small_catalogue(), n_days=8, n_rows=80, drift=0.5, seed=2)
    settings = (None, UNEVEN, 20.0)
    one, two = (
        choose_half_lives(
            FactoredModel(), small_catalogue(), SCHEMA, days, settings=settings, executor=executor
        )
        for executor in (None, RayExecutor())
    )
    for first, second in zip(one, two, strict=True):
        np.testing.assert_array_equal(first, second)


def test_days_of_the_simulator_are_what_the_rollout_would_have_learnt() -> None:
    world = small_world()
    spec = StrategySpec(name="random", model=SegmentRatesModel(), policy=RandomEligible())
    phase = Phase(customers=120, days=8, settle_days=4, seed=1)
    days = rounds_by_day(world, Snapshot.start(spec.strategy(world, 1)), phase)
    assert 8 <= len(days) <= 12 and sum(day.n_rows for day in days) > 300
    found = choose_half_lives(
        FactoredModel(), world.config.catalogue, world.config.schema, days, settings=(None, 5.0)
    )
    assert np.isfinite(found.means).all()


def test_a_choice_needs_something_to_choose_from() -> None:
    days = drifting_days(small_catalogue(), n_days=2, n_rows=10, drift=0.0, seed=1)
    with pytest.raises(
        InvalidConfig, match="half-lives: settings: needs two settings .* got 1 settings and 2 days"
    ):
        choose_half_lives(MODEL, small_catalogue(), SCHEMA, days, settings=(None,))
    with pytest.raises(InvalidConfig, match="got 2 settings and 0 days"):
        choose_half_lives(MODEL, small_catalogue(), SCHEMA, [], settings=(None, 1.0))
    with pytest.raises(InvalidConfig, match="only a factored model has blocks, got segment_rates"):
        choose_half_lives(MODEL, small_catalogue(), SCHEMA, days, settings=(None, UNEVEN))
