"""A price by value iteration from what a strategy believes: what is asked of it, and what the price earns."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from experiment_fixtures import TOY_SPEC
from msgspec import structs

from experiments.longrun.cells import Ground, under
from experiments.longrun.commands import tune_fatigue
from experiments.longrun.lsvi import ValueSearch, ask, learn_price, met, tired, watching
from experiments.rollout import rollout
from experiments.spec import Phase, StrategySpec
from nba.errors import InvalidConfig
from nba.outcomes import StageModel
from nba.policies import ThompsonSampling
from nba.posteriors import FactoredModel
from nba.snapshot import Snapshot
from simulator.world import World, load_world

SEARCH = ValueSearch(seed=3, customers=150, days=12, classes=2)
SPEC = (
    TOY_SPEC
    + """
[[strategies]]
name = "thompson"
model = { type = "factored" }
policy = { type = "thompson" }
floor = { epsilon = 0.1 }
"""
)


def spec() -> StrategySpec:
    return StrategySpec(name="thompson", model=FactoredModel(), policy=ThompsonSampling())


@pytest.fixture(scope="module")
def bank() -> World:
    return load_world("retail-bank")


@pytest.fixture(scope="module")
def taught(bank: World) -> Ground:
    start = Snapshot.start(watching(spec()).strategy(bank, 1))
    train = Phase(customers=150, days=12, seed=1, publish_every_days=12)
    return Ground(bank, rollout(bank, start, train, with_oracle=False).snapshot, train)


def test_another_fatigue_makes_the_features_that_the_schema_makes(taught: Ground) -> None:
    schema = taught.snapshot.strategy.schema
    contexts = [one for _, one in met(taught, under(taught.snapshot, None), SEARCH)][-1]
    fatigue = np.random.default_rng(1).exponential(1.0, contexts.fatigue.shape)
    wanted = schema.matrix(contexts.attributes, fatigue, contexts.at)
    np.testing.assert_array_equal(tired(contexts.features, fatigue, schema), wanted)
    blind = structs.replace(schema, moments=False)
    with pytest.raises(InvalidConfig, match="models have to see fatigue"):
        tired(contexts.features, fatigue, blind)


def test_watching_opt_outs_changes_no_utility(taught: Ground, bank: World) -> None:
    own = StageModel(stage="opted_out", rate=0.01, otherwise=-5.0)
    charging = structs.replace(spec(), stages=(own,))
    assert watching(charging) is charging and len(watching(spec()).stages) == 1
    watched = taught.snapshot
    blind = Snapshot.start(spec().strategy(bank, 1)).at(watched.posterior, watched.posterior_seq)
    contexts = [one for _, one in met(taught, under(watched, None), SEARCH)][3]
    for name in ("expected_values", "distribution"):
        ids = np.array([str(row) for row in range(contexts.n_contexts)], dtype=object)
        one, other = (getattr(each.decide(contexts, ids), name) for each in (watched, blind))
        np.testing.assert_array_equal(one, other)


def test_moments_are_met_in_silence_at_the_fatigue_of_others(taught: Ground) -> None:
    asked, step_days = ask(taught, SEARCH, np.random.default_rng(2))
    n, channels = asked.customers.size, len(taught.world.config.catalogue.channels)
    assert asked.gains.shape == asked.leaves.shape == (n, channels)
    assert step_days == pytest.approx(150 * 12 / n)
    assert asked.fatigue[:, :, 1].max() > 1.0 and (asked.leaves > 0).all() and (asked.leaves < 0.2).all()
    open_gains = asked.gains[asked.is_open]
    assert np.isfinite(open_gains).mean() > 0.9 and not np.isfinite(asked.gains[~asked.is_open]).any()
    again, _ = ask(taught, SEARCH, np.random.default_rng(2))
    np.testing.assert_array_equal(asked.gains, again.gains)


def test_a_price_is_learnt_for_every_segment_and_channel(taught: Ground) -> None:
    found = learn_price(taught, ValueSearch(seed=3, customers=250, days=20, classes=1))
    assert set(found.price.segments) == set(taught.segments) and len(found.values) == 1
    for one in (found.price, *found.price.segments.values()):
        assert len(one.levels) == len(one.slopes) == 7 and min(one.levels.values()) >= 0
    assert max(found.price.levels.values()) > 0.05  # an opt-out alone costs that much
    # After 12 days draws tell little: their best contacts are worth next to nothing, and so is attention.
    assert 0.0 <= found.clipped_share < 0.75


@pytest.mark.slow
def test_the_command_learns_a_price_in_the_world_that_tires(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment, out = tmp_path / "toy.toml", tmp_path / "price.toml"
    experiment.write_text(SPEC)
    tune_fatigue(
        out,
        experiment=str(experiment),
        customers=200,
        days=60,
        settle_days=0,
        train_days=30,
        method="lsvi",
        seeds=1,
        fresh_seeds=2,
        as_json=True,
    )
    found = json.loads(capsys.readouterr().out)
    assert found["method"] == "lsvi" and found["tuning_gain"] is None and found["better"]
