"""Whether a score finds the customers whom a contact changes: uplift and Qini curves, weighted.

A customer's z = t y / e - (1 - t) y / (1 - e) has the mean of its own uplift, whatever the chance e of being
treated was. Sorted by the score, the curve says what treating the best share of customers would gain
per customer of all; a score that knows nothing gains in proportion. The value of a policy is the headline
(nba.ope), the curve a diagnosis (methods E6).
"""

from __future__ import annotations

from math import sqrt
from typing import NamedTuple

import numpy as np

from nba.arrays import BoolArray, FloatArray, check_shape
from nba.errors import require
from nba.ope.terms import Estimate

_POINTS = 101  # of a drawn curve


class Uplift(NamedTuple):
    """The curve and what it comes to; gains are per customer of all, in units of the outcome."""

    shares: FloatArray  # (101,) treated, 0 to 1
    gains: FloatArray  # (101,) of treating the best share
    stderrs: FloatArray  # (101,) of the gains at each share
    total: Estimate  # gain of treating everybody: the average treatment effect
    auuc: Estimate  # mean of the gains over shares
    qini: Estimate  # auuc less total / 2, what a score that knows nothing would have

    @property
    def is_found(self) -> bool:
        """Whether the score finds who is changed, at two standard errors."""
        return self.qini.value > 2.0 * self.qini.stderr


def uplift_of(
    scores: FloatArray, treated: BoolArray, outcomes: FloatArray, chances: FloatArray, *, centre: bool = True
) -> Uplift:
    """The uplift curve of scores (n,) on a trial's customers (n,); chances (n,) are those of being treated.

    Customers of equal scores count as shuffled among each other. The scores must come from a model that
    did not see these customers. With `centre` the mean outcome is taken off first, which leaves every
    gain unbiased and makes it surer: a constant is the same treated or not. Radcliffe (2007); the
    weighting is that of Athey and Imbens' transformed outcome (2016). Standard errors are of the linear part
    of these rank statistics (Hajek's projection).
    """
    for name, column in (("treated", treated), ("outcomes", outcomes), ("chances", chances)):
        check_shape(column, scores.shape, name)
    require(scores.size >= 2, "uplift", "scores", f"must be of at least two customers, got {scores.size}")
    require(bool(np.isfinite(scores).all()), "uplift", "scores", "must be finite")
    require(bool(np.isfinite(outcomes).all()), "uplift", "outcomes", "must be finite")
    inside = bool(((chances > 0.0) & (chances < 1.0)).all())
    require(
        inside, "uplift", "chances", "must lie strictly between 0 and 1: else a customer tells one side only"
    )
    changes = _changes(treated, outcomes - (outcomes.mean() if centre else 0.0), chances)
    from_below, gain_above = _ranked(scores, changes)
    n, total = scores.size, _estimate(changes)
    auuc, qini = (
        Estimate(
            float((changes * (from_below - less)).mean()),
            float(np.std(changes * (from_below - less) + gain_above, ddof=1)) / sqrt(n),
        )
        for less in (0.0, 0.5)
    )
    shares = np.linspace(0.0, 1.0, _POINTS)
    gains, stderrs = _curve(scores, changes, shares)
    return Uplift(shares, gains, stderrs, total, auuc, qini)


def _changes(treated: BoolArray, outcomes: FloatArray, chances: FloatArray) -> FloatArray:
    """(n,) transformed outcomes."""
    changes: FloatArray = np.where(treated, outcomes / chances, -outcomes / (1.0 - chances))
    return changes


def _estimate(values: FloatArray) -> Estimate:
    return Estimate(float(values.mean()), float(np.std(values, ddof=1)) / sqrt(values.size))


def _ranked(scores: FloatArray, changes: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(n,) shares of customers with lower scores and (n,) gains from those with higher ones, equals by half.

    The first is for how many of all shares a customer is among the treated.
    """
    values, place = np.unique(scores, return_inverse=True)
    counts = np.bincount(place, minlength=values.size)
    sums = np.bincount(place, changes, values.size)
    below = (np.cumsum(counts) - 0.5 * counts) / scores.size
    above = (sums.sum() - np.cumsum(sums) + 0.5 * sums) / scores.size
    return below[place], above[place]


def _curve(scores: FloatArray, changes: FloatArray, shares: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Gains (S,) of treating the best shares (S,), and their standard errors at the thresholds found."""
    values, place = np.unique(-scores, return_inverse=True)
    counts, n = np.bincount(place, minlength=values.size), scores.size
    reached = np.append(0.0, np.cumsum(counts)) / n
    gains = np.interp(
        shares, reached, np.append(0.0, np.cumsum(np.bincount(place, changes, values.size))) / n
    )
    squares = np.append(0.0, np.cumsum(np.bincount(place, changes * changes, values.size))) / n
    variances = np.maximum(np.interp(shares, reached, squares) - gains * gains, 0.0)
    return gains, np.sqrt(variances / max(n - 1, 1))
