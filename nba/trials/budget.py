"""Arms that share a budget: each gets its share of the customers and the same share of every limit.

With one plan over all arms, the arm whose model promises most takes the budget from the other, and wins by
what it took; rolled out to everybody there is nobody to take from, and the win is gone. Mao, Kang and Liu
(2020, 2012.08724).
"""

from __future__ import annotations

import numpy as np

from nba.allocation.problem import Problem
from nba.arrays import IntArray, check_shape
from nba.errors import require


def split_budget(problem: Problem, arms: IntArray, n_arms: int) -> tuple[Problem, ...]:
    """The problem of each arm, to be solved by itself and at prices of its own.

    arms (N,) are the arms of the problem's customers, in the order of their keys, -1 for those in none.
    Limits are what all customers share, floors and ceilings alike, so that an arm's is its share; nobody's
    part is left unspent.
    """
    check_shape(arms, (problem.n_customers,), "arms")
    inside = bool(((arms >= -1) & (arms < n_arms)).all())
    require(inside, "budget split", "arms", f"must lie in [-1, {n_arms})")
    parts = []
    for arm in range(n_arms):
        customers = np.flatnonzero(arms == arm)
        require(customers.size > 0, "budget split", "arms", f"arm {arm} must have customers")
        share = customers.size / problem.n_customers
        parts.append(
            problem.take(customers)._replace(rows=problem.rows._replace(limits=share * problem.rows.limits))
        )
    return tuple(parts)
