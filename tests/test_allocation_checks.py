"""What an allocation refuses or puts right: order of customers, names that nobody has, prices, groups."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from allocation_fixtures import dense, rows_of

from experiments.allocation.cluster import population
from experiments.allocation.coding import Names
from experiments.allocation.run import Order, carry_out
from nba.allocation.allocate import Solver, allocate
from nba.allocation.frame import Entry, frame_of
from nba.allocation.lottery import draw
from nba.allocation.problem import BLOCK, Kinds, problem_of
from nba.allocation.pruning import problem_of_pruned, prune
from nba.allocation.resources import Limit, Resources
from nba.allocation.rule_prices import rule_prices
from nba.allocation.shards import Population
from nba.errors import InvalidConfig, ShapeMismatch


def test_pruned_actions_follow_the_customers_into_the_order_of_their_keys() -> None:
    values = np.array([[5.0, 1.0], [2.0, 6.0], [-np.inf, 4.0]])
    kinds, caps = Kinds.of(np.array([[1.0]])), np.array([1])
    pruned = prune(values, np.zeros(2, dtype=np.int64), kinds, caps)
    keys = np.array([30, 10, 20], dtype=np.uint64)
    problem, actions = problem_of_pruned(keys, pruned, kinds, rows_of([9.0]), caps)
    assert problem.keys.tolist() == [10, 20, 30] and problem.values.tolist() == [6.0, 4.0, 5.0]
    assert actions.tolist() == [1, 1, 0]


def test_a_limit_for_a_manager_whom_nobody_has_is_a_slip() -> None:
    columns = {"manager": np.array(["M1", "M2"])}
    row = Limit(name="hours", per="manager", at_most=4.0, each={"M1": 1.0, "M12": 2.0})
    slip = r"here: limits\[0\].each: no candidate has 'M12' in column 'manager'; did you mean 'M"
    with pytest.raises(InvalidConfig, match=slip):
        frame_of(Resources(limits=(row,)), columns, 2, 1.0, "here")
    allowed = Limit(name="hours", per="manager", at_most=4.0, each={"M1": 1.0, "M12": 2.0}, may_be_empty=True)
    made = frame_of(Resources(limits=(allowed,)), columns, 2, 1.0, "here")
    assert made.rows.names == ("hours/M1", "hours/M2") and made.rows.limits.tolist() == [1.0, 4.0]


@pytest.mark.parametrize(
    ("groups", "rule"),
    [
        ([[0, 1], [0, 2]], r"kinds.groups: must lie in 0..1"),
        ([[0, -1], [0, 1]], r"kinds.groups: must lie in 0..1"),
        ([[0, 0], [0, 1]], r"level 1 must have groups of its own; \[0\] are"),
    ],
)
def test_groups_without_caps_or_shared_by_levels_are_refused(groups: list[list[int]], rule: str) -> None:
    kinds, keys = Kinds.of(np.eye(2), np.array(groups)), np.zeros(1, dtype=np.uint64)
    rows, caps = rows_of([1.0, 1.0]), np.array([1, 1])
    with pytest.raises(InvalidConfig, match=rule):
        problem_of(keys, np.array([0, 2]), np.array([0, 1]), np.ones(2), kinds, rows, caps)


def test_a_problem_of_nobody_is_refused() -> None:
    kinds, none = Kinds.of(np.eye(2)), np.zeros(0)
    with pytest.raises(InvalidConfig, match="starts: .*nobody is there"):
        problem_of(
            none.astype(np.uint64), np.zeros(1, dtype=int), none.astype(int), none, kinds, rows_of([1.0])
        )


def test_prices_to_start_with_are_checked() -> None:
    people = Population.here(dense([[3.0]], [[1.0]], [1.0]))
    with pytest.raises(ShapeMismatch, match="start has shape"):
        allocate(people, Solver(), np.zeros(2))
    for price in (-1.0, np.nan, np.inf):
        with pytest.raises(InvalidConfig, match="start: prices must be finite and >= 0"):
            allocate(people, Solver(), np.array([price]))


def test_a_lottery_of_rounded_probabilities_gives_none_below_nothing_and_no_warning() -> None:
    """Ten times 0.1 added up is off by a hair; nobody uses the row, so its limit is divided by nothing."""
    distribution = np.array([[0.0] + [0.1 + 1e-16] * 10])
    uniforms = np.array([0.35])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = draw(distribution, np.zeros((11, 1)), np.array([1e9]), uniforms, uniforms)
        uses = np.vstack([np.zeros((10, 1)), [[1.0]]])
        draw(distribution, uses, np.array([1e9]), uniforms, uniforms)
    assert (drawn.distribution >= 0.0).all() and drawn.actions.tolist() == [4]


def test_a_link_to_the_input_is_not_overwritten(tmp_path: Path) -> None:
    table, link = tmp_path / "c.csv", tmp_path / "plan.csv"
    table.write_text("customer,action,value\n")
    link.symlink_to(table)
    names = Names("customer", "action", "value")
    with pytest.raises(InvalidConfig, match="would overwrite an input"):
        carry_out(Order(table, tmp_path / "r.toml", link, names, Solver()))


def test_two_resources_must_not_be_reported_by_one_name() -> None:
    rows = Limit(name="hours", per="manager", at_most=4.0), Limit(name="hours/M1", at_most=9.0)
    columns = {"manager": np.array(["M1", "M2"])}
    with pytest.raises(InvalidConfig, match="here: name: two resources are both reported as 'hours/M1'"):
        frame_of(Resources(limits=rows), columns, 2, 1.0, "here")


@pytest.mark.slow
def test_prices_of_rules_are_the_same_on_ray(ray_session: ModuleType) -> None:
    """Relaxed problems go to workers too, and come back bit for bit."""
    rng, n = np.random.default_rng(0), BLOCK + 300
    problem = dense(rng.gamma(2.0, 1.0, (n, 2)), [[1.0, 0.3], [0.0, 1.1]], [0.2 * n, 0.3 * n])
    limits = problem.rows.limits
    entries = tuple(Entry(name, row, 1.0, limits[row], False, name) for row, name in enumerate("ab"))
    found = allocate(Population.here(problem), Solver())
    prices = list(rule_prices(problem, entries, found, Solver(), partial(population, workers=2)))
    assert prices == list(rule_prices(problem, entries, found, Solver()))
    assert all(price.at_least > 0.0 for price in prices)
