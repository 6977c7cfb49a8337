"""What the arms of a trial differ by: differences and relative lifts from sums, with or without CUPED.

A row of a trial is one customer, its outcome and, if known, a number from before the trial. Customers are
independent; whoever has a row per contact sums them to customers first.
"""

from __future__ import annotations

from math import nan, sqrt
from typing import NamedTuple

import numpy as np

from nba.arrays import FloatArray, check_shape
from nba.errors import require
from nba.ope.intervals import CONFIDENCE, check_confidence
from nba.ope.terms import Estimate

_ONE, _OUTCOME, _BEFORE = range(3)
_LEAST_LEFT = 1e-9  # of the variance: a covariate of before the trial never tells all


class ArmSums(NamedTuple):
    """Sums over the customers of an arm of the products of 1, outcome and covariate; they add."""

    gram: FloatArray  # (3, 3)

    @staticmethod
    def of(outcomes: FloatArray, before: FloatArray | None = None) -> ArmSums:
        """The sums over outcomes (n,) and covariates of before the trial (n,), if there are any."""
        known = np.zeros_like(outcomes) if before is None else before
        check_shape(known, outcomes.shape, "before")
        columns = np.column_stack([np.ones_like(outcomes), outcomes, known])
        return ArmSums(columns.T @ columns)

    def __add__(self, other: object) -> ArmSums:
        """The sums over both."""
        return ArmSums(self.gram + other.gram) if isinstance(other, ArmSums) else NotImplemented

    @property
    def n(self) -> int:
        """Customers."""
        return round(float(self.gram[_ONE, _ONE]))

    @property
    def means(self) -> FloatArray:
        """(3,) means of 1, outcome and covariate; nan without customers."""
        means: FloatArray = self.gram[_ONE] / (self.n or nan)
        return means

    def spread(self) -> FloatArray:
        """(3, 3) sums of products about the means; rounding leaves no negative square."""
        about: FloatArray = self.gram - max(self.n, 1) * np.outer(self.means, self.means)
        np.fill_diagonal(about, np.maximum(np.diagonal(about), 0.0))
        return about

    def adjusted(self, theta: float, centre: float) -> Estimate:
        """Mean of outcome - theta (covariate - centre), and its standard error; nan below two customers."""
        if self.n < 2:
            return Estimate(float(self.means[_OUTCOME]), nan)
        loads = np.array([0.0, 1.0, -theta])
        about = float(loads @ self.spread() @ loads)
        # The outcomes of rounding: a spread below what 64 bits tell of the sums is none.
        about = about if about > 1e-12 * float(np.abs(self.gram).max()) else 0.0
        value = float(self.means @ loads) + theta * centre
        return Estimate(value, sqrt(about / (self.n - 1) / self.n))


class Lift(NamedTuple):
    """One arm against another; `relative` is treated / control - 1 and nan where control brought nothing."""

    n_treated: int
    n_control: int
    treated: Estimate  # mean outcome per customer, adjusted
    control: Estimate
    difference: Estimate
    low: float  # of the difference, at a size fixed in advance
    high: float
    relative: Estimate
    theta: float  # of the covariate, 0 without one
    variance_left: float  # of the difference, 1 without a covariate: 1 - rho^2


def lift_of(treated: ArmSums, control: ArmSums, confidence: float = CONFIDENCE) -> Lift:
    """The difference of two arms, adjusted by what was known before if the sums have a covariate.

    CUPED: outcomes less theta (covariate - its mean), theta the slope within arms. The covariate is from
    before the trial, so its mean differs between arms by chance alone, and that part of the noise goes;
    what is left of the variance is 1 - rho^2. Deng, Xu, Kohavi and Walker (2013); a model's prediction of
    the outcome under silence is the best covariate there is (CUPAC). The standard error of a relative
    lift is (1/c) sqrt(SE_t^2 + (t/c)^2 SE_c^2), by the delta method.
    """
    from scipy.special import ndtri

    _check_arms(treated, control)
    spread = treated.spread() + control.spread()
    before = float(spread[_BEFORE, _BEFORE])
    tells = before > 1e-12 * float(treated.gram[_BEFORE, _BEFORE] + control.gram[_BEFORE, _BEFORE])
    theta = float(spread[_OUTCOME, _BEFORE]) / before if tells else 0.0
    centre = float((treated.gram + control.gram)[_ONE, _BEFORE]) / (treated.n + control.n)
    one, other = treated.adjusted(theta, centre), control.adjusted(theta, centre)
    difference = Estimate(one.value - other.value, sqrt(one.stderr**2 + other.stderr**2))
    raw = sqrt(treated.adjusted(0.0, 0.0).stderr ** 2 + control.adjusted(0.0, 0.0).stderr ** 2)
    left = (difference.stderr / raw) ** 2 if raw > 0.0 else 1.0
    rule = (
        f"leaves {left:.1g} of the variance of the outcome, which no number of before the trial does: it is "
        "the outcome, or was made of it (--before)"
    )
    require(left >= _LEAST_LEFT, "lift", "before", rule)
    reach = float(ndtri(0.5 + check_confidence(confidence) / 2.0)) * difference.stderr
    return Lift(
        n_treated=treated.n,
        n_control=control.n,
        treated=one,
        control=other,
        difference=difference,
        low=difference.value - reach,
        high=difference.value + reach,
        relative=relative_lift(one, other),
        theta=theta,
        variance_left=left,
    )


def relative_lift(treated: Estimate, control: Estimate) -> Estimate:
    """Treated / control - 1, and its standard error (behaviours 32); nan unless control is above zero."""
    if not control.value > 0.0:
        return Estimate(nan, nan)
    ratio = treated.value / control.value
    return Estimate(ratio - 1.0, sqrt(treated.stderr**2 + (ratio * control.stderr) ** 2) / control.value)


def _check_arms(treated: ArmSums, control: ArmSums) -> None:
    for name, arm in (("treated", treated), ("control", control)):
        require(arm.n >= 2, "lift", name, f"must have at least two customers, has {arm.n}")
