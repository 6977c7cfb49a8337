"""`nba plan-test`, `nba assign-arms` and `nba lift` on ordinary tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from experiments.trials.commands import assign_arms, lift, plan_test
from nba.errors import InvalidConfig
from nba.trials import Assignment

# Berkeley, autumn 1973, the six largest departments: applicants and admitted, men and women
# (Bickel, Hammel and O'Connell 1975; Freedman, Pisani and Purves 1978).
BERKELEY = {
    "A": (825, 512, 108, 89),
    "B": (560, 353, 25, 17),
    "C": (325, 120, 593, 202),
    "D": (417, 138, 375, 131),
    "E": (191, 53, 393, 94),
    "F": (373, 22, 341, 24),
}


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    for name, command in (("plan-test", plan_test), ("assign-arms", assign_arms), ("lift", lift)):
        app.command(name)(command)
    return app


def told(app: typer.Typer, *arguments: object) -> dict[str, Any]:
    ended = CliRunner().invoke(app, [*map(str, arguments), "--json"], catch_exceptions=False)
    assert ended.exit_code == 0, ended.output
    answer: dict[str, Any] = json.loads(ended.stdout)
    return answer


def refused(app: typer.Typer, *arguments: object) -> str:
    with pytest.raises(InvalidConfig) as error:
        CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    return str(error.value)


def written(path: Path, columns: dict[str, Any]) -> Path:
    rows = zip(*columns.values(), strict=True)
    path.write_text("\n".join([",".join(columns), *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


@pytest.fixture
def trial(tmp_path: Path) -> Path:
    """Ten days, three arms: the policy sells more to those of a high score, the random arm nothing more."""
    rng, n = np.random.default_rng(15), 12_000
    arm = rng.choice(np.array(["policy", "random", "none", ""]), n, p=[0.4, 0.28, 0.28, 0.04])
    before, score = rng.normal(size=n), rng.random(n)
    rate = 0.15 + 0.06 * before.clip(-2, 2) + 0.2 * score * (arm == "policy")
    columns = {
        "customer": [f"c{number}" for number in range(n)],
        "arm": arm,
        "before": before,
        "score": score,
        "day": [f"2026-03-{day:02d}" for day in rng.integers(1, 11, n)],
        "sold": (rng.random(n) < rate).astype(int),
    }
    return written(tmp_path / "trial.csv", columns)


def test_a_trial_is_planned(app: typer.Typer) -> None:
    one = told(app, "plan-test", "--rate", 0.05, "--relative", 0.1, "--per-day", 2_000)
    assert (one["customers"], one["days"]) == (62_462, 32) and one["effect"] == pytest.approx(0.005)
    money = told(app, "plan-test", "--rate", 0.05, "--effect", 0.4, "--amount", 80)
    assert money["customers"] == one["customers"]
    text = CliRunner().invoke(app, ["plan-test", "--rate", "0.05", "--effect", "0.005"]).stdout
    assert "+0.005 per customer (+10.00 %)" in text and "watched every day" in text
    assert "give either" in refused(app, "plan-test", "--rate", 0.05)


def test_arms_are_exported(app: typer.Typer, trial: Path, tmp_path: Path) -> None:
    out = tmp_path / "arms.csv"
    given = ("--table", trial, "--customer", "customer", "--salt", "spring", "--out", out)
    counts = told(app, "assign-arms", *given, "--arms", "policy=70,none=20")["arms"]
    lines = out.read_text().splitlines()
    assert lines[0] == "customer,bucket,arm" and len(lines) == 12_001 == 1 + sum(counts.values())
    one = Assignment.of("spring", {"policy": 70, "none": 20})
    bucket = int(one.buckets(["c7"])[0])
    assert f"c7,{bucket},{'policy' if bucket < 70 else 'none' if bucket < 90 else ''}" in lines
    more = (*given, "--arms", "policy=70,none=20", "--control-salt", "all")
    controlled = told(app, "assign-arms", *more)["arms"]
    assert controlled["policy"] < counts["policy"] and 240 < controlled["global-control"] < 480
    assert "NAME=PERCENT" in refused(app, "assign-arms", *given, "--arms", "policy")


def test_the_lift_of_a_trial(app: typer.Typer, trial: Path) -> None:
    given = ("lift", "--log", trial, "--arm", "arm", "--outcome", "sold", "--control", "none")
    more = ("--before", "before", "--day", "day", "--planned-customers", 12_000)
    one = told(app, *given, *more)
    policy, idle = one["lifts"]
    assert (policy["arm"], idle["arm"]) == ("policy", "random") and one["rows_outside"] > 300
    assert policy["ci_low"] < 0.1 < policy["ci_high"] and policy["sequence_low"] > 0.0
    assert policy["first_alarm"] is not None and idle["first_alarm"] is None
    assert idle["ci_low"] < 0.0 < idle["ci_high"] and 0.9 < policy["variance_left"] < 1.0
    assert one["looks"] == 10 and 0.0 < one["naive_alarm_rate"] < 0.2
    # Two arms share 5 %: each interval is that of 97.5 %.
    alone = told(app, *given, *more, "--treated", "policy")["lifts"][0]
    wide, narrow = (row["ci_high"] - row["ci_low"] for row in (policy, alone))
    assert wide / narrow == pytest.approx(2.2414 / 1.95996, abs=1e-3)


def test_the_page_has_the_curves(app: typer.Typer, trial: Path, tmp_path: Path) -> None:
    out = tmp_path / "trial.html"
    given = ("lift", "--log", trial, "--arm", "arm", "--outcome", "sold", "--control", "none")
    one = told(
        app,
        *given,
        "--treated",
        "policy",
        "--score",
        "score",
        "--day",
        "day",
        "--planned-customers",
        9_000,
        "--out",
        out,
    )
    assert one["uplift"]["is_found"] and one["uplift"]["total"] == pytest.approx(0.1, abs=0.03)
    page = out.read_text()
    assert page.count("<svg") == 3 and "http" not in page.replace("http-equiv", "")
    for words in ("Qini", "policy over time", "any sequence with at most 5 %"):
        assert words in page


def test_failure_10_berkeley_raw_and_standardised_side_by_side(app: typer.Typer, tmp_path: Path) -> None:
    columns: dict[str, list[object]] = {"sex": [], "department": [], "admitted": []}
    for department, (men, men_in, women, women_in) in BERKELEY.items():
        for sex, n, n_in in (("men", men, men_in), ("women", women, women_in)):
            columns["sex"] += [sex] * n
            columns["department"] += [department] * n
            columns["admitted"] += [1] * n_in + [0] * (n - n_in)
    table = written(tmp_path / "berkeley.csv", columns)
    given = ("--log", table, "--arm", "sex", "--outcome", "admitted", "--control", "women")
    one = told(app, "lift", *given, "--segment", "department")
    women, men = one["segments"]
    assert (round(men["raw"], 3), round(women["raw"], 3)) == (0.445, 0.304)
    assert (round(men["standardised"], 3), round(women["standardised"], 3)) == (0.387, 0.430)
    assert men["reversed"] and not women["reversed"]


def test_rows_are_summed_to_customers(app: typer.Typer, tmp_path: Path) -> None:
    rows = {
        "id": ["a", "a", "b", "c", "c", "d"],
        "arm": ["x", "x", "x", "y", "y", "y"],
        "money": [1, 2, 4, 1, 1, 5],
    }
    table = written(tmp_path / "rows.csv", rows)
    given = ("lift", "--log", table, "--arm", "arm", "--outcome", "money", "--control", "y")
    one = told(app, *given, "--customer", "id")
    assert one["customers"] == 4 and one["lifts"][0]["difference"] == pytest.approx(0.0)
    assert one["lifts"][0]["mean"] == pytest.approx(3.5)
    moved = written(tmp_path / "moved.csv", {**rows, "arm": ["x", "y", "x", "y", "x", "y"]})
    given = ("lift", "--log", moved, "--arm", "arm", "--outcome", "money", "--control", "y")
    assert "arm: must be the same in all rows of a customer; 2 customers have several" in refused(
        app, *given, "--customer", "id"
    )


@pytest.mark.parametrize(
    ("more", "rule"),
    [
        (("--control", "nobody"), "no arm is named 'nobody'; there are 'none', 'policy', 'random'"),
        (("--control", "none", "--day", "day"), "--planned-customers: must be given with --day"),
        (("--control", "none", "--score", "score"), "must name one arm"),
        (("--control", "none", "--before", "arm"), "must hold numbers"),
        (("--control", "none", "--before", "sold"), "--before sold: is the outcome itself"),
        (("--control", "none", "--chance", "0.5"), "must name one arm: --chance is that of being treated"),
        (("--control", "none", "--treated", "policy", "--chance", "1"), "must lie strictly between 0 and 1"),
        (("--control", "none", "--planned-customers", "100"), "--planned-customers: goes with --day"),
        (("--control", "none", "--segment", "region"), "no such column"),
        (("--control", "none", "--treated", "none"), "must differ from --control"),
    ],
)
def test_what_cannot_be_told_is_said(app: typer.Typer, trial: Path, more: tuple[str, ...], rule: str) -> None:
    assert rule in refused(app, "lift", "--log", trial, "--arm", "arm", "--outcome", "sold", *more)


def test_truths_are_outcomes_and_numbers_of_days_keep_their_digits(app: typer.Typer, tmp_path: Path) -> None:
    sold = [(row % 2 == 0) ^ (row % 20 < 2) for row in range(800)]  # nine in ten of x, one in ten of y
    days = [20260101] * 400 + [20260102] * 400
    table = written(tmp_path / "days.csv", {"arm": ["x", "y"] * 400, "sold": sold, "day": days})
    given = ("lift", "--log", table, "--arm", "arm", "--outcome", "sold", "--control", "y", "--day", "day")
    lift = told(app, *given, "--planned-customers", 800)["lifts"][0]
    assert (
        lift["difference"] == pytest.approx(0.8) and lift["first_alarm"] == "20260102"
    )  # the first has too few sales of y


def test_an_empty_outcome_is_not_taken_for_nothing(app: typer.Typer, tmp_path: Path) -> None:
    table = written(tmp_path / "gap.csv", {"arm": ["x", "y"] * 3, "sold": [1, 0, "", 1, 0, 1]})
    assert "is not in rows 3 (1 of 6" in refused(
        app, "lift", "--log", table, "--arm", "arm", "--outcome", "sold", "--control", "y"
    )


def test_arms_that_lost_customers_are_told(app: typer.Typer, tmp_path: Path) -> None:
    arms = ["policy"] * 520 + ["none"] * 480
    for lost, z, wrong in ((0, 40 / 1_000**0.5, False), (120, 160 / 880**0.5, True)):
        kept = arms[: 1_000 - lost]
        table = written(
            tmp_path / f"{lost}.csv", {"arm": kept, "sold": [row % 7 // 6 for row in range(len(kept))]}
        )
        given = (
            "lift",
            "--log",
            table,
            "--arm",
            "arm",
            "--outcome",
            "sold",
            "--control",
            "none",
            "--chance",
            0.5,
        )
        ratio = told(app, *given)["sample_ratio"]
        assert (ratio["customers"], ratio["expected"]) == (520, (1_000 - lost) / 2)
        assert ratio["z"] == pytest.approx(z) and ratio["is_wrong"] is wrong  # sd of a half is sqrt(n) / 2
        shown = CliRunner().invoke(app, [*map(str, given)], catch_exceptions=False).stdout
        assert ("warning: 'policy' and 'none' hold 520 and 360 customers where 440.0" in shown) is wrong
