"""The estimators that a command knows by name, and which of them a log can have."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import NamedTuple

from nba.errors import InvalidConfig, require
from nba.ope import (
    MRDR,
    USUAL,
    AdaptiveBlending,
    Clipped,
    DoublyRobust,
    Estimator,
    GroupedDoublyRobust,
    InversePropensity,
    MarginalInversePropensity,
    OptimisticShrinkage,
    SubGaussian,
    Switched,
)
from nba.ope.pieces import MRDR_MODEL

KNOWN: dict[str, Estimator] = {
    one.name: one
    for one in (
        *USUAL,
        InversePropensity(name="clipped-ips", weighting=Clipped(10.0)),
        DoublyRobust(name="sub-gaussian-dr", weighting=SubGaussian(0.01)),
        MRDR,
        AdaptiveBlending(most=10.0),
    )
}
_BY_GROUPS = ("mips", "offcem")
_USUAL = ("ips", "clipped-ips", "snips", "dm", "dr", "sndr", "switch-dr", "dros")
# What SLOPE++ chooses among: from almost the model alone, or weights of nearly 1, to the weights as they are.
_MOST = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, inf)  # of a weight
_STRENGTHS = (1.0, 10.0, 100.0, 1_000.0, 10_000.0, inf)  # of a squared weight
_SHARES = (0.3, 0.1, 0.03, 0.01, 0.003, 0.0)  # one over the largest weight
TUNED: dict[str, tuple[Estimator, ...]] = {
    "clipped-ips": tuple(
        InversePropensity(name=f"clipped-ips({most:g})", weighting=Clipped(most)) for most in _MOST
    ),
    "switch-dr": tuple(DoublyRobust(name=f"switch-dr({most:g})", weighting=Switched(most)) for most in _MOST),
    "dros": tuple(
        DoublyRobust(name=f"dros({strength:g})", weighting=OptimisticShrinkage(strength))
        for strength in _STRENGTHS
    ),
    "sub-gaussian-dr": tuple(
        DoublyRobust(name=f"sub-gaussian-dr({share:g})", weighting=SubGaussian(share)) for share in _SHARES
    ),
    "cab": tuple(AdaptiveBlending(most=most, name=f"cab({most:g})") for most in _MOST[:-1]),
}


class Log(NamedTuple):
    """What of a log decides on the estimators that it can have."""

    is_whole: bool  # whether the target is known of all actions
    knows_logging: bool  # whether the logging policy is
    is_estimated: bool  # whether that is an estimate
    groups: tuple[int, ...] = ()  # (A,) of actions, where columns make some


def estimators_of(names: Sequence[str], log: Log, *, tuned: bool = False) -> tuple[Estimator, ...]:
    """The estimators of some names, such as "ips,dr"; the usual ones without a name.

    Tuned, those that have a threshold or a strength come with all values that SLOPE++ may choose.
    Raises InvalidConfig for a name that is not known, or not possible on this log.
    """
    asked = tuple(name.strip() for text in names for name in text.split(","))
    known, every = KNOWN | _by_groups(log.groups), (*KNOWN, *_BY_GROUPS)
    for name in asked:
        require(name in every, "--estimators", "", f"{name!r} is not one of {', '.join(every)}")
        rule = "needs groups of actions: name the columns that make them, --groups channel,family"
        require(name in known, "--estimators", name, rule)
        if reason := _why_not(known[name], log):
            raise InvalidConfig("--estimators", name, reason)
    usual = (*_USUAL, *(_BY_GROUPS if log.groups else ()))
    chosen = asked or tuple(name for name in usual if not _why_not(known[name], log))
    return tuple(one for name in chosen for one in (TUNED.get(name) if tuned else None) or (known[name],))


def families(estimators: Sequence[Estimator]) -> tuple[tuple[int, ...], ...]:
    """The places of the estimators that differ in a value only."""
    names = [one.name for one in estimators]
    found = (tuple(names.index(one.name) for one in family if one.name in names) for family in TUNED.values())
    return tuple(places for places in found if places)


def _by_groups(groups: tuple[int, ...]) -> dict[str, Estimator]:
    """MIPS and OffCEM over groups (A,), if there are any."""
    if not groups:
        return {}
    return {"mips": MarginalInversePropensity(groups=groups), "offcem": GroupedDoublyRobust(groups=groups)}


def followed(estimators: Sequence[Estimator]) -> int | None:
    """The place of the estimator that a sequence follows: DR, or what else is a mean of weighed scores."""
    order = ("dr", "ips", "sub-gaussian-dr", "dros", "switch-dr", "mrdr", "clipped-ips", "cab", *_BY_GROUPS)
    names = [one.name for one in estimators]
    return next((names.index(name) for name in order if name in names), None)


def _why_not(estimator: Estimator, log: Log) -> str:
    """Why a log cannot have an estimator; empty if it can."""
    by_groups = isinstance(estimator, MarginalInversePropensity | GroupedDoublyRobust)
    if (estimator.model or by_groups) and not log.is_whole:
        return "needs the target's probabilities of all actions: name their columns, --target columns:PREFIX"
    if (by_groups or isinstance(estimator, AdaptiveBlending)) and not log.knows_logging:
        return "needs the propensities of all actions: name their columns, --propensity columns:PREFIX"
    if estimator.model == MRDR_MODEL and log.is_estimated:
        return "needs logged propensities, and these are estimated"
    return ""
