"""`nba allocate`: tables of any make in, a plan and its certificate out; mistakes told in one line."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tables_fixtures import run

from experiments.allocation.cluster import asking, on_ray
from experiments.allocation.coding import Names, Needed
from experiments.allocation.read import read_candidates
from nba.allocation.allocate import Solver, allocate
from nba.allocation.frame import frame_of
from nba.allocation.problem import BLOCK, Kinds, Problem, Rows, problem_of
from nba.allocation.resources import Cap, Guarantee, Limit, Resources, Share
from nba.allocation.shards import Population
from nba.errors import InvalidConfig

RESOURCES = """
at_most = 2
[[caps]]
by = "family"
at_most = 1
[[limits]]
name = "calls"
where = { channel = "call" }
at_most = 30
[[limits]]
name = "hours"
per = "manager"
uses = "minutes"
at_most = 100
each = { M1 = 40 }
[[limits]]
name = "sms"
where = { channel = "sms" }
at_most = 5
report_only = true
[[guarantees]]
name = "launch"
where = { product = "card", channel = ["call", "visit"] }
at_least = 20
[[guarantees]]
name = "too much"
where = { channel = "visit" }
at_least = 500
price = 1
[[shares]]
name = "calls to 60+"
where = { age = "60+" }
whole = { channel = "call" }
at_least = 0.3
at_most = 0.5
"""


KEYS = "objective upper_bound gap prices usage repaired seconds iterations"


def frame(n: int = 120) -> Any:
    """Eight candidates for each customer, on four channels."""
    rng = np.random.default_rng(0)
    channels = {"call": ("human", 12), "visit": ("human", 40), "push": ("digital", 0), "sms": ("digital", 0)}
    rows = [
        {"customer": f"c{customer}", "action": f"{channel}-{product}", "channel": channel, "family": family,
         "minutes": minutes, "product": product, "manager": f"M{customer % 4}",
         "age": "60+" if customer % 3 == 0 else "<60",
         "value": round(float(rng.gamma(2.0, 1.0)) * (minutes / 10 + 0.5) - 0.2, 3)}
        for customer in range(n)
        for channel, (family, minutes) in channels.items()
        for product in ("loan", "card")
    ]  # fmt: skip
    return pd.DataFrame(rows)


def files(folder: Path, table: Any = None, resources: str = RESOURCES) -> tuple[Path, Path]:
    candidates, limits = folder / "candidates.csv", folder / "resources.toml"
    (frame() if table is None else table).to_csv(candidates, index=False)
    limits.write_text(resources)
    return candidates, limits


def allocated(capsys: Any, candidates: Path, resources: Path, out: Path, *words: object) -> dict[str, Any]:
    code, told, error = run(
        capsys,
        "allocate",
        "--candidates",
        candidates,
        "--resources",
        resources,
        "--out",
        out,
        "--json",
        *words,
    )
    assert code == 0, error
    found: dict[str, Any] = json.loads(told)
    return found


def test_a_plan_keeps_every_limit_and_tells_what_it_misses(tmp_path: Path, capsys: Any) -> None:
    told = allocated(capsys, *files(tmp_path), tmp_path / "plan.csv")
    assert {"objective", "upper_bound", "gap", "prices", "usage", "repaired", "seconds", "iterations"} <= set(
        told
    )
    plan = pd.read_csv(tmp_path / "plan.csv").merge(frame(), on=["customer", "action", "value"])
    assert len(plan) == told["chosen"] and told["value"] == pytest.approx(plan["value"].sum())
    assert plan.groupby("customer").size().max() <= 2
    assert plan.groupby(["customer", "family"]).size().max() == 1
    assert (plan["channel"] == "call").sum() == told["usage"]["calls"] <= 30
    hours = plan.groupby("manager")["minutes"].sum()
    for manager, minutes in hours.items():
        assert minutes == told["usage"][f"hours/{manager}"] <= (40 if manager == "M1" else 100)
    launch = plan[(plan["product"] == "card") & plan["channel"].isin(["call", "visit"])]
    assert told["usage"]["launch"] == len(launch)
    calls = plan[plan["channel"] == "call"]
    assert 0.3 <= (calls["age"] == "60+").mean() <= 0.5
    assert told["usage"]["calls to 60+ at_least"] == pytest.approx((calls["age"] == "60+").mean())
    (missing,) = [one for one in told["infeasible"] if one["name"] == "too much"]
    assert missing["missing"] == 500 - (plan["channel"] == "visit").sum()
    assert told["exceeded"] == ["sms"] and told["prices"]["sms"] == 0.0
    assert told["objective"] <= told["upper_bound"] and told["prices"]["hours/M1"] > 0.0


def test_shuffled_rows_and_other_formats_give_the_same_bytes(tmp_path: Path, capsys: Any) -> None:
    candidates, resources = files(tmp_path)
    first = allocated(capsys, candidates, resources, tmp_path / "plan.csv")
    shuffled = frame().sample(frac=1.0, random_state=1)
    shuffled.astype({"manager": "category"}).to_parquet(tmp_path / "table.dat", row_group_size=100)
    packed = tmp_path / "packed"
    packed.write_bytes(gzip.compress(shuffled.sample(frac=1.0, random_state=2).to_csv(index=False).encode()))
    for number, other in enumerate((tmp_path / "table.dat", packed)):
        again = allocated(capsys, other, resources, tmp_path / f"plan{number}.csv")
        assert again | {"seconds": 0} == first | {"seconds": 0}
        assert (tmp_path / f"plan{number}.csv").read_bytes() == (tmp_path / "plan.csv").read_bytes()


def test_what_rules_cost_and_plans_as_parquet(tmp_path: Path, capsys: Any) -> None:
    resources = RESOURCES.partition('[[guarantees]]\nname = "too much"')[0]
    told = allocated(capsys, *files(tmp_path, resources=resources), tmp_path / "p.parquet", "--price-rules")
    assert set(told["rules"]) == {"calls", "hours", "launch", "caps per customer"}
    for price in told["rules"].values():
        assert (
            0.0 <= price["at_least"] <= price["given_up"] + 1e-9
            and price["given_up"] <= price["at_most"] + 1e-9
        )
    assert told["rules"]["hours"]["given_up"] > 0.0
    plan = pd.read_parquet(tmp_path / "p.parquet")
    assert list(plan.columns) == ["customer", "action", "value", "price"]
    assert plan["value"].sum() == pytest.approx(told["value"])


def test_people_are_told_in_lines(tmp_path: Path, capsys: Any) -> None:
    candidates, resources = files(tmp_path)
    words = ("--candidates", candidates, "--resources", resources, "--out", tmp_path / "p.csv")
    code, told, _ = run(capsys, "allocate", *words)
    assert code == 0 and "gap" in told and "infeasible: too much misses" in told
    code, told, _ = run(capsys, "allocate", "--help")
    assert code == 0 and "[[guarantees]]" in told and "nba allocate --candidates" in told


BAD_TABLES = {
    "value: rows 3 .*must be a finite number": ("value", 2, np.nan),
    "value: rows 1 .*must be a finite number": ("value", 0, np.inf),
    "value: rows 2 .*must be a number": ("value", 1, "much"),
    "minutes: rows 5 .*must be >= 0, .*resources.toml: limits.1..uses": ("minutes", 4, -1),
    r"value: rows 6 .*must be at most 1e\+30 in size; count in": ("value", 5, 1e300),
    "minutes: rows 4 .*must be 0 or at least 1e-30; count in": ("minutes", 3, 1e-310),
    "customer: rows 7 .*must not be missing": ("customer", 6, ""),
    "action: rows 1 and 2: customer 'c0' has the action 'call-card' twice": ("action", 0, "call-card"),
}


@pytest.mark.parametrize("rule", BAD_TABLES)
def test_bad_cells_are_told_with_file_row_and_field(rule: str, tmp_path: Path, capsys: Any) -> None:
    column, row, cell = BAD_TABLES[rule]
    table = frame(20).astype({column: object})
    table.loc[row, column] = cell
    candidates, resources = files(tmp_path, table)
    words = ("--candidates", candidates, "--resources", resources, "--out", tmp_path / "p.csv")
    code, _, error = run(capsys, "allocate", *words)
    last = error.strip().splitlines()[-1]
    assert code == 2 and re.search(rf"error: .*candidates.csv: {rule}", last), error
    assert not (tmp_path / "p.csv").exists()


BAD_RESOURCES = {
    r"limits\[0\].at_most: must be a finite number >= 0, got -3": ("at_most = 30", "at_most = -3"),
    r"limits\[0\].at_most: must be a finite number >= 0, got nan": ("at_most = 30", "at_most = nan"),
    r"limits\[0\].at_most: is missing": ("at_most = 30", ""),
    r"limits\[1\].each.M1: must be a finite number >= 0": ("M1 = 40", "M1 = -1"),
    r"limits\[1\].each: no limit for 'M0' of column 'manager'": ("at_most = 100", ""),
    r"limits\[0\].where.channel: no candidate has 'cal' in column 'channel'; did you mean 'call'": (
        '{ channel = "call" }\nat_most', '{ channel = "cal" }\nat_most'),
    r"candidates.csv: chanel: no such column \(named by .*limits\[0\].where.chanel\).*'channel'": (
        '{ channel = "call" }\nat_most', '{ chanel = "call" }\nat_most'),
    r"shares\[0\].at_most: must be a finite number >= 0 and <= 1, got 5": ("at_most = 0.5", "at_most = 5"),
    r"shares\[0\]: at_least 0.3 is above at_most 0.1": ("at_most = 0.5", "at_most = 0.1"),
    r"guarantees\[0\].name: must be there and unique, got 'calls'": ('name = "launch"', 'name = "calls"'),
    r"caps\[0\].at_most: must be at least 1": ('by = "family"\nat_most = 1', 'by = "family"\nat_most = 0'),
    r"caps\[1\].by: crosses the cap by 'family': 'card' lies in several": (
        '[[limits]]\nname = "calls"', '[[caps]]\nby = "product"\nat_most = 1\n[[limits]]\nname = "calls"'),
    r"unknown field `capacity`": ("at_most = 30", "capacity = 30"),
    r"resources.toml: Invalid": ("at_most = 30", "at_most = "),
}  # fmt: skip


@pytest.mark.parametrize("rule", BAD_RESOURCES)
def test_bad_resources_are_told_with_file_and_field(rule: str, tmp_path: Path, capsys: Any) -> None:
    old, new = BAD_RESOURCES[rule]
    candidates, resources = files(tmp_path, frame(20), RESOURCES.replace(old, new, 1))
    words = ("--candidates", candidates, "--resources", resources, "--out", tmp_path / "p.csv")
    code, _, error = run(capsys, "allocate", *words)
    last = error.strip().splitlines()[-1]
    assert code == 2 and last.startswith("error: ") and re.search(rule, last), error


def test_bad_files_are_told(tmp_path: Path) -> None:
    needed, path = Needed({}, {}), tmp_path / "table"
    for content, rule in (
        (b"", "is empty"),
        (b"customer,action,value\n", "has no rows"),
        (b"customer,action,value\na,b,1\na,b\n", "cannot be read to its end"),
        (gzip.compress(b"customer,action,value\na,b,1\n" * 50)[:30], "cannot be read"),
        (b"PAR1 no Parquet", "cannot be read"),
        (b"customer,action,value,value\na,b,1,2\n", "'value': names of columns must be unique"),
        (b"customer,deed,value\na,b,1\n", r"action: no such column \(named by --action\)"),
    ):
        path.write_bytes(content)
        with pytest.raises(InvalidConfig, match=rule):
            read_candidates(path, Names(), needed, lambda _: None)
    with pytest.raises(InvalidConfig, match="No such file"):
        read_candidates(tmp_path / "none", Names(), needed, lambda _: None)


def test_rows_of_resources_by_hand() -> None:
    columns = {"channel": np.array(["call", "push", "call"]), "cost": np.array([2.0, 0.0, 3.0])}
    resources = Resources(
        caps=(Cap(by="channel", at_most=1),),
        limits=(
            Limit(name="money", uses="cost", at_most=7.0),
            Limit(name="each", per="channel", at_most=4.0),
        ),
        guarantees=(Guarantee(name="floor", at_least=3.0, where={"channel": "call"}),),
        shares=(Share(name="band", where={"channel": "call"}, at_most=0.25),),
    )
    resources.check("here")
    made = frame_of(resources, columns, 3, 6.0, "here")
    assert made.rows.names[:4] == ("money", "each/call", "each/push", "floor")
    np.testing.assert_array_equal(
        made.kinds.matrix(7).toarray(),
        [
            [2.0, 1.0, 0.0, -1.0, 1.0, 1.0, 0.75],
            [0.0, 0.0, 1.0, 0.0, 1.0, 0.0, -0.25],
            [3.0, 1.0, 0.0, -1.0, 1.0, 1.0, 0.75],
        ],
    )
    np.testing.assert_array_equal(made.rows.limits, [7.0, 4.0, 4.0, -3.0, 0.0, 0.0, 0.0])
    np.testing.assert_array_equal(made.rows.ceilings, [np.inf, np.inf, np.inf, 60.0, 0.0, 0.0, np.inf])
    assert made.caps.tolist() == [1, 1, 1]


def test_a_word_that_nobody_has_may_be_allowed() -> None:
    row = Limit(name="calls", where={"channel": ("call", "visit")}, at_most=1.0, may_be_empty=True)
    columns = {"channel": np.array(["call", "push"])}
    made = frame_of(Resources(limits=(row,)), columns, 2, 1.0, "here")
    assert made.kinds.matrix(1).toarray().ravel().tolist() == [1.0, 0.0]


def two_blocks() -> Problem:
    rng, n = np.random.default_rng(0), BLOCK + 900
    kinds = Kinds.of(np.array([[1.0, 0.3], [0.0, 1.1]]))
    rows = Rows(("calls", "money"), n * np.array([0.2, 0.3]), np.full(2, np.inf))
    values, kind_of = rng.gamma(2.0, 1.0, 2 * n), np.tile(np.arange(2), n)
    return problem_of(np.arange(n, dtype=np.uint64), np.arange(n + 1) * 2, kind_of, values, kinds, rows)


def test_actors_on_ray_give_the_same_bits(ray_session: ModuleType) -> None:
    problem = two_blocks()
    actors = on_ray(problem, 2)
    assert len(actors) == 2
    people = asking(problem, actors)
    here = allocate(Population.here(problem), Solver())
    there = allocate(people, Solver())
    for one, other in zip(here.certificate, there.certificate, strict=True):
        np.testing.assert_array_equal(one, other)
    chosen = np.concatenate(people.ask("chosen", there.plan))
    np.testing.assert_array_equal(chosen, Population.here(problem).ask("chosen", here.plan)[0])
    for actor in actors:
        ray_session.kill(actor)
