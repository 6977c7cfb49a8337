"""How near the allocation comes to its bound, and how long it takes, against HiGHS where that can finish.

The instance is that of methods D3: 42 candidates per customer (7 channels x 6 timings), 50 resources
(channels, channel x timing, money). `ours_seconds` and `highs_seconds` are CPU seconds of the same process,
from arrays to a certificate and from a sparse program to the linear program's optimum, each the best of
`runs`; `highs_ratio` is against the faster of interior point and dual simplex. The million is on the wall
clock, in one process; end to end it goes from features to a plan that names customers and actions.
"""

from __future__ import annotations

from experiments.benchmarks._harness import run  # first: it pins the BLAS threads

# isort: split
from collections.abc import Callable
from functools import partial
from time import perf_counter, process_time
from typing import NamedTuple, TypeVar

import numpy as np

from experiments.allocation.quiet import native_output_on_stderr
from experiments.simulate import peak_mb
from nba.allocation.allocate import Certificate, Solver, allocate
from nba.allocation.problem import Kinds, Problem, Rows, problem_of
from nba.allocation.pruning import prune
from nba.allocation.shards import Population
from nba.arrays import AnyArray, FloatArray, IntArray
from nba.catalogue import Catalogue
from nba.posteriors.factored_draws import FactoredDraws
from nba.posteriors.layout import Layout
from simulator.world import load_world

_CHANNELS, _TIMINGS = 7, 6
_COSTS = np.repeat([0.01, 0.02, 0.02, 0.05, 0.1, 1.0, 3.0], _TIMINGS)  # account currency per contact
_CHUNK = 8_192  # customers scored at a time
_RUNS = 3  # of which the fastest counts, ours and theirs
_COLUMNS = 21  # of a customer's features, the intercept included

Found = TypeVar("Found")


class Limits(NamedTuple):
    """What a contact of each of the 42 kinds uses, and how much of it there is."""

    uses: FloatArray  # (42, 50)
    rows: Rows


def measure(quick: bool) -> dict[str, float]:
    """Gaps, times and their ratio to HiGHS."""
    small, large = (2_000, 50_000) if quick else (10_000, 1_000_000)
    solved(instance(200, seed=1))  # compiled before the clock runs
    problem = instance(small, seed=0)
    certificate, ours = best_of(partial(solved, problem))
    figures: dict[str, float] = {"customers_small": small, "customers_large": large, "runs": _RUNS}
    figures |= {"ours_seconds": ours, "gap_10k": certificate.gap}
    figures |= highs(problem, certificate, ours)
    problem = instance(large, seed=0)
    certificate, cpu, wall = timed(partial(solved, problem))
    figures |= {"gap_1m": certificate.gap, "seconds_1m": wall, "cpu_seconds_1m": cpu}
    figures["iterations_1m"] = certificate.iterations
    del problem
    (certificate, plan), cpu, wall = timed(lambda: planned(large))
    figures |= {"seconds_1m_end_to_end": wall, "cpu_seconds_1m_end_to_end": cpu}
    figures["contacts_1m_end_to_end"] = plan.shape[0]
    return figures | {"gap_1m_end_to_end": certificate.gap, "peak_mb": peak_mb()}


def quietly(quick: bool) -> dict[str, float]:
    """The figures, and nothing else on standard output."""
    with native_output_on_stderr():
        return measure(quick)


def timed(function: Callable[[], Found]) -> tuple[Found, float, float]:
    """What a function gives, its CPU seconds and its seconds on the wall."""
    begun, wall = process_time(), perf_counter()
    found = function()
    return found, process_time() - begun, perf_counter() - wall


def best_of(function: Callable[[], Found]) -> tuple[Found, float]:
    """What a function gives, and the fewest CPU seconds that it took."""
    runs = [timed(function) for _ in range(_RUNS)]
    return runs[0][0], min(cpu for _, cpu, _ in runs)


def solved(problem: Problem) -> Certificate:
    """The certificate of a problem's plan."""
    return allocate(Population.here(problem), Solver()).certificate


def instance(n: int, seed: int) -> Problem:
    """Customers of different worth, channels of different pull; about a third of the rows are scarce."""
    rng = np.random.default_rng(seed)
    pull = (rng.uniform(0.5, 2.0, _CHANNELS)[:, None] * rng.uniform(0.7, 1.3, _TIMINGS)).ravel()
    values = rng.gamma(2.0, 1.0, (n, pull.size)).astype(np.float32)
    values *= (pull * np.exp(rng.normal(0.0, 0.5, (n, 1)))).astype(np.float32)
    values -= np.float32(0.3)
    return problem_with(values, limits_of(n, rng))


def limits_of(n: int, rng: np.random.Generator) -> Limits:
    """One unit of its channel and of its cell, and its cost in money, for each contact."""
    cells = _CHANNELS * _TIMINGS
    uses = np.zeros((cells, _CHANNELS + cells + 1))
    uses[np.arange(cells), np.arange(cells) // _TIMINGS] = 1.0
    uses[np.arange(cells), _CHANNELS + np.arange(cells)] = 1.0
    uses[:, -1] = _COSTS
    shares = [rng.uniform(0.05, 0.15, _CHANNELS), rng.uniform(0.01, 0.03, cells), np.array([0.15])]
    limits = np.floor(n * np.concatenate(shares))
    names = tuple(f"row {number}" for number in range(limits.size))
    return Limits(uses, Rows(names, limits, np.full(limits.size, np.inf)))


def problem_with(values: AnyArray, limits: Limits) -> Problem:
    """The problem of values (N, 42)."""
    n, cells = values.shape
    kind_of = np.tile(np.arange(cells, dtype=np.uint8), n)
    keys, starts = np.arange(n, dtype=np.uint64), np.arange(n + 1) * cells
    return problem_of(keys, starts, kind_of, values.ravel(), Kinds.of(limits.uses), limits.rows)


def highs(problem: Problem, certificate: Certificate, ours: float) -> dict[str, float]:
    """The linear program by HiGHS, its faster method, and how far above it our bound is."""
    from scipy.optimize import linprog
    from scipy.sparse import csr_array, vstack

    n = problem.values.size
    ones = csr_array((np.ones(n), (problem.customer_of, np.arange(n))), shape=(problem.n_customers, n))
    uses = problem.kinds.matrix(problem.rows.limits.size)[problem.kind_of].T
    matrix = vstack([ones, uses]).tocsr()
    bounds = np.concatenate([np.ones(problem.n_customers), problem.rows.limits])
    found, worth = {}, problem.values.astype(np.float64)
    for method in ("highs-ipm", "highs-ds"):
        result, cpu = best_of(
            partial(linprog, -worth, A_ub=matrix, b_ub=bounds, bounds=(0, 1), method=method)
        )
        if result.status != 0:
            raise ArithmeticError(f"{method} did not finish: {result.message}")
        found[method] = cpu, -float(result.fun)
    seconds, optimum = min(found.values())
    if certificate.upper_bound < optimum * (1.0 - 1e-6):
        raise ArithmeticError(f"the bound {certificate.upper_bound} is below the optimum {optimum}")
    return {
        "highs_ipm_seconds": found["highs-ipm"][0],
        "highs_ds_seconds": found["highs-ds"][0],
        "highs_seconds": seconds,
        "highs_ratio": seconds / ours,
        "bound_excess": certificate.upper_bound / optimum - 1.0,
    }


def planned(n: int) -> tuple[Certificate, IntArray]:
    """The certificate, and the plan as customers and their actions, (contacts, 2)."""
    problem, actions = scored(n)
    population = Population.here(problem)
    found = allocate(population, Solver())
    (chosen,) = population.ask("chosen", found.plan)
    places = np.flatnonzero(chosen)
    plan = np.stack([places // actions.shape[1], actions.ravel()[places]], axis=1)
    return found.certificate, plan


def scored(n: int) -> tuple[Problem, AnyArray]:
    """All 840 actions of the retail bank scored by a factored model, and pruned, a chunk at a time.

    Also the actions (n, 42) that candidates stand for.
    """
    catalogue = load_world("retail-bank").config.catalogue
    rng = np.random.default_rng(0)
    draws, limits = model(catalogue, rng), limits_of(n, rng)
    kind_of, kinds = np.arange(catalogue.n_actions - 1) // catalogue.shape[2], Kinds.of(limits.uses)
    worth, costs = catalogue.values.astype(np.float32), catalogue.costs.astype(np.float32)
    left = np.empty((n, limits.uses.shape[0]), dtype=np.float32)
    actions = np.empty(left.shape, dtype=np.uint16)
    for first in range(0, n, _CHUNK):
        size = min(_CHUNK, n - first)
        features = np.concatenate([np.ones((size, 1)), rng.normal(size=(size, _COLUMNS - 1))], axis=1)
        utilities = draws.scores(features)[0] * worth - costs
        pruned = prune(utilities[:, 1:], kind_of, kinds, np.ones(1, dtype=np.int64))
        left[first : first + size], actions[first : first + size] = pruned.values, 1 + pruned.actions
    return problem_with(left, limits), actions


def model(catalogue: Catalogue, rng: np.random.Generator) -> FactoredDraws:
    """One draw of a factored model whose lifts differ between customers as much as between actions."""
    layout = Layout.of(catalogue, _COLUMNS)
    theta = rng.normal(0.0, 0.3, (1, layout.n_parameters))
    return FactoredDraws.of(layout, theta, catalogue.forecast_rates)


if __name__ == "__main__":
    run("allocation", quietly)
