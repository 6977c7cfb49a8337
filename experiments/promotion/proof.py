"""How often the gates promote what is no better, and what is, at the size that was planned.

In the world `fatigue-toy` customers share nothing, neither a market nor anybody's time. So many small groups
of one large run are as independent as seeds, and hundreds of trials take seconds instead of an hour. What
judges them is the code that judges seeds.
"""

from __future__ import annotations

from math import inf
from typing import NamedTuple

import numpy as np
from msgspec import structs

from experiments.promotion.evidence import Measured
from experiments.promotion.from_world import Pair, Ran, SeedResult, compared, gathered, spent
from experiments.promotion.gates import Gates
from experiments.promotion.judge import judged
from experiments.rollout import rollout
from experiments.spec import MOST_CUSTOMERS, load_experiment
from nba.arrays import BoolArray, IntArray, take_rows
from nba.snapshot import Snapshot
from nba.trials.planning import Design, pairs
from simulator.world import World, load_world

_CUSTOMERS, _DAYS, _SETTLE = 50, 14, 4
_PILOT = 1_000  # pairs, of another seed
# A policy that contacts costs more and drives more away than one that does not: limits that it keeps. Nobody
# complains in this world, and so few customers bound only loosely how many of them might.
GATES = Gates(
    most_cost=10.0, most_opt_outs=500.0, most_complaints=50.0, most_elderly_gap=500.0, most_latency_ms=inf
)
DESIGN = Design(confidence=spent(GATES.confidence, 1), power=0.9)  # guardrails have to hold as well


class Proof(NamedTuple):
    """Shares of trials that end in a promotion."""

    aa_promotions: float  # of a policy against itself, with draws of its own
    power: float  # of a policy that is truly better
    trials: int
    pairs: int  # in each trial, as planned
    planned_power: float
    effect: float  # in the pilot, account currency per customer and 30 days


def proof(trials: int = 200, seed: int = 1) -> Proof:
    """Plan by a pilot, then run both kinds of trials on customers that the pilot has not seen."""
    world = load_world("fatigue-toy")
    same, better = pair_of(world, "random", "random"), pair_of(world, "random", "no-contact")
    pilot = np.array([one.differences[0] for one in grouped(better, _PILOT, seed)])
    effect, deviation = float(pilot.mean()), float(pilot.std(ddof=1))
    n = pairs(deviation, effect, DESIGN)
    aa_promotions, power = (
        promotions(pair, trials, n, seed + place) for place, pair in enumerate((same, better), 1)
    )
    return Proof(aa_promotions, power, trials, n, DESIGN.power, effect)


def pair_of(world: World, candidate: str, baseline: str) -> Pair:
    """Two strategies of the demo as they begin, each with random numbers of its own."""
    plan = load_experiment("demo")
    strategies = (plan.spec(name).strategy(world, seed) for seed, name in enumerate((candidate, baseline)))
    ours, theirs = map(Snapshot.start, strategies)
    return Pair(world, ours, theirs, _CUSTOMERS, _DAYS, _SETTLE, GATES.elderly_age)


def promotions(pair: Pair, trials: int, n: int, seed: int) -> float:
    """The share of trials of n pairs each that end in a promotion."""
    results, timed = grouped(pair, trials * n, seed), Measured(value=0.0, low=0.0, high=0.0)
    passed = 0
    for start in range(0, trials * n, n):
        evidence = gathered(pair, results[start : start + n], GATES, DESIGN.confidence, timed)
        passed += judged(evidence, GATES, "candidate", "baseline").passed
    return passed / trials


def grouped(pair: Pair, groups: int, seed: int) -> list[SeedResult]:
    """Candidate against baseline in every group of customers of one large run."""
    size, n = pair.customers, pair.customers * groups
    phase, ids = structs.replace(pair.phase(seed), customers=n), MOST_CUSTOMERS + np.arange(n)
    elderly: BoolArray = pair.world.reset(seed, ids).people.age >= pair.elderly_age
    found = []
    for one in (pair.candidate, pair.baseline):
        run = rollout(pair.world, one, phase, first_customer=MOST_CUSTOMERS, with_oracle=False)
        found.append(_split(Ran(run.totals, run.decisions), groups, size))
    sides = np.split(elderly, groups)
    return [compared(pair, (ours, theirs), side) for ours, theirs, side in zip(*found, sides, strict=True)]


def _split(run: Ran, groups: int, size: int) -> list[Ran]:
    """The run of each group, whose customers follow each other."""
    of_group: IntArray = (run.decisions.customer - MOST_CUSTOMERS) // size
    order = np.argsort(of_group, kind="stable")
    rows = np.split(order, np.searchsorted(of_group[order], np.arange(1, groups)))
    people = np.split(np.arange(groups * size), groups)
    return [
        Ran(take_rows(run.totals, mine), take_rows(run.decisions, made))
        for mine, made in zip(people, rows, strict=True)
    ]
