"""The allocation against exact answers: never below an optimum, never over a limit, near to both."""

from __future__ import annotations

import numpy as np
import pytest
from allocation_fixtures import checked, dense, gap_instance, optimum, random_problem, rows_of
from hypothesis import given, settings
from hypothesis import strategies as st

from nba.allocation import dual
from nba.allocation.allocate import Allocation, Certificate, Solver, allocate
from nba.allocation.problem import BLOCK, Kinds, Problem, problem_of
from nba.allocation.shards import Jitter, Plan, Population, Shard
from nba.errors import InvalidConfig

EXACT = Solver(tolerance=1e-7)


def solved(problem: Problem, solver: Solver = EXACT, shards: int = 1) -> Allocation:
    return allocate(Population.here(problem, shards), solver)


def test_two_calls_for_three_customers_by_hand() -> None:
    # The third is worth a push; a call's price lies between what it is worth to the second and to the third.
    found = solved(dense([[9.0, 1.0], [7.0, 2.0], [6.0, 4.0]], [[1.0], [0.0]], [2.0]))
    certificate = found.certificate
    assert certificate.objective == certificate.value == 9.0 + 7.0 + 4.0
    assert certificate.upper_bound == pytest.approx(20.0, abs=1e-9) and certificate.gap < 1e-9
    assert 2.0 - 1e-9 <= certificate.prices[0] <= 5.0 + 1e-9
    assert certificate.usage.tolist() == [2.0]


def test_a_floor_that_cannot_be_reached_is_missed_and_costs_its_price() -> None:
    problem = dense([[3.0], [-1.0]], [[-1.0]], [-5.0], [4.0])
    certificate = solved(problem).certificate
    assert certificate.value == 2.0 and certificate.usage.tolist() == [-2.0]
    assert certificate.objective == 2.0 - 3 * 4.0 == pytest.approx(certificate.upper_bound)
    assert certificate.prices.tolist() == [4.0]


def test_nothing_is_contacted_where_nothing_may() -> None:
    certificate = solved(dense([[3.0], [1.0]], [[1.0]], [0.0])).certificate
    assert certificate.objective == 0.0 and certificate.upper_bound == pytest.approx(0.0, abs=1e-9)


def test_the_gap_to_a_bound_of_nothing_is_infinite() -> None:
    none = np.zeros(0)
    assert Certificate(-1.0, -1.0, 0.0, none, none, 0, 1.0).gap == np.inf
    assert Certificate(0.0, 0.0, 0.0, none, none, 0, 1.0).gap == 0.0
    assert Certificate(1.0, 1.0, 2.0, none, none, 0, 1.0).gap == 0.5


def test_a_tolerance_of_nothing_and_a_plan_worth_nothing() -> None:
    """Half of the contact would fit: the bound is half of its value, and the plan is empty."""
    certificate = solved(dense([[1.0]], [[2.0]], [1.0]), Solver(tolerance=0.0)).certificate
    assert certificate.objective == 0.0 and certificate.upper_bound == pytest.approx(0.5)
    assert certificate.gap == 1.0


@pytest.mark.parametrize("seed", range(24))
def test_small_problems_of_all_sorts_against_an_integer_program(seed: int) -> None:
    problem = random_problem(seed)
    best, halves = optimum(problem), optimum(problem, whole=False)
    found = solved(problem)
    value, usage = checked(problem, found.plan)
    certificate, size = found.certificate, max(abs(best), 1.0)
    np.testing.assert_allclose(usage, certificate.usage, atol=1e-9)
    assert value == pytest.approx(certificate.value) and certificate.objective <= best + 1e-6 * size
    assert certificate.upper_bound >= halves - 1e-6 * size, "a bound below the linear program is wrong"
    assert certificate.upper_bound <= halves + 1e-3 * size
    assert certificate.objective >= best - 1e-6 * size  # the core is the whole problem here


@pytest.mark.parametrize(
    "seed", [pytest.param(one, marks=pytest.mark.slow if one % 3 == 2 else ()) for one in range(6)]
)
def test_generalised_assignment(seed: int) -> None:
    problem = gap_instance(seed, jobs=15 + 5 * (seed % 3))
    best, certificate = optimum(problem), solved(problem).certificate
    assert certificate.upper_bound >= best - 1e-6
    assert certificate.objective >= 0.99 * best
    assert certificate.upper_bound <= optimum(problem, whole=False) + 0.02 + 1e-3 * best


@settings(max_examples=15, deadline=None)
@given(st.integers(1_000, 10**6))
def test_no_cap_is_overshot(seed: int) -> None:
    problem = random_problem(seed, most_customers=15)
    found = solved(problem, Solver(tolerance=1e-3))
    value, usage = checked(problem, found.plan)
    certificate = found.certificate
    penalty = problem.rows.penalty(np.array(usage))
    assert certificate.objective == pytest.approx(value - penalty)
    assert certificate.objective <= certificate.upper_bound + 1e-6 * max(abs(certificate.upper_bound), 1.0)


def market(n: int, seed: int = 0) -> Problem:
    """Customers of different worth, eight candidates, six rows of which some are scarce, nested caps."""
    rng = np.random.default_rng(seed)
    kinds = np.arange(8)
    uses = np.zeros((8, 6))
    uses[kinds, kinds // 2] = 1.0
    uses[:, 4] = [0.1, 0.1, 0.3, 0.3, 1.0, 1.0, 3.0, 3.0]
    uses[kinds % 2 == 0, 5] = 1.0
    groups = np.stack([0 * kinds, 1 + kinds // 2], axis=1)
    values = rng.gamma(2.0, 1.0, (n, 8)) * (1.0 + kinds / 4) - 0.5
    limits = n * np.array([0.3, 0.2, 0.1, 0.05, 0.2, 0.4])
    keys = rng.choice(2**40, n, replace=False).astype(np.uint64)
    starts = np.arange(n + 1) * 8
    caps = np.array([2, 1, 1, 1, 1])
    return problem_of(
        keys, starts, np.tile(kinds, n), values.ravel(), Kinds.of(uses, groups), rows_of(limits), caps
    )


def test_ten_thousand_customers_to_a_twentieth_of_a_per_cent() -> None:
    problem = market(10_000)
    found = solved(problem, Solver())
    checked(problem, found.plan)
    assert found.certificate.gap <= 5e-4


def test_shuffled_customers_get_the_same() -> None:
    problem = market(3_000)
    order = np.random.default_rng(1).permutation(3_000)
    starts, places = problem.places(order)
    other = problem_of(
        problem.keys[order], starts, problem.kind_of[places], problem.values[places], problem.kinds,
        problem.rows, problem.caps,
    )  # fmt: skip
    one, two = solved(problem), solved(other)
    assert one.certificate.objective == two.certificate.objective
    np.testing.assert_array_equal(one.certificate.prices, two.certificate.prices)
    np.testing.assert_array_equal(Shard(problem).chosen(one.plan), Shard(other).chosen(two.plan))


def test_shards_do_not_change_a_bit() -> None:
    problem = market(3 * BLOCK + 17)
    one, many = solved(problem, Solver(tolerance=1e-3)), solved(problem, Solver(tolerance=1e-3), shards=3)
    for left, right in zip(one.certificate, many.certificate, strict=True):
        np.testing.assert_array_equal(left, right)
    whole = Shard(problem).chosen(one.plan)
    parts = Population.here(problem, 3).ask("chosen", many.plan)
    assert len(parts) == 3
    np.testing.assert_array_equal(whole, np.concatenate(parts))


def test_identical_customers_share_what_there_is() -> None:
    """At any price all of them want the same: only noise and refilling can split them."""
    problem = dense(np.tile([[5.0, 3.0]], (2_000, 1)), [[1.0, 0.0], [0.0, 1.0]], [300.0, 1_000.0])
    certificate = solved(problem, Solver()).certificate
    assert certificate.objective == 300 * 5.0 + 1_000 * 3.0
    assert certificate.upper_bound == pytest.approx(4_500.0, rel=1e-4)


def test_prices_of_the_last_plan_save_passes() -> None:
    people = Population.here(market(8_000))
    cold = allocate(people, Solver(tolerance=1e-3)).certificate
    warm = allocate(people, Solver(tolerance=1e-3), cold.prices).certificate
    assert warm.iterations < cold.iterations and warm.gap <= 1e-3


def test_the_smoothed_dual_is_the_soft_maximum() -> None:
    """With one candidate per customer the mean over Gumbel noise is tau log sum exp."""
    problem, tau = dense([[2.0, 1.0, 1.5]], np.eye(3), [9.0, 9.0, 9.0]), 0.5
    problem = problem._replace(values=problem.values + 50.0)  # nobody stays silent
    jitters = [Jitter(tau, copy) for copy in range(600)]
    gain, _ = Population.here(problem).respond(np.zeros(3), jitters=jitters)
    exact = 50.0 + tau * np.log(np.exp(np.array([2.0, 1.0, 1.5]) / tau).sum())
    standard_error = tau * np.pi / np.sqrt(6.0) / np.sqrt(600)
    assert gain / 600 == pytest.approx(exact, abs=4 * standard_error)


def test_a_bound_holds_at_any_prices() -> None:
    problem = random_problem(3)
    people, best = Population.here(problem), optimum(problem)
    for seed in range(20):
        prices = np.random.default_rng(seed).exponential(1.0, problem.rows.limits.size)
        found = dual.proved(people, dual.Dual(prices, np.inf, 0.0))
        assert found.bound >= best - 1e-9 and (found.prices <= problem.rows.ceilings).all()


@pytest.mark.parametrize(
    ("limits", "ceilings", "rule"),
    [
        ([-1.0], np.inf, "row 0: a hard limit must be >= 0"),
        ([np.nan], np.inf, "row 0: the limit must be finite"),
        (
            [1e300],
            np.inf,
            r"row 0: the limit must be finite, and at most 1e\+30 in size, got 1e\+300",
        ),
        ([1.0], -2.0, "row 0: the price ceiling must be >= 0"),
    ],
)
def test_bad_rows_are_told(limits: list[float], ceilings: float, rule: str) -> None:
    problem = dense([[1.0]], [[1.0]], [1.0])
    with pytest.raises(InvalidConfig, match=rule):
        problem_of(*problem[:5], rows_of(limits, ceilings))


def test_bad_arrays_are_told() -> None:
    good = dense([[1.0], [2.0]], [[1.0]], [1.0])
    bad = {
        "values": (good._replace(values=np.array([1.0, np.nan])), r"must be finite, .*; candidates \[1\]"),
        "kinds.amounts": (good._replace(kinds=Kinds.of(np.array([[1e200]]))), "between 1e-30 and 1e\\+30"),
        "keys": (good._replace(keys=np.zeros(2, dtype=np.uint64)), "two are equal"),
        "starts": (good._replace(starts=np.array([0, 2, 2])), "every customer needs a candidate"),
        "kind_of": (good._replace(kind_of=np.array([0, 1])), r"0\.\.0"),
        "caps": (good._replace(caps=np.array([0])), "at least 1"),
    }
    for name, (problem, rule) in bad.items():
        with pytest.raises(InvalidConfig, match=f"{name}: .*{rule}"):
            problem_of(*problem[:5], problem.rows, problem.caps)


def test_a_plan_is_prices_and_exceptions() -> None:
    problem = market(500)
    found = solved(problem, Solver(tolerance=1e-3))
    own = Shard(problem).chosen(Plan(found.plan.prices, found.plan.jitter))
    moved = Shard(problem).chosen(found.plan) != own
    assert np.unique(problem.customer_of[moved]).size == found.certificate.repaired
    assert set(problem.customer_of[moved]) <= set(found.plan.customers.tolist())
