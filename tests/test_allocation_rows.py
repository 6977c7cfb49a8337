"""Every sort of row that a person may write: counted again by hand, and bounded by an integer program."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from allocation_fixtures import dense, optimum, rows_of
from msgspec import convert
from tables_fixtures import run

from experiments.allocation.coding import Names, Needed
from experiments.allocation.read import read_candidates
from nba.allocation.allocate import Allocation, Solver, allocate, check_feasible
from nba.allocation.frame import Entry, frame_of
from nba.allocation.problem import Kinds, Problem, problem_of
from nba.allocation.resources import Resources
from nba.allocation.rule_prices import rule_prices, without
from nba.allocation.shards import Population, Shard
from nba.errors import BrokenPlan, InvalidConfig


def candidates(seed: int = 0, n: int = 24) -> pd.DataFrame:
    """Six candidates for each customer, who has a manager, a branch, an age band and a digital index."""
    rng = np.random.default_rng(seed)
    own = pd.DataFrame(
        {
            "customer": np.arange(n),
            "manager": rng.choice(["M1", "M2", "M3"], n),
            "age": rng.choice(["<60", "60+"], n, p=[0.6, 0.4]),
            "region": rng.choice(["north", "south"], n),
            "digital": rng.choice(["low", "high"], n),
        }
    )
    table = own.loc[np.repeat(np.arange(n), 6)].reset_index(drop=True)
    table["channel"] = rng.choice(["call", "visit", "push"], len(table))
    table["product"] = rng.choice(["mortgage", "deposit", "card"], len(table))
    table["day"] = rng.integers(0, 6, len(table))
    table["cost"] = table["channel"].map({"call": 4.0, "visit": 25.0, "push": 0.01})
    table["risk"] = rng.gamma(2.0, 1.0, len(table)).round(2)
    table["value"] = (rng.gamma(2.0, 3.0, len(table)) + 0.2 * table["cost"]).round(2)
    return table


def made(table: pd.DataFrame, resources: dict[str, Any]) -> tuple[Problem, tuple[Entry, ...]]:
    """The problem of a table, every candidate a kind of its own."""
    wanted = convert({"at_most": 2, **resources}, Resources)
    wanted.check("here")
    columns = {name: table[name].to_numpy().astype(np.str_) for name in wanted.columns()}
    columns |= {name: table[name].to_numpy(dtype=np.float64) for name in wanted.amounts()}
    frame = frame_of(wanted, columns, len(table), float(table["value"].max()), "here")
    keys, sizes = np.unique(table["customer"], return_counts=True)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    values, kind_of = table["value"].to_numpy(), np.arange(len(table))
    problem = problem_of(keys.astype(np.uint64), starts, kind_of, values, frame.kinds, frame.rows, frame.caps)
    return problem, frame.entries


def solved(table: pd.DataFrame, resources: dict[str, Any]) -> tuple[Problem, Allocation, pd.DataFrame]:
    """A plan whose bound is not below the best plan, and what it chose."""
    problem, _ = made(table, resources)
    found, best = allocate(Population.here(problem), Solver()), optimum(problem)
    assert found.certificate.upper_bound >= best - 1e-6 * abs(best)
    assert found.certificate.objective <= best + 1e-6 * abs(best)
    assert found.certificate.objective >= 0.9 * best
    return problem, found, table[Shard(problem).chosen(found.plan)]


def limits(**row: Any) -> dict[str, Any]:
    return {"limits": [{"name": "it", **row}]}


ROWS: dict[str, tuple[dict[str, Any], Callable[[pd.DataFrame], bool]]] = {
    "channel and product together": (
        limits(per=["channel", "product"], at_most=3, each={"call/card": 1}),
        lambda got: all(
            count <= (1 if cell == ("call", "card") else 3)
            for cell, count in got.groupby(["channel", "product"]).size().items()
        ),
    ),
    "a budget of money": (limits(uses="cost", at_most=60), lambda got: got["cost"].sum() <= 60 + 1e-6),
    "by calendar": (
        limits(per="day", where={"channel": ["call", "visit"]}, at_most=2),
        lambda got: got[got["channel"] != "push"].groupby("day").size().max() <= 2,
    ),
    "rolling": (
        limits(rolling=3, at_most=7, spent={"-1": 3, "-2": 2, "-9": 99}),
        lambda got: all(
            ((got["day"] > end - 3) & (got["day"] <= end)).sum() + (3 * (end < 2) + 2 * (end < 1)) <= 7
            for end in range(6)
        ),
    ),
    "rolling, by manager": (
        limits(rolling=2, per="manager", at_most=3),
        lambda got: all(
            ((own["day"] == day) | (own["day"] == day + 1)).sum() <= 3
            for _, own in got.groupby("manager")
            for day in range(6)
        ),
    ),
    "each manager's own hours": (
        limits(per="manager", uses={"call": 0.25, "visit": 1.5, "push": 0}, uses_by="channel", at_most=4),
        lambda got: all(
            own["channel"].map({"call": 0.25, "visit": 1.5, "push": 0.0}).sum() <= 4 + 1e-6
            for _, own in got.groupby("manager")
        ),
    ),
    "a share of calls": (
        {
            "shares": [
                {"name": "it", "where": {"product": ["mortgage", "deposit"]}, "whole": {"channel": "call"},
                 "at_most": 0.6}
            ]
        },
        lambda got: _part(got[got["channel"] == "call"], "product", ["mortgage", "deposit"]) <= 0.6 + 1e-6,
    ),
    "bands of contacts by age": (
        {"shares": [{"name": "it", "per": "age", "at_least": 0.4, "at_most": 0.6}]},
        lambda got: all(0.4 - 1e-6 <= _part(got, "age", [one]) <= 0.6 + 1e-6 for one in ("<60", "60+")),
    ),
    "only measured": (limits(at_most=3, report_only=True), lambda got: len(got) > 3),
}  # fmt: skip


def _part(table: pd.DataFrame, column: str, words: list[str]) -> float:
    return float(table[column].isin(words).mean()) if len(table) else 0.5


@pytest.mark.parametrize("name", ROWS)
def test_rows_hold_and_bound_the_best_plan(name: str) -> None:
    resources, holds = ROWS[name]
    for seed in range(2):
        _, _, got = solved(candidates(seed), resources)
        assert len(got) and holds(got)


def test_guarantees_by_value_are_met_where_they_can_be_and_told_where_not() -> None:
    table = candidates()
    some = {"guarantees": [{"name": "floor", "per": "product", "at_least": 4, "each": {"card": 500}}]}
    some |= limits(where={"channel": "push"}, at_most=0)
    problem, _ = made(table, some)
    found, best = allocate(Population.here(problem), Solver()), optimum(problem)
    assert best - 1e-6 * abs(best) <= found.certificate.upper_bound
    got = table[Shard(problem).chosen(found.plan)]
    counts = got.groupby("product").size()
    assert counts["mortgage"] >= 4 and counts["deposit"] >= 4
    over = dict(zip(problem.rows.names, problem.rows.excess(found.certificate.usage), strict=True))
    assert over["floor/card"] == 500 - counts["card"] and over["floor/deposit"] == 0.0
    told = found.certificate
    assert told.objective < 0.0 < told.value, "the penalty of what is out of reach"
    assert told.gap_of_value == pytest.approx((told.upper_bound - told.objective) / told.value)
    assert told.gap_of_value < 0.05


BANDS = {
    "limits": [{"name": "calls", "where": {"channel": "call"}, "at_most": 6}],
    "guarantees": [{"name": "launch", "where": {"product": "card"}, "at_least": 12, "price": 9}],
    "shares": [
        {"name": "contacts by age", "per": "age", "at_least": 0.45},
        {"name": "contacts by region", "per": "region", "at_least": 0.48},
        {"name": "contacts by digital index", "per": "digital", "at_least": 0.45},
        {"name": "complaints by age", "where": {"age": "60+"}, "at_most": 0.3, "uses": "risk"},
    ],
}


def test_the_price_of_every_rule_lies_between_its_proofs() -> None:
    """Each rule, the bands of fairness among them, against the integer programs with and without it."""
    problem, entries = made(candidates(3), BANDS)
    found, best = allocate(Population.here(problem), Solver()), optimum(problem)
    prices = {one.name: one for one in rule_prices(problem, entries, found, Solver())}
    assert list(prices) == ["calls", "launch", *(share["name"] for share in BANDS["shares"])]
    for name, price in prices.items():
        gone = [entry.row for entry in entries if entry.rule == name]
        free = optimum(problem._replace(rows=without(problem.rows, gone)))
        assert price.at_least - 1e-6 <= free - best <= price.at_most + 1e-6, name
        assert price.at_least - 1e-6 <= price.given_up <= price.at_most + 1e-6, name
    assert prices["calls"].at_least > 0.0


@pytest.mark.slow
def test_prices_of_rules_are_told_by_the_command(tmp_path: Path, capsys: Any) -> None:
    table = candidates(3).assign(action=lambda one: [f"a{place % 6}" for place in range(len(one))])
    table.to_csv(tmp_path / "t.csv", index=False)
    rows = [f"[[{kind}]]\n" + "".join(_toml(*item) for item in row.items())
            for kind, given in BANDS.items() for row in given]  # fmt: skip
    (tmp_path / "r.toml").write_text("at_most = 2\n" + "\n".join(rows))
    words = ("--candidates", tmp_path / "t.csv", "--resources", tmp_path / "r.toml", "--price-rules")
    code, told, error = run(capsys, "allocate", *words, "--out", tmp_path / "p.csv", "--json")
    assert code == 0, error
    found = json.loads(told)
    assert list(found["rules"]) == [
        "calls", "launch", *(one["name"] for one in BANDS["shares"]), "caps per customer"
    ]  # fmt: skip
    assert {"contacts by age/60+", "contacts by age/<60", "complaints by age"} <= set(found["usage"])
    assert found["usage"]["complaints by age"] <= 0.3 + 1e-9
    assert found["gap_of_value"] >= 0.0


def _toml(field: str, value: Any) -> str:
    if isinstance(value, dict):
        return f"{field} = {{ {', '.join(f'{k} = {json.dumps(v)}' for k, v in value.items())} }}\n"
    return f"{field} = {json.dumps(value)}\n"


@pytest.mark.parametrize("size", [1e-7, 1.0, 1e7])
def test_rows_of_both_signs_hold_whatever_the_unit(size: float) -> None:
    """Shares of amounts of any size: rounding neither breaks a row nor hides that it is broken."""
    rng = np.random.default_rng(1)
    uses = rng.choice([-0.37, 0.63], (3_000, 1)) * rng.gamma(2.0, size, (3_000, 1))
    starts, values = np.arange(1_001) * 3, rng.gamma(2.0, 1.0, 3_000)
    keys = np.arange(1_000, dtype=np.uint64)
    problem = problem_of(keys, starts, np.arange(3_000), values, Kinds.of(uses), rows_of([0.0]))
    assert problem.rows.tolerances[0] < 1e-6 * size
    found = allocate(Population.here(problem), Solver())
    chosen = Shard(problem).chosen(found.plan)
    assert uses[chosen].sum() <= 1e-6 * size
    assert found.certificate.gap < 1e-3


@pytest.mark.parametrize("money", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize("unit", [1e-9, 1e9])
def test_a_small_plan_is_as_good_in_any_currency_and_unit(money: float, unit: float) -> None:
    """The integer program of the core stops by tolerances that know neither."""
    rng = np.random.default_rng(3)
    values, uses, limits = rng.gamma(2.0, 1.0, (15, 3)), rng.uniform(0.5, 3.0, (3, 2)), np.array([6.0, 8.0])
    problem = dense(values * money, uses * unit, limits * unit)
    found = allocate(Population.here(problem), Solver()).certificate
    assert found.objective / money == pytest.approx(optimum(dense(values, uses, limits)))


def test_a_plan_over_a_hard_limit_is_never_handed_out() -> None:
    rows = rows_of([3.0, 5.0])
    check_feasible(rows, np.array([3.0, 5.0]))
    with pytest.raises(BrokenPlan, match="row 1 uses 6 of 5"):
        check_feasible(rows, np.array([3.0, 6.0]))


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        ({"rolling": 0, "at_most": 1}, r"limits\[0\].rolling: must be at least 1 day"),
        ({"at_most": 1, "spent": {"3": 1}}, r"limits\[0\].spent: is what was used on days before"),
        ({"rolling": 2, "at_most": 9, "spent": {"3": 1}}, "day 3 is not before the first day"),
        ({"rolling": 2, "at_most": 1, "spent": {"-1": 4}}, "4 of 1 units is spent already in days -1..0"),
        ({"rolling": 2, "at_most": 1, "day": "channel"}, "column 'channel' must hold whole numbers of days"),
        ({"rolling": 2, "at_most": 1, "spent": {"monday": 4}}, "must be the number of a day"),
        ({"rolling": 2, "at_most": 1, "per": "age", "spent": {"-1": 1}}, "cannot be told apart by `per`"),
        ({"at_most": 1, "uses": {"call": 1}}, r"limits\[0\].uses_by: names the column"),
        ({"at_most": 1, "uses": {"call": 1}, "uses_by": "channel"}, "no number for 'push', 'visit'"),
        ({"at_most": 1, "uses": {"fax": 1}, "uses_by": "channel"}, "no candidate has 'fax'"),
        ({"per": ["age", "channel"], "each": {"60+/call": 2}}, "no limit for '60.*' of column 'age/channel'"),
    ],
)
def test_bad_rows_are_told(row: dict[str, Any], rule: str) -> None:
    with pytest.raises(InvalidConfig, match=rule):
        made(candidates(), limits(**row))


def test_rows_are_named_by_words_that_tell_them_apart() -> None:
    table = candidates().replace({"manager": {"M1": ""}, "region": {"north": "n/w"}})
    with pytest.raises(InvalidConfig, match=r"limits\[0\].per: column 'manager' holds ''; what names a row"):
        made(table, limits(per="manager", at_most=1))
    with pytest.raises(InvalidConfig, match="column 'region' holds 'n/w'"):
        made(table, limits(per=["region", "channel"], at_most=1))
    made(table, limits(per="region", at_most=1))


def test_truths_are_the_same_words_in_every_format(tmp_path: Path) -> None:
    table = candidates(n=5).assign(action="a", asked=lambda one: one["product"] == "card")
    table["action"] += table.index.astype(str)
    table.to_csv(tmp_path / "t.csv", index=False)  # True and False
    table.to_parquet(tmp_path / "t.parquet")  # as text true and false
    needed = Needed({"asked": "here"}, {})
    for name in ("t.csv", "t.parquet"):
        found = read_candidates(tmp_path / name, Names(), needed, lambda _: None)
        assert {*found.columns["asked"].tolist()} == {"true", "false"}
