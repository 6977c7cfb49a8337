"""Shadow prices: the dual of an allocation, minimised by L-BFGS-B over an exact inner choice.

D(lambda) = lambda.b + sum_i max over allowed S of sum_{c in S} (v_c - lambda.a_c), 0 <= lambda <= p, is
convex; b - usage is a subgradient, and every value of it bounds the objective of every plan from above
(methods D1, D3). With many customers of different values it is smooth for all practical purposes. With few
customers, or many equal ones, it is not: then each of them is replaced by copies with a little noise, whose
mean is the smoothed dual of perturbed maximisation (Berthet et al. 2020; for one candidate per customer that
is tau log sum exp), and the last steps are made without noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nba.allocation.shards import Jitter, Population
from nba.arrays import FloatArray, check_shape
from nba.errors import require

_SAMPLE = 4_000  # customers whose prices begin the search of many more
_WORTH_SAMPLING = 12  # times as many
_COPIES_FOR = 60_000  # customers and copies together look smooth
_MOST_COPIES = 16
_HISTORY = 20  # corrections that L-BFGS keeps


class Dual(NamedTuple):
    """Prices, the bound they prove, and how often all customers were asked."""

    prices: FloatArray  # (J,) account currency per unit
    bound: float  # account currency; no plan has a larger objective
    passes: float  # through all candidates; a sample counts as its share


def minimise(
    population: Population,
    start: Dual,
    stride: int = 1,
    jitters: Sequence[Jitter | None] = (None,),
    accuracy: float = 1e-9,
) -> Dual:
    """The best prices found from `start`; the bound is that of every `stride`-th customer and its noise.

    `accuracy` is the relative reduction of the dual at which a step is the last.
    """
    from scipy.optimize import Bounds, minimize

    (rows, units), best = (population.rows, population.units), [start._replace(bound=np.inf)]
    share = -(-population.n_customers // stride) / population.n_customers
    size = units.money * share * population.n_customers

    def objective(scaled: FloatArray) -> tuple[float, FloatArray]:
        prices = scaled * units.prices
        gain, usage = population.respond(prices, stride, jitters)
        bound = share * float(rows.limits @ prices) + gain / len(jitters)
        passes = best[0].passes + share * len(jitters)
        best[0] = Dual(prices, bound, passes) if bound < best[0].bound else best[0]._replace(passes=passes)
        slope = share * rows.limits - usage / len(jitters)
        return bound / size, slope * units.prices / size

    minimize(
        objective,
        np.minimum(start.prices, rows.ceilings) / units.prices,
        jac=True,
        method="L-BFGS-B",
        bounds=Bounds(0.0, rows.ceilings / units.prices),
        options={"maxcor": _HISTORY, "ftol": accuracy, "gtol": 1e-10, "maxiter": 500},
    )
    return best[0]


def first_prices(population: Population, start: FloatArray | None) -> Dual:
    """Prices to begin with: those given, else those of a sample, else zero.

    Raises ShapeMismatch or InvalidConfig if those given are not of the rows, finite and >= 0.
    """
    n_rows = population.rows.limits.size
    if start is not None:
        check_shape(start, (n_rows,), "start")
        fine = bool((np.isfinite(start) & (start >= 0.0)).all())
        require(fine, "allocation", "start", f"prices must be finite and >= 0, got {start}")
    begun = Dual(np.zeros(n_rows) if start is None else start, np.inf, 0.0)
    if start is None and population.n_customers >= _WORTH_SAMPLING * _SAMPLE:
        return minimise(population, begun, stride=population.n_customers // _SAMPLE)
    return begun


def smoothed(population: Population, start: Dual, jitter: Jitter, accuracy: float = 1e-9) -> Dual:
    """Prices of the dual smoothed with noise, and the bound that they prove without it."""
    copies = min(max(_COPIES_FOR // population.n_customers, 1), _MOST_COPIES)
    jitters = [jitter._replace(copy=copy) for copy in range(copies)]
    return proved(population, minimise(population, start, jitters=jitters, accuracy=accuracy))


def proved(population: Population, dual: Dual) -> Dual:
    """The prices with the bound that they prove, from one pass over all customers without noise."""
    prices = np.clip(dual.prices, 0.0, population.rows.ceilings)
    gain, _ = population.respond(prices)
    return Dual(prices, float(population.rows.limits @ prices) + gain, dual.passes + 1)
