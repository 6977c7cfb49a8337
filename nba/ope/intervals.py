"""Intervals at a size fixed in advance, from the sums of a log.

All of them hold for independent rounds; where customers come back, the cluster bootstrap is the honest
one (nba.ope.bootstrap). None may be looked at repeatedly: for that there are nba.ope.sequences. For an
estimator with shrunk or clipped weights they cover what it estimates, not the bias it accepts.
"""

from __future__ import annotations

from math import inf, isfinite, log, nan, sqrt
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from nba.arrays import FloatArray
from nba.errors import require
from nba.ope.terms import Moments, Range, loadings

CONFIDENCE = 0.95
Unseen: TypeAlias = Literal["typical", "largest"]


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
    """Mean +- sqrt(2 v log(4/d)/n) + 7 b log(4/d) / (3 (n - 1)): wide.

    b is the length of the range of a round's score, here from the weights and rewards observed: it holds at
    any n only where these reach all that there could be. Maurer and Pontil (2009, theorem 4),
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


def cressie_read(
    moments: Moments,
    *,
    mean_ratio: float = 1.0,
    unseen: Unseen = "typical",
    confidence: float = CONFIDENCE,
) -> Interval:
    """Cressie-Read interval of power -2, from sums alone: the default at a fixed size.

    Among all reweightings of the rounds and one unseen round that agree with the known mean of the weights
    and are no farther from even than the F(1, n) quantile allows, the smallest and the largest mean score.
    The unseen round knows of rare rewards under large weights that have not come up yet, as the normal
    interval does not. Karampatziakis, Langford and Mineiro (2020, 1906.03323), here for any base + weight
    x residual; mean_ratio is 1, or 0 for the difference of two targets.

    The paper gives the unseen round the largest possible weight and the best or worst reward. With a few
    large weights among many small ones that covers 98 to 100 % instead of 95 at 1,000 rounds and 5 %
    conversions. "typical" gives it the weight that a missed reward would have (`unseen_weight`): that
    covers 92 to 97 %, and 99 % where one reward in 1,000 rounds has a weight of 45: none can be exact there.
    """
    from scipy.stats import f

    n = moments.n_rounds
    if n < 2:
        return Interval(nan, nan, "cressie-read")
    room = float(f.isf(1.0 - check_confidence(confidence), 1, n)) / (n + 1)
    corners = _corners(moments, unseen)
    nearest = corners[1] if moments.mean_ratio < mean_ratio else corners[0]
    # The interval is that of a likelihood ratio: divergence counts beyond the least there is.
    room += _with_unseen(moments, nearest.ratio, 0.0, mean_ratio).divergence
    ends = []
    for sign in (-1.0, 1.0):
        found = []
        for ratio, weight in corners:
            worst = max(sign * weight * residual for residual in moments.residual_range)
            reweighted = _with_unseen(moments, ratio, sign * worst, mean_ratio)
            if reweighted.divergence <= room:
                reach = sqrt((room - reweighted.divergence) * reweighted.variance)
                found.append(sign * reweighted.mean + reach)
        ends.append(sign * max(found) if found else sign * inf)
    return Interval(ends[0], ends[1], "cressie-read")


class _Corner(NamedTuple):
    """Ratio of an unseen round, and what the estimator makes of it."""

    ratio: float
    weight: float


def _corners(moments: Moments, unseen: Unseen) -> tuple[_Corner, _Corner]:
    """The unseen round with the least and with the greatest ratio."""
    ratios, weights = moments.ratio_range, moments.weight_range
    if unseen == "typical":
        step = unseen_weight(moments)
        ratios = Range(max(ratios.low, -step), min(ratios.high, step))
        weights = Range(max(weights.low, -step), min(weights.high, step))
    return _Corner(ratios.low, weights.low), _Corner(ratios.high, weights.high)


def unseen_weight(moments: Moments) -> float:
    """E w^2, the mean weight of the rewards under the target; or half of E w^3 / E w^2 where that is more.

    With even weights it is one more reward, as the rule of three has it (3 / n after n failures). E w^3 / E
    w^2 is the weight at which the variance lies: half of it is a continuity correction, for the few rewards
    that carry an estimate under heavy weights. Chosen on ten problems, checked on others.
    """
    tail, n = moments.tail, moments.n_rounds
    return min(max(tail.squares / n, 0.5 * tail.typical), tail.typical)


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
