"""How much of the months' ups and downs may be called a calendar effect.

The file has 26 campaign months, and a calendar month is seen in two or three of them, while the
economy turned and the bank went from mass calling to small picked lists. So a month's coefficient
mixes the calendar with the state of 2008, 2009 or 2010. Two stages keep them apart. First, each
campaign month gets its own level in a logit of calls (with job, weekday, previous outcome, contact
type and call number). Then those levels follow a random-effects model:

    level = a + indicators b + calendar month + campaign month + error of the first stage,

calendar months normal with sd `month_sd`, campaign months with sd `campaign_month_sd`. A calendar
effect is believed only as far as the same month of different years agrees, and is pulled to zero
otherwise. Both sds have flat priors, integrated on a grid: Gelman (2006), Bayesian Analysis 1(3).
Shape letters: L campaign months, F fixed effects, S grid points.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nba.arrays import FloatArray, IntArray, check_shape

GRID = np.arange(0.05, 2.5, 0.1)  # log-odds, midpoints of cells; either posterior is negligible at the end


class MonthEffects(NamedTuple):
    """Posterior means; log-odds."""

    effects: FloatArray  # (12,) January first, centred over the months seen, 0 for the others
    month_sd: float  # between calendar months
    campaign_month_sd: float  # between campaign months, beyond calendar and indicators


def shrunk_months(
    levels: FloatArray, covariance: FloatArray, months: IntArray, indicators: FloatArray
) -> MonthEffects:
    """Split campaign-month levels (L,) with covariance (L, L) into calendar and everything else.

    months is (L,) with 0 for January, indicators is (L, k).
    """
    n_levels = len(levels)
    check_shape(covariance, (n_levels, n_levels), "covariance")
    check_shape(months, (n_levels,), "months")
    check_shape(indicators, (n_levels, None), "indicators")
    fixed = np.column_stack([np.ones(n_levels), indicators])
    member = (months[:, None] == np.arange(12)).astype(np.float64)
    month_sd, campaign_sd = (sds.ravel() for sds in np.meshgrid(GRID, GRID, indexing="ij"))
    # Marginal covariance of the levels at every grid point: (S, L, L).
    total = covariance + campaign_sd[:, None, None] ** 2 * np.eye(n_levels)
    total += month_sd[:, None, None] ** 2 * (member @ member.T)
    residual, log_likelihood = _restricted_likelihood(levels, fixed, total)
    weights = np.exp(log_likelihood - log_likelihood.max())
    weights /= weights.sum()
    # Best linear unbiased predictor of the months at every grid point, then its mean over the grid.
    effects = np.einsum("s,s,sl,lm->m", weights, month_sd**2, residual, member)
    seen = member.any(axis=0)
    effects[seen] -= effects[seen].mean()
    return MonthEffects(effects, float(weights @ month_sd), float(weights @ campaign_sd))


def _restricted_likelihood(
    levels: FloatArray, fixed: FloatArray, total: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Weighted residuals V^-1 (y - F b) (S, L) and the restricted log likelihood (S,).

    Harville (1977), Journal of the American Statistical Association 72.
    """
    inverse = np.linalg.inv(total)
    information = fixed.T @ inverse @ fixed
    score = inverse @ levels @ fixed
    slopes = np.linalg.solve(information, score[:, :, None])[:, :, 0]
    errors = levels - slopes @ fixed.T
    residual = np.einsum("slk,sk->sl", inverse, errors)
    log_likelihood = -0.5 * (
        np.linalg.slogdet(total)[1] + np.linalg.slogdet(information)[1] + (residual * errors).sum(axis=1)
    )
    return residual, log_likelihood
