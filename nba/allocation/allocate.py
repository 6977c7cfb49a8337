"""Allocate: prices, choices at them, a feasible plan, and a certificate of how good it is.

    prices -> everybody's own choice -> repair and refill of contested customers -> the core -> certificate

Whatever the steps did, the certificate is computed from the plan and the prices alone: the plan is feasible,
its objective is counted anew, and no plan is better than the dual at the prices.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from msgspec import Struct

from nba.allocation import dual
from nba.allocation.core import Core
from nba.allocation.dual import Dual
from nba.allocation.problem import Rows
from nba.allocation.repair import Table, refilled, repaired
from nba.allocation.shards import Contested, Jitter, Plan, Population
from nba.arrays import BoolArray, FloatArray
from nba.errors import BrokenPlan, require

_CONTESTED = 256  # customers at first
_CONTESTED_PER_ROW = 16
_GROWTH = 4  # times as many when those did not do
_ACCURACY = 1e-5  # of the tolerance, to which the dual is minimised
# Candidates of a core, and how many tolerances the gap must be for its trouble.
_CORES = ((500, 1.0), (3_000, 4.0))
_NOISE = (1e-2, 1e-3)  # of the typical value, for the smoothed dual


class Solver(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How well to solve: `tolerance` is the relative gap at which a plan is good enough."""

    tolerance: float = 1e-4
    seed: int = 0  # of the noise that smooths

    def __post_init__(self) -> None:
        """Check the numbers."""
        rule = f"must be >= 0 and finite, got {self.tolerance}"
        require(0.0 <= self.tolerance < np.inf, "solver", "tolerance", rule)


class Certificate(NamedTuple):
    """What is proved of a plan."""

    objective: float  # account currency: value of the plan minus the penalties of elastic rows
    value: float  # account currency
    upper_bound: float  # account currency: no plan has a larger objective
    prices: FloatArray  # (J,) account currency per unit
    usage: FloatArray  # (J,) units
    repaired: int  # customers who do not get what they would choose at the prices
    iterations: float  # passes over all candidates

    @property
    def gap(self) -> float:
        """(upper bound - objective) / |upper bound|: 0 where they meet, infinite at a bound of 0 alone."""
        return _gap(self.upper_bound, self.objective)

    @property
    def gap_of_value(self) -> float:
        """(upper bound - objective) / |value|: what is left in terms of money that is really earned.

        Where a guarantee is far out of reach its penalty makes up the bound, and `gap` says nothing.
        """
        lost = max(self.upper_bound - self.objective, 0.0)
        return lost / abs(self.value) if lost and self.value else (np.inf if lost else 0.0)


class Allocation(NamedTuple):
    """A feasible plan and its certificate."""

    plan: Plan
    certificate: Certificate


def allocate(population: Population, solver: Solver, start: FloatArray | None = None) -> Allocation:
    """The best plan found; `start` (J,) are prices to begin with, such as those of the last plan."""
    accuracy = max(_ACCURACY * solver.tolerance, 1e-13)
    first = dual.first_prices(population, start)
    found = dual.proved(population, dual.minimise(population, first, accuracy=accuracy))
    best = settled(population, found, None, solver)
    for share in _NOISE:
        if found.bound - max(best.objective, best.relaxed) <= _aim(solver, found.bound, best.value):
            break
        jitter = Jitter(share * population.units.money, 0, solver.seed)
        smooth = dual.smoothed(population, found, jitter, accuracy)
        sharp = dual.proved(population, dual.minimise(population, smooth, accuracy=accuracy))
        found = min(found, smooth, sharp, key=lambda one: one.bound)._replace(passes=sharp.passes)
        plans = settled(population, found, None, solver), settled(population, smooth, jitter, solver)
        best = max(best, *plans, key=lambda one: one.objective)
    check_feasible(population.rows, best.usage)
    repaired = population.differing(best.plan, Plan(found.prices))
    certificate = Certificate(
        best.objective, best.value, found.bound, found.prices, best.usage, repaired, found.passes
    )
    return Allocation(best.plan, certificate)


class Settled(NamedTuple):
    """A feasible plan, and what it is worth by its own count."""

    plan: Plan
    objective: float  # account currency
    value: float  # account currency
    usage: FloatArray  # (J,) units
    relaxed: float  # account currency: what no prices can prove to be out of reach; -inf if not asked


def settled(population: Population, found: Dual, jitter: Jitter | None, solver: Solver) -> Settled:
    """A feasible plan from the choices at prices, of which the contested ones are repaired and improved.

    The contested customers become more until they can mend every hard row.
    """
    own, rows = Plan(found.prices, jitter), population.rows
    value, usage = population.worth(own)
    contested, table, chosen = _mended(population, own, usage)
    rest = value - float(table.values[contested.chosen].sum())
    aim, relaxed, limit = _aim(solver, found.bound, value), -np.inf, found.bound - rest
    for most, times in _CORES:
        if limit - table.objective(chosen) > times * aim:
            small = Core.of(table, found.prices, chosen, most)
            chosen = small.improved(chosen, 0.5 * aim, limit)
            relaxed = rest + small.relaxed()
    plan = own.settle(contested, chosen)
    value, usage = population.worth(plan)
    return Settled(plan, value - rows.penalty(usage), value, usage, relaxed)


def _mended(population: Population, own: Plan, usage: FloatArray) -> tuple[Contested, Table, BoolArray]:
    """As many contested customers as it takes, and their choices, repaired and refilled."""
    most = max(_CONTESTED, _CONTESTED_PER_ROW * int((own.prices > 0.0).sum()))
    while True:
        contested = population.contested(own, most)
        table = Table.of(contested, own.prices, usage, population.n_customers)
        chosen = repaired(table, contested.chosen)
        if chosen is not None:
            return contested, table, refilled(table, chosen)
        if contested.problem.n_customers == population.n_customers:
            check_feasible(population.rows, table.usage(np.zeros_like(contested.chosen)))
            raise BrokenPlan("No drop mends the hard limits, though a plan without contacts breaks none.")
        most *= _GROWTH


def check_feasible(rows: Rows, usage: FloatArray) -> None:
    """Raise BrokenPlan, which names them, if hard limits are exceeded by the usage (J,) of a plan."""
    over = np.flatnonzero(rows.broken(usage))
    if over.size:
        named = (f"{rows.names[j]} uses {usage[j]:.12g} of {rows.limits[j]:.12g}" for j in over[:5])
        raise BrokenPlan(
            f"The plan exceeds hard limits: {'; '.join(named)}. Please report this with the table."
        )


def _aim(solver: Solver, bound: float, value: float) -> float:
    """Account currency of gap that is good enough: penalties for what is out of reach do not widen it."""
    return solver.tolerance * (min(abs(bound), abs(value)) if value else abs(bound))


def _gap(bound: float, objective: float) -> float:
    lost = max(bound - objective, 0.0)
    if lost and bound:
        return lost / abs(bound)
    return np.inf if lost else 0.0
