"""A price tuned for one fatigue half-life in a world that has another, solved exactly (methods C2).

The bank counts contacts with the half-life that it assumes, expects of a contact what it would earn at that
count, and has tuned its price in the world that it believes in. Customers tire and recover with the true
half-life. The state therefore has two counters, which contacts raise together and nights lower each at its
own rate. Shape letters: m levels of the bank's counter, n of the true one, K offers.
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np
from scipy.sparse import diags_array, kron

from experiments.longrun.one_channel import (
    FatigueProblem,
    FatigueTable,
    Sparse,
    best_affine_price,
    best_constant_price,
    dearer,
    optimal_price,
    price_values,
    tabulate,
)
from nba.arrays import FloatArray

HALF_LIVES = (3.0, 7.0, 15.0)  # days
_TUNED = 401  # levels on which prices are tuned: which of two equal ones is best matters elsewhere
_SETTLED = 1e-6  # of the largest value, on what a further day adds


class Shares(NamedTuple):
    """Gains over never contacting in parts of what the best policy that knows the truth gains."""

    myopic: float
    constant: float
    affine: float


def grid(problem: FatigueProblem, n: int = 161) -> dict[tuple[float, float], Shares]:
    """Shares by (true, assumed) half-life, for a problem whose own half-life is not read."""
    return {
        (true, assumed): shares(
            problem._replace(half_life_days=true), problem._replace(half_life_days=assumed), n
        )
        for true, assumed in product(HALF_LIVES, HALF_LIVES)
    }


def shares(true: FatigueProblem, assumed: FatigueProblem, n: int) -> Shares:
    """One cell, played on n levels of either counter; the optimum and the prices come from finer ones."""
    whole, fine = tabulate(true), tabulate(assumed, _TUNED)
    best = price_values(whole, optimal_price(whole))[0]
    here, believed = tabulate(true, n), tabulate(assumed, n)
    affine = np.interp(believed.levels, fine.levels, best_affine_price(fine))
    prices = (np.zeros(()), best_constant_price(fine), affine)
    staying = tabulate(
        assumed._replace(opt_out=0.0), n
    ).tired  # the bank's counter does not leave, customers do
    return Shares(*(float(played(here, believed, staying, price) / best) for price in prices))


def played(true: FatigueTable, believed: FatigueTable, counted: Sparse, price: FloatArray) -> float:
    """Discounted gain, for ever and from no fatigue, of what the bank believes to gain more than `price`.

    `counted` (m, m) is where the bank's counter goes after a contact.
    """
    taken = dearer(believed, price) * true.chances  # (m, K) chance that the offer comes and is taken
    rate = taken.sum(axis=1)
    flows = taken @ true.margins.T - np.outer(rate, true.cost + true.loss)  # (m, n)
    moves = _both(believed.rested, true.rested, 1.0 - rate) + _both(counted, true.tired, rate)
    return _for_ever(true.discount * moves, flows.ravel())


def _both(believed: Sparse, true: Sparse, weights: FloatArray) -> Sparse:
    """(m n, m n) moves of both counters, believed levels outermost, weighted by believed level (m,)."""
    return kron(diags_array(weights) @ believed, true, format="csr")


def _for_ever(moves: Sparse, flow: FloatArray) -> float:
    """The discounted sum of a daily flow (N,) from the first state."""
    value, before, step = flow.copy(), np.inf, flow
    while (
        abs(value[0] - before) > _SETTLED * abs(value[0])
        or np.abs(step).max() > _SETTLED * np.abs(value).max()
    ):
        before, step = value[0], moves @ step
        value += step
    return float(value[0])
