"""Train every strategy of an experiment, judge it on fresh customers, and say who wins."""

from __future__ import annotations

from math import inf, sqrt
from time import perf_counter
from typing import NamedTuple

import numpy as np

from experiments.audit import violations
from experiments.executor import Executor, Report
from experiments.logs import DecisionLog
from experiments.publication import Apprenticeship
from experiments.results import (
    Apprenticed,
    ExperimentResult,
    Interval,
    LeaderboardRow,
    Margin,
    StrategyResult,
)
from experiments.rollout import Rollout, rollout
from experiments.spec import (
    BUSINESS_AS_USUAL,
    CONTROL,
    MOST_CUSTOMERS,
    Contender,
    Experiment,
    Phase,
    StrategySpec,
)
from experiments.tallies import Totals
from experiments.verdict import verdict
from nba.apprentice import Tutored
from nba.arrays import FloatArray
from nba.catalogue import NO_ACTION_ID, Catalogue
from nba.snapshot import Snapshot
from simulator.world import World

Z95 = 1.959963984540054


class Job(NamedTuple):
    """One strategy to train and to judge."""

    world: World
    experiment: Experiment
    spec: StrategySpec
    fitting: Executor  # of what a strategy fits in parts before it publishes


class JobResult(NamedTuple):
    """What a job returns."""

    snapshot: Snapshot
    training: FloatArray | None
    evaluation: Rollout
    train_seconds: float
    evaluate_seconds: float
    apprenticeship: Apprenticeship | None = None


def run_experiment(
    world: World, experiment: Experiment, executor: Executor, on_customer_days: Report | None = None
) -> ExperimentResult:
    """Run all strategies; `on_customer_days` hears the customer-days of all of them as they are simulated."""
    begun = perf_counter()
    # The longest first, so that the last task to finish is a short one.
    specs = sorted(
        experiment.strategies, key=lambda spec: spec.model.__struct_config__.tag == "segment_rates"
    )
    jobs = [Job(world, experiment, spec, executor) for spec in specs]
    finished = executor.map(run_job, jobs, on_customer_days)
    control = next(
        done.evaluation.totals for spec, done in zip(specs, finished, strict=True) if spec.name == CONTROL
    )
    results = [_result(job, done, control) for job, done in zip(jobs, finished, strict=True)]
    results.sort(key=lambda one: -one.row.net_value_per_customer)
    champion = results[0].spec.name
    margins = _margins(results)
    return ExperimentResult(
        experiment,
        world.config.name,
        tuple(results),
        champion,
        margins,
        verdict(results, champion, margins),
        perf_counter() - begun,
    )


def total_customer_days(experiment: Experiment) -> int:
    """Customer-days of all strategies together, for a progress bar."""
    judged = experiment.evaluate.customer_days * len(experiment.strategies)
    return judged + experiment.train.customer_days * sum(learns(spec) for spec in experiment.strategies)


def learns(spec: StrategySpec) -> bool:
    """Whether training changes what the strategy does."""
    return spec.policy.__struct_config__.tag not in ("no_contact", "random_eligible")


def run_job(job: Job, report: Report) -> JobResult:
    """Train one strategy and evaluate it with a frozen posterior; a pure function but for the clock."""
    experiment = job.experiment
    contender = experiment.contender(job.spec, job.world, experiment.train.seed)
    train = experiment.train if learns(job.spec) else None
    return taught_and_judged(job.world, contender, train, experiment.evaluate, job.fitting, report)


def taught_and_judged(
    world: World,
    contender: Contender,
    train: Phase | None,
    evaluate: Phase,
    fitting: Executor,
    report: Report,
    with_oracle: bool = True,
) -> JobResult:
    """Train, unless there is nothing to learn, and evaluate on customers who were never met.

    What is judged is what will be served: of an apprentice, whoever is in charge when training ends.
    """
    begun, training, apprenticeship = perf_counter(), None, None
    decider = contender.start()
    if train is not None:
        trained = rollout(
            world, decider, train, on_customer_days=report, fitting=fitting, with_oracle=with_oracle
        )
        decider, training, apprenticeship = trained.snapshot, trained.daily, trained.apprenticeship
    if apprenticeship is not None:
        decider = apprenticeship.tutored
    speaking = decider.speaking if isinstance(decider, Tutored) else decider
    snapshot = speaking.at(speaking.posterior, 0)  # the service begins a log of its own at position 0
    between = perf_counter()
    evaluation = rollout(
        world,
        snapshot,
        evaluate,
        first_customer=MOST_CUSTOMERS,
        on_customer_days=report,
        fitting=fitting,
        with_oracle=with_oracle,
    )
    seconds = between - begun, perf_counter() - between
    return JobResult(snapshot, training, evaluation, *seconds, apprenticeship)


def mean_interval(values: FloatArray) -> Interval:
    """Mean of independent customers (N,) with its normal 95 % interval."""
    half = Z95 * float(values.std(ddof=1)) / sqrt(values.size) if values.size > 1 else inf
    mean = float(values.mean())
    return Interval(mean=mean, low=mean - half, high=mean + half)


def leaderboard_row(name: str, totals: Totals, control: Totals) -> LeaderboardRow:
    """Summarise a strategy; `control` holds the same customers under no-contact."""
    gain = mean_interval(totals.net - control.net)
    best = float(totals.oracle_value.sum())
    return LeaderboardRow(
        strategy=name,
        net_value_per_customer=float(totals.net.mean()),
        incremental_value=gain.mean,
        incremental_ci_low=gain.low,
        incremental_ci_high=gain.high,
        contacts_per_customer=float(totals.contacts.mean()),
        opt_out_rate=float(totals.opt_outs.mean()),
        cost_per_customer=float(totals.cost.mean()),
        regret=(best - float(totals.expected_value.sum())) / best if best > 0 else 0.0,
        complaints_per_1k=1000.0 * float(totals.complaints.mean()),
        conversions_per_customer=float(totals.conversions.mean()),
        value_without_modelled_losses=float((totals.value - totals.cost).mean()),
    )


def _result(job: Job, done: JobResult, control: Totals) -> StrategyResult:
    world, experiment, spec, _ = job
    catalogue, log = world.config.catalogue, done.evaluation.decisions
    return StrategyResult(
        spec=spec,
        snapshot=done.snapshot,
        row=leaderboard_row(spec.name, done.evaluation.totals, control),
        training_daily=np.zeros((0, done.evaluation.daily.shape[1]))
        if done.training is None
        else done.training,
        evaluation_daily=done.evaluation.daily,
        totals=done.evaluation.totals,
        customers_trained=0 if done.training is None else experiment.train.customers,
        customers_evaluated=experiment.evaluate.customers,
        train_seconds=done.train_seconds,
        evaluate_seconds=done.evaluate_seconds,
        channel_mix=_mix(log, catalogue, "channel", with_silence=True),
        product_mix=_mix(log, catalogue, "product", with_silence=False),
        timing_mix=_mix(log, catalogue, "timing", with_silence=False),
        min_propensity=float(log.propensity.min(initial=1.0)),
        constraint_violations=violations(
            log, catalogue, world.config.contact.policy, world.config.population.household_customers
        ),
        apprenticed=Apprenticed.of(done.apprenticeship),
    )


def _mix(log: DecisionLog, catalogue: Catalogue, factor: str, with_silence: bool) -> dict[str, float]:
    """Shares of the levels of a factor among decisions (with silence) or among contacts."""
    levels = getattr(catalogue, f"{factor}_of")[log.action]
    names = [row.name for row in getattr(catalogue, f"{factor}s")]
    counts = np.bincount(levels + 1, minlength=len(names) + 1).astype(np.float64)
    if not with_silence:
        counts[0] = 0.0
    shares = counts / max(counts.sum(), 1.0)
    mix = {NO_ACTION_ID: float(shares[0])} if with_silence else {}
    return mix | {name: float(share) for name, share in zip(names, shares[1:], strict=True)}


def _margins(results: list[StrategyResult]) -> tuple[Margin, ...]:
    """Each strategy against the next one down, and against the rules, from the better to the worse."""
    pairs = list(zip(results, results[1:], strict=False))
    places = [place for place, one in enumerate(results) if one.spec.name == BUSINESS_AS_USUAL]
    for place in places:
        pairs += [(better, results[place]) for better in results[:place]]
        pairs += [(results[place], worse) for worse in results[place + 1 :]]
    seen: dict[tuple[str, str], Margin] = {}
    for better, worse in pairs:
        gain = mean_interval(better.totals.net - worse.totals.net)
        names = better.spec.name, worse.spec.name
        seen[names] = Margin(better=names[0], worse=names[1], difference=gain)
    return tuple(seen.values())
