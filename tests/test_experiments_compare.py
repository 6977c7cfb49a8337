"""Comparing strategies: numbers by hand, who is compared with whom, and what the verdict says of it."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, sqrt

import numpy as np
import pytest
from msgspec import structs
from small import small_world

from experiments.compare import leaderboard_row, learns, mean_interval, run_experiment, total_customer_days
from experiments.executor import SerialExecutor
from experiments.results import ExperimentResult, Interval, LeaderboardRow, Margin, StrategyResult
from experiments.spec import (
    BUSINESS_AS_USUAL,
    CONTROL,
    RANDOM,
    Experiment,
    Phase,
    StrategySpec,
    load_experiment,
)
from experiments.tallies import Totals
from experiments.train import scaled
from experiments.verdict import table, verdict
from nba.bundle import posterior_bytes
from nba.constraints import ContactLimit, ContactPolicy
from nba.policies import Greedy, NoContact, RandomEligible, ThompsonSampling
from nba.posteriors import FactoredModel, SegmentRatesModel
from nba.snapshot import Snapshot
from tests.experiment_fixtures import small_result

Z95 = 1.959963984540054
TRIAL = Experiment(
    name="trial",
    world="small",
    train=Phase(customers=60, days=16, seed=1, publish_every_days=4, settle_days=2),
    evaluate=Phase(customers=80, days=12, seed=2, settle_days=6),
    strategies=(
        StrategySpec(name="thompson", model=FactoredModel(), policy=ThompsonSampling(n_draws=16)),
        StrategySpec(name=BUSINESS_AS_USUAL, model=SegmentRatesModel(), policy=Greedy()),
        StrategySpec(name=RANDOM, model=SegmentRatesModel(), policy=RandomEligible()),
        StrategySpec(name=CONTROL, model=SegmentRatesModel(), policy=NoContact()),
    ),
)


def totals_of(**columns: Sequence[float]) -> Totals:
    """Totals of four customers; what is not named is zero."""
    return Totals.zero(4)._replace(**{name: np.array(column, float) for name, column in columns.items()})


TREATED = totals_of(
    value=[60, 0, 35, 4],
    cost=[4, 0.05, 1, 0.95],
    loss=[0, 2, 0, 6],
    contacts=[1, 1, 3, 2],
    opt_outs=[0, 1, 0, 0],
    complaints=[0, 0, 0, 1],
    conversions=[1, 0, 1, 1],
    decisions=[3, 3, 3, 3],
    oracle_value=[10, 5, 3, 2],
    expected_value=[4, 3, 2, -1],
)
UNTREATED = totals_of(value=[60, 0, 0, 4], conversions=[1, 0, 0, 1], oracle_value=[10, 5, 3, 2])


def test_a_row_by_hand() -> None:
    # Net: 56, -2.05, 34, -2.95; gains over the control: -4, -2.05, 34, -6.95 with mean 5.25.
    deviations = np.array([-9.25, -7.30, 28.75, -12.20])
    half = Z95 * sqrt((deviations**2).sum() / 3) / 2
    row = leaderboard_row("one", TREATED, UNTREATED)
    expected = LeaderboardRow(
        strategy="one",
        net_value_per_customer=21.25,
        incremental_value=5.25,
        incremental_ci_low=5.25 - half,
        incremental_ci_high=5.25 + half,
        contacts_per_customer=1.75,
        opt_out_rate=0.25,
        cost_per_customer=1.5,
        regret=0.6,  # (20 - 8) / 20
        complaints_per_1k=250.0,
        conversions_per_customer=0.75,
        value_without_modelled_losses=23.25,
    )
    assert structs.asdict(row) == pytest.approx(structs.asdict(expected))


def test_the_control_against_itself_is_exactly_zero() -> None:
    row = leaderboard_row(CONTROL, UNTREATED, UNTREATED)
    assert (row.incremental_value, row.incremental_ci_low, row.incremental_ci_high) == (0.0, 0.0, 0.0)
    assert (row.contacts_per_customer, row.cost_per_customer, row.opt_out_rate) == (0.0, 0.0, 0.0)
    assert row.regret == 1.0


def test_regret_may_exceed_one_and_is_zero_where_nothing_can_be_won() -> None:
    harmful = TREATED._replace(expected_value=np.array([-5.0, 0, 0, 0]))
    assert leaderboard_row("one", harmful, UNTREATED).regret == pytest.approx(1.25)
    assert leaderboard_row("one", totals_of(), totals_of()).regret == 0.0


def test_the_interval_is_that_of_the_paired_difference() -> None:
    """Customers differ much more than strategies do; the same customers twice leave no noise."""
    rich = UNTREATED._replace(value=UNTREATED.value + 1.0)
    row = leaderboard_row("one", rich, UNTREATED)
    assert (row.incremental_ci_low, row.incremental_ci_high) == pytest.approx((1.0, 1.0))


def test_an_interval_by_hand() -> None:
    found = mean_interval(np.array([1.0, 2.0, 3.0, 6.0]))
    # Variance 14 / 3, standard error sqrt(14 / 12).
    assert (found.mean, found.high - found.mean) == pytest.approx((3.0, Z95 * sqrt(14 / 12)))
    assert found.mean - found.low == pytest.approx(found.high - found.mean)


def test_one_customer_settles_nothing() -> None:
    assert mean_interval(np.array([5.0])) == Interval(mean=5.0, low=-inf, high=inf)


def test_intervals_cover_the_mean_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    found = [mean_interval(rng.normal(3.0, 2.0, 100)) for _ in range(1000)]
    covered = sum(one.low < 3.0 < one.high for one in found)
    # Binomial(1000, 0.95), four standard deviations.
    assert abs(covered - 950) < 4 * sqrt(1000 * 0.95 * 0.05)


# A small experiment from end to end.


@pytest.fixture(scope="module")
def heard() -> list[int]:
    return []


@pytest.fixture(scope="module")
def result(heard: list[int]) -> ExperimentResult:
    limits = ContactPolicy(limits=(ContactLimit(contacts=2, days=10),), product_rest_days=6)
    return run_experiment(small_world(policy=limits), TRIAL, SerialExecutor(), heard.append)


def test_the_best_stands_first_and_is_champion(result: ExperimentResult) -> None:
    values = [one.row.net_value_per_customer for one in result.results]
    assert values == sorted(values, reverse=True)
    assert result.champion == result.results[0].spec.name
    assert {one.spec.name for one in result.results} == {spec.name for spec in TRIAL.strategies}
    assert result.world == "retail-bank" and result.seconds > 0


def test_progress_reaches_exactly_its_end(result: ExperimentResult, heard: list[int]) -> None:
    # Two strategies learn on 60 x 18 customer-days, four are judged on 80 x 18.
    assert sum(heard) == total_customer_days(TRIAL) == 2 * 1080 + 4 * 1440


def test_the_control_gains_nothing_and_contacts_nobody(result: ExperimentResult) -> None:
    control = result.result(CONTROL)
    row = control.row
    assert (row.incremental_value, row.incremental_ci_low, row.incremental_ci_high) == (0.0, 0.0, 0.0)
    assert row.contacts_per_customer == 0.0
    assert control.channel_mix["no-contact"] == 1.0 and set(control.product_mix.values()) == {0.0}


def test_rows_follow_from_the_totals(result: ExperimentResult) -> None:
    control = result.result(CONTROL).totals
    for one in result.results:
        assert one.row == leaderboard_row(one.spec.name, one.totals, control)
        assert one.totals.value.size == one.customers_evaluated == 80


def test_only_what_learns_was_trained(result: ExperimentResult) -> None:
    for one in result.results:
        trained = one.spec.name in ("thompson", BUSINESS_AS_USUAL)
        assert learns(one.spec) is trained
        assert one.training_daily.shape[0] == (18 if trained else 0)
        assert one.customers_trained == (60 if trained else 0)
        prior = Snapshot.start(one.snapshot.strategy).posterior
        assert (posterior_bytes(one.snapshot.posterior) != posterior_bytes(prior)) is trained
        # Served, a log of its own begins.
        assert one.snapshot.posterior_seq == 0
        assert one.evaluation_daily.shape[0] == 18


def test_shares_add_up_and_limits_are_kept(result: ExperimentResult) -> None:
    for one in result.results:
        assert sum(one.channel_mix.values()) == pytest.approx(1.0)
        for mix in (one.product_mix, one.timing_mix):
            assert sum(mix.values()) == pytest.approx(1.0 if one.row.contacts_per_customer else 0.0)
        assert one.constraint_violations == 0
        assert 0 < one.min_propensity <= 1


def test_each_is_compared_with_the_next_and_with_the_rules(result: ExperimentResult) -> None:
    order = [one.spec.name for one in result.results]
    place = order.index(BUSINESS_AS_USUAL)
    wanted = set(zip(order, order[1:], strict=False))
    wanted |= {(name, BUSINESS_AS_USUAL) for name in order[:place]}
    wanted |= {(BUSINESS_AS_USUAL, name) for name in order[place + 1 :]}
    assert {(one.better, one.worse) for one in result.margins} == wanted
    assert len(result.margins) == len(wanted)
    for margin in result.margins:
        gain = result.result(margin.better).totals.net - result.result(margin.worse).totals.net
        assert margin.difference == mean_interval(gain) and margin.difference.mean >= 0


def test_the_verdict_is_that_of_the_results(result: ExperimentResult) -> None:
    assert result.verdict == verdict(result.results, result.champion, result.margins)
    assert result.verdict.startswith(f"**{result.champion}** leads with ")


def test_every_shipped_strategy_but_two_learns() -> None:
    names = {spec.name for spec in load_experiment("demo").strategies if not learns(spec)}
    assert names == {CONTROL, RANDOM}


def test_scaling_changes_customers_alone_and_leaves_two() -> None:
    demo = load_experiment("demo")
    tenth = scaled(demo, 0.1)
    assert (tenth.train.customers, tenth.evaluate.customers) == (400, 600)
    assert structs.replace(tenth, train=demo.train, evaluate=demo.evaluate) == demo
    assert structs.replace(tenth.train, customers=4000) == demo.train
    assert scaled(demo, 1e-6).evaluate.customers == 2  # one customer has no interval


# What the verdict says.


def margin(better: str, worse: str, mean: float = 2.0, half: float = 1.0) -> Margin:
    return Margin(
        better=better, worse=worse, difference=Interval(mean=mean, low=mean - half, high=mean + half)
    )


def told(*margins: Margin, results: Sequence[StrategyResult] | None = None) -> str:
    """The verdict on the made-up results of `small_result`, whose champion is thompson."""
    return verdict(results or small_result().results, "thompson", margins)


GOOD = (margin("thompson", "rules"), margin("rules", CONTROL), margin("rules", RANDOM))


def test_the_order_holds() -> None:
    text = told(*GOOD)
    assert "All learned strategies beat the rules, and the rules beat random" in text
    assert "- thompson beats rules: +2.00 per customer (+1.00 to +3.00)." in text
    assert "not settled" not in text and "**Not" not in text


def test_a_learned_strategy_within_the_interval_is_not_above() -> None:
    text = told(margin("thompson", "rules", half=2.5), *GOOD[1:])
    assert "**Not above the rules: thompson**, and the rules beat random" in text
    assert "- thompson is **not settled** against rules: +2.00 per customer (-0.50 to +4.50)." in text


def test_a_learned_strategy_below_the_rules_is_named() -> None:
    text = told(margin("thompson", "rules"), margin("rules", "linucb"), *GOOD[1:])
    assert "**Not above the rules: linucb**" in text


@pytest.mark.parametrize("against", [margin("rules", RANDOM, half=3.0), margin(RANDOM, "rules")])
def test_the_rules_may_not_beat_random(against: Margin) -> None:
    text = told(margin("thompson", "rules"), against)
    assert "All learned strategies beat the rules, and **the rules do not beat random**" in text


def test_baselines_are_not_counted_as_learned() -> None:
    text = told(margin(CONTROL, "rules", half=9.0), *GOOD[::2])
    assert "All learned strategies beat the rules, and the rules beat random" in text


def test_without_rules_nothing_is_claimed() -> None:
    text = told(margin("thompson", CONTROL))
    assert "No strategy is named 'rules': nothing is compared with business as usual." in text


def test_the_verdict_opens_with_the_champion_and_its_interval() -> None:
    first = told(*GOOD).splitlines()[0]
    assert first == (
        "**thompson** leads with 24.00 net value per customer, +4.00 against no contact "
        "(95 % interval +3.50 to +4.50)."
    )


def test_broken_limits_are_said_aloud() -> None:
    results = small_result().results
    assert "kept by all strategies" in told(*GOOD, results=results)
    broken = [results[0]._replace(constraint_violations=2), *results[1:]]
    assert "**broken by thompson**" in told(*GOOD, results=broken)


def test_the_table_holds_every_strategy() -> None:
    rows = [one.row for one in small_result().results]
    headings, cells = table(rows)
    assert headings[0] == "strategy" and [row[0] for row in cells] == [row.strategy for row in rows]
    assert all(len(row) == len(headings) for row in cells)
    text = told(*GOOD)
    assert text.count("\n| ") == len(rows) + 2
