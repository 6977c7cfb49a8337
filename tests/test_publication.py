"""What is learnt between two stretches, when it is published, and an apprentice in a run."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from checks.posteriors import rounds_of
from msgspec import structs, toml
from small import open_strategy, small_contexts, small_world

from experiments import rollout as rollouts
from experiments.compare import Job, run_job
from experiments.executor import Report, SerialExecutor, Task, silent
from experiments.logs import digest
from experiments.publication import Learning, Lesson
from experiments.results import Apprenticed
from experiments.rollout import Rollout, rollout
from experiments.spec import Experiment, Imitation, Phase, StrategySpec
from nba.apprentice import Comparison, Tutored
from nba.arrays import take_rows
from nba.bundle import posterior_bytes
from nba.errors import InvalidConfig
from nba.feedback import RoundBatch
from nba.policies import Falcon, Greedy, NoContact, Policy, ThompsonSampling
from nba.posteriors import (
    BaggedModel,
    FactoredModel,
    LogisticModel,
    Model,
    NeuralLinearModel,
    SegmentRatesModel,
)
from nba.posteriors.glm import FactoredGlm
from nba.propensity import Floor
from nba.snapshot import Snapshot
from simulator.world import World

SERIAL = SerialExecutor()
PHASE = Phase(customers=90, days=24, seed=2, publish_every_days=6, settle_days=5)
TREES = BaggedModel(
    regressor="sklearn.tree.DecisionTreeRegressor",
    settings={"max_depth": 4, "min_samples_leaf": 5},
    n_members=3,
)


def snapshot(model: Model, policy: Policy, **changes: Any) -> Snapshot:
    return Snapshot.start(open_strategy(model=model, policy=policy, **changes))


def one_round() -> RoundBatch:
    """A row that was watched for a whole window."""
    rounds = take_rows(rounds_of(FactoredModel()), slice(0, 1))
    return rounds._replace(exposure=np.ones(1))


# --- Epochs ---


@pytest.mark.parametrize("half_life", [None, 0.5])
def test_epochs_end_after_1_3_7_15_rounds_whatever_is_forgotten(half_life: float | None) -> None:
    """With half a day of memory the posterior never remembers two rounds: 1 + 1/4 + 1/16 ..."""
    learning = Learning.start(snapshot(FactoredModel(half_life_days=half_life), Falcon()), SERIAL)
    ends, lesson = [], Lesson(1, one_round())
    for count in range(1, 33):
        before, learning = learning.decides, learning.after(lesson, SERIAL)
        assert learning.knows.posterior_seq == count and learning.rounds == count
        if learning.decides is not before:
            assert learning.decides is learning.knows
            ends.append(count)
    assert ends == [1, 3, 7, 15, 31]
    assert half_life is None or learning.knows.posterior.rounds < 2.0


def test_other_policies_publish_after_every_stretch() -> None:
    learning = Learning.start(snapshot(FactoredModel(), ThompsonSampling(n_draws=4)), SERIAL)
    for _ in range(3):
        learning = learning.after(Lesson(1, one_round()), SERIAL)
        assert learning.decides is learning.knows


def start(world: World, model: Model, policy: Policy) -> Snapshot:
    spec = StrategySpec(name="one", model=model, policy=policy, floor=Floor(epsilon=0.02))
    return Snapshot.start(spec.strategy(world, 3))


class Waiting(Greedy, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="waiting"):
    """A policy in the first of its epochs, which has no end."""

    def publishes(self, then: float, now: float) -> bool:
        """Never."""
        return False


def test_a_run_that_may_not_publish_decides_as_it_began_and_learns_all_the_same() -> None:
    world = small_world()
    run = rollout(world, start(world, FactoredModel(), Waiting()), PHASE)
    frozen = structs.replace(PHASE, publish_every_days=0)
    unlearnt = rollout(world, start(world, FactoredModel(), Greedy()), frozen)
    assert digest(run.decisions, run.outcomes) == digest(unlearnt.decisions, unlearnt.outcomes)
    assert run.snapshot.posterior.rounds > 30 and run.snapshot.posterior_seq > 30
    learning = rollout(world, start(world, FactoredModel(), Greedy()), PHASE)
    assert (learning.decisions.action != run.decisions.action).any()


# --- Batches ---


def big_batch(prior: FactoredGlm) -> RoundBatch:
    """Rewards many times the forecast: where one Newton step overshoots."""
    rounds = rounds_of(LogisticModel())
    return rounds._replace(rewards=np.ones_like(rounds.rewards), exposure=np.ones_like(rounds.exposure))


def test_a_batch_leads_a_generalised_linear_model_to_its_mode() -> None:
    before = snapshot(LogisticModel(), Greedy())
    prior: Any = before.posterior
    rounds = big_batch(prior)
    after: Any = before.learn(rounds, 7).posterior
    at = after.parameters()

    def slope(theta: Any) -> Any:
        likelihood = prior.gradient_and_curvature(rounds, theta).gradient
        return likelihood + prior.prior_shift - prior.prior_precision * theta

    assert np.abs(slope(at)).max() < 1e-6
    step = prior.absorb(prior.evidence(rounds)).parameters()
    assert np.abs(slope(step)).max() > 1e-2, "one Newton step is not there"


@pytest.mark.parametrize("model", [TREES, NeuralLinearModel(steps=20)], ids=["bagged", "neural"])
def test_what_is_published_is_fitted_before_it_is_shipped(model: Model) -> None:
    learning = Learning.start(snapshot(model, ThompsonSampling()), SERIAL)
    learning = learning.after(Lesson(1, rounds_of(FactoredModel())), SERIAL)
    name = "ensemble" if model is TREES else "network"
    shipped: Any = pickle.loads(pickle.dumps(learning.decides.posterior))
    assert name in shipped.__dict__


@pytest.mark.parametrize("model", [FactoredModel(), TREES, NeuralLinearModel(steps=20), LogisticModel()])
def test_a_day_on_which_nobody_is_due_is_no_error(model: Model) -> None:
    one = snapshot(model, ThompsonSampling())
    nobody = one.strategy.encode(small_contexts(one.strategy, 2, 0)).take(np.zeros(0, dtype=np.int64))
    batch = one.decide(nobody, np.zeros(0, dtype=object))
    assert batch.actions.size == 0 and batch.distribution.shape == (0, one.strategy.catalogue.n_actions)


# --- Apprentices ---

SPECS = (
    StrategySpec(name="no-contact", model=SegmentRatesModel(), policy=NoContact()),
    StrategySpec(name="rules", model=SegmentRatesModel(), policy=Greedy(), floor=Floor(epsilon=0.1)),
    StrategySpec(
        name="pupil",
        model=FactoredModel(),
        policy=Greedy(),
        apprentice=Imitation(imitates="rules", required_match=0.3, window_rounds=60, least_rounds=60),
    ),
)
EXPERIMENT = Experiment(
    name="school",
    world="small",
    train=PHASE,
    evaluate=Phase(customers=40, days=6, seed=5),
    strategies=SPECS,
)


class Workers:
    """Workers that get pickled copies, in reverse order: what a cluster may do to the work."""

    def map(self, task: Task[Any, Any], items: Sequence[Any], on_steps: Report | None = None) -> list[Any]:
        sent = [pickle.loads(pickle.dumps(item)) for item in items[::-1]]
        return [pickle.loads(pickle.dumps(task(item, on_steps or silent))) for item in sent][::-1]


def school(world: World, executor: Any = None, **changes: Any) -> Rollout:
    spec = EXPERIMENT.spec("pupil")
    assert spec.apprentice is not None
    given = structs.replace(spec, apprentice=structs.replace(spec.apprentice, **changes))
    return rollout(world, EXPERIMENT.contender(given, world, 3).start(), PHASE, executor)


@pytest.fixture(scope="module")
def small() -> World:
    return small_world(population={"branch_customers": 10})


def test_the_rules_decide_until_the_match_is_shown(small: World) -> None:
    run = school(small)
    assert run.apprenticeship is not None
    tutored, after = run.apprenticeship
    assert tutored.apprentice.in_charge and after is not None and after % 6 == 0
    rules = rollout(
        small, EXPERIMENT.contender(SPECS[1], small, 3).start(), structs.replace(PHASE, publish_every_days=0)
    )
    first = run.decisions.day.min()
    for log, other in ((run.decisions, rules.decisions), (rules.decisions, run.decisions)):
        held = log.day < first + after
        np.testing.assert_array_equal(log.action[held], other.action[other.day < first + after])
    later = run.decisions.day >= first + after
    assert later.any() and run.snapshot.posterior_seq == tutored.learner.posterior_seq > 0
    assert tutored.rules.posterior_seq == 0, "the rules stay as they are"


def test_who_does_not_match_never_decides(small: World) -> None:
    run = school(small, required_match=0.97, window_rounds=120)
    assert run.apprenticeship is not None
    found = Apprenticed.of(run.apprenticeship)
    assert found is not None and found.switched_after_days is None and found.match is not None
    assert found.match_low is not None and found.match_low < 0.97 and found.decisions > 240
    assert found.sentence("pupil").startswith("pupil imitated rules and was not put in charge (match ")
    assert found.sentence("pupil").endswith("97% needed): rules decides.")
    assert run.snapshot.posterior_seq > 0, "it learns all the same"


@pytest.mark.parametrize("size", [10, 30])
def test_neither_blocks_nor_workers_move_the_switch(
    size: int, small: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = school(small)
    monkeypatch.setattr(rollouts, "BLOCK_CUSTOMERS", size)
    cut = school(small, Workers())
    assert whole.apprenticeship is not None and cut.apprenticeship is not None
    assert cut.apprenticeship.switched_after == whole.apprenticeship.switched_after
    assert cut.apprenticeship.tutored.apprentice == whole.apprenticeship.tutored.apprentice
    assert digest(cut.decisions, cut.outcomes) == digest(whole.decisions, whole.outcomes)
    assert posterior_bytes(cut.snapshot.posterior) == posterior_bytes(whole.snapshot.posterior)


def test_what_is_judged_is_who_is_in_charge(small: World) -> None:
    """The learner once it is in charge, as an ordinary snapshot; before that the rules as they began."""
    done = run_job(Job(small, EXPERIMENT, SPECS[2], SERIAL), silent)
    assert done.apprenticeship is not None and done.apprenticeship.tutored.apprentice.in_charge
    assert done.snapshot.strategy.name == "pupil" and done.snapshot.posterior_seq == 0
    learnt = done.apprenticeship.tutored.learner.posterior
    assert posterior_bytes(done.snapshot.posterior) == posterior_bytes(learnt)
    strict = Imitation(imitates="rules", required_match=0.97, window_rounds=120)
    held = run_job(Job(small, EXPERIMENT, structs.replace(SPECS[2], apprentice=strict), SERIAL), silent)
    assert held.snapshot.strategy.name == "rules" and held.snapshot.posterior.rounds == 0.0


def test_a_policy_with_epochs_may_be_an_apprentice() -> None:
    """It is put in charge at once, deciding with what it has published."""
    pair = Tutored(
        learner=snapshot(FactoredModel(), Falcon()),
        rules=snapshot(SegmentRatesModel(), Greedy()),
        apprentice=Imitation(imitates="rules", required_match=0.3, window_rounds=8, least_rounds=0).begun(),
    )
    none = take_rows(one_round(), slice(0, 0))
    agreed = Comparison(np.ones(8), np.zeros(8), np.arange(8))
    after = Learning.start(pair, SERIAL).after(Lesson(1, none, agreed), SERIAL)
    assert isinstance(after.decides, Tutored) and after.decides.apprentice.in_charge
    assert after.switched_after == 1 and after.decides.learner is pair.learner


@pytest.mark.parametrize("name", ["pupil", "nobody"])
def test_an_apprentice_imitates_another_strategy_that_is_there(name: str) -> None:
    wrong = structs.replace(SPECS[2], apprentice=Imitation(imitates=name))
    rule = f"strategies.2..apprentice.imitates: must be another strategy .*no-contact, rules; got '{name}'"
    with pytest.raises(InvalidConfig, match=rule):
        structs.replace(EXPERIMENT, strategies=(*SPECS[:2], wrong))


def test_an_apprentice_is_written_in_toml() -> None:
    text = 'imitates = "rules"\nrequired_match = 0.6\nwindow_rounds = 500'
    read = toml.decode(text, type=Imitation)
    assert read.begun().required_match == 0.6 and read.least_rounds == 2_000
    with pytest.raises(InvalidConfig, match="window_rounds: cannot show 0.9"):
        Imitation(imitates="rules", required_match=0.9, window_rounds=20)
