"""The simulated method of moments: the parameters whose campaign looks like the table's.

Minimises the distance Q = (m(theta) - m)' W^-1 (m(theta) - m) + prior, W the covariance of the table's
statistics m (McFadden 1989, Econometrica 57; Gourieroux, Monfort and Renault 1993, Journal of Applied
Econometrics 8), by Gauss-Newton steps with Levenberg's damping. All simulations use the same customers,
so the distance is a smooth function and its derivatives are plain differences.
Shape letters: Q parameters, S statistics, F those that are fitted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.linalg import cholesky, solve_triangular

from nba.arrays import FloatArray, IntArray
from simulator.calibrate.parameters import MIDDLES, SPREADS

Simulate = Callable[[FloatArray], FloatArray]  # parameters (Q,) to statistics (S,)
_MAX_TRIES = 8
_CLOSE = 0.01  # a step that lowers Q by less is the last one; Q itself is about F
_DIFFERENCE = 0.01  # of a prior's spread
_LONGEST_STEP = 1.5  # of a prior's spread
_DAMPING, _LEAST_DAMPING, _HARDER, _SOFTER = 1e-3, 1e-9, 8.0, 0.2


class Goal(NamedTuple):
    """What a simulation should come to."""

    target: FloatArray  # (S,)
    fitted: IntArray  # (F,) positions of the fitted statistics
    scale: FloatArray  # (F, F) lower Cholesky factor of their covariance


class Fit(NamedTuple):
    """Where the distance is least, and how it bends there."""

    theta: FloatArray  # (Q,) on the fitted scale
    statistics: FloatArray  # (S,) simulated
    covariance: FloatArray  # (Q, Q) inverse of the curvature, priors included
    distance: float  # Q
    moments: float  # its first part, J
    free: float  # parameters that the moments, not the priors, determine: between 0 and Q
    converged: bool
    evaluations: int


def goal(target: FloatArray, covariance: FloatArray, fitted: IntArray) -> Goal:
    """The whitened distance to `target` over the statistics at `fitted`."""
    return Goal(target, fitted, cholesky(covariance[np.ix_(fitted, fitted)], lower=True))


def misses(to: Goal, statistics: FloatArray) -> FloatArray:
    """(F,) independent standard normal misses, if the world were true."""
    gap = (statistics - to.target)[to.fitted]
    white: FloatArray = solve_triangular(to.scale, gap, lower=True)
    return white


def distance(to: Goal, theta: FloatArray, statistics: FloatArray) -> float:
    """Q: squared misses of the moments and of the priors."""
    miss = _residual(to, theta, statistics)
    return float(miss @ miss)


def fit(simulate: Simulate, to: Goal, start: FloatArray, budget: int | None = None) -> Fit:
    """Minimise the distance from `start` (Q,), within `budget` simulations if one is given."""
    theta, damping = start, _DAMPING
    statistics, used, gain = simulate(theta), 1, np.inf
    most = np.inf if budget is None else budget - theta.size  # the last slopes are for the covariance
    while gain >= _CLOSE and used + theta.size < most:
        slopes = _slopes(simulate, to, theta, statistics)
        residual = _residual(to, theta, statistics)
        used += theta.size
        for _ in range(_MAX_TRIES):
            moved = theta + _step(slopes, residual, damping)
            tried, used = simulate(moved), used + 1
            gain = distance(to, theta, statistics) - distance(to, moved, tried)
            if gain > 0.0:
                theta, statistics, damping = moved, tried, max(damping * _SOFTER, _LEAST_DAMPING)
                break
            damping *= _HARDER
    return _found(simulate, to, theta, statistics, gain < _CLOSE, used)


def _found(
    simulate: Simulate, to: Goal, theta: FloatArray, statistics: FloatArray, converged: bool, used: int
) -> Fit:
    slopes = _slopes(simulate, to, theta, statistics)
    bend: FloatArray = slopes.T @ slopes
    covariance = np.linalg.inv(bend).astype(np.float64)
    by_moments = slopes[: to.fitted.size].T @ slopes[: to.fitted.size]
    white = misses(to, statistics)
    return Fit(
        theta=theta,
        statistics=statistics,
        covariance=covariance,
        distance=distance(to, theta, statistics),
        moments=float(white @ white),
        free=float(np.trace(covariance @ by_moments)),
        converged=converged,
        evaluations=used + theta.size,
    )


def _residual(to: Goal, theta: FloatArray, statistics: FloatArray) -> FloatArray:
    """(F + Q,) misses of the moments, then of the priors."""
    return np.concatenate([misses(to, statistics), (theta - MIDDLES) / SPREADS])


def _slopes(simulate: Simulate, to: Goal, theta: FloatArray, statistics: FloatArray) -> FloatArray:
    """(F + Q, Q) derivatives of the residual by one-sided differences."""
    base, columns = _residual(to, theta, statistics), []
    for at, spread in enumerate(SPREADS.tolist()):
        moved = theta.copy()
        moved[at] += _DIFFERENCE * spread
        columns.append((_residual(to, moved, simulate(moved)) - base) / (_DIFFERENCE * spread))
    return np.column_stack(columns)


def _step(slopes: FloatArray, residual: FloatArray, damping: float) -> FloatArray:
    bend: FloatArray = slopes.T @ slopes
    bend[np.diag_indices_from(bend)] *= 1.0 + damping
    step = -np.linalg.solve(bend, slopes.T @ residual).astype(np.float64)
    # Not further than the priors reach at once: the linear picture is not to be trusted beyond.
    return step / max(1.0, float(np.abs(step / SPREADS).max()) / _LONGEST_STEP)
