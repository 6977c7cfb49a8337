"""Evidence from a world: candidate and baseline on the same customers, with the same noise, on fresh seeds.

A pair is a seed: its customers, calendar and market are the same for both policies, and what they share among
each other (people's time, the market) is in the difference between seeds. So the interval is Student's over
seeds, and holds for customers that are not independent. Both policies are frozen, as they are registered.
"""

from __future__ import annotations

from functools import partial
from hashlib import sha256
from typing import NamedTuple

import numpy as np

from experiments.audit import violations
from experiments.executor import Executor, Report
from experiments.logs import DecisionLog
from experiments.promotion.evidence import METRICS, Evidence, Measured, paired, unseen_rate
from experiments.promotion.gates import MONTH_DAYS, Gates
from experiments.promotion.latency import TIMED, latency
from experiments.rollout import rollout
from experiments.spec import MOST_CUSTOMERS, Phase
from experiments.tallies import Totals
from nba.arrays import BoolArray, FloatArray, IntArray
from nba.errors import require
from nba.snapshot import Snapshot
from simulator.world import World

_NO_ELDERLY = "a seed has customers of one side of elderly_age only: take more of them (--customers)"


class Pair(NamedTuple):
    """Two policies and where they are compared."""

    world: World
    candidate: Snapshot
    baseline: Snapshot
    customers: int  # of each seed
    days: int  # on which is decided
    settle_days: int  # after the last decision, for conversions that come late
    elderly_age: float

    def phase(self, seed: int) -> Phase:
        """The run of one seed."""
        return Phase(customers=self.customers, days=self.days, settle_days=self.settle_days, seed=seed)


class Ran(NamedTuple):
    """What one policy did."""

    totals: Totals  # (N,)
    decisions: DecisionLog


class SeedResult(NamedTuple):
    """What one seed brought."""

    differences: FloatArray  # (len(METRICS),) nan where nobody is elderly, or all are
    people: IntArray  # (2,) customers, and the fewer of elderly and others
    rounds: int  # decisions of the candidate
    broken_limits: int  # by the candidate
    audit: FloatArray  # (2, 2) per policy: contacts beyond what propensities promised, and their variance


def fresh_seeds(candidate: str, baseline: str, attempt: int, n: int) -> tuple[int, ...]:
    """Seeds that nobody chose: from the digests of both bundles and the number of the attempt (from 1)."""
    texts = (f"{candidate}|{baseline}|{attempt}|{place}" for place in range(n))
    return tuple(int.from_bytes(sha256(text.encode()).digest()[:6], "big") for text in texts)


def spent(confidence: float, attempt: int) -> float:
    """The confidence of the k-th attempt: alpha / (k (k + 1)) is spent, and alpha by all there could be."""
    return 1.0 - (1.0 - confidence) / (attempt * (attempt + 1))


def check_fits(pair: Pair) -> None:
    """Raise InvalidConfig unless both policies speak of the world's actions and customers."""
    config = pair.world.config
    for name, one in (("candidate", pair.candidate), ("baseline", pair.baseline)):
        for part in ("catalogue", "schema"):
            rule = (
                f"the {name}, {one.strategy.name}, was made for another {part}; name its own world (--world)"
            )
            require(getattr(one.strategy, part) == getattr(config, part), config.name, part, rule)


def evidence_of_world(
    pair: Pair, seeds: tuple[int, ...], gates: Gates, confidence: float, executor: Executor, report: Report
) -> Evidence:
    """Run both policies on every seed; `report` hears of customer-days."""
    check_fits(pair)
    results = executor.map(partial(run_seed, pair), seeds, report)
    return gathered(pair, results, gates, confidence, _timed(pair, seeds[0], confidence))


def run_seed(pair: Pair, seed: int, report: Report) -> SeedResult:
    """Both policies under one seed; a pure function."""
    world, phase = pair.world, pair.phase(seed)
    ids = MOST_CUSTOMERS + np.arange(phase.customers)
    elderly: BoolArray = world.reset(seed, ids).people.age >= pair.elderly_age
    # Customers of an evaluation follow those of a training, whatever the seed.
    ours, theirs = (
        rollout(world, one, phase, first_customer=ids[0], on_customer_days=report, with_oracle=False)
        for one in (pair.candidate, pair.baseline)
    )
    runs = (Ran(ours.totals, ours.decisions), Ran(theirs.totals, theirs.decisions))
    return compared(pair, runs, elderly)


def compared(pair: Pair, runs: tuple[Ran, Ran], elderly: BoolArray) -> SeedResult:
    """The candidate's run against the baseline's, on the same customers (N,)."""
    (ours, made), (theirs, made_by_them) = runs
    config, n = pair.world.config, elderly.size
    homes = config.population.household_customers
    return SeedResult(
        differences=MONTH_DAYS / pair.days * (_figures(ours, elderly) - _figures(theirs, elderly)),
        people=np.array([n, min(elderly.sum(), n - elderly.sum())]),
        rounds=made.action.size,
        broken_limits=violations(made, config.catalogue, config.contact.policy, homes),
        audit=np.array([_strayed(made), _strayed(made_by_them)]),
    )


def gathered(
    pair: Pair, results: list[SeedResult], gates: Gates, confidence: float, timed: Measured
) -> Evidence:
    """The evidence of all seeds together."""
    table = np.array([one.differences for one in results])
    known = np.isfinite(table).all(axis=0)
    people = np.sum([one.people for one in results], axis=0)
    rare, rarer = (
        MONTH_DAYS / pair.days * 1_000.0 * unseen_rate(max(n, 1), confidence) for n in people.tolist()
    )
    unseen = {"opt_outs": rare, "complaints": rare, "elderly_gap": rarer}
    differences = {
        name: paired(table[:, place], confidence, unseen.get(name, 0.0)) if known[place] else None
        for place, name in enumerate(METRICS)
    }
    return Evidence(
        kind="world",
        source=f"world {pair.world.config.name}",
        method="Student's t over seeds, candidate and baseline with common random numbers",
        confidence=confidence,
        units=len(results),
        differences=differences,
        latency_ms=timed,
        days=pair.days,
        rounds=sum(one.rounds for one in results),
        missing={name: _NO_ELDERLY for name, found in differences.items() if found is None},
        audit=_audited(np.sum([one.audit for one in results], axis=0), gates.false_alarm),
        broken_limits=sum(one.broken_limits for one in results),
        notes=("Chance over seeds of this world, not over worlds: a real bank may differ from all of them.",),
    )


def _timed(pair: Pair, seed: int, confidence: float) -> Measured:
    """How long the candidate takes, for customers of the first day."""
    state = pair.world.reset(seed, MOST_CUSTOMERS + np.arange(TIMED))
    return latency(pair.candidate, pair.world.observe(state, np.arange(TIMED)), confidence)


def _figures(totals: Totals, elderly: BoolArray) -> FloatArray:
    """(len(METRICS),) of one policy over the run, in the order of METRICS."""
    harms = totals.opt_outs + totals.complaints
    gap = np.nan
    if elderly.any() and not elderly.all():
        gap = float(harms[elderly].mean() - harms[~elderly].mean())
    money = [totals.net.mean(), totals.cost.mean()]
    return np.array([*money, *(1_000.0 * x for x in (totals.opt_outs.mean(), totals.complaints.mean(), gap))])


def _strayed(log: DecisionLog) -> FloatArray:
    """(2,) contacts decided beyond those that the propensities promise, and the variance of that."""
    chance = 1.0 - log.no_contact_propensity
    return np.array([float((log.action > 0).sum() - chance.sum()), float((chance * (1.0 - chance)).sum())])


def _audited(audit: FloatArray, false_alarm: float) -> tuple[str, ...]:
    """Reasons to doubt the propensities of either policy, by a z-test of how often it contacts."""
    from scipy.special import ndtri

    told, reach = [], float(ndtri(1.0 - false_alarm / 4.0))  # two policies, two sides
    for name, (excess, variance) in zip(("candidate", "baseline"), audit.tolist(), strict=True):
        if abs(excess) > reach * variance**0.5 + 1e-6:
            told.append(
                f"the {name} made {excess:+.0f} contacts more than its propensities promise, and chance "
                f"explains at most {reach * variance**0.5:.0f}: they are logged wrongly."
            )
    return tuple(told)
