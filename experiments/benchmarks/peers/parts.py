"""Rewards against peers: digits, the 48-action simulation and classification tables."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from experiments.benchmarks.peers.methods import (
    DISJOINT,
    REGCB,
    SHARED,
    VOWPAL_BEST,
    VOWPAL_METHODS,
    Method,
    methods,
)
from experiments.benchmarks.peers.problems import SIGNALS, TABLES
from experiments.benchmarks.peers.results import Runner
from experiments.benchmarks.peers.tournament import Budget, Contest, Interval, contest, of_family, told
from nba.arrays import FloatArray

# Where there is one channel and one timing, a shared model has nothing to share.
_ONE_FACTOR = (DISJOINT, "disjoint-thompson")
_SHARED = (SHARED, "shared-thompson")


def digits(runner: Runner, budget: Budget, data: Path) -> dict[str, float]:
    """Digits as a bandit against everybody."""
    field = methods((*_ONE_FACTOR, *VOWPAL_METHODS, "mabwiser-linucb", "mabwiser-lints"))
    played = contest(runner, "digits", data, field, budget, always=(DISJOINT,))
    ours = played.best(of_family(field, is_ours=True))
    reward = Interval.of(played.rewards(ours))
    figures = {"digits_mean_reward": reward.mean, "digits_mean_reward_half": reward.half}
    return figures | _against(played, field, ours, "digits") | told(played)


def classification(runner: Runner, budget: Budget, data: Path) -> dict[str, float]:
    """Tables of which every row is one decision: 1 for naming its class.

    MABWiser's LinTS is left out: with its decomposition of every arm's covariance at every round, the
    widest table alone would take as long as everything else.
    """
    field, figures = methods((*_ONE_FACTOR, *VOWPAL_METHODS, "mabwiser-linucb")), dict[str, float]()
    for name, (file, _) in TABLES.items():
        if not (data / file).is_file():
            print(
                f"{name} is left out: there is no {data / file}; name the folder with --data", file=sys.stderr
            )
            continue
        played = contest(runner, name, data, field, budget, always=())
        ours = played.best(of_family(field, is_ours=True))
        figures[f"{name}_mean_reward"] = Interval.of(played.rewards(ours)).mean
        figures |= _against(played, field, ours, name) | told(played)
    return figures


def simulation(runner: Runner, budget: Budget, data: Path) -> dict[str, float]:
    """The 48-action simulation at both signals; figures without a signal's name are the worse of the two.

    MABWiser is left out: it copies the regressions of all arms at every round, and its LinUCB is our
    disjoint one by definition.
    """
    field, figures = methods((*_SHARED, DISJOINT, *VOWPAL_BEST)), dict[str, float]()
    for signal in SIGNALS:
        played = contest(runner, signal, data, field, budget, always=(SHARED, DISJOINT, REGCB))
        best = played.best(_SHARED)
        figures |= _ratio(played, SHARED, DISJOINT, f"shared_over_disjoint_{signal}")
        figures |= _against(played, field, best, signal) | told(played)
        if REGCB in played.fresh:
            lead = _lead(played, best, REGCB)
            figures[f"regcb_lead_{signal}"] = float(lead.min())
            figures |= _interval(lead, f"regcb_lead_{signal}_mean")
    for name in ("shared_over_disjoint", "regcb_lead"):
        worst = [figures[key] for key in (f"{name}_{signal}" for signal in SIGNALS) if key in figures]
        figures |= {name: min(worst)} if worst else {}
    return figures


def _against(played: Contest, field: list[Method], ours: str, name: str) -> dict[str, float]:
    """The best finalist among the peers by its fresh rewards, and our lead over it seed by seed."""
    peers = [peer for peer in of_family(field, is_ours=False) if peer in played.fresh]
    if not peers:
        return {}
    best = max(peers, key=lambda peer: float(played.rewards(peer).mean()))
    figures = {f"{name}_best_peer": float(played.rewards(best).mean())}
    return figures | _interval(played.rewards(ours) - played.rewards(best), f"{name}_lead")


def _ratio(played: Contest, one: str, other: str, key: str) -> dict[str, float]:
    """Ratio of mean rewards, and the interval of the ratios of single seeds."""
    means = [float(played.rewards(name).mean()) for name in (one, other)]
    by_seed = Interval.of(played.rewards(one) / played.rewards(other))
    return {key: means[0] / means[1], f"{key}_half": by_seed.half}


def _lead(played: Contest, one: str, other: str) -> FloatArray:
    """(S,) by how much one is ahead of another on each fresh seed, as a share of the other's reward."""
    lead: FloatArray = played.rewards(one) / played.rewards(other) - 1.0
    return lead


def _interval(values: FloatArray, key: str) -> dict[str, float]:
    found = Interval.of(np.asarray(values))
    return {key: found.mean, f"{key}_half": found.half}
