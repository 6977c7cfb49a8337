"""Simulated contacts teach stages and amounts: known answers, and the same bytes however the work is cut."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from msgspec import structs
from small import bank, ids_of, small_world

from experiments.executor import Report, Task, silent
from experiments.logs import digest
from experiments.rollout import Rollout, Stretch, rollout, run_stretch
from experiments.spec import Phase, StrategySpec
from nba.arrays import FloatArray
from nba.bundle import posterior_bytes
from nba.context import ContextBatch
from nba.outcomes import STAGES, RevenueModel, StageModel
from nba.policies import Greedy
from nba.posteriors import FactoredModel
from nba.propensity import Floor
from nba.snapshot import Snapshot
from simulator.amounts import AmountLaw
from simulator.world import World

TIRING = 1.0  # log factor on the opt-out hazard per unit of the channel's long counter
BASE, LOSS = 0.01, 4.0
LEARN = Phase(customers=1_500, days=40, seed=5, publish_every_days=4)


class Workers:
    """Workers that get pickled copies, in reverse order."""

    def map(self, task: Task[Any, Any], items: Sequence[Any], on_steps: Report | None = None) -> list[Any]:
        sent = [pickle.loads(pickle.dumps(item)) for item in items[::-1]]
        return [pickle.loads(pickle.dumps(task(item, on_steps or silent))) for item in sent][::-1]


def tiring_world() -> World:
    """One channel and product; a tired customer buys as gladly as a rested one, and opts out sooner."""
    usual = bank().config.response.opt_out
    left = structs.replace(usual, base=(BASE,), fatigue=TIRING, irrelevance=0.0, cost=(LOSS,))
    response = {"opt_out": left, "habituation": (0.0,)}
    response |= dict.fromkeys(("short_fatigue", "long_fatigue", "cross_fatigue"), 0.0)
    return small_world(
        channels=("sms",), timings=("morning",), products=("coupon",), response=response, cost=0.01
    )


def started(world: World, **changes: Any) -> Snapshot:
    parts = {"model": FactoredModel(), "policy": Greedy(), "floor": Floor(epsilon=0.1)}
    return Snapshot.start(StrategySpec(name="one", **(parts | changes)).strategy(world, 3))


def opt_outs(money: float) -> tuple[StageModel, ...]:
    return (StageModel(stage="opted_out", rate=0.01, pseudo_contacts=200.0, slope_sd=0.5, otherwise=money),)


def run(world: World, phase: Phase = LEARN, executor: Any = None, **changes: Any) -> Rollout:
    return rollout(world, started(world, **changes), phase, executor, with_oracle=False)


def tired(world: World, long: float) -> ContextBatch:
    """Customers with a long counter; the first day's decisions otherwise."""
    state = world.reset(9, np.arange(200))
    seen = world.observe(state, world.due(state))
    fatigue = np.zeros_like(seen.fatigue)
    fatigue[:, :, 1] = long
    features = seen.features.copy()
    labels = world.config.schema.labels
    features[:, labels.index("fatigue_long")] = np.log1p(long)
    return seen._replace(features=features, fatigue=fatigue)


def contact_share(end: Snapshot, contexts: ContextBatch) -> float:
    """Share of customers with an eligible contact for whom the best utility is a contact's."""
    batch = end.decide(contexts, ids_of(contexts.n_contexts))
    could = batch.eligible[:, 1:].any(axis=1)
    return float((batch.expected_values[could, 1:].max(axis=1) > 0.0).mean())


@pytest.fixture(scope="module")
def ends() -> tuple[Rollout, Rollout]:
    """The same run without money on opt-outs, and with it; both learn the hazard."""
    free, priced = (run(tiring_world(), stages=opt_outs(money)) for money in (0.0, -LOSS))
    return free, priced


def test_a_priced_opt_out_spares_those_who_are_tired_and_only_them(ends: tuple[Rollout, Rollout]) -> None:
    world = tiring_world()
    rested, weary = tired(world, 0.0), tired(world, 3.0)
    free, priced = (one.snapshot for one in ends)
    assert contact_share(free, rested) > 0.7 and contact_share(free, weary) > 0.45
    assert contact_share(priced, rested) > 0.6, "at rest an opt-out is one in a hundred contacts"
    assert contact_share(priced, weary) < 0.05, "and e^3 times as likely when tired"
    lost, net = ([column.sum() for column in pair] for pair in zip(*map(_lost_and_net, ends), strict=True))
    assert lost[1] < 0.7 * lost[0] and net[1] > net[0]


def _lost_and_net(end: Rollout) -> tuple[FloatArray, FloatArray]:
    return end.totals.opt_outs, end.totals.net


def test_the_hazard_of_a_channel_is_found_where_contacts_were_made(ends: tuple[Rollout, Rollout]) -> None:
    """Truth: delivery x (1 - exp(-base exp(counter))); counters of a daily contact end near 3."""
    world = tiring_world()
    (belief,) = ends[0].snapshot.outcomes.stages
    for level in (1.0, 2.0, 3.0):
        found = belief.frozen().probabilities(tired(world, level).features).mean()
        truth = world.config.response.delivery[0] * -np.expm1(-BASE * np.exp(TIRING * level))
        assert abs(np.log(found / truth)) < np.log(1.5), level


def test_amounts_are_recovered_from_the_run() -> None:
    world = small_world()
    end = run(world, Phase(customers=1_200, days=60, seed=4, publish_every_days=10), revenue=RevenueModel())
    revenue, state = end.snapshot.outcomes.revenue, world.reset(9, np.arange(400))
    assert revenue is not None and revenue.state.sales[0] > 200
    rows = np.arange(400)
    law = AmountLaw.of(world.config)
    truth = law.expected(state.people, rows) / world.config.catalogue.margins
    believed = revenue.frozen().ratios(world.observe(state, rows).features)
    sales = end.outcomes.amount / world.config.catalogue.margins[end.outcomes.product]
    error = 3 * sales.std() / np.sqrt(float(revenue.state.sales[0]))
    assert abs(believed.mean() - truth.mean()) < error
    by_wealth = np.corrcoef(believed.mean(axis=1), truth.mean(axis=1))[0, 1]
    assert by_wealth > 0.7, "who is wealthy brings more"


def test_however_the_work_is_cut_the_bytes_are_the_same() -> None:
    world, phase = small_world(), Phase(customers=4_500, days=8, seed=2, publish_every_days=4, settle_days=4)
    changes: dict[str, Any] = {"stages": opt_outs(-5.0), "revenue": RevenueModel(half_life_days=30.0)}
    one, other = (run(world, phase, executor, **changes) for executor in (None, Workers()))
    assert digest(one.decisions, one.outcomes) == digest(other.decisions, other.outcomes)
    assert posterior_bytes(one.snapshot.posterior, one.snapshot.outcomes) == posterior_bytes(
        other.snapshot.posterior, other.snapshot.outcomes
    )
    assert one.snapshot.outcomes.revenue is not None
    assert posterior_bytes(one.snapshot.posterior) != posterior_bytes(
        one.snapshot.posterior, one.snapshot.outcomes
    )


def test_an_answer_is_not_known_before_the_contact_is_made() -> None:
    world = small_world(timings=("now", "next_key_day"))
    work = Stretch(
        world, started(world, stages=opt_outs(0.0)), 2, np.arange(300), None, 6, 6, True, True, False
    )
    result = run_stretch(work, silent)
    log = result.logs.decisions
    made = (log.action > 0) & ~log.refused
    assert result.observed is not None
    taught, days = result.observed.aftermath.contacts, result.observed.contact_keys[:, 0]
    assert (made & (log.contact_day >= 6)).any(), "some are still planned when the stretch ends"
    assert np.array_equal(np.sort(days), np.sort(log.contact_day[made & (log.contact_day < 6)]))
    assert (taught.exposure == 1.0).all()
    expected = [getattr(log, stage)[made & (log.contact_day < 6)].sum() for stage in STAGES]
    assert np.array_equal(taught.events.sum(axis=0), expected)
