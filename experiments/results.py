"""What an experiment found: one leaderboard row per strategy, with everything that the report draws."""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct

from experiments.publication import Apprenticeship
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


class Apprenticed(Struct, frozen=True, kw_only=True):
    """How far an apprentice came in training; match and gain are of its last full window."""

    imitates: str
    required_match: float
    switched_after_days: int | None  # of training; None if the rules were in charge to the end
    decisions: int  # compared
    match: float | None  # the learner's mean probability of what the rules chose
    match_low: float | None  # its one-sided lower 95 % bound
    gain_per_decision: float | None  # account currency that the learner believed its own choice to add

    @staticmethod
    def of(found: Apprenticeship | None) -> Apprenticed | None:
        """The summary of an apprenticeship; None of none."""
        if found is None:
            return None
        state = found.tutored.apprentice
        return Apprenticed(
            imitates=found.tutored.rules.strategy.name,
            required_match=state.required_match,
            switched_after_days=found.switched_after,
            decisions=state.seen_before + state.seen,
            match=state.last_match,
            match_low=state.last_bound,
            gain_per_decision=state.last_gain,
        )

    def sentence(self, name: str) -> str:
        """For people: when it took over, or why not."""
        need = f"{self.required_match:.0%} needed"
        shown = (
            f"match {self.match:.1%}, at least {self.match_low:.1%}, {need}"
            if self.match is not None and self.match_low is not None
            else f"no window of decisions was full, {need}"
        )
        told = f"{name} imitated {self.imitates} and was"
        if self.switched_after_days is None:
            return f"{told} not put in charge ({shown}): {self.imitates} decides."
        return f"{told} put in charge after {self.switched_after_days} days ({shown})."


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
    apprenticed: Apprenticed | None = None


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
