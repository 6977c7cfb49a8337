"""Journeys, what their log says of another strategy, `nba fit-q`, and prices tuned for a wrong half-life."""

from __future__ import annotations

from functools import cache
from importlib import resources
from itertools import product
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import typer
from msgspec import structs
from typer.testing import CliRunner

from experiments.benchmarks.long_run.offline_peer import is_here, silent, small_bank
from experiments.benchmarks.longrun import CHANCES, OFFERS
from experiments.executor import SerialExecutor
from experiments.longrun import misspecified_bank
from experiments.longrun.cells import under
from experiments.longrun.commands import fit_q
from experiments.longrun.journeys import Asked, Journeys, Span, Told, by, journeys
from experiments.longrun.log_verdict import returns, verdict
from experiments.longrun.misspecified import played
from experiments.longrun.misspecified_bank import counting
from experiments.longrun.one_channel import (
    FatigueProblem,
    best_constant_price,
    optimal_price,
    price_values,
    tabulate,
)
from experiments.longrun.tune import Search
from experiments.rollout import rollout
from experiments.spec import Phase, load_experiment
from nba.bundle import load_bundle
from nba.errors import InvalidConfig
from nba.fatigue import FatiguePrice
from nba.posteriors import FittedAdvantages
from nba.snapshot import Snapshot
from simulator.env import CustomersEnv
from simulator.world import World

SPAN = Span(customers=120, days=28, settle_days=7, seed=3)
NARROW = ["--channels", "app_push,sms", "--timings", "now", "--products", "term-deposit,coupon"]


@cache
def bank() -> World:
    return small_bank()


@cache
def explored() -> Journeys:
    who = silent(bank(), exploring=0.5)
    return journeys(bank(), by(who), SPAN, targets=[who, silent(bank())])


def test_journeys_are_the_lives_that_the_environment_shows() -> None:
    log, envs = explored(), CustomersEnv(SPAN.customers, bank(), days=28, settle_days=7, world_seed=3)
    observation, _ = envs.reset(options={"customers": np.arange(SPAN.customers)})
    done, net = log.decisions, np.zeros(SPAN.customers)
    for order in range(int(done.order.max()) + 1):
        rows = np.flatnonzero(done.order == order)
        rows = rows[np.argsort(done.seats[rows])]
        assert rows.size == SPAN.customers, "everybody has as many decisions in so few days"
        np.testing.assert_allclose(observation["features"], done.features[rows], rtol=1e-6, atol=1e-7)
        np.testing.assert_array_equal(observation["action_mask"] > 0, done.eligible[rows])
        observation, rewards, *_ = envs.step(done.actions[rows])
        net += rewards
        if order:  # the environment pays what came before the first decision with it
            np.testing.assert_allclose(rewards, done.rewards[rows], atol=1e-9)
    np.testing.assert_allclose(net, log.net, atol=1e-9)


def test_steps_lead_to_the_next_decision_of_the_same_customer() -> None:
    log, steps = explored(), explored().steps()
    done = log.decisions
    assert steps.actions.size == done.actions.size - SPAN.customers, "the last of each life is left out"
    assert (steps.days == 4.0).all() and not steps.ends.any()
    one = 17
    mine = np.flatnonzero(done.seats == one)[np.argsort(done.order[done.seats == one])]
    rows = np.flatnonzero(steps.journeys == one)
    rows = rows[
        np.argsort([np.flatnonzero(mine == np.flatnonzero(log.following >= 0)[row])[0] for row in rows])
    ]
    np.testing.assert_array_equal(steps.features[rows], done.features[mine[:-1]])
    np.testing.assert_array_equal(steps.next_features[rows], done.features[mine[1:]])
    np.testing.assert_array_equal(steps.next_eligible[rows], done.eligible[mine[1:]])
    assert steps.checked() is steps


def test_propensities_and_targets_are_those_of_the_snapshots() -> None:
    done = explored().decisions
    rows = np.arange(done.actions.size)
    np.testing.assert_array_equal(done.propensities, done.targets[rows, 0, done.actions])
    assert (done.targets[:, 1, 0] == 1.0).all(), "the second target is silent"
    others = done.eligible[:, 1:].sum(axis=1)
    expected = np.where(done.actions > 0, 0.5 / np.maximum(others, 1), np.where(others > 0, 0.5, 1.0))
    np.testing.assert_allclose(done.propensities, expected)


def test_the_log_judges_its_own_strategy_by_what_it_earned() -> None:
    """Every ratio is one: what the doubly robust estimate adds to the log's mean is noise of mean zero."""
    log = explored()
    for corrected in (1, 7, 20):
        told = verdict(log, 0, 0.98, corrected)
        assert abs(told.doubly_robust.value - told.logged.value) < 4.0 * told.doubly_robust.stderr
        assert told.doubly_robust.stderr < 2.0 * told.logged.stderr
    mine = log.decisions.rewards * 0.98**log.decisions.order
    assert returns(log, 0.98).sum() == pytest.approx(mine.sum())
    model = verdict(log, 0, 0.98, 0)
    assert model.doubly_robust == pytest.approx(model.fitted_q, rel=1e-6), "no decision is corrected"


def test_somebody_else_may_decide() -> None:
    def first(asked: Asked) -> Told:
        return Told(
            asked.allowed[:, 1:].argmax(axis=1) + asked.allowed[:, 1:].any(axis=1), np.ones(len(asked.ids))
        )

    lived = journeys(bank(), first, structs.replace(SPAN, customers=5, days=8))
    assert lived.contacts.sum() > 0 and (lived.decisions.propensities == 1.0).all()


def test_fit_q_writes_a_bundle_that_decides(tmp_path: Path) -> None:
    whole, plan, out = (
        resources.files("experiments") / "specs" / "long-run.toml",
        tmp_path / "q.toml",
        tmp_path / "q",
    )
    text = whole.read_text().replace('"fitted_q" }', '"fitted_q", n_trees = 3, least_leaf = 40 }')
    plan.write_text(text)
    found = run("--experiment", str(plan), "--customers", "150", "--judged", "40", "--out", str(out))
    snapshot = load_bundle(out)
    assert snapshot.strategy.catalogue.n_actions == 5
    assert isinstance(snapshot.posterior, FittedAdvantages) and snapshot.posterior.roots.shape == (6, 2)
    assert found["decisions"] >= 150 * 6 and found["sweeps"] >= 2 and found["changed"] <= 5e-3
    assert found["above_silence"]["low"] < found["above_silence"]["mean"] < found["above_silence"]["high"]
    assert found["by_fitted_q"] is None or np.isfinite(found["by_fitted_q"]["mean"])


def run(*words: str) -> Any:
    app = typer.Typer()
    app.command()(fit_q)
    ended = CliRunner().invoke(app, [*NARROW, "--days", "28", "--settle-days", "7", "--json", *words])
    if ended.exception is not None and not isinstance(ended.exception, SystemExit):
        raise ended.exception
    return msgspec.json.decode(ended.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        (("--strategy", "explorer"), "explorer.model: must be of the type fitted_q, got segment_rates"),
        (("--behaviour", "nobody"), "'nobody' is not a strategy of it; use one of"),
    ],
)
def test_orders_that_cannot_be_are_refused(words: tuple[str, ...], rule: str) -> None:
    with pytest.raises(InvalidConfig, match=rule):
        run("--customers", "20", "--judged", "20", *words)


def test_rounds_do_not_teach_it() -> None:
    spec = load_experiment("long-run").spec("fitted-q")
    start = Snapshot.start(spec.strategy(bank(), 1))
    with pytest.raises(InvalidConfig, match="fitted-q: model: .*`nba fit-q` fits it"):
        rollout(bank(), start, Phase(customers=4, days=8, seed=1, publish_every_days=4))
    assert rollout(bank(), start, Phase(customers=4, days=8, seed=1)).totals.contacts.sum() == 0


def constant_and_myopic(true_days: float, assumed_days: float) -> tuple[float, float]:
    """Shares of the optimum of the best constant price for the assumed half-life, and of none."""
    true, assumed = (
        FatigueProblem(days, 0.3, 0.0005, OFFERS, CHANCES, saturates=False)
        for days in (true_days, assumed_days)
    )
    whole, believed = tabulate(true, 201), tabulate(assumed, 41)
    best = price_values(whole, optimal_price(whole))[0]
    counted = tabulate(assumed._replace(opt_out=0.0), 41).tired
    prices = best_constant_price(believed), np.zeros(())
    constant, myopic = (played(tabulate(true, 41), believed, counted, price) / best for price in prices)
    return float(constant), float(myopic)


def test_a_price_for_the_right_half_life_is_that_of_the_programme() -> None:
    table = tabulate(FatigueProblem(3.0, 0.3, 0.0005, OFFERS, CHANCES, saturates=False), 201)
    best = price_values(table, optimal_price(table))[0]
    alone = [price_values(table, price)[0] / best for price in (best_constant_price(table), np.zeros(()))]
    np.testing.assert_allclose(constant_and_myopic(3.0, 3.0), alone, atol=0.02)


def test_a_price_for_too_short_a_half_life_loses_most() -> None:
    """Methods C2, by simulation: 76 % at a true 7 and an assumed 3 days, where the myopic policy loses."""
    constant, myopic = constant_and_myopic(7.0, 3.0)
    assert constant == pytest.approx(0.76, abs=0.03) and myopic < 0.0


def test_a_bank_that_counts_with_the_true_kernel_decides_as_one_that_is_told() -> None:
    world = misspecified_bank.paced(bank(), 7.0)
    spec = load_experiment("demo").spec("thompson")
    price = FatiguePrice(otherwise=0.05, slope=0.1)
    snapshot = under(Snapshot.start(spec.strategy(world, 1)), price)
    told, counts = (journeys(world, one, SPAN) for one in (by(snapshot), counting(snapshot, SPAN.customers)))
    off = np.abs(told.decisions.propensities - counts.decisions.propensities) > 1e-9
    assert off.mean() < 0.01, "decay in one step or several: the last bit moves a draw of 64 now and then"
    assert told.contacts.sum() == pytest.approx(counts.contacts.sum(), rel=0.02) and told.contacts.sum() > 0
    wrong = Snapshot.start(spec.strategy(misspecified_bank.paced(bank(), 0.5), 1))
    forgetful = counting(under(wrong, price), SPAN.customers)
    assert journeys(world, forgetful, SPAN).contacts.sum() > told.contacts.sum(), "it thinks nobody is tired"


@pytest.mark.slow
def test_the_small_banks_grid_has_every_cell() -> None:
    plan, world = load_experiment("demo"), bank()
    train = Phase(customers=20, days=8, seed=1, publish_every_days=4)
    judge, search = Phase(customers=20, days=8, seed=0), Search(rounds=1, seeds=(2,), fresh_seeds=(3,))
    cells = misspecified_bank.grid(world, plan.spec("thompson"), train, judge, search, SerialExecutor())
    assert set(cells) == set(product((3.0, 7.0, 15.0), repeat=2))
    for one in cells.values():
        assert one.gain.mean == pytest.approx(one.priced.mean - one.unpriced.mean)


@pytest.mark.slow
@pytest.mark.skipif(not is_here(), reason="make bench-peers installs d3rlpy")
def test_d3rlpy_learns_from_the_log_and_decides() -> None:
    from experiments.benchmarks.long_run.offline_peer import PEERS, compared

    found = compared(300, 100, [structs.replace(PEERS[0], steps=20)])
    assert found["d3rlpy_value_ratio"] == pytest.approx(
        (found["silent_net"] + found["fitted_q_gain"]) / (found["silent_net"] + found["d3rlpy_dqn_gain"])
    )
    assert found["d3rlpy_dqn_seconds"] > 0.0
