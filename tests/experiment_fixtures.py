"""A small made-up result of an experiment, and MLflow stores that need no migration."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from experiments.results import ExperimentResult, Interval, LeaderboardRow, Margin, StrategyResult
from experiments.spec import CONTROL, Experiment, Phase, StrategySpec
from experiments.store import open_store
from experiments.tallies import DAILY, Totals
from experiments.tracking import Recorded, record
from nba.policies import Greedy, NoContact, ThompsonSampling
from nba.posteriors import FactoredModel, SegmentRatesModel
from nba.snapshot import Snapshot
from tests.serving_fixtures import tiny_strategy

TOY_SPEC = """
name = "toy"
world = "fatigue-toy"
train = { customers = 100, days = 10, seed = 1 }
evaluate = { customers = 100, days = 10, seed = 2 }
[[strategies]]
name = "no-contact"
model = { type = "segment_rates" }
policy = { type = "no_contact" }
"""  # to which a test adds the strategy that it is about
SPECS = (
    StrategySpec(name=CONTROL, model=SegmentRatesModel(), policy=NoContact(), description="Never contacts."),
    StrategySpec(
        name="rules", model=SegmentRatesModel(), policy=Greedy(), description="As <usual> & always."
    ),
    StrategySpec(name="thompson", model=FactoredModel(), policy=ThompsonSampling(n_draws=16)),
)
EXPERIMENT = Experiment(
    name="tiny trial",
    world="tiny",
    train=Phase(customers=100, days=300, seed=1, publish_every_days=4),
    evaluate=Phase(customers=200, days=30, seed=2, settle_days=10),
    strategies=SPECS,
)
VERDICT = "# Verdict\n\n**thompson** leads <by far> & `surely`.\n\n- one\n- two\n\n| a |\n| --- |\n| 1 |"
GAINS = {CONTROL: 0.0, "rules": 1.5, "thompson": 4.0}


def small_result(gain: float = 4.0, experiment: Experiment = EXPERIMENT) -> ExperimentResult:
    """Three strategies; `gain` is what the best one, thompson, is worth above no contact."""
    gains = GAINS | {"thompson": gain}
    results = [_strategy_result(spec, gains[spec.name]) for spec in experiment.strategies]
    results.sort(key=lambda one: -one.row.net_value_per_customer)
    difference = Interval(mean=gain - 1.5, low=gain - 2.0, high=gain - 1.0)
    return ExperimentResult(
        experiment=experiment,
        world="tiny",
        results=tuple(results),
        champion=results[0].spec.name,
        margins=(Margin(better="thompson", worse="rules", difference=difference),),
        verdict=VERDICT,
        seconds=12.0,
    )


def _strategy_result(spec: StrategySpec, gain: float) -> StrategyResult:
    learns, speaks = spec.name != CONTROL, spec.name != CONTROL
    snapshot = Snapshot.start(tiny_strategy(name=spec.name, model=spec.model, policy=spec.policy))
    return StrategyResult(
        spec=spec,
        snapshot=snapshot,
        row=_row(spec.name, gain),
        training_daily=_daily(300, 100, gain) if learns else np.zeros((0, len(DAILY))),
        evaluation_daily=_daily(40, 200, gain),
        totals=Totals.zero(200),
        customers_trained=100 if learns else 0,
        customers_evaluated=200,
        train_seconds=1.5,
        evaluate_seconds=0.5,
        channel_mix={"no-contact": 0.4, "call": 0.1, "mail": 0.5} if speaks else {"no-contact": 1.0},
        product_mix={f"product-{n}": 0.1 for n in range(10)} if speaks else {},
        timing_mix={"morning": 0.3, "evening": 0.7} if speaks else {"morning": 0.0, "evening": 0.0},
        min_propensity=0.01,
        constraint_violations=0,
    )


def _row(name: str, gain: float) -> LeaderboardRow:
    return LeaderboardRow(
        strategy=name,
        net_value_per_customer=20.0 + gain,
        incremental_value=gain,
        incremental_ci_low=gain - 0.5 if gain else 0.0,
        incremental_ci_high=gain + 0.5 if gain else 0.0,
        contacts_per_customer=2.0 * gain,
        opt_out_rate=0.01 * gain,
        cost_per_customer=0.25 * gain,
        regret=1.0 - 0.1 * gain,
        complaints_per_1k=0.5 * gain,
        conversions_per_customer=0.3 + 0.01 * gain,
        value_without_modelled_losses=20.5 + gain,
    )


def _daily(days: int, customers: int, gain: float) -> np.ndarray:
    """(days, len(DAILY)) sums that grow a little every day."""
    rows = np.zeros((days, len(DAILY)))
    growth = np.linspace(0.5, 1.0, days)
    sums = {"decisions": 0.25, "contacts": 0.05 * gain, "conversions": 0.02, "value": 0.5 + 0.1 * gain}
    sums |= {"cost": 0.01 * gain, "oracle_value": 1.0, "expected_value": 0.2 * gain, "opt_outs": 0.001 * gain}
    for name, per_customer in sums.items():
        rows[:, DAILY.index(name)] = customers * per_customer * (growth if name != "oracle_value" else 1.0)
    return rows


def record_quickly(result: ExperimentResult, store: Path) -> Recorded:
    """Record without drawing: for tests that do not look at the report."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("experiments.report_files.report_html", lambda _: "<p>not drawn</p>")
        return record(result, store)


def empty_store(factory: pytest.TempPathFactory) -> Path:
    """A folder with an empty store, copied from one that was migrated once in this session."""
    made = factory.getbasetemp() / "migrated-store"
    if not made.exists():
        open_store(made, create=True)
    return Path(shutil.copytree(made, factory.mktemp("store") / "my runs"))
