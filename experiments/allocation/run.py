"""The steps of `nba allocate`: read, allocate, tell what rules cost, write the plan."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from experiments.allocation.cluster import population
from experiments.allocation.coding import Candidates, Names, Needed
from experiments.allocation.quiet import native_output_on_stderr
from experiments.allocation.read import n_rows_of, read_candidates
from experiments.allocation.told import rules_json, told_json, write_plan
from experiments.executor import Report, executor
from experiments.terminal import progress, say
from nba.allocation.allocate import Allocation, Solver
from nba.allocation.allocate import allocate as solve
from nba.allocation.frame import Entry, frame_of
from nba.allocation.problem import Problem, problem_of
from nba.allocation.resources import Resources
from nba.allocation.rule_prices import caps_given_up, enforced, rule_prices
from nba.allocation.shards import Population
from nba.errors import require
from simulator.files import load_toml

_PASSES = 60  # that solving a large table takes, more or less


class Order(NamedTuple):
    """What is asked for."""

    candidates: Path
    resources: Path
    out: Path
    names: Names
    solver: Solver
    workers: int = 1
    price_rules: bool = False


def carry_out(order: Order) -> dict[str, Any]:
    """Read, solve and write; what JSON tells.

    `seconds` are those of solving alone, without reading, starting workers and writing.
    """
    _check_places(order)
    resources = load_resources(order.resources)
    candidates, problem, entries = prepared(order, resources)
    with native_output_on_stderr(), population(problem, order.workers) as people:
        begun = perf_counter()
        say(f"{problem.n_customers:,} customers, {problem.values.size:,} candidates")
        with progress("solve", _PASSES) as report:
            found = solve(_heard(people, report), order.solver)
        chosen = np.concatenate(people.ask("chosen", found.plan))
    told = told_json(found.certificate, problem, entries, perf_counter() - begun)
    told["chosen"] = int(chosen.sum())
    if order.price_rules:
        with native_output_on_stderr(), executor(order.workers):  # one Ray for all of them
            told["rules"] = _rules(problem, entries, found, order)
    write_plan(order.out, order.names, candidates, problem, chosen, found.certificate.prices)
    return told


def load_resources(path: Path) -> Resources:
    """Resources of a TOML file, checked; InvalidConfig names the file, the field and the rule."""
    text = str(path)
    require(text.endswith(".toml"), text, "", "must be a .toml file (--resources)")
    resources = load_toml(text, "experiments", "allocation", Resources)
    resources.check(text)
    return resources


def prepared(order: Order, resources: Resources) -> tuple[Candidates, Problem, tuple[Entry, ...]]:
    """The candidates of the table and the problem that they make with the resources."""
    source = str(order.resources)
    texts, amounts = (
        {name: f"{source}: {pointer}" for name, pointer in columns.items()}
        for columns in (resources.columns(), resources.amounts())
    )
    with progress("read", n_rows_of(order.candidates)) as report:
        table = read_candidates(order.candidates, order.names, Needed(texts, amounts), report)
    largest = float(np.abs(table.values).max())
    frame = frame_of(resources, table.columns, table.n_kinds, largest, source)
    problem = problem_of(
        table.keys, table.starts, table.kind_of, table.values, frame.kinds, frame.rows, frame.caps
    )
    return table, problem, frame.entries


def _heard(people: Population, report: Report) -> Population:
    """The same, telling of each pass; nobody knows how many there will be, so the last ones are silent."""
    left = [_PASSES]

    def ask(method: str, *arguments: Any) -> list[Any]:
        found = people.ask(method, *arguments)
        report(min(left[0], 1))
        left[0] -= min(left[0], 1)
        return found

    return people._replace(ask=ask)


def _rules(
    problem: Problem, entries: tuple[Entry, ...], found: Allocation, order: Order
) -> dict[str, dict[str, float]]:
    prices, place = [], partial(population, workers=order.workers)
    with progress("rules", len(enforced(entries)) + 1) as report:
        for price in rule_prices(problem, entries, found, order.solver, place):
            prices.append(price)
            report(1)
        prices.append(caps_given_up(problem, found, order.solver, place))
        report(1)
    return rules_json(prices)


def _check_places(order: Order) -> None:
    """A plan that cannot be written, or that would overwrite its input, is told before the work."""
    folder = order.out.resolve().parent
    require(folder.is_dir(), str(order.out), "--out", f"the folder {folder} is not there; make it")
    same = order.out.resolve() in (order.candidates.resolve(), order.resources.resolve())
    require(not same, str(order.out), "--out", "would overwrite an input; name another file")
