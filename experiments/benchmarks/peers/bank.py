"""The retail bank: which share of the oracle's value a policy earns after a hundred thousand decisions.

The oracle knows the true expected net value of every action the rules allow. Both are judged on the same
decisions about fresh customers, with beliefs frozen, as `nba compare` judges.
"""

from __future__ import annotations

import sys
from typing import NamedTuple

import numpy as np
from msgspec import structs

from experiments.benchmarks.peers.results import Runner, Stage, code_digest
from experiments.benchmarks.peers.tournament import Interval
from experiments.compare import leaderboard_row
from experiments.rollout import rollout
from experiments.spec import MOST_CUSTOMERS, Phase, load_experiment
from experiments.tallies import DAILY
from nba.policies import LinUCB, Policy, ThompsonSampling
from nba.snapshot import Snapshot
from simulator.world import load_world

_POLICIES: tuple[Policy, ...] = (
    *(ThompsonSampling(scale=scale) for scale in (1.0, 0.5, 0.25)),
    *(LinUCB(alpha=alpha) for alpha in (1.0, 0.3, 0.1)),
)
_FIRST_FRESH = 1_000


class Length(NamedTuple):
    """How much a run learns from, and on whom it is judged."""

    train: Phase
    judge: Phase

    @staticmethod
    def of(customers: int, days: int, judged: int) -> Length:
        """Customers who teach for some days, as many days as the demo lets pass between publications."""
        return Length(
            Phase(customers=customers, days=days, seed=0, publish_every_days=4),
            Phase(customers=judged, days=28, seed=0),
        )


QUICK, TUNING, FULL = Length.of(200, 8, 200), Length.of(2_000, 48, 1_000), Length.of(6_000, 64, 2_000)


class Task(NamedTuple):
    """One run in the bank."""

    setting: int
    seed: int
    length: Length


class Share(NamedTuple):
    """What a run came to."""

    oracle_share: float  # expected net value over the oracle's, at the same decisions
    decisions: float  # learnt from


def run_task(task: Task) -> Share:
    """Learn, then be judged on customers nobody has seen."""
    world, length = load_world("retail-bank"), task.length
    spec = structs.replace(load_experiment("demo").spec("thompson"), policy=_POLICIES[task.setting])
    train, judge = (structs.replace(phase, seed=2 * task.seed + n) for n, phase in enumerate(length))
    taught = rollout(world, Snapshot.start(spec.strategy(world, task.seed)), train, with_oracle=False)
    frozen = taught.snapshot.at(taught.snapshot.posterior, 0)
    totals = rollout(world, frozen, judge, first_customer=MOST_CUSTOMERS).totals
    share = 1.0 - leaderboard_row(spec.name, totals, totals).regret
    return Share(share, float(taught.daily[:, DAILY.index("decisions")].sum()))


def follows_from(task: Task) -> list[str]:
    """All that the result of a task depends on: everything that simulates, decides and learns."""
    modules = ("specs/demo.toml", "compare.py", "rollout.py", "spec.py", "tallies.py")
    code = code_digest("nba", "simulator", *(f"experiments/{name}" for name in modules))
    return ["bank", str(_POLICIES[task.setting]), str(task.seed), str(task.length), code, np.__version__]


def _stage(name: str) -> Stage[Task, Share]:
    return Stage(name, run_task, follows_from, Share)


def bank(runner: Runner, fresh_seeds: int, quick: bool) -> dict[str, float]:
    """Tune six policies on two seeds and a fifth of the decisions, then score the best on fresh seeds."""
    settings, seeds = range(len(_POLICIES)), range(1 if quick else 2)
    tries = [Task(setting, seed, QUICK if quick else TUNING) for setting in settings for seed in seeds]
    shares = np.array([done.oracle_share for done in runner.run(_stage("bank, tuning"), tries)]).reshape(
        len(_POLICIES), -1
    )
    for policy, share in zip(_POLICIES, shares.mean(axis=1), strict=True):
        print(f"bank: {policy} earns {share:.3f} of the oracle's value", file=sys.stderr)
    best, fresh = int(shares.mean(axis=1).argmax()), range(_FIRST_FRESH, _FIRST_FRESH + fresh_seeds)
    finals = [Task(best, seed, QUICK if quick else FULL) for seed in fresh]
    done = runner.run(_stage("bank, fresh seeds"), finals)
    share = Interval.of(np.array([one.oracle_share for one in done]))
    decisions = float(np.mean([one.decisions for one in done]))
    return {
        "oracle_share": share.mean,
        "oracle_share_half": share.half,
        "oracle_share_decisions": decisions,
    }
