"""Intervals at a size fixed in advance, from the sums of a log.

All of them hold for independent rounds; where customers come back, the cluster bootstrap is the honest
one (nba.ope.bootstrap). None may be looked at repeatedly: for that there are nba.ope.sequences. For an
estimator with shrunk or clipped weights they cover what it estimates, not the bias it accepts.
"""

from __future__ import annotations

from math import isfinite, log, nan, sqrt
from typing import NamedTuple

import numpy as np

from nba.arrays import FloatArray
from nba.errors import require
from nba.ope.terms import Moments, Range, loadings

CONFIDENCE = 0.95


class Interval(NamedTuple):
    """Two ends and the method that made them."""

    low: float
    high: float
    method: str

    @property
    def width(self) -> float:
        """How far the ends are apart."""
        return self.high - self.low

    def within(self, possible: Range) -> Interval:
        """Cut to the values that are possible at all, such as the range of the rewards."""
        low, high = (min(max(end, possible.low), possible.high) for end in (self.low, self.high))
        return self._replace(low=low, high=high)


def normal(moments: Moments, *, self_normalised: bool, confidence: float = CONFIDENCE) -> Interval:
    """Value +- z standard errors: too narrow, and too low, for rare rewards under large weights.

    With some twenty large weights and a conversion in twenty rounds it covers about 65 % instead of 95 %.
    """
    from scipy.special import ndtri

    value, stderr = moments.estimate(self_normalised=self_normalised)
    reach = float(ndtri(0.5 + check_confidence(confidence) / 2.0)) * stderr
    return Interval(value - reach, value + reach, "normal")


def empirical_bernstein(moments: Moments, confidence: float = CONFIDENCE) -> Interval:
    """Mean +- sqrt(2 v log(4/d)/n) + 7 b log(4/d) / (3 (n - 1)): holds at any n, and is wide.

    b is the length of the range that a round's score may lie in. Maurer and Pontil (2009, theorem 4),
    at half the error for either side. For estimators that are not self-normalised.
    """
    n, (value, stderr) = moments.n_rounds, moments.estimate(self_normalised=False)
    if n < 2:
        return Interval(nan, nan, "empirical-bernstein")
    chance = log(4.0 / (1.0 - check_confidence(confidence)))
    corrections = [w * e for w in moments.weight_range for e in moments.residual_range]
    length = max(*corrections, 0.0) - min(*corrections, 0.0) + moments.base_range.width
    reach = stderr * sqrt(2.0 * chance) + 7.0 * length * chance / (3.0 * (n - 1))
    return Interval(value - reach, value + reach, "empirical-bernstein")


def cressie_read(moments: Moments, *, mean_ratio: float = 1.0, confidence: float = CONFIDENCE) -> Interval:
    """Cressie-Read interval of power -2, from sums alone: the default at a fixed size.

    Among all reweightings of the rounds and one unseen round that agree with the known mean of the weights
    and are no farther from even than the F(1, n) quantile allows, the smallest and the largest mean score.
    The unseen round lies in a corner: the largest possible weight with the lowest or highest residual. So
    the interval knows of rare rewards under large weights that have not come up yet, where the normal one
    does not. Karampatziakis, Langford and Mineiro (2020, 1906.03323), here for any base + weight x
    residual; mean_ratio is 1, or 0 for the difference of two targets.
    """
    from scipy.stats import f

    n = moments.n_rounds
    if n < 2:
        return Interval(nan, nan, "cressie-read")
    quantile = float(f.isf(1.0 - check_confidence(confidence), 1, n))
    nearest = moments.ratio_range.high if moments.mean_ratio < mean_ratio else moments.ratio_range.low
    least = _with_unseen(moments, nearest, 0.0, mean_ratio).divergence
    ends = []
    for sign, residual in zip((-1.0, 1.0), moments.residual_range, strict=True):
        found = []
        corners = zip(moments.ratio_range, moments.weight_range, strict=True)
        for ratio, weight in corners:
            reweighted = _with_unseen(moments, ratio, weight * residual, mean_ratio)
            # The interval is that of a likelihood ratio: divergence counts beyond the least there is.
            room = least + quantile / (n + 1) - reweighted.divergence
            if room >= 0.0:
                found.append(sign * reweighted.mean + sqrt(room * reweighted.variance))
        ends.append(sign * max(found) if found else sign * np.inf)
    return Interval(ends[0], ends[1], "cressie-read")


class _Reweighted(NamedTuple):
    """Rounds and an unseen one, reweighted to the known mean ratio."""

    mean: float  # of the score
    variance: float  # of the score that the ratio does not explain
    divergence: float  # from even weights, twice Pearson's


def _with_unseen(moments: Moments, ratio: float, correction: float, mean_ratio: float) -> _Reweighted:
    """The least reweighting of the rounds and one unseen round whose mean ratio is the known one."""
    load = loadings(moments.gram[0], self_normalised=False)
    unseen = np.array([1.0, ratio, 0.0, float(moments.means[3]), correction])
    gram: FloatArray = moments.gram + np.outer(unseen, unseen)
    n, sums = gram[0, 0], gram[0] / gram[0, 0]
    covariance = gram / n - np.outer(sums, sums)
    score, spread = float(load @ sums), float(load @ covariance @ load)
    variance, shared = float(covariance[1, 1]), float(covariance[1] @ load)
    gap = mean_ratio - float(sums[1])
    if variance <= 1e-12 * max(float(gram[1, 1] / n), 1.0):  # equal weights know nothing of the score
        return _Reweighted(score, max(spread, 0.0), 0.0)
    slope = shared / variance
    left = max(spread - shared * slope, 0.0)
    return _Reweighted(score + gap * slope, left, gap * gap / variance)


def check_confidence(confidence: float) -> float:
    """The confidence, if it is a probability between zero and one."""
    holds = isfinite(confidence) and 0.0 < confidence < 1.0
    require(holds, "interval", "confidence", f"must lie strictly between 0 and 1, got {confidence}")
    return confidence
