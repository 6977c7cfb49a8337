"""`nba simulate`: a log in Parquet that can be evaluated later, and a digest that says what is in it."""

from __future__ import annotations

import json
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from small import bank

from nba import cli
from nba.catalogue import NO_ACTION_ID

DECISIONS = {
    "decision_id", "date", "contact_date", "action_id", "channel", "timing", "product", "customer",
    "timing_type", "propensity", "no_contact_propensity", "expected_value", "n_eligible", "refused",
    "queued_days", "delivered", "seen", "engaged", "opted_out", "complained", "cost", "loss",
}  # fmt: skip
OUTCOMES = {"date", "product", "decision_id", "customer", "value", "amount", "caused"}
BROUGHT = ("cost", "loss", "delivered", "seen", "engaged", "opted_out", "complained")
CUSTOMERS, DAYS = 150, 24
FEW = ("--customers", "40", "--days", "8")
FACTORS = ["channel", "timing", "product"]


class Simulated(NamedTuple):
    summary: dict[str, Any]
    decisions: pd.DataFrame
    outcomes: pd.DataFrame
    stderr: str


def told(out: Path, *words: str) -> tuple[str, str]:
    """What `nba simulate` prints, in this process and in the bank that was calibrated once."""
    stdout, stderr = StringIO(), StringIO()
    sizes = ["--customers", str(CUSTOMERS), "--days", str(DAYS), "--seed", "7", "--workers", "1"]
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(stdout), redirect_stderr(stderr):
        patch.setattr("experiments.simulate.load_world", lambda name: bank())
        with pytest.raises(SystemExit) as exit_:
            cli.main(["simulate", "--strategy", "thompson", *sizes, "--out", str(out), *words])
    assert exit_.value.code == 0
    return stdout.getvalue(), stderr.getvalue()


def simulate(out: Path, *words: str) -> Simulated:
    stdout, stderr = told(out, "--json", *words)
    assert stdout.count("\n") == 1, "stdout is for the JSON line alone"
    tables = (pd.read_parquet(out / name) for name in ("decisions", "outcomes"))
    return Simulated(json.loads(stdout), *tables, stderr)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Simulated:
    return simulate(tmp_path_factory.mktemp("simulated") / "new folder" / "log")


def test_the_summary_has_its_pinned_keys(log: Simulated) -> None:
    summary = log.summary
    assert {"customer_days", "seconds", "digest"} <= set(summary)
    assert summary["customer_days"] == CUSTOMERS * DAYS
    assert summary["seconds"] > 0
    assert len(summary["digest"]) == 64 and int(summary["digest"], 16) >= 0


def test_the_summary_counts_what_the_files_hold(log: Simulated) -> None:
    decisions = log.decisions
    # Everybody every fourth day, and on the days of events that ask for a decision.
    assert log.summary["decisions"] == len(decisions) > CUSTOMERS * DAYS // 4
    assert (decisions[decisions.timing_type == "regular"].groupby("customer").size() <= DAYS // 4).all()
    made = (decisions.action_id != NO_ACTION_ID) & ~decisions.refused
    assert log.summary["contacts"] == made.sum() > 0
    assert log.summary["conversions"] == len(log.outcomes) > 0


def test_progress_goes_to_stderr_and_ends(log: Simulated) -> None:
    lines = log.stderr.splitlines()
    assert lines[-1] == "thompson in retail-bank: 100 %"
    assert len(lines) <= 10


def test_the_files_have_their_columns(log: Simulated) -> None:
    assert set(log.decisions.columns) >= DECISIONS
    assert set(log.outcomes.columns) >= OUTCOMES


def test_propensities_are_probabilities(log: Simulated) -> None:
    decisions = log.decisions
    assert decisions.propensity.between(0, 1, inclusive="right").all()
    assert decisions.no_contact_propensity.between(0, 1, inclusive="right").all()
    assert (decisions.n_eligible >= 1).all()
    silent = decisions.action_id == NO_ACTION_ID
    assert (decisions.propensity == decisions.no_contact_propensity)[silent].all()
    with_contact = decisions[~silent]
    assert (with_contact.propensity + with_contact.no_contact_propensity <= 1 + 1e-9).all()
    numbers = decisions[["propensity", "expected_value", "cost", "loss"]]
    assert np.isfinite(numbers.to_numpy()).all()


def test_an_action_is_named_by_its_factors(log: Simulated) -> None:
    silent = log.decisions.action_id == NO_ACTION_ID
    assert silent.any() and log.decisions[silent][FACTORS].isna().all(axis=None)
    contacts = log.decisions[~silent]
    assert (contacts[FACTORS].agg("/".join, axis=1) == contacts.action_id).all()
    assert set(contacts.action_id) <= set(bank().config.catalogue.action_ids)


def test_silence_costs_and_brings_nothing(log: Simulated) -> None:
    silent = log.decisions[log.decisions.action_id == NO_ACTION_ID]
    for column in (*BROUGHT, "refused"):
        assert not silent[column].any(), column


def test_what_is_refused_costs_and_brings_nothing(log: Simulated) -> None:
    refused = log.decisions[log.decisions.refused]
    for column in BROUGHT:
        assert not refused[column].any(), column
    made = log.decisions[~log.decisions.refused]
    assert (made.engaged <= made.seen).all() and (made.seen <= made.delivered).all()


def test_decisions_are_unique_and_in_their_time(log: Simulated) -> None:
    assert log.decisions.decision_id.is_unique
    start = pd.Timestamp(bank().date(0))
    for table in (log.decisions, log.outcomes):
        assert table.date.min() >= start
        assert table.date.max() < start + pd.Timedelta(days=DAYS)
        assert table.date.is_monotonic_increasing
        assert table.customer.between(0, CUSTOMERS - 1).all()


def test_credited_conversions_lead_to_their_decision(log: Simulated) -> None:
    credited = log.outcomes.dropna(subset="decision_id")
    assert 0 < len(credited) < len(log.outcomes), "some are credited, some are organic"
    joined = credited.merge(log.decisions, on="decision_id", how="left", suffixes=("", "_then"))
    assert len(joined) == len(credited) and joined.customer_then.notna().all()
    assert (joined.customer == joined.customer_then).all()
    assert (joined["product"].astype(str) == joined.product_then.astype(str)).all()
    assert (joined.date >= joined.date_then).all()


def test_a_conversion_is_worth_the_margin_of_its_product(log: Simulated) -> None:
    margins = {one.name: one.value for one in bank().config.catalogue.products}
    assert (log.outcomes["product"].astype(str).map(margins) == log.outcomes.value).all()
    assert (log.outcomes.amount > 0).all() and (log.outcomes.amount != log.outcomes.value).all()


def test_the_digest_is_stable_and_the_files_too(log: Simulated, tmp_path: Path) -> None:
    again = simulate(tmp_path)
    assert again.summary["digest"] == log.summary["digest"]
    pd.testing.assert_frame_equal(again.decisions, log.decisions)
    pd.testing.assert_frame_equal(again.outcomes, log.outcomes)


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Simulated:
    return simulate(tmp_path_factory.mktemp("few"), *FEW)


@pytest.mark.parametrize(
    "words",
    [
        ("--seed", "8"),
        ("--customers", "39"),
        ("--days", "7"),
        ("--strategy", "random"),
        ("--publish-every-days", "0"),
    ],
    ids=" ".join,
)
def test_another_run_has_another_digest(words: tuple[str, str], few: Simulated, tmp_path: Path) -> None:
    assert simulate(tmp_path, *FEW, *words).summary["digest"] != few.summary["digest"]


def test_people_are_told_the_same_and_where_the_files_are(few: Simulated, tmp_path: Path) -> None:
    stdout, _ = told(tmp_path, *FEW)
    lines = stdout.splitlines()
    assert f"digest: {few.summary['digest']}" in lines
    assert lines[-1] == f"wrote {tmp_path / 'decisions'} and {tmp_path / 'outcomes'}"


def test_the_same_command_again_finds_the_run_complete(
    few: Simulated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = simulate(tmp_path, *FEW)
    monkeypatch.setattr("experiments.simulate._simulated", None)
    again = simulate(tmp_path, *FEW)
    assert again.stderr == "" and again.summary["digest"] == first.summary["digest"] == few.summary["digest"]
    for name in set(first.summary) - {"seconds", "peak_mb"}:
        assert again.summary[name] == first.summary[name], name


def test_another_run_into_the_same_folder_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    simulate(tmp_path, *FEW)
    before = (tmp_path / "manifest.json").read_bytes()
    monkeypatch.setattr("experiments.simulate.load_world", lambda name: bank())
    with pytest.raises(SystemExit) as exit_:
        cli.main(["simulate", "--strategy", "random", *FEW, "--out", str(tmp_path)])
    said = capsys.readouterr().err
    assert exit_.value.code == 2 and said.count("\n") == 1
    assert "run.json: strategy: the folder holds a run with thompson, not random; name another --out" in said
    assert (tmp_path / "manifest.json").read_bytes() == before


def test_the_oracle_does_not_change_the_log(few: Simulated, tmp_path: Path) -> None:
    assert simulate(tmp_path, *FEW, "--oracle").summary["digest"] == few.summary["digest"]
    sums = json.loads((tmp_path / "manifest.json").read_text())["sums"]
    assert sums["oracle_value"] > sums["expected_value"] > 0


def test_a_strategy_that_cannot_learn_streams(tmp_path: Path) -> None:
    one = simulate(tmp_path / "one", *FEW, "--strategy", "random")
    other = simulate(tmp_path / "other", *FEW, "--strategy", "random", "--publish-every-days", "0")
    assert one.summary["digest"] == other.summary["digest"] and one.summary["parts"] == 1


@pytest.mark.parametrize(
    "words", [("--customers", "0"), ("--days", "0"), ("--seed", "-1"), ("--workers", "0"), ("--days", "x")]
)
def test_numbers_out_of_range_are_mistakes_of_use(
    words: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        cli.main(["simulate", *words, "--out", str(tmp_path / "log")])
    assert exit_.value.code == 2
    assert words[0] in capsys.readouterr().err
    assert not (tmp_path / "log").exists()
