"""The order of policies, and whether it hangs on numbers that the data leave open.

Every policy runs in every member of the ensemble, with the same customers and the same noise, so what
differs between members is what their parameters do. A pair of policies that changes places is no finding
about policies: "a claim that flips is a claim about the simulator" (methods F4).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from msgspec import Struct, structs

from experiments.executor import Executor, Report
from experiments.rollout import rollout
from experiments.spec import Phase
from experiments.world_report.assumptions import doubted
from experiments.world_report.statistics import agreement, kendall, mean_ranks, pairs
from experiments.world_report.strategies import describe, strategies
from nba.arrays import FloatArray
from nba.snapshot import Snapshot
from simulator.calibrate.ensemble import apply
from simulator.world import World

WANTED_TAU = 0.8
CLEAR = 2.0  # standard errors of a paired difference
SETTLE_DAYS = 14
OWN, OTHER = "the world", "other customers"


class Version(NamedTuple):
    """One version of the world, and who lives in it."""

    name: str
    world: World
    phase: Phase


class Judged(NamedTuple):
    """One policy in one version of the world."""

    world: World
    phase: Phase
    policy: str


class Table(NamedTuple):
    """What all rankings share; K policies, N customers."""

    names: list[str]  # K
    own: FloatArray  # (K, N) net values with the world's own numbers
    again: FloatArray  # (K, N) of other customers
    contacts: list[float]  # K, per customer


class PolicyRow(Struct, frozen=True, kw_only=True):
    """One policy over all members."""

    name: str
    description: str
    mean_rank: float
    value: float  # net value per customer with the world's own numbers, account currency
    low: float  # smallest and largest over the members
    high: float
    contacts: float  # per customer, with the world's own numbers


class Flip(Struct, frozen=True, kw_only=True):
    """Two policies that change places."""

    better: str  # of the means over the members
    worse: str
    ahead: float  # share of the members in which it is
    clearly_ahead: int  # members in which it is by CLEAR standard errors
    clearly_behind: int

    @property
    def is_clear(self) -> bool:
        """Tell a flip that is more than the noise of the customers simulated."""
        return self.clearly_ahead > 0 and self.clearly_behind > 0


class Ranking(Struct, frozen=True, kw_only=True):
    """The agreement of all members."""

    over: str  # what the members are
    members: tuple[str, ...]
    policies: tuple[PolicyRow, ...]  # the best mean rank first
    taus: tuple[float, ...]  # of each member's ranking with the mean ranking
    agreement: tuple[tuple[float, ...], ...]  # of each two members
    noise_tau: float  # of the world's ranking with that on other customers
    flips: tuple[Flip, ...]

    @property
    def passes(self) -> bool:
        """Tell whether every member's ranking agrees with the mean ranking."""
        return all(tau >= WANTED_TAU for tau in self.taus)


class Rankings(Struct, frozen=True, kw_only=True):
    """Over what the data leave open, and over what was assumed."""

    ensemble: Ranking
    assumptions: Ranking


def rank(world: World, members: int, phase: Phase, where: Executor, report: Report) -> Rankings:
    """Judge all policies in the world, in up to `members` members (or under as many seeds), and in as many
    worlds whose assumed numbers are drawn anew.
    """
    own, varied, doubts = versions(world, members, phase)
    again = own._replace(name=OTHER, phase=structs.replace(phase, seed=phase.seed + 1_000))
    every = [own, *varied, *doubts, again]
    names = list(strategies(world, phase.seed))
    found = where.map(judge, [Judged(*one[1:], name) for one in every for name in names], report)
    nets = np.array([net for net, _ in found]).reshape(len(every), len(names), phase.customers)
    table = Table(names, nets[0], nets[-1], [rate for _, rate in found[: len(names)]])
    edge = 1 + len(varied)
    over = "members of the ensemble" if world.config.ensemble else "seeds"
    return Rankings(
        ensemble=_ranking(over, varied, nets[1:edge], table),
        assumptions=_ranking("worlds with other assumptions", doubts, nets[edge:-1], table),
    )


def n_rollouts(world: World, members: int) -> int:
    """Runs that `rank` makes, for a progress bar."""
    _, varied, doubts = versions(world, members, Phase(customers=1, days=1, seed=0))
    return (2 + len(varied) + len(doubts)) * len(strategies(world, 0))


def versions(world: World, members: int, phase: Phase) -> tuple[Version, list[Version], list[Version]]:
    """The world, its members (other seeds where it has none), and worlds with other assumptions."""
    bare = structs.replace(world.config, ensemble=())
    own, numbers = Version(OWN, World(bare), phase), range(1, members + 1)
    varied = [
        Version(f"member {number}", World(apply(bare, vector)), phase)
        for number, vector in zip(numbers, world.config.ensemble, strict=False)
    ]
    seeds = [phase.seed + number for number in numbers]
    others = [Version(f"seed {seed}", own.world, structs.replace(phase, seed=seed)) for seed in seeds]
    doubts = [Version(f"draw {number}", World(doubted(bare, number)), phase) for number in numbers]
    return own, varied or others, doubts


def judge(work: Judged, report: Report) -> tuple[FloatArray, float]:
    """(N,) net value of each customer under a policy, and its contacts per customer."""
    strategy = strategies(work.world, work.phase.seed)[work.policy]
    run = rollout(work.world, Snapshot.start(strategy), work.phase, with_oracle=False)
    report(1)
    return run.totals.net, float(run.totals.contacts.mean())


def _ranking(over: str, varied: list[Version], nets: FloatArray, table: Table) -> Ranking:
    """From net values (M, K, N) of the versions; the world itself is one of the members."""
    nets = np.concatenate([table.own[None], nets])
    values = nets.mean(axis=2)
    ranks = mean_ranks(values)
    rows = [
        PolicyRow(
            name=name,
            description=describe(name),
            mean_rank=float(ranks[at]),
            value=float(values[0, at]),
            low=float(values[:, at].min()),
            high=float(values[:, at].max()),
            contacts=table.contacts[at],
        )
        for at, name in enumerate(table.names)
    ]
    return Ranking(
        over=over,
        members=(OWN, *(one.name for one in varied)),
        policies=tuple(sorted(rows, key=lambda row: row.mean_rank)),
        taus=tuple(kendall(-value, ranks) for value in values),
        agreement=tuple(tuple(row) for row in agreement(values).tolist()),
        noise_tau=kendall(values[0], table.again.mean(axis=1)),
        flips=_flips(table.names, nets),
    )


def _flips(names: list[str], nets: FloatArray) -> tuple[Flip, ...]:
    """Pairs whose order is not the same in every member, those that do so clearly first."""
    flips = []
    for pair in pairs(nets.mean(axis=2)):
        if not pair.flips:
            continue
        gap = nets[:, pair.first] - nets[:, pair.second]
        error = gap.std(axis=1, ddof=1) / np.sqrt(gap.shape[1])
        score = gap.mean(axis=1) / np.maximum(error, 1e-12)
        flips.append(
            Flip(
                better=names[pair.first],
                worse=names[pair.second],
                ahead=pair.ahead,
                clearly_ahead=int((score > CLEAR).sum()),
                clearly_behind=int((score < -CLEAR).sum()),
            )
        )
    return tuple(sorted(flips, key=lambda one: (not one.is_clear, abs(one.ahead - 0.5))))
