"""Links of the generalised linear posteriors: from linear predictors to rates and back to working rows.

A predictor is relative to its product's forecast, so the forecast enters as an offset. For a row of
exposure e and reward y, with mean e m and a variance e V, Fisher scoring at parameters theta adds

    precision += e d d' / V        shift += d (e d'theta + y - e m) / V,        d = dm / dtheta.

Reward and exposure enter separately, so a conversion may be told in a row of exposure 0 before its exposure.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, TypeVar

import numpy as np

from nba.arrays import AnyArray, Float32Array, FloatArray

# Linear predictors end here (methods A3): one wrong row at an extreme belief would otherwise move it by the
# inverse of a vanishing curvature.
CAP = 8.0
# A refit checks its steps, so there they end where the curvature would be lost in rounding: with gradients
# cut at CAP, separable data would push for ever.
REFIT_CAP = 30.0
LEAST_VARIANCE = 0.1  # share of the gross mean, see Log
Scalars = TypeVar("Scalars", FloatArray, Float32Array)


class Predictors(NamedTuple):
    """Linear predictors of rows at the point of linearisation, each (n,)."""

    offset: FloatArray  # of the forecast
    contact: FloatArray  # part of channel, timing, product and pairs; 0 without contact
    organic: FloatArray  # part of the organic block; 0 where the model has none
    variance: FloatArray  # of contact + organic under the belief, 0 to linearise at its mean
    uplift_share: FloatArray
    organic_share: FloatArray  # equal to uplift_share where the model has no organic block
    cap: float


class Moments(NamedTuple):
    """What a row of exposure 1 leads to expect, each (n,)."""

    mean: FloatArray
    contact_slope: FloatArray  # derivative of the mean by the contact part
    organic_slope: FloatArray  # and by the organic part
    variance: FloatArray  # of the reward


class Link(Protocol):
    """How a linear predictor becomes a rate."""

    def offset(self, rate: FloatArray) -> FloatArray:
        """Predictors of rates above 0; of a rate of 1, which is no forecast, 0."""
        ...

    def rate(self, predictor: Scalars) -> Scalars:
        """Rates of predictors with their offset; overwrites its argument."""
        ...

    def slope(self, predictor: FloatArray) -> FloatArray:
        """Derivative of the rate."""
        ...

    def moments(self, rows: Predictors) -> Moments:
        """Means, slopes and variances of rows."""
        ...


class Logit:
    """Bernoulli rewards: one outcome per whole attribution window.

    A row of exposure e counts as e trials (log-likelihood y eta - e log(1 + exp eta)); the shares say
    when within the window, which one outcome does not ask. With a variance v of eta the curvature is the
    expected one of R-VGA (Lambert, Bonnabel, Bach 2022): sigmoid as probit, scale s = 1 / sqrt(1 + pi v / 8),

        E[p] = sigmoid(s eta)        E[p (1 - p)] = s sigmoid'(s eta).
    """

    def offset(self, rate: FloatArray) -> FloatArray:
        """Log-odds."""
        known = np.where(rate < 1.0, rate, 0.5)
        odds: FloatArray = np.log(known) - np.log1p(-known)
        return odds

    def rate(self, predictor: Scalars) -> Scalars:
        """Sigmoid."""
        np.negative(predictor, out=predictor)
        np.exp(predictor, out=predictor)
        predictor += 1.0
        np.reciprocal(predictor, out=predictor)
        return predictor

    def slope(self, predictor: FloatArray) -> FloatArray:
        """P (1 - p)."""
        rate = self.rate(predictor.copy())
        return rate * (1.0 - rate)

    def moments(self, rows: Predictors) -> Moments:
        """Mean p and, as the link is canonical, p (1 - p) for slopes and variance."""
        scale = 1.0 / np.sqrt(1.0 + np.pi / 8.0 * rows.variance)
        predictor = scale * (rows.offset + _capped(rows.contact + rows.organic, rows.cap))
        curvature = scale * self.slope(predictor)
        return Moments(self.rate(predictor), curvature, curvature, curvature)


class Log:
    """Poisson rewards: expected conversions of an attribution window, piece by piece (methods B2).

    With contact part c, organic part o, a row's shares u and w, and rates in multiples of the forecast f,

        m = f (u (e^(c + o) - e^o) + w e^o) = f (u e^(c + o) + (w - u) e^o)
        dm / dc = f u e^(c + o)        dm / do = m
        V = max(m, LEAST_VARIANCE f (u e^(c + o) + |w - u| e^o)).

    Where w >= u, so in the later part of a window, and where no contact was made, V = m is the Poisson
    likelihood itself. Early in the window u > w, and m is a difference that nearly cancels, or is negative,
    where a contact does harm: there V stays a tenth of the gross mean. Scores d (y - e m) / V have mean
    zero whatever V is (quasi-likelihood), so the floor costs some precision and brings no bias.
    """

    def offset(self, rate: FloatArray) -> FloatArray:
        """Logarithm."""
        logs: FloatArray = np.log(rate)
        return logs

    def rate(self, predictor: Scalars) -> Scalars:
        """Exponential."""
        np.exp(predictor, out=predictor)
        return predictor

    def slope(self, predictor: FloatArray) -> FloatArray:
        """The rate itself."""
        return self.rate(predictor.copy())

    def moments(self, rows: Predictors) -> Moments:
        """Means and quasi-Poisson variances; the class says how."""
        gross = rows.uplift_share * self.rate(rows.offset + _capped(rows.contact + rows.organic, rows.cap))
        rest = (rows.organic_share - rows.uplift_share) * self.rate(
            rows.offset + _capped(rows.organic, rows.cap)
        )
        mean = gross + rest
        variance = np.maximum(mean, LEAST_VARIANCE * (gross + np.abs(rest)))
        # Silence without an organic block expects nothing and teaches nothing; any variance will do.
        return Moments(mean, gross, mean, np.where(variance > 0.0, variance, 1.0))


def _capped(predictor: FloatArray, cap: float) -> FloatArray:
    """Predictors without offset, kept within -+ cap."""
    kept: AnyArray = np.clip(predictor, -cap, cap)
    return kept
