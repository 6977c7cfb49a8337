"""Promotion by a log: a table with a known answer, and the ledger of a real service."""

from __future__ import annotations

import asyncio
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tables_fixtures import written

from experiments.evaluation.names import Asked
from experiments.evaluation.run import Order, in_parts
from experiments.executor import silent
from experiments.promotion.evidence import Evidence, Measured
from experiments.promotion.from_log import Judging, evidence_of_log, judged_by
from experiments.promotion.gates import Gates
from experiments.promotion.judge import judged
from experiments.promotion.log_columns import Wanted, extended
from experiments.promotion.run import OfLog
from nba.bundle import save_bundle
from nba.errors import InvalidConfig
from nba.snapshot import Snapshot

TIMED = Measured(value=1.0, low=0.5, high=2.0)
GATES = Gates(planned_rounds=6_000, most_opt_outs=100.0, most_complaints=100.0, most_elderly_gap=200.0)


def frame_of(n: int = 6_000, seed: int = 1, lift: float = 0.5) -> Any:
    """Two actions by a fair coin for n customers over 30 days: b earns `lift` more and costs 0.1."""
    import pandas as pd

    rng = np.random.default_rng(seed)
    action = rng.integers(2, size=n)
    days = np.datetime64("2026-03-01") + np.linspace(0, 30 * 86_400, n).astype("timedelta64[s]")
    return pd.DataFrame(
        {
            "customer": [f"c{number}" for number in range(n)],
            "at": np.datetime_as_string(days, unit="s"),
            "age": rng.uniform(20, 90, n).round(),
            "action": np.array(["a", "b"])[action],
            "p": 0.5,
            "reward": rng.normal(1.0, 1.0, n) + lift * action,
            "cost": 0.1 * action,
            "opted_out": (rng.random(n) < 0.02).astype(int),
            "complained": (rng.random(n) < 0.01).astype(int),
        }
    )


def by_words(
    folder: Path, frame: Any, gates: Gates = GATES, targets: tuple[str, str] = ("b", "a")
) -> Evidence:
    """The evidence of a table for always one action against always the other."""
    path, words = written(folder, frame), tuple(f"always:{one}" for one in targets)
    asked = Asked("reward", "action", "p", cluster="customer")
    order = Order(path, asked, words, planned_rounds=gates.planned_rounds)
    log = in_parts(order, folder, silent)
    ready = extended(log, Wanted("reward", "action", "customer", "at", gates.elderly_age, {}), folder)
    return judged_by(Judging(order._replace(ready=ready.log), ready, gates), TIMED)


def test_the_differences_are_those_of_the_table(tmp_path: Path) -> None:
    """One round per customer in 30 days: a difference per round is one per customer and month."""
    frame = frame_of()
    found = by_words(tmp_path, frame)
    assert (found.days, found.rounds, found.missing, found.support, found.audit) == (30.0, 6_000, {}, (), ())
    of_b, of_a = (frame[frame["action"] == one] for one in "ba")
    for name, column, scale in (
        ("value", "reward", 1.0),
        ("cost", "cost", 1.0),
        ("opt_outs", "opted_out", 1_000.0),
        ("complaints", "complained", 1_000.0),
    ):
        one = found.differences[name]
        raw = scale * (of_b[column].mean() - of_a[column].mean())
        assert one is not None and one.stderr is not None and one.low < one.value < one.high
        assert one.value == pytest.approx(raw, abs=max(0.3 * one.stderr, 1e-6))
    gaps = [
        1_000.0 * (part[part["age"] >= 60][column].mean() - part[part["age"] < 60][column].mean())
        for part in (of_b, of_a)
        for column in ("opted_out", "complained")
    ]
    gap = found.differences["elderly_gap"]
    assert gap is not None and gap.stderr is not None
    assert gap.value == pytest.approx(gaps[0] + gaps[1] - gaps[2] - gaps[3], abs=1.5 * gap.stderr)


def test_a_lift_is_promoted_and_no_lift_is_not(tmp_path: Path) -> None:
    assert judged(by_words(tmp_path, frame_of()), GATES, "b", "a").reasons == ()
    (told,) = judged(by_words(tmp_path, frame_of(lift=0.0)), GATES, "b", "a").reasons
    assert told.startswith("value: the lower end, ")


def test_against_itself_nothing_differs(tmp_path: Path) -> None:
    found = by_words(tmp_path, frame_of(n=2_000), targets=("a", "a"))
    value = found.differences["value"]
    assert value is not None and (value.value, value.low, value.high) == (0.0, 0.0, 0.0)
    assert any(one.startswith("value: ") for one in judged(found, GATES, "a", "a").reasons)


def test_what_the_log_does_not_tell_is_refused_by_name(tmp_path: Path) -> None:
    frame = frame_of(n=2_000).drop(columns=["complained", "cost"])
    found = by_words(tmp_path, frame)
    assert found.missing == {
        "complaints": "the log has no column 'complained'",
        "cost": "the log has no column 'cost'",
        "elderly_gap": "the log has no column 'complained'",
    }
    silent_log = frame_of(n=2_000)
    silent_log["opted_out"] = 0
    found = by_words(tmp_path, silent_log)
    assert found.differences["opt_outs"] is None and "nothing bounds how many" in found.missing["opt_outs"]
    with pytest.raises(InvalidConfig, match="must be times as in ISO 8601, got 'yesterday'"):
        by_words(tmp_path, frame_of(n=50).assign(at="yesterday"))
    with pytest.raises(InvalidConfig, match="customer: no such column"):
        by_words(tmp_path, frame_of(n=50).drop(columns="customer"))


def test_wrong_propensities_fail_the_audit(tmp_path: Path) -> None:
    frame = frame_of(n=4_000)
    frame["p"] = np.where(frame["action"] == "a", 0.8, 0.2)  # a coin, whatever is written
    found = by_words(tmp_path, frame)
    assert found.audit and "most of all b" in found.audit[0]
    names = {check.gate for check in judged(found, GATES, "b", "a").checks if not check.passed}
    assert {"support", "propensity_audit"} <= names


def test_a_ledger_is_judged_with_bundles_and_refused_while_it_is_young(tmp_path: Path) -> None:
    """From a real service: forty decisions prove nothing, and every gate says so by itself."""
    from serving_fixtures import tiny_strategy
    from test_evaluate_own import served

    from nba.policies import Greedy
    from nba.propensity import Floor

    asyncio.run(served(tmp_path, 40))
    other = Snapshot.start(tiny_strategy(policy=Greedy(), floor=Floor(epsilon=0.3)))
    candidate = save_bundle(other, tmp_path / "candidate")
    gates = Gates(most_complaints=inf)
    found = evidence_of_log(OfLog(tmp_path / "log.db"), (candidate, tmp_path / "bundle"), gates, 1)
    assert (found.kind, found.rounds, found.audit) == ("log", 40, ())
    assert found.support and "effective_n is" in found.support[0]
    told = {check.gate: check for check in judged(found, gates, "new", "old").checks}
    assert not told["value"].passed and not told["days"].passed and not told["rounds"].passed
    assert told["complaints"].passed  # not asked for
    assert found.latency_ms is not None and found.latency_ms.value > 0.0
