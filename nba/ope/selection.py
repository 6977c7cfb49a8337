"""Choosing a hyper-parameter or an estimator by the log itself, without knowing its bias.

SLOPE: candidates are taken from the widest interval to the narrowest, for as long as each agrees with all
before it; the last that does has the least error up to a constant. Su, Srinath and Krishnamurthy (2020);
ordered by width and with sqrt(6) - 1, SLOPE++ of Tucker and Lee (2021), which asks no order of the biases.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from math import inf, isfinite, sqrt
from operator import add
from typing import NamedTuple

import numpy as np

from nba.arrays import FloatArray
from nba.errors import require
from nba.ope.estimators import EstimatorLike
from nba.ope.intervals import CONFIDENCE, check_confidence
from nba.ope.logged import LoggedRounds, blocks
from nba.ope.terms import Estimate, Moments

_SLACK = sqrt(6.0) - 1.0
# Between almost the model alone and plain weights.
THRESHOLDS = (10.0, 50.0, 100.0, 500.0, 1_000.0, 5_000.0, 10_000.0, inf)


class Candidate(NamedTuple):
    """An estimate and half the width of its interval."""

    value: float
    reach: float


def slope(candidates: Sequence[Candidate]) -> int:
    """Place of the candidate that SLOPE++ selects; the first of equal reaches goes first.

    A candidate without a finite interval is never selected, unless there is no other.
    """
    require(len(candidates) > 0, "slope", "candidates", "must not be empty")
    told = [i for i, one in enumerate(candidates) if isfinite(one.value) and isfinite(one.reach)]
    order = sorted(told, key=lambda i: -candidates[i].reach)
    accepted: list[int] = []
    for i in order:
        one = candidates[i]
        if any(
            abs(one.value - candidates[j].value) > one.reach + _SLACK * candidates[j].reach for j in accepted
        ):
            break
        accepted.append(i)
    return accepted[-1] if accepted else 0


def candidate(estimate: Estimate, confidence: float = CONFIDENCE) -> Candidate:
    """An estimate with the half-width of its normal interval."""
    from scipy.special import ndtri

    return Candidate(estimate.value, float(ndtri(0.5 + check_confidence(confidence) / 2.0)) * estimate.stderr)


def select(
    estimators: Sequence[EstimatorLike],
    rounds: LoggedRounds,
    target: FloatArray,
    predicted: FloatArray | None,
    confidence: float = CONFIDENCE,
) -> int:
    """Place of the estimator that SLOPE++ selects on one log, such as DRos with several strengths."""
    moments = ((one, moments_of(one, rounds, target, predicted)) for one in estimators)
    told = [sums.estimate(self_normalised=one.self_normalised) for one, sums in moments]
    return slope([candidate(one, confidence) for one in told])


def moments_of(
    estimator: EstimatorLike, rounds: LoggedRounds, target: FloatArray, predicted: FloatArray | None
) -> Moments:
    """The sums of one estimator alone; neither the log nor the target is checked, `Evaluation` does that."""

    def part(cut: slice) -> Moments:
        known = None if predicted is None else predicted[cut]
        return Moments.of(estimator.terms(rounds.take(cut), target[cut], known))

    return reduce(add, map(part, blocks(*target.shape)))


def shrunk(values: FloatArray, stderrs: FloatArray) -> FloatArray:
    """(N,) estimates of N targets, drawn to their mean by what their errors say is luck.

    The best of many estimates is too good on average (the winner's curse); shrunk, it is so no longer, by and
    large. Normal targets and errors (Efron and Morris 1973), with the spread of the targets by the method
    of moments (DerSimonian and Laird 1986). Fewer than three targets tell no spread: they stay as they are.
    """
    if values.size < 3:
        return values
    precisions = 1.0 / np.maximum(stderrs * stderrs, 1e-100)  # its square must not overflow
    total = precisions.sum()
    excess = float(precisions @ (values - precisions @ values / total) ** 2) - (values.size - 1)
    between = max(excess / float(total - precisions @ precisions / total), 0.0)
    weights = 1.0 / (between + 1.0 / precisions)
    centre = float(weights @ values / weights.sum())
    return centre + between * weights * (values - centre)
