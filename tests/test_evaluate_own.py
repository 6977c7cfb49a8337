"""Our own logs as logs to judge: a simulated run and a service's ledger; and one policy against another."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from dataset_fixtures import PHASE, SNAPSHOT, WORLD, in_small_parts, simulated
from evaluation_fixtures import KNOWN, declared, estimates, evaluated, offers
from serving_fixtures import SURE, caught_up, decided, reported, service
from tables_fixtures import run, written

from experiments.evaluation.names import Asked
from experiments.evaluation.own import Body, Way, rounds_of
from experiments.evaluation.run import Order, evaluate
from experiments.logs import Logs
from experiments.rollout import rollout
from nba.bundle import load_bundle
from nba.ope import Floors
from serving.body import DecisionBody

Capsys = pytest.CaptureFixture[str]
LOOSE = Floors(least_effective_n=0.0, most_lost_mass=1.0)


@pytest.fixture(autouse=True)
def commands(monkeypatch: pytest.MonkeyPatch) -> None:
    declared(monkeypatch)


def test_a_simulated_run_needs_no_names(
    tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_small_parts(monkeypatch)
    simulated(tmp_path / "run")
    decisions = pd.read_parquet(tmp_path / "run" / "decisions")
    sold = pd.read_parquet(tmp_path / "run" / "outcomes")
    credited = sold.groupby("decision_id")["amount"].sum()
    rewards = decisions["decision_id"].map(credited).fillna(0.0) - decisions["cost"] - decisions["loss"]
    found = evaluated(capsys, tmp_path / "run", "--target", "logged")
    assert found["n"] == len(decisions) and found["mean_weight"] == 1.0
    assert found["on_policy_mean"] == pytest.approx(rewards.mean())
    assert estimates(found)["ips"]["method"] == "cluster-bootstrap"  # customers come back
    words = (
        "--target",
        "always:no-contact",
        "--action",
        "contact",
        "--estimators",
        "ips",
        "--reward",
        "cost",
    )
    silent = decisions["action_id"] == "no-contact"
    weights = silent / decisions["no_contact_propensity"]
    told = evaluated(capsys, tmp_path / "run", *words)
    assert told["mean_weight"] == pytest.approx(weights.mean())
    (tmp_path / "run" / "manifest.json").unlink()
    code, _, error = run(capsys, "evaluate", "--log", tmp_path / "run", "--target", "logged")
    assert code == 2 and "is not complete: run `nba simulate` again" in error


def test_a_run_in_memory_is_the_run_in_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_small_parts(monkeypatch)
    simulated(tmp_path / "run")
    found = evaluate(Order(tmp_path / "run", Asked("reward", "action"), ("logged",), floors=LOOSE))
    end = rollout(WORLD, SNAPSHOT, PHASE)
    rounds = rounds_of(Logs(end.decisions, end.outcomes))
    assert found.report is not None and found.report.n == rounds.n_rounds
    assert rounds.rewards.any() and found.report.on_policy_mean == pytest.approx(rounds.rewards.mean())


async def served(folder: Path, n: int) -> None:
    """A service that decides for some customers and hears that every fifth has bought."""
    async with service(folder) as client:
        last = 0
        for number in range(n):
            asked: dict[str, Any] = {"channels": ["mail"]} if number % 3 == 0 else {}
            found = await decided(client, f"c{number}", **asked)
            if number % 5 == 0 and found["actions"][0]["product"] is not None:
                receipt = await reported(
                    client,
                    found["decision_id"],
                    "converted",
                    value=7.0,
                    product=found["actions"][0]["product"],
                )
                last = receipt["seq"]
        await caught_up(client, last)


def test_a_bundle_on_the_ledger_that_it_was_served_with(tmp_path: Path, capsys: Capsys) -> None:
    asyncio.run(served(tmp_path, 60))
    log, bundle = tmp_path / "log.db", tmp_path / "bundle"
    found = evaluate(Order(log, Asked("conversions", "action"), (str(bundle),), floors=LOOSE))
    assert found.faults == () and found.report is not None and found.report.n == 60
    with sqlite3.connect(log) as db:
        bodies = [json.loads(row[0]) for row in db.execute("SELECT body FROM decision ORDER BY seq")]
        (sold,) = db.execute("SELECT count(*) FROM event WHERE outcome = 'converted' AND teaches").fetchone()
        seqs = [row[0] for row in db.execute("SELECT posterior_seq FROM decision ORDER BY seq")]
    assert found.report.on_policy_mean == pytest.approx(sold / 60) and sold > 0
    # Before it learnt, the bundle decides as it did, whatever a request left it to choose from.
    assert found.prepared is not None and found.judged is not None
    first = [
        body["decision"]["actions"][0]["propensity"]
        for body, seq in zip(bodies, seqs, strict=True)
        if not seq
    ]
    assert first and found.report.max_weight >= 1.0
    assert set(found.prepared.coder.labels) == {*load_bundle(bundle).strategy.catalogue.action_ids}
    told = evaluated(capsys, log, "--target", "always:no-contact", "--action", "contact")
    assert told["n"] == 60 and told["verdict"] == "refused"


def test_a_ledger_whose_propensities_were_changed_is_refused(tmp_path: Path, capsys: Capsys) -> None:
    asyncio.run(served(tmp_path, 12))
    log = tmp_path / "log.db"
    with sqlite3.connect(log) as db:
        (text,) = db.execute("SELECT body FROM decision WHERE seq = 3").fetchone()
        body = json.loads(text)
        body["decision"]["actions"][0]["propensity"] *= 0.5
        db.execute(
            "UPDATE decision SET body = ?, posterior_seq = 0 WHERE seq = 3", (json.dumps(body).encode(),)
        )
    code, told, _ = run(capsys, "evaluate", "--log", log, "--target", tmp_path / "bundle", "--json")
    assert code == 1
    (reason,) = json.loads(told)["reasons"]
    assert reason == (
        "propensities: must be what the ledger's bundle gives again; 1 of 12 rows do not (rows 3)."
    )


def test_what_a_ledger_keeps_is_what_is_read_here() -> None:
    """The ledger's own record may grow, but not lose or rename what an evaluation reads."""
    kept = DecisionBody.__struct_fields__
    assert set(Body.__struct_fields__) <= set(kept)
    assert set(Way.__struct_fields__) <= set(kept)


def test_what_nobody_met_and_what_others_chose_is_not_judged(tmp_path: Path, capsys: Capsys) -> None:
    async def some() -> None:
        async with service(tmp_path, strategy=SURE) as client:
            for number in range(8):
                await decided(client, f"c{number}")
            await decided(client, "d1", mode="shadow")
            await decided(client, "d2", direction="inbound", channels=["mail"])
            for name in ("e1", "e2"):
                found = await decided(client, name, defer_activation=True)
            await client.post(f"/v1/decisions/{found['decision_id']}/activate")

    asyncio.run(some())
    told = evaluated(capsys, tmp_path / "log.db", "--target", "always:no-contact", "--action", "contact")
    assert told["n"] == 9


def test_a_database_that_is_no_ledger(tmp_path: Path, capsys: Capsys) -> None:
    with sqlite3.connect(tmp_path / "own.db") as db:
        db.execute("CREATE TABLE own (x)")
    code, _, error = run(capsys, "evaluate", "--log", tmp_path / "own.db", "--target", "logged")
    assert code == 2 and "is not a ledger that can be read: no such table: decision" in error


def compared(capsys: Capsys, log: Path, *words: object) -> dict[str, Any]:
    """What `nba compare-policies --json` tells."""
    code, told, error = run(capsys, "compare-policies", "--log", log, "--json", *words)
    assert code == 0, error
    found: dict[str, Any] = json.loads(told)
    return found


def test_one_policy_against_another(tmp_path: Path, capsys: Capsys) -> None:
    frame = offers(20_000, seed=1)
    log = written(tmp_path, frame, "log.parquet")
    words = (*KNOWN, "--targets", "columns:pi_", "always:loan", "--features", "age,segment")
    found = compared(capsys, log, *words)
    truth = frame.attrs["truth"] - 0.1
    assert found["targets"] == ["columns:pi_", "always:loan"] and found["verdict"] == "supported"
    assert found["sequence_low"] < found["ci_low"] < truth < found["ci_high"] < found["sequence_high"]
    plain = compared(capsys, log, *words, "--estimator", "ips")
    gaps = (frame["t"] - (frame["offer"] == "loan")) / frame["p"] * frame["bought"]
    assert plain["difference"] == pytest.approx(gaps.mean())
    same = compared(capsys, log, *KNOWN, "--targets", "uniform", "uniform")
    assert (same["difference"], same["ci_low"], same["ci_high"]) == (0.0, 0.0, 0.0)
    code, text, _ = run(capsys, "compare-policies", "--log", log, *words)
    assert code == 0 and text.splitlines()[-1] == "columns:pi_ earns more"


def test_a_comparison_refuses_as_an_evaluation_does(tmp_path: Path, capsys: Capsys) -> None:
    frame = offers(3_000)
    thin = compared(capsys, written(tmp_path, frame.head(400)), *KNOWN, "--targets", "always:card", "uniform")
    assert thin["verdict"] == "refused" and thin["difference"] is None
    assert thin["reasons"][0].startswith("first target: effective_n is")
    log = written(tmp_path, frame.assign(p=np.where(frame.index == 7, 0.0, frame["p"])))
    words = ("--log", log, *KNOWN, "--targets", "uniform", "logged")
    code, told, error = run(capsys, "compare-policies", *words, "--json")
    assert code == 1 and json.loads(told)["verdict"] == "refused"
    assert "1 of 3000 rows do not (rows 8)" in error
    good = written(tmp_path, frame)
    words = ("--log", good, *KNOWN, "--targets", "uniform", "logged", "--estimator", "snips")
    code, _, error = run(capsys, "compare-policies", *words)
    assert code == 2 and "must not be self-normalised" in error
