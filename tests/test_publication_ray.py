"""Apprentices and fitted posteriors on a real Ray: the bits are those of one process."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
from small import small_world

from experiments import rollout as rollouts
from experiments.bagging import fit_members
from experiments.compare import run_experiment
from experiments.executor import Executor, RayExecutor, SerialExecutor
from experiments.logs import digest
from experiments.results import ExperimentResult
from experiments.rollout import Rollout, rollout
from experiments.spec import CONTROL, Experiment, Imitation, Phase, StrategySpec
from nba.bundle import posterior_bytes
from nba.policies import Greedy, NoContact, ThompsonSampling
from nba.posteriors import BaggedModel, FactoredModel, SegmentRatesModel
from nba.posteriors.bagged import BaggedRegressors
from nba.propensity import Floor
from simulator.world import World

pytestmark = pytest.mark.ray

TREES = BaggedModel(
    regressor="sklearn.tree.DecisionTreeRegressor",
    settings={"max_depth": 4, "min_samples_leaf": 5},
    n_members=3,
)
SPECS = (
    StrategySpec(name=CONTROL, model=SegmentRatesModel(), policy=NoContact()),
    StrategySpec(name="rules", model=SegmentRatesModel(), policy=Greedy(), floor=Floor(epsilon=0.1)),
    StrategySpec(name="bagged", model=TREES, policy=ThompsonSampling()),
    StrategySpec(name="bagged-too", model=TREES, policy=Greedy()),
    StrategySpec(
        name="pupil",
        model=FactoredModel(),
        policy=Greedy(),
        apprentice=Imitation(imitates="rules", required_match=0.3, window_rounds=60, least_rounds=60),
    ),
)
PHASE = Phase(customers=60, days=12, seed=2, publish_every_days=6)
EXPERIMENT = Experiment(
    name="school",
    world="small",
    train=PHASE,
    evaluate=Phase(customers=30, days=4, seed=5),
    strategies=SPECS,
)


@pytest.fixture(scope="module")
def world() -> World:
    return small_world(population={"branch_customers": 10})


def run_of(name: str, world: World, executor: Executor) -> Rollout:
    decider = EXPERIMENT.contender(EXPERIMENT.spec(name), world, 3).start()
    return rollout(world, decider, PHASE, executor)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pupil", "bagged"])
def test_one_worker_or_two_makes_no_difference(
    name: str, world: World, ray_session: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollouts, "BLOCK_CUSTOMERS", 20)
    one, two = (run_of(name, world, executor) for executor in (SerialExecutor(), RayExecutor()))
    assert digest(one.decisions, one.outcomes) == digest(two.decisions, two.outcomes)
    assert posterior_bytes(one.snapshot.posterior) == posterior_bytes(two.snapshot.posterior)
    if one.apprenticeship is not None and two.apprenticeship is not None:
        assert one.apprenticeship.tutored.apprentice == two.apprenticeship.tutored.apprentice
        assert one.apprenticeship.switched_after == two.apprenticeship.switched_after is not None
    else:
        assert name == "bagged" and isinstance(two.snapshot.posterior, BaggedRegressors)
        fitted = fit_members(two.snapshot.posterior, SerialExecutor())
        features = np.ones((4, world.config.schema.n_columns))
        np.testing.assert_array_equal(one.snapshot.posterior.mean(features), fitted.mean(features))


def leaderboard(found: ExperimentResult) -> list[object]:
    return [(one.row, one.apprenticed, one.totals.net.tolist()) for one in found.results]


@pytest.mark.slow
def test_jobs_fit_members_as_tasks_of_their_own(world: World, ray_session: ModuleType) -> None:
    """More jobs than workers, each waiting for its members: a job that waits gives its worker away."""
    one, two = (run_experiment(world, EXPERIMENT, executor) for executor in (SerialExecutor(), RayExecutor()))
    assert leaderboard(one) == leaderboard(two)
    assert [one_.apprenticed is not None for one_ in two.results].count(True) == 1
    sentence = "pupil imitated rules and was put in charge after "
    assert sentence in two.verdict and two.verdict == one.verdict
