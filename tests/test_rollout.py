"""Rollouts: the same log and posterior however the work is cut, and what is learnt from it."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from msgspec import structs
from small import bank, small_world

from experiments import rollout as rollouts
from experiments.executor import Report, Task, silent
from experiments.logs import digest, join
from experiments.rollout import Rollout, Stretch, rollout, run_stretch
from experiments.spec import Phase, StrategySpec
from experiments.tallies import DAILY, OF_ORACLE
from nba.bundle import posterior_bytes
from nba.constraints import ContactPolicy, Near
from nba.policies import Greedy, NoContact, Policy, RandomEligible, ThompsonSampling
from nba.posteriors import DisjointModel, FactoredModel, Model, SegmentRatesModel
from nba.propensity import Floor
from nba.snapshot import Snapshot
from simulator.world import World

PHASE = Phase(customers=90, days=24, seed=2, publish_every_days=6, settle_days=5)


class Workers:
    """Workers that get pickled copies, in reverse order: what a cluster may do to the work."""

    def map(self, task: Task[Any, Any], items: Sequence[Any], on_steps: Report | None = None) -> list[Any]:
        sent = [pickle.loads(pickle.dumps(item)) for item in items[::-1]]
        return [pickle.loads(pickle.dumps(task(item, on_steps or silent))) for item in sent][::-1]


def spec(model: Model, policy: Policy, epsilon: float = 0.0) -> StrategySpec:
    return StrategySpec(name="one", model=model, policy=policy, floor=Floor(epsilon=epsilon))


def start(world: World, model: Model, policy: Policy, epsilon: float = 0.02, seed: int = 3) -> Snapshot:
    return Snapshot.start(spec(model, policy, epsilon).strategy(world, seed))


def fingerprint(run: Rollout) -> tuple[str, bytes, int]:
    return (
        digest(run.decisions, run.outcomes),
        posterior_bytes(run.snapshot.posterior),
        run.snapshot.posterior_seq,
    )


def learn(world: World, executor: Any = None, phase: Phase = PHASE, **changes: Any) -> Rollout:
    snapshot = start(world, FactoredModel(), ThompsonSampling(n_draws=16), **changes)
    return rollout(world, snapshot, phase, executor)


@pytest.fixture(scope="module")
def small() -> World:
    """Branches of ten customers: a block holds whole ones."""
    return small_world(population={"branch_customers": 10})


@pytest.fixture(scope="module")
def reference(small: World) -> Rollout:
    return learn(small)


def test_two_runs_are_identical(small: World, reference: Rollout) -> None:
    assert reference.decisions.number.size > 400 and reference.outcomes.day.size > 15
    assert fingerprint(learn(small)) == fingerprint(reference)


@pytest.mark.parametrize("size", [10, 30, 70])
def test_neither_log_nor_posterior_depends_on_the_size_of_blocks(
    size: int, small: World, reference: Rollout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollouts, "BLOCK_CUSTOMERS", size)
    run = learn(small)
    assert fingerprint(run) == fingerprint(reference)
    for name, column in run.totals._asdict().items():
        np.testing.assert_allclose(column, getattr(reference.totals, name), rtol=1e-12, err_msg=name)
    np.testing.assert_allclose(run.daily, reference.daily, rtol=1e-9)


def test_workers_change_nothing(small: World, reference: Rollout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollouts, "BLOCK_CUSTOMERS", 20)
    assert fingerprint(learn(small, Workers())) == fingerprint(reference)


@pytest.mark.parametrize("size", [7, 14])
def test_the_whole_bank_does_not_depend_on_the_size_of_blocks(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Appointments and invitations among them, as long as a block holds whole branches."""
    config = bank().config
    world = World(structs.replace(config, population=structs.replace(config.population, branch_customers=7)))
    phase = Phase(customers=60, days=12, seed=2, settle_days=3)
    snapshot = start(world, SegmentRatesModel(), RandomEligible(), epsilon=0.0)
    whole = rollout(world, snapshot, phase)
    assert whole.decisions.refused.any() and whole.decisions.queued_days.any()
    monkeypatch.setattr(rollouts, "BLOCK_CUSTOMERS", size)
    cut = rollout(world, snapshot, phase)
    assert digest(cut.decisions, cut.outcomes) == digest(whole.decisions, whole.outcomes)


@pytest.mark.parametrize(("first", "branch"), [(0, 10), (10, 10), (35, 10), (0, 2), (0, 16), (40, 100)])
def test_blocks_hold_whole_branches(first: int, branch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollouts, "BLOCK_CUSTOMERS", 20)
    world = small_world(population={"branch_customers": branch})
    cohorts = rollouts.cohorts_of(rollouts.block_customers(world), first, 95)
    np.testing.assert_array_equal(np.concatenate(cohorts), np.arange(first, first + 95))
    branches = [set((ids // branch).tolist()) for ids in cohorts]
    assert sum(map(len, branches)) == len(set().union(*branches)), "no branch lies in two blocks"
    assert all(ids.size <= max(2 * branch, 20) for ids in cohorts)


def test_a_customer_does_not_feel_who_else_is_simulated(small: World) -> None:
    snapshot, phase = start(small, FactoredModel(), RandomEligible()), Phase(customers=60, days=20, seed=2)
    everybody = rollout(small, snapshot, phase)
    some = rollout(small, snapshot, structs.replace(phase, customers=20), first_customer=20)
    for log, part in ((everybody.decisions, some.decisions), (everybody.outcomes, some.outcomes)):
        theirs = (log.customer >= 20) & (log.customer < 40)
        assert theirs.any()
        for name, column in part._asdict().items():
            np.testing.assert_array_equal(getattr(log, name)[theirs], column, err_msg=name)


@pytest.mark.parametrize("change", [{"seed": 3}, {"customers": 91}, {"days": 25}], ids=str)
def test_another_phase_is_another_run(change: dict[str, int], small: World, reference: Rollout) -> None:
    run = learn(small, phase=structs.replace(PHASE, **change))
    assert fingerprint(run)[0] != fingerprint(reference)[0]


def test_the_strategy_seed_changes_decisions_and_not_the_customers(small: World, reference: Rollout) -> None:
    run = learn(small, seed=4)
    assert (run.decisions.action != reference.decisions.action).any()
    np.testing.assert_array_equal(run.decisions.customer, reference.decisions.customer)


def test_without_publication_nothing_is_learnt(small: World) -> None:
    run = learn(small, phase=structs.replace(PHASE, publish_every_days=0))
    prior = start(small, FactoredModel(), ThompsonSampling()).posterior
    assert run.snapshot.posterior_seq == 0
    assert posterior_bytes(run.snapshot.posterior) == posterior_bytes(prior)


def test_without_learning_a_block_runs_through_and_is_forgotten(small: World) -> None:
    snapshot, ids = start(small, FactoredModel(), ThompsonSampling(n_draws=16)), np.arange(30)
    work = Stretch(small, snapshot, 2, ids, None, 9, 6, is_last=True, learns=False, with_oracle=False)
    whole = run_stretch(work, silent)
    assert whole.block is None and whole.rounds is None and whole.round_keys.size == 0
    first = run_stretch(work._replace(days=4, deciding_days=4, is_last=False), silent)
    assert first.block is not None and first.block.ledger.features.shape[1] == 0
    rest = run_stretch(work._replace(block=first.block, days=5, deciding_days=2), silent)
    for name, column in whole.totals._asdict().items():
        np.testing.assert_array_equal(getattr(rest.totals, name), column, err_msg=name)
    assert digest(*join([first.logs, rest.logs])) == digest(*whole.logs)


def test_what_is_not_taught_is_credited_all_the_same(small: World) -> None:
    """Without learning no probes are watched; crediting must not notice."""
    snapshot = start(small, SegmentRatesModel(), RandomEligible(), 0.0)
    learning = rollout(small, snapshot, structs.replace(PHASE, publish_every_days=40))
    without = rollout(small, snapshot, structs.replace(PHASE, publish_every_days=0))
    assert (without.outcomes.decision >= 0).any()
    assert digest(without.decisions, without.outcomes) == digest(learning.decisions, learning.outcomes)


def test_without_the_oracle_everything_else_is_the_same(small: World, reference: Rollout) -> None:
    snapshot = start(small, FactoredModel(), ThompsonSampling(n_draws=16))
    run = rollout(small, snapshot, PHASE, with_oracle=False)
    assert fingerprint(run) == fingerprint(reference)
    known = [number for number, name in enumerate(DAILY) if name not in OF_ORACLE]
    np.testing.assert_array_equal(run.daily[:, known], reference.daily[:, known])
    for name, column in run.totals._asdict().items():
        if name in OF_ORACLE:
            assert np.isnan(column[reference.totals.decisions > 0]).all()
        else:
            np.testing.assert_array_equal(column, getattr(reference.totals, name), err_msg=name)


def test_regret_is_measured_by_the_rules_of_the_bank(small: World) -> None:
    """A strategy that forbids itself every contact misses all that the bank allows."""
    never = tuple(Near(timing=name, attribute="age", within_days=0) for name in ("morning", "evening"))
    phase, silent_one = structs.replace(PHASE, publish_every_days=0), spec(SegmentRatesModel(), NoContact())
    free, bound = (
        rollout(small, Snapshot.start(structs.replace(silent_one, rules=rules).strategy(small, 3)), phase)
        for rules in ((), never)
    )
    assert (bound.decisions.n_eligible == 1).all() and (free.decisions.n_eligible > 1).any()
    np.testing.assert_array_equal(bound.totals.oracle_value, free.totals.oracle_value)
    assert free.totals.oracle_value.sum() > 0


def test_the_control_contacts_nobody(small: World) -> None:
    run = rollout(small, start(small, SegmentRatesModel(), NoContact(), 0.0), PHASE)
    assert not run.decisions.action.any() and not run.outcomes.caused.any()
    assert (run.outcomes.decision == -1).all() and run.outcomes.day.size > 0
    assert not (run.totals.cost.any() or run.totals.loss.any() or run.totals.contacts.any())


def test_totals_and_days_agree_with_the_log(small: World, reference: Rollout) -> None:
    decisions, outcomes, n = reference.decisions, reference.outcomes, PHASE.customers
    totals = reference.totals
    made = (decisions.action > 0) & ~decisions.refused
    by_customer = np.bincount(decisions.customer, made, minlength=n)
    np.testing.assert_array_equal(totals.contacts, by_customer)
    np.testing.assert_allclose(totals.cost, np.bincount(decisions.customer, decisions.cost, minlength=n))
    np.testing.assert_allclose(totals.value, np.bincount(outcomes.customer, outcomes.amount, minlength=n))
    assert reference.daily.shape[0] == PHASE.days + PHASE.settle_days
    assert reference.daily[:, 0].sum() == decisions.number.size
    assert reference.daily[:, 2].sum() == outcomes.day.size
    # No strategy expects more than the best allowed action.
    assert (totals.expected_value <= totals.oracle_value + 1e-9).all()


def test_every_credited_conversion_is_taught_once() -> None:
    world = small_world(products=("coupon", "card-instalment"))
    snapshot = start(world, SegmentRatesModel(pseudo_contacts=1.0), RandomEligible(), 0.0)
    # Two windows of settling, so that every round has ended.
    phase = structs.replace(PHASE, customers=500, settle_days=40)
    run = rollout(world, snapshot, phase)
    prior: Any = snapshot.posterior
    posterior: Any = run.snapshot.posterior
    credited = run.outcomes.product[run.outcomes.decision >= 0]
    taught = (posterior.conversions - prior.conversions).sum(axis=0)
    np.testing.assert_allclose(taught, np.bincount(credited, minlength=2))
    assert credited.size > 80


# What is learnt.


def shares_of_products(world: World, snapshot: Snapshot, policy: Policy) -> Any:
    """(1 + P,) shares of no-contact and of each product among the decisions for fresh customers."""
    strategy = structs.replace(snapshot.strategy, policy=policy)
    phase = Phase(customers=500, days=24, seed=9)
    run = rollout(world, structs.replace(snapshot, strategy=strategy), phase, first_customer=10**6)
    products = world.config.catalogue.product_of[run.decisions.action]
    return np.bincount(products + 1, minlength=4) / products.size


@pytest.mark.slow
def test_a_product_that_sells_by_itself_is_not_offered() -> None:
    """Methods H21: 5 % organic conversions per window, no uplift. A table of gross rates falls for it."""
    world = small_world(
        channels=("sms", "email"),
        products=("card-instalment", "term-deposit", "savings-plan"),
        response={"lift": (0.0, 0.4, 0.4), "organic": (0.0036, 2e-4, 2e-4)},
        population={"ownership_rates": (0.0, 0.1, 0.1), "consent_rates": (0.9, 0.9)},
        policy=ContactPolicy(product_rest_days=7),
        cost=1.0,
    )
    phase = Phase(customers=2000, days=60, seed=1, publish_every_days=10)
    shares = {}
    for model in (FactoredModel(), SegmentRatesModel()):
        learnt = rollout(world, start(world, model, RandomEligible(), 0.0), phase).snapshot
        shares[type(model)] = shares_of_products(world, learnt, Greedy())
    assert shares[FactoredModel][1] < 0.02
    assert shares[SegmentRatesModel][1] > 0.08
    # Products with uplift are offered all the same.
    assert shares[FactoredModel][2:].sum() > 0.6


@pytest.mark.slow
def test_sharing_factors_learns_faster_than_separate_actions() -> None:
    """Estimators T4: at least 8 % more expected value while learning, over five seeds.

    In a bank whose contacts lift twice as much as the calibrated one's, where four weeks tell more.
    """
    full = bank().config.catalogue
    world = small_world(
        response={"lift": tuple(2.0 * lift for lift in bank().config.response.lift[:10])},
        channels=[channel.name for channel in full.channels],
        timings=[timing.name for timing in full.timings],
        products=[product.name for product in full.products[:10]],
        policy=bank().config.contact.policy,
    )
    gains = []
    for seed in range(1, 6):
        phase = Phase(customers=800, days=32, seed=seed, publish_every_days=4)
        shared, separate = (
            rollout(
                world, start(world, model, ThompsonSampling(), seed=seed), phase
            ).totals.expected_value.sum()
            for model in (FactoredModel(), DisjointModel())
        )
        gains.append(shared / separate)
    assert np.mean(gains) >= 1.08, gains
