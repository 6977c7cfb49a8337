"""The price of every rule: what a plan could earn more if one rule were not there.

A shadow price speaks of one unit; here the whole rule is relaxed and the allocation solved anew, from the
prices that are known. What was given up lies between two proved numbers: the relaxed plan's objective
minus the bound of the plan at hand, and the relaxed bound minus the objective at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import NamedTuple, TypeAlias

import numpy as np

from nba.allocation.allocate import Allocation, Certificate, Solver, allocate
from nba.allocation.frame import Entry
from nba.allocation.problem import Problem, Rows
from nba.allocation.shards import Population
from nba.arrays import FloatArray

Place: TypeAlias = Callable[[Problem], AbstractContextManager[Population]]


class RulePrice(NamedTuple):
    """Account currency given up for a rule."""

    name: str
    given_up: float  # by the two plans
    at_least: float  # proved
    at_most: float  # proved


@contextmanager
def here(problem: Problem) -> Iterator[Population]:
    """All customers in this process."""
    yield Population.here(problem)


def rule_prices(
    problem: Problem,
    entries: tuple[Entry, ...],
    allocation: Allocation,
    solver: Solver,
    place: Place = here,
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
        with place(relaxed) as people:
            yield _price(rule, now, allocate(people, solver, start).certificate)


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
    place: Place = here,
) -> RulePrice:
    """The price of all caps per customer together: everybody may get all of its candidates."""
    now, sizes = allocation.certificate, np.diff(problem.starts)
    groups = np.zeros((problem.kinds.n_kinds, 1), dtype=np.int64)
    relaxed = problem._replace(
        kinds=problem.kinds._replace(groups=groups), caps=np.array([sizes.max()], dtype=np.int64)
    )
    with place(relaxed) as people:
        return _price("caps per customer", now, allocate(people, solver, now.prices).certificate)


def _price(rule: str, now: Certificate, free: Certificate) -> RulePrice:
    lost = free.objective - now.objective, free.objective - now.upper_bound, free.upper_bound - now.objective
    return RulePrice(rule, *(max(one, 0.0) for one in lost))
