"""Exact Bayesian logistic regression by Polya-Gamma Gibbs sampling: an offline oracle.

Polson, Scott, Windle 2013. Each pass costs a solve over all rows, so it judges the fast posteriors and
never serves: omega_i ~ PG(1, f_i'v), then v | omega ~ N(V (F'(r - 1/2) + Lambda_0 m_0), V) with
V = (F' diag(omega) F + Lambda_0)^-1.
"""

from __future__ import annotations

import numpy as np

from nba.arrays import BoolArray, FloatArray, check_shape

_CUT = 0.64  # where the two series of the density meet (Devroye 2009)
_WIDE = 1.0 / _CUT


def polya_gamma_draws(
    design: FloatArray,
    rewards: FloatArray,
    prior_mean: FloatArray,
    prior_precision: FloatArray,
    n: int,
    rng: np.random.Generator,
    burn_in: int = 200,
) -> FloatArray:
    """(n, Q) dependent draws of logistic parameters.

    Given rows (R, Q), rewards (R,) in {0, 1} and a Gaussian prior of mean (Q,) and precision (Q, Q).
    `burn_in` passes from the prior mean are thrown away. Raises ShapeMismatch.
    """
    from scipy.linalg import cholesky, solve_triangular

    size = design.shape[1]
    check_shape(rewards, (design.shape[0],), "rewards")
    check_shape(prior_mean, (size,), "prior_mean")
    check_shape(prior_precision, (size, size), "prior_precision")
    shift = design.T @ (rewards - 0.5) + prior_precision @ prior_mean
    draws, theta = np.zeros((burn_in + n, size)), prior_mean
    for number in range(burn_in + n):
        weights = polya_gamma(design @ theta, rng)
        factor = cholesky(prior_precision + design.T @ (weights[:, None] * design), lower=True)
        whitened = solve_triangular(factor, shift, lower=True) + rng.standard_normal(size)
        theta = solve_triangular(factor, whitened, lower=True, trans="T")
        draws[number] = theta
    return draws[burn_in:]


def polya_gamma(tilts: FloatArray, rng: np.random.Generator) -> FloatArray:
    """(n,) exact draws of PG(1, tilt), by Devroye's alternating series, all rows at once.

    PG(1, t) = J(1, |t| / 2) / 4. A proposal is exponential beyond the cut and inverse Gaussian below it;
    partial sums of the density bracket it ever closer until they decide, so nothing is cut off.
    """
    halves = np.abs(tilts) / 2.0
    draws = np.zeros(halves.shape)
    pending = np.arange(halves.size)
    while pending.size:
        z = halves[pending]
        proposed = np.zeros(z.size)
        is_tail = rng.random(z.size) < _tail_share(z)
        rate = np.pi**2 / 8.0 + z**2 / 2.0
        proposed[is_tail] = _CUT + rng.exponential(1.0, int(is_tail.sum())) / rate[is_tail]
        proposed[~is_tail] = _inverse_gaussian(z[~is_tail], rng)
        taken = _below_density(proposed, rng)
        draws[pending[taken]] = proposed[taken] / 4.0
        pending = pending[~taken]
    return draws


def _tail_share(z: FloatArray) -> FloatArray:
    """(n,) probability that a proposal comes from the exponential tail; in logarithms, safe for any z."""
    from scipy.special import expit, log_ndtr

    rate = np.pi**2 / 8.0 + z**2 / 2.0
    tail = np.log(np.pi / (2.0 * rate)) - rate * _CUT
    root = np.sqrt(_CUT)
    below = log_ndtr((_CUT * z - 1.0) / root) - z, log_ndtr(-(_CUT * z + 1.0) / root) + z
    share: FloatArray = expit(tail - np.log(2.0) - np.logaddexp(*below))
    return share


def _inverse_gaussian(z: FloatArray, rng: np.random.Generator) -> FloatArray:
    """(n,) draws of the inverse Gaussian of mean 1 / z and shape 1, cut to (0, _CUT)."""
    draws, pending = np.zeros(z.shape), np.arange(z.size)
    while pending.size:
        here = z[pending]
        proposed, is_small = np.zeros(here.size), here < _WIDE
        proposed[is_small] = _levy(int(is_small.sum()), rng)
        proposed[~is_small] = rng.wald(1.0 / here[~is_small], 1.0)
        thinned = rng.random(here.size) < np.exp(-(here**2) * proposed / 2.0)
        taken = np.where(is_small, thinned, proposed < _CUT)
        draws[pending[taken]] = proposed[taken]
        pending = pending[~taken]
    return draws


def _levy(n: int, rng: np.random.Generator) -> FloatArray:
    """(n,) draws of 1 / chi-squared (1), cut to (0, _CUT) (Devroye's pair of exponentials)."""
    draws, pending = np.zeros(n), np.arange(n)
    while pending.size:
        first, second = rng.exponential(1.0, (2, pending.size))
        taken = first**2 <= 2.0 * second / _CUT
        draws[pending[taken]] = _CUT / (1.0 + _CUT * first[taken]) ** 2
        pending = pending[~taken]
    return draws


def _below_density(x: FloatArray, rng: np.random.Generator) -> BoolArray:
    """(n,) whether a uniform share of the first term of the series lies below the whole series."""
    total = _term(0, x)
    level = rng.random(x.size) * total
    accepted, open_ = np.zeros(x.size, dtype=np.bool_), np.ones(x.size, dtype=np.bool_)
    number = 0
    while open_.any():
        number += 1
        if number % 2:
            total -= _term(number, x)
            accepted |= open_ & (level <= total)
            open_ &= level > total
        else:
            total += _term(number, x)
            open_ &= level <= total
    return accepted


def _term(number: int, x: FloatArray) -> FloatArray:
    """(n,) term of the alternating series of the density of J(1, 0) at x."""
    odd = np.pi * (number + 0.5)
    small = np.minimum(x, _CUT)
    below = odd * (2.0 / (np.pi * small)) ** 1.5 * np.exp(-2.0 * (number + 0.5) ** 2 / small)
    beyond = odd * np.exp(-(odd**2) * x / 2.0)
    return np.where(x > _CUT, beyond, below)
