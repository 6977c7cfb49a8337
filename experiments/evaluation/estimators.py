"""The estimators that a command knows by name, and which of them a log can have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from nba.errors import InvalidConfig, require
from nba.ope import MRDR, USUAL, AdaptiveBlending, Clipped, Estimator, InversePropensity, SubGaussian
from nba.ope.estimators import DoublyRobust
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
_USUAL = ("ips", "clipped-ips", "snips", "dm", "dr", "sndr", "switch-dr", "dros")


class Log(NamedTuple):
    """What of a log decides on the estimators that it can have."""

    is_whole: bool  # whether the target is known of all actions
    knows_logging: bool  # whether the logging policy is
    is_estimated: bool  # whether that is an estimate


def estimators_of(names: Sequence[str], log: Log) -> tuple[Estimator, ...]:
    """The estimators of some names, such as "ips,dr"; the usual ones without a name.

    Raises InvalidConfig for a name that is not known, or not possible on this log.
    """
    asked = tuple(name.strip() for text in names for name in text.split(","))
    for name in asked:
        rule = f"{name!r} is not one of {', '.join(KNOWN)}"
        require(name in KNOWN, "--estimators", "", rule)
        if reason := _why_not(KNOWN[name], log):
            raise InvalidConfig("--estimators", name, reason)
    chosen = asked or tuple(name for name in _USUAL if not _why_not(KNOWN[name], log))
    return tuple(KNOWN[name] for name in chosen)


def followed(estimators: Sequence[Estimator]) -> int | None:
    """The place of the estimator that a sequence follows: DR, or what else is a mean of weighed scores."""
    order = ("dr", "ips", "sub-gaussian-dr", "dros", "switch-dr", "mrdr", "clipped-ips", "cab")
    names = [one.name for one in estimators]
    return next((names.index(name) for name in order if name in names), None)


def _why_not(estimator: Estimator, log: Log) -> str:
    """Why a log cannot have an estimator; empty if it can."""
    if estimator.model and not log.is_whole:
        return "needs the target's probabilities of all actions: name their columns, --target columns:PREFIX"
    if isinstance(estimator, AdaptiveBlending) and not log.knows_logging:
        return "needs the propensities of all actions: name their columns, --propensity columns:PREFIX"
    if estimator.model == MRDR_MODEL and log.is_estimated:
        return "needs logged propensities, and these are estimated"
    return ""
