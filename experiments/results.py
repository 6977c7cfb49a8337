"""What an experiment found: one leaderboard row per strategy, with everything that the report draws."""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct

from experiments.spec import Experiment, StrategySpec
from experiments.tallies import Totals
from nba.arrays import FloatArray
from nba.snapshot import Snapshot


class Interval(Struct, frozen=True, kw_only=True):
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float


class LeaderboardRow(Struct, frozen=True, kw_only=True):
    """One strategy on the evaluation customers; money in account currency per customer over the phase.

    Net value is what all conversions bring in minus contact costs minus the modelled losses by
    opt-outs and complaints. Incremental value is its difference to no-contact on the same customers
    with the same noise. Regret is the share of the myopic oracle's value that the strategy's own
    decisions left on the table, over the actions that the bank allows.
    """

    strategy: str
    net_value_per_customer: float
    incremental_value: float
    incremental_ci_low: float
    incremental_ci_high: float
    contacts_per_customer: float
    opt_out_rate: float  # opt-outs per customer
    cost_per_customer: float
    regret: float
    complaints_per_1k: float
    conversions_per_customer: float
    value_without_modelled_losses: float


class StrategyResult(NamedTuple):
    """One strategy, trained and evaluated."""

    spec: StrategySpec
    snapshot: Snapshot
    row: LeaderboardRow
    training_daily: FloatArray  # (days, len(tallies.DAILY)) sums over the training customers
    evaluation_daily: FloatArray  # (days, len(tallies.DAILY)) sums over the evaluation customers
    totals: Totals  # of the evaluation customers
    customers_trained: int
    customers_evaluated: int
    train_seconds: float
    evaluate_seconds: float
    channel_mix: dict[str, float]  # shares of decisions, no-contact among them
    product_mix: dict[str, float]  # shares of contacts
    timing_mix: dict[str, float]  # shares of contacts
    min_propensity: float
    constraint_violations: int


class Margin(Struct, frozen=True, kw_only=True):
    """Net value of one strategy above another on the same customers."""

    better: str
    worse: str
    difference: Interval

    @property
    def holds(self) -> bool:
        """Whether the whole interval lies above zero."""
        return self.difference.low > 0


class ExperimentResult(NamedTuple):
    """A finished experiment, best strategy first."""

    experiment: Experiment
    world: str
    results: tuple[StrategyResult, ...]
    champion: str
    margins: tuple[Margin, ...]
    verdict: str  # Markdown
    seconds: float

    def result(self, strategy: str) -> StrategyResult:
        """The result of one strategy."""
        return next(one for one in self.results if one.spec.name == strategy)
