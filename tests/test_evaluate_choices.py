"""`nba evaluate` with groups of actions, values that the log itself chooses, and other reward models."""

from __future__ import annotations

import json
from math import inf
from pathlib import Path

import numpy as np
import pytest
from evaluation_fixtures import KNOWN, LABELS, WHOLE, declared, estimates, evaluated, offers
from tables_fixtures import run, written

from experiments.evaluation.estimators import TUNED
from nba.ope import Evaluation, GroupedDoublyRobust, LoggedRounds, MarginalInversePropensity, Settings, slope
from nba.ope.selection import candidate
from nba.ope.terms import Estimate

Capsys = pytest.CaptureFixture[str]
TABLES = ("--reward", "bought", "--action", "offer", "--propensity", "columns:mu_", "--target", "columns:pi_")
CHANNELS = {"loan": "call", "card": "call", "fund": "mail"}


@pytest.fixture(autouse=True)
def commands(monkeypatch: pytest.MonkeyPatch) -> None:
    declared(monkeypatch)


def test_groups_of_actions_are_weighed(tmp_path: Path, capsys: Capsys) -> None:
    frame = offers().assign(channel=lambda rows: rows["offer"].map(CHANNELS), kind="x")
    found = evaluated(capsys, written(tmp_path, frame), *TABLES, "--groups", "channel,kind")
    told = estimates(found)
    assert list(told)[-2:] == ["mips", "offcem"]
    mail = (frame["offer"] == "fund").to_numpy()
    chances = [np.where(mail, frame[f"{one}_fund"], 1.0 - frame[f"{one}_fund"]) for one in ("pi", "mu")]
    by_hand = (chances[0] / chances[1] * frame["bought"]).mean()
    assert told["mips"]["value"] == pytest.approx(by_hand)
    code, text, error = run(
        capsys, "compare-policies", "--log", tmp_path / "log.csv", *TABLES[:-2], "--groups", "channel",
        "--json", "--targets", "columns:pi_", "uniform", "--estimator", "offcem",
    )  # fmt: skip
    assert code == 0 and json.loads(text)["difference"] is not None, error


def test_groups_that_an_action_does_not_determine_are_refused(tmp_path: Path, capsys: Capsys) -> None:
    log = written(tmp_path, offers(2_000))
    code, _, error = run(capsys, "evaluate", "--log", log, *TABLES, "--groups", "segment")
    assert code == 2 and "make groups of actions (--groups), and the action " in error
    code, _, error = run(capsys, "evaluate", "--log", log, *TABLES, "--estimators", "mips")
    assert code == 2 and "mips: needs groups of actions: name the columns that make them" in error
    words = (*KNOWN, "--target", "columns:pi_", "--groups", "allowed", "--estimators", "offcem")
    code, _, error = run(capsys, "evaluate", "--log", log, *words)
    assert code == 2 and "offcem: needs the propensities of all actions" in error


def test_the_log_chooses_thresholds_and_strengths(tmp_path: Path, capsys: Capsys) -> None:
    log = written(tmp_path, offers(2_000))
    words = (
        *TABLES,
        "--features",
        "age,segment",
        "--estimators",
        "ips,dros,switch-dr,clipped-ips,cab,sub-gaussian-dr",
    )
    code, text, error = run(capsys, "evaluate", "--log", log, *words, "--tune")
    assert code == 0 and "chosen by SLOPE++ among 1, 10, 100, 1000, 10000, inf" in text, error
    told = evaluated(capsys, log, *words, "--tune")["estimates"]
    names = [one["estimator"] for one in told]
    assert names[0] == "ips" and [name.partition("(")[0] for name in names[1:]] == [
        "dros", "switch-dr", "clipped-ips", "cab", "sub-gaussian-dr"
    ]  # fmt: skip
    assert all(name in {one.name for one in TUNED[name.partition("(")[0]]} for name in names[1:])


def test_what_is_tuned_is_the_choice_of_slope() -> None:
    frame = offers(2_000)
    target, logging = (frame[[f"{one}_{label}" for label in LABELS]].to_numpy() for one in ("pi", "mu"))
    actions = frame["offer"].map({label: place for place, label in enumerate(LABELS)}).to_numpy(np.int64)
    rounds = LoggedRounds(
        actions, frame["bought"].to_numpy(np.float64), logging[np.arange(2_000), actions],
        np.arange(2_000, dtype=np.uint64), logging=logging,
    )  # fmt: skip
    every = TUNED["clipped-ips"]
    summed = Evaluation.of(
        Settings(estimators=(MarginalInversePropensity(groups=(0, 0, 1)), *every)), rounds, target
    )
    told = summed.report().estimates[1:]
    best = slope([candidate(Estimate(one.value, inf if one.stderr is None else one.stderr)) for one in told])
    tuned = summed.tuned([range(1, 1 + len(every))]).report()
    assert [one.estimator for one in tuned.estimates] == ["mips", every[best].name]
    assert tuned.estimates[1] == told[best]
    assert GroupedDoublyRobust(groups=(0, 0, 1)).groups == (0, 0, 1)


@pytest.mark.parametrize("kind", ["logistic", pytest.param("boosting", marks=pytest.mark.slow)])
def test_another_reward_model(kind: str, tmp_path: Path, capsys: Capsys) -> None:
    frame = offers(3_000)
    log = written(tmp_path, frame)
    words = (*WHOLE, "--estimators", "dm,dr,mrdr", "--reward-model", kind)
    told = estimates(evaluated(capsys, log, *words))
    assert list(told) == ["dm", "dr", "mrdr"]
    assert all(
        abs(told[name]["value"] - frame.attrs["truth"]) < 4 * told[name]["stderr"] for name in ("dr", "mrdr")
    )
    assert abs(told["dm"]["value"] - frame.attrs["truth"]) < 0.03
    code, text, _ = run(capsys, "evaluate", "--log", log, *words)
    assert (
        code == 0
        and {"logistic": "reward model: logistic regression", "boosting": "boosted trees"}[kind] in text
    )


def test_reward_models_that_are_not_there(tmp_path: Path, capsys: Capsys) -> None:
    log = written(tmp_path, offers(1_500))
    code, _, error = run(capsys, "evaluate", "--log", log, *WHOLE, "--reward-model", "magic")
    assert code == 2 and "'magic' is not one of ridge, logistic, boosting, lightgbm" in error
    code, _, error = run(
        capsys, "evaluate", "--log", log, *WHOLE, "--reward-model", "logistic", "--reward", "age"
    )
    assert code == 2 and "age" in error
