"""The demonstration from end to end: what it prints, what it leaves behind, and that both can be used."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.ray]

PATIENCE = 500.0  # seconds; on two idle cores it takes less than 100
ROW = {
    "strategy",
    "net_value_per_customer",
    "incremental_value",
    "incremental_ci_low",
    "incremental_ci_high",
    "contacts_per_customer",
    "opt_out_rate",
    "regret",
}
STRATEGIES = {"no-contact", "random", "rules", "epsilon-greedy", "linucb", "thompson"}
FIRST, FEEDBACK, LEARNER, AGAIN = TITLES = (
    "decision (POST /v1/decisions)",
    "feedback (POST /v1/feedback)",
    "learner (GET /v1/learner)",
    "decision after learning (POST /v1/decisions)",
)


class Demo(NamedTuple):
    folder: Path
    stdout: str
    stderr: str
    bodies: dict[str, Any]  # of the titles
    summary: dict[str, Any]  # the last line


def nba(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, without a cluster that may be up elsewhere."""
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    return subprocess.run(
        [sys.executable, "-m", "nba", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def answer(folder: Path, *words: str) -> Any:
    done = nba(folder, *words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    folder = tmp_path_factory.mktemp("demo")
    done = nba(folder, "demo", "--scale", "0.05", "--workers", "2", "--json")
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    bodies = {}
    for title in TITLES:
        assert done.stdout.count(f"\n{title}\n") == 1, f"{title!r} must be printed once"
        text = done.stdout.split(f"\n{title}\n")[1]
        bodies[title] = json.JSONDecoder().raw_decode(text)[0]
    return Demo(folder, done.stdout, done.stderr, bodies, json.loads(done.stdout.splitlines()[-1]))


def test_the_last_line_has_its_pinned_keys(demo: Demo) -> None:
    assert {"leaderboard", "champion", "experiment_id", "seconds"} <= set(demo.summary)
    assert {row["strategy"] for row in demo.summary["leaderboard"]} == STRATEGIES
    for row in demo.summary["leaderboard"]:
        assert set(row) >= ROW
        assert all(isinstance(row[key], float) for key in ROW - {"strategy"}), row
    assert isinstance(demo.summary["experiment_id"], str)
    assert demo.summary["seconds"] > 0


def test_the_leaderboard_is_ordered_and_measured_against_the_control(demo: Demo) -> None:
    rows = {row["strategy"]: row for row in demo.summary["leaderboard"]}
    values = [row["net_value_per_customer"] for row in demo.summary["leaderboard"]]
    assert values == sorted(values, reverse=True)
    assert demo.summary["champion"] == demo.summary["leaderboard"][0]["strategy"]
    control = rows["no-contact"]
    for row in rows.values():
        gain = row["net_value_per_customer"] - control["net_value_per_customer"]
        assert row["incremental_value"] == pytest.approx(gain, abs=1e-6)
        assert row["incremental_ci_low"] <= row["incremental_value"] <= row["incremental_ci_high"]
    for key in ("incremental_value", "incremental_ci_low", "incremental_ci_high", "contacts_per_customer"):
        assert control[key] == 0.0


def test_the_leaderboard_and_the_verdict_are_printed_for_people(demo: Demo) -> None:
    assert demo.stdout.startswith("strategy ")
    for row in demo.summary["leaderboard"]:
        assert re.search(
            rf"^{row['strategy']} .*{row['net_value_per_customer']:.2f}", demo.stdout, re.MULTILINE
        )
    assert f"\n{demo.summary['champion']} leads with " in demo.stdout
    assert "\n- Contact limits, product rests and opt-outs: kept by all strategies" in demo.stdout


def test_progress_is_told_on_stderr(demo: Demo) -> None:
    assert "7 channels x 6 timings x 20 products = 840 actions and no contact" in demo.stderr
    assert "training and judging 6 strategies: 100 %" in demo.stderr
    assert "Traceback" not in demo.stderr and "Warning" not in demo.stderr


def test_a_conversion_is_learnt_and_the_next_decision_knows(demo: Demo) -> None:
    first, receipt, learner, again = (demo.bodies[title] for title in TITLES)
    assert receipt["status"] == "accepted"
    assert learner["posterior_seq"] > first["posterior_seq"]
    assert again["posterior_seq"] >= learner["posterior_seq"] > first["posterior_seq"]
    assert learner["is_healthy"] and learner["lag"] == 0
    assert first["decision_id"] != again["decision_id"]
    assert first["policy"] == again["policy"] == demo.summary["champion"]


@pytest.mark.parametrize("title", [FIRST, AGAIN])
def test_decisions_have_their_pinned_fields(demo: Demo, title: str) -> None:
    body = demo.bodies[title]
    pinned = {"decision_id", "policy", "policy_version", "posterior_seq", "actions", "feedback_until"}
    assert pinned <= set(body)
    assert 1 <= len(body["actions"]) <= 3
    for rank, action in enumerate(body["actions"], start=1):
        fields = {"action_id", "channel", "timing", "product", "rank", "propensity", "expected_value"}
        assert set(action) == fields
        assert action["rank"] == rank and 0 < action["propensity"] <= 1


def test_the_first_decision_was_a_contact(demo: Demo) -> None:
    assert demo.bodies[FIRST]["actions"][0]["channel"] is not None


def test_every_decision_replays(demo: Demo) -> None:
    report = answer(
        demo.folder,
        *("replay", "--bundle", "build/demo/champion", "--store", "sqlite:///build/demo/service.sqlite"),
    )
    assert report["mismatches"] == 0 and report["mismatched"] == []
    assert report["decisions"] >= 2 and report["snapshots"] == 2
    learner = demo.bodies[LEARNER]
    assert report["last_seq"] == learner["last_seq"]
    assert report["posterior_sha256"] == learner["posterior_sha256"]
    assert report["bundle_digest"] == learner["bundle_digest"]


def test_the_store_can_be_compared(demo: Demo) -> None:
    rows = answer(demo.folder, "compare")
    printed = {row["strategy"]: row for row in demo.summary["leaderboard"]}
    assert [row["strategy"] for row in rows] == list(printed)
    for row in rows:
        assert {key: row[key] for key in ROW} == pytest.approx(
            {key: printed[row["strategy"]][key] for key in ROW}
        )
        assert row["experiment_id"] == demo.summary["experiment_id"]
    assert rows[0]["role"] == "champion"


def test_the_champion_is_registered(demo: Demo) -> None:
    policies = answer(demo.folder, "policies", "list")
    assert [(one["version"], one["strategy"]) for one in policies] == [(1, demo.summary["champion"])]
    assert "champion" in policies[0]["aliases"]
    pulled = answer(demo.folder, "policies", "pull", "--out", "pulled")
    assert pulled["version"] == 1
    files = {path.name for path in (demo.folder / "pulled").iterdir()}
    assert files == {path.name for path in (demo.folder / "build/demo/champion").iterdir()}
    for name in files:
        served = demo.folder / "build/demo/champion" / name
        assert (demo.folder / "pulled" / name).read_bytes() == served.read_bytes()


def test_it_says_what_to_run_next(demo: Demo) -> None:
    for command in ("nba serve", "nba replay", "mlflow server"):
        assert re.search(rf"^  .*{command} ", demo.stdout, re.MULTILINE), command
    experiment = demo.summary["experiment_id"]
    assert re.search(rf"compare: +http://127\.0\.0\.1:\d+/#/experiments/{experiment}/runs\?", demo.stdout)
    assert re.search(rf"report: +http://127\.0\.0\.1:\d+/#/experiments/{experiment}/runs/\w+/", demo.stdout)


def test_nothing_is_left_where_nobody_looks(demo: Demo) -> None:
    left = {path.name for path in demo.folder.iterdir()} - {"pulled"}
    assert left == {"build", "mlruns"}
    names = {path.name for path in (demo.folder / "build/demo").iterdir()}
    # Beside the database lie what SQLite needs and the lock of the one writer.
    assert {"champion", "service.sqlite"} <= names
    assert all(name == "champion" or name.startswith("service.sqlite") for name in names)
