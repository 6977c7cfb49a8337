"""The price of every rule: what a plan could earn more if one rule were not there.

A shadow price speaks of one unit; here the whole rule is relaxed and the allocation solved anew, from the
prices that are known. What was given up lies between two proved numbers: the relaxed plan's objective
minus the bound of the plan at hand, and the relaxed bound minus the objective at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from nba.allocation.allocate import Allocation, Solver, allocate
from nba.allocation.frame import Entry
from nba.allocation.problem import Problem, Rows
from nba.allocation.shards import Population
from nba.arrays import FloatArray


class RulePrice(NamedTuple):
    """Account currency given up for a rule."""

    name: str
    given_up: float  # by the two plans
    at_least: float  # proved
    at_most: float  # proved


def rule_prices(
    problem: Problem,
    entries: tuple[Entry, ...],
    allocation: Allocation,
    solver: Solver,
    place: Callable[[Problem], Population] = Population.here,
) -> Iterator[RulePrice]:
    """The price of each rule that is enforced, one after another, with all rows that it makes.

    `place` says where the relaxed problems are solved.
    """
    now = allocation.certificate
    for rule in enforced(entries):
        rows = [entry.row for entry in entries if entry.rule == rule]
        start = now.prices.copy()
        start[rows] = 0.0
        relaxed = problem._replace(rows=without(problem.rows, rows))
        free = allocate(place(relaxed), solver, start).certificate
        yield RulePrice(
            rule,
            max(free.objective - now.objective, 0.0),
            max(free.objective - now.upper_bound, 0.0),
            max(free.upper_bound - now.objective, 0.0),
        )


def enforced(entries: tuple[Entry, ...]) -> list[str]:
    """Names of the rules that are not only reported, in their order."""
    return list(dict.fromkeys(entry.rule for entry in entries if not entry.report_only))


def without(rows: Rows, gone: list[int]) -> Rows:
    """The rows with some of them only measured."""
    ceilings: FloatArray = rows.ceilings.copy()
    ceilings[gone] = 0.0
    return rows._replace(ceilings=ceilings)


def caps_given_up(
    problem: Problem,
    allocation: Allocation,
    solver: Solver,
    place: Callable[[Problem], Population] = Population.here,
) -> RulePrice:
    """The price of all caps per customer together: everybody may get all of its candidates."""
    now, sizes = allocation.certificate, np.diff(problem.starts)
    groups = np.zeros((problem.kinds.n_kinds, 1), dtype=np.int64)
    relaxed = problem._replace(
        kinds=problem.kinds._replace(groups=groups), caps=np.array([sizes.max()], dtype=np.int64)
    )
    free = allocate(place(relaxed), solver, now.prices).certificate
    lost = free.objective - now.objective, free.objective - now.upper_bound, free.upper_bound - now.objective
    return RulePrice("caps per customer", *(max(one, 0.0) for one in lost))
