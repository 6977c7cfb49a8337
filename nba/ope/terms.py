"""What rounds add to an estimate, and the sums of it that partitions of a log merge by addition.

Every one-step estimator is a mean of base + weight x residual over rounds, or that with the correction
divided by the mean weight. One 5 x 5 table of sums of products therefore holds all that values, standard
errors and fixed-size intervals need, whatever the estimator and however large the log.
"""

from __future__ import annotations

from math import nan, sqrt
from typing import NamedTuple

import numpy as np

from nba.arrays import FloatArray
from nba.errors import require

N_COLUMNS = 5  # 1, ratio, weight, base, correction
_ONE, _RATIO, _WEIGHT, _BASE, _CORRECTION = range(N_COLUMNS)


class Range(NamedTuple):
    """Smallest and largest possible value."""

    low: float
    high: float

    @property
    def width(self) -> float:
        """How far the ends are apart."""
        return self.high - self.low

    def union(self, other: Range) -> Range:
        """The smallest range that holds both."""
        return Range(min(self.low, other.low), max(self.high, other.high))

    def less(self, other: Range) -> Range:
        """The range of differences."""
        return Range(self.low - other.high, self.high - other.low)


def covering(values: FloatArray) -> Range:
    """The range of some values, (0, 0) if there are none."""
    if not values.size:
        return Range(0.0, 0.0)
    return Range(float(values.min()), float(values.max()))


class Tail(NamedTuple):
    """Sums over rounds of squared and cubed weights: expected under the logging policy where it is known."""

    squares: float
    cubes: float

    @staticmethod
    def of(ratios: FloatArray) -> Tail:
        """The sums over observed weights (n,)."""
        squares = ratios * ratios
        return Tail(float(squares.sum()), float(squares @ np.abs(ratios)))

    def joined(self, other: Tail) -> Tail:
        """The sums of both partitions."""
        return Tail(self.squares + other.squares, self.cubes + other.cubes)

    @property
    def typical(self) -> float:
        """The weight at which the variance of an estimate lies: E w^3 / E w^2, at most the largest."""
        return self.cubes / self.squares if self.squares > 0.0 else 0.0


class Terms(NamedTuple):
    """What each round adds: base + weight x residual; the ranges are those that a round could have."""

    ratios: FloatArray  # (n,) target over logging probability: mean one if both are right
    weights: FloatArray  # (n,) what the estimator makes of them
    bases: FloatArray  # (n,)
    residuals: FloatArray  # (n,) reward, less what a model predicted
    ratio_range: Range
    weight_range: Range
    residual_range: Range
    tail: Tail  # of the ratios

    @property
    def scores(self) -> FloatArray:
        """(n,) base + weight x residual: their mean is the estimate that is not self-normalised."""
        return self.bases + self.weights * self.residuals

    def columns(self) -> FloatArray:
        """(n, 5) columns 1, ratio, weight, base and weight x residual."""
        return np.column_stack(
            [np.ones_like(self.ratios), self.ratios, self.weights, self.bases, self.weights * self.residuals]
        )


class Estimate(NamedTuple):
    """A value and its standard error; both nan where no round says anything."""

    value: float
    stderr: float


class Moments(NamedTuple):
    """Sums over rounds of the products of 1, ratio, weight, base and correction, and the ranges."""

    gram: FloatArray  # (5, 5)
    ratio_range: Range
    weight_range: Range
    residual_range: Range
    base_range: Range
    tail: Tail

    @staticmethod
    def of(terms: Terms) -> Moments:
        """The sums of one partition."""
        columns = terms.columns()
        ranges = terms.ratio_range, terms.weight_range, terms.residual_range, covering(terms.bases)
        return Moments(columns.T @ columns, *ranges, terms.tail)

    def __add__(self, other: object) -> Moments:
        """The sums of both partitions."""
        if not isinstance(other, Moments):
            return NotImplemented
        return Moments(
            self.gram + other.gram,
            self.ratio_range.union(other.ratio_range),
            self.weight_range.union(other.weight_range),
            self.residual_range.union(other.residual_range),
            self.base_range.union(other.base_range),
            self.tail.joined(other.tail),
        )

    @property
    def n_rounds(self) -> int:
        """How many rounds were summed."""
        return round(float(self.gram[_ONE, _ONE]))

    @property
    def means(self) -> FloatArray:
        """(5,) means of 1, ratio, weight, base and correction."""
        means: FloatArray = self.gram[_ONE] / self.gram[_ONE, _ONE]
        return means

    @property
    def mean_ratio(self) -> float:
        """Mean importance weight, about one if both distributions are right."""
        return float(self.means[_RATIO])

    @property
    def effective_n(self) -> float:
        """(sum w)^2 / sum w^2 of the importance weights; 0 if all are zero."""
        square = float(self.gram[_RATIO, _RATIO])
        return float(self.gram[_ONE, _RATIO]) ** 2 / square if square > 0.0 else 0.0

    @property
    def ratio_error(self) -> float:
        """Standard error of the mean importance weight."""
        square = float(self.gram[_RATIO, _RATIO] / self.gram[_ONE, _ONE])
        return sqrt(max(square - self.mean_ratio**2, 0.0) / float(self.gram[_ONE, _ONE]))

    def covariance(self) -> FloatArray:
        """(5, 5) covariance of the columns, with the divisor n."""
        means = self.means
        covariance: FloatArray = self.gram / self.gram[_ONE, _ONE] - np.outer(means, means)
        return covariance

    def estimate(self, *, self_normalised: bool) -> Estimate:
        """Value and standard error; self-normalised, the latter is that of the linear part (delta method)."""
        n = self.n_rounds
        loads = loadings(self.gram[_ONE], self_normalised=self_normalised)
        variance = max(float(loads @ self.covariance() @ loads), 0.0)
        return Estimate(
            self.value(self_normalised=self_normalised), sqrt(variance / (n - 1)) if n > 1 else nan
        )

    def value(self, *, self_normalised: bool) -> float:
        """The estimate alone."""
        return float(values(self.gram[_ONE], self_normalised=self_normalised))


def values(totals: FloatArray, *, self_normalised: bool) -> FloatArray:
    """(...) estimates from sums (..., 5) of 1, ratio, weight, base and correction; nan without weight."""
    counts = totals[..., _WEIGHT if self_normalised else _ONE]
    with np.errstate(divide="ignore", invalid="ignore"):
        corrections = totals[..., _CORRECTION] / counts
        estimates: FloatArray = totals[..., _BASE] / totals[..., _ONE] + corrections
    return estimates


def loadings(totals: FloatArray, *, self_normalised: bool) -> FloatArray:
    """(5,) coefficients of the columns in a round's influence on the estimate, up to a constant."""
    if not self_normalised:
        return np.array([0.0, 0.0, 0.0, 1.0, 1.0])
    if not totals[_WEIGHT] > 0.0:
        return np.full(N_COLUMNS, nan)
    mean_weight = totals[_WEIGHT] / totals[_ONE]
    ratio = totals[_CORRECTION] / totals[_WEIGHT]
    return np.array([0.0, 0.0, -ratio / mean_weight, 1.0, 1.0 / mean_weight])


def difference(one: Terms, other: Terms) -> Terms:
    """Terms whose mean is one target's value less another's, by one estimator over the same rounds.

    Their mean ratio is zero. For estimators that are not self-normalised; for those subtract bootstrap
    replicates of one seed.
    """
    same = np.array_equal(one.residuals, other.residuals)
    require(same, "difference", "", "both targets must be judged by one estimator with the same predictions")
    ratios = one.ratios - other.ratios
    return Terms(
        ratios=ratios,
        weights=one.weights - other.weights,
        bases=one.bases - other.bases,
        residuals=one.residuals,
        ratio_range=one.ratio_range.less(other.ratio_range),
        weight_range=one.weight_range.less(other.weight_range),
        residual_range=one.residual_range.union(other.residual_range),
        tail=Tail.of(ratios),
    )
