"""Small allocations for the tests, the same as an integer program, and a checker that shares no code."""

from __future__ import annotations

from typing import Any

import numpy as np

from nba.allocation.problem import Kinds, Problem, Rows, problem_of
from nba.allocation.shards import Shard


def rows_of(limits: Any, ceilings: Any = np.inf) -> Rows:
    """Rows with names."""
    limits = np.asarray(limits, dtype=np.float64)
    names = tuple(f"row {number}" for number in range(limits.size))
    return Rows(names, limits, np.broadcast_to(np.asarray(ceilings, dtype=np.float64), limits.shape).copy())


def dense(values: Any, uses: Any, limits: Any, ceilings: Any = np.inf) -> Problem:
    """Every customer (N,) has every candidate (K,), each a kind of its own; one candidate per customer."""
    values = np.asarray(values, dtype=np.float64)
    n, k = values.shape
    kinds = Kinds.of(np.asarray(uses, dtype=np.float64))
    keys, starts = np.arange(n, dtype=np.uint64), np.arange(n + 1) * k
    rows = rows_of(limits, ceilings)
    return problem_of(keys, starts, np.tile(np.arange(k), n), values.ravel(), kinds, rows)


def random_problem(seed: int, most_customers: int = 40) -> Problem:
    """Nested caps, packing rows, elastic floors, shares and rows that are only measured."""
    rng = np.random.default_rng(seed)
    n, n_kinds = int(rng.integers(1, most_customers + 1)), int(rng.integers(1, 12))
    uses, limits, ceilings = random_rows(rng, n, n_kinds)
    fine = rng.integers(0, 4, n_kinds)
    groups = np.stack([np.zeros(n_kinds, dtype=np.int64), 1 + fine // 2, 3 + fine], axis=1)
    caps = np.concatenate([[rng.integers(1, 4)], rng.integers(1, 3, 2), rng.integers(1, 3, 4)])
    starts = np.concatenate([[0], np.cumsum(rng.integers(1, 8, n))])
    values = rng.normal(1.0, 1.0, starts[-1])
    if rng.random() < 0.3:
        values = np.round(values)  # many ties
    kind_of, keys = rng.integers(0, n_kinds, starts[-1]), np.arange(n, dtype=np.uint64)
    kinds = Kinds.of(uses, groups)
    return problem_of(keys, starts, kind_of, values, kinds, rows_of(limits, ceilings), caps)


def random_rows(rng: Any, n: int, n_kinds: int) -> tuple[Any, Any, Any]:
    """Amounts (V, J), limits (J,) and ceilings (J,) of one to five rows of all sorts."""
    n_rows = int(rng.integers(1, 6))
    uses = rng.choice([0.0, 0.0, 1.0, 1.0, 2.0, 0.3], (n_kinds, n_rows))
    limits, ceilings = np.floor(rng.uniform(0.0, 0.5, n_rows) * n), np.full(n_rows, np.inf)
    for row in range(n_rows):
        sort = rng.random()
        if sort < 0.25:  # a floor
            uses[:, row] *= -1.0
            limits[row] *= -1.0
            ceilings[row] = rng.choice([1.0, 5.0, 50.0])
        elif sort < 0.35:  # only measured
            ceilings[row] = 0.0
        elif sort < 0.45:  # a share of all
            uses[:, row], limits[row] = rng.choice([-0.4, 0.6], n_kinds), 0.0
        elif sort < 0.55:  # elastic
            ceilings[row] = 2.0
    return uses, limits, ceilings


def optimum(problem: Problem, whole: bool = True) -> float:
    """Objective of the best plan by HiGHS; with halves allowed where not `whole`."""
    from scipy.optimize import Bounds, milp

    n, rows = problem.values.size, problem.rows
    uses = problem.kinds.matrix(rows.limits.size).toarray()[problem.kind_of]
    elastic = np.isfinite(rows.ceilings)
    lines, most = [np.hstack([uses.T, -np.eye(elastic.size)])], [rows.limits]
    groups = problem.kinds.groups[problem.kind_of]
    for customer in range(problem.n_customers):
        for group, cap in enumerate(problem.caps):
            inside = (problem.customer_of == customer) & (groups == group).any(axis=1)
            lines.append(np.concatenate([1.0 * inside, np.zeros(elastic.size)])[None])
            most.append(np.array([cap]))
    result = milp(
        np.concatenate([-problem.values, np.where(elastic, rows.ceilings, 0.0)]),
        integrality=np.concatenate([np.full(n, 1.0 * whole), np.zeros(elastic.size)]),
        bounds=Bounds(0.0, np.concatenate([np.ones(n), np.where(elastic, np.inf, 0.0)])),
        constraints=(np.concatenate(lines), -np.inf, np.concatenate(most)),
        options={"mip_rel_gap": 1e-9},
    )
    return -float(result.fun)


def checked(problem: Problem, plan: Any) -> tuple[float, list[float]]:
    """Value and usage of a plan, counted with plain loops; asserts every cap and every hard row."""
    chosen = Shard(problem).chosen(plan)
    value, usage = 0.0, [0.0] * problem.rows.limits.size
    starts, rows, amounts, groups = (array.tolist() for array in problem.kinds)
    for customer in range(problem.n_customers):
        counts = [0] * problem.caps.size
        for place in range(problem.starts[customer], problem.starts[customer + 1]):
            if chosen[place]:
                kind = int(problem.kind_of[place])
                value += float(problem.values[place])
                for group in groups[kind]:
                    counts[group] += 1
                for use in range(starts[kind], starts[kind + 1]):
                    usage[rows[use]] += amounts[use]
        assert all(count <= cap for count, cap in zip(counts, problem.caps, strict=True))
    for used, limit, ceiling in zip(usage, *problem.rows[1:3], strict=True):
        assert np.isfinite(ceiling) or used <= limit + 1e-6
    return value, usage


def gap_instance(seed: int, agents: int = 5, jobs: int = 20) -> Problem:
    """A maximising generalised assignment problem as the OR-Library's gap1 to gap12 are drawn.

    Costs uniform on 15..25, resources on 5..25, capacities 0.8 x mean load (Chu and Beasley 1997, after
    Martello and Toth 1981; methods I2). Every customer is a job and every row an agent.
    """
    rng = np.random.default_rng(seed)
    profits, loads = rng.integers(15, 26, (agents, jobs)), rng.integers(5, 26, (agents, jobs))
    capacities = np.floor(0.8 * loads.sum(axis=1) / agents)
    uses = np.zeros((agents * jobs, agents))
    pairs = [(job * agents + agent, agent) for job in range(jobs) for agent in range(agents)]
    for kind, agent in pairs:
        uses[kind, agent] = loads[agent, kind // agents]
    keys, starts = np.arange(jobs, dtype=np.uint64), np.arange(jobs + 1) * agents
    values = profits.T.ravel().astype(np.float64)
    return problem_of(keys, starts, np.arange(values.size), values, Kinds.of(uses), rows_of(capacities))
