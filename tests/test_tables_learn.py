"""`nba learn` from a table to a bundle: what it tells, what it writes, how it goes on, what it refuses."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tables_fixtures import LABELS, learnt, log_frame, run, written

from experiments.tables.columns import Wish
from experiments.tables.learn import Order, prepare
from experiments.tables.lessons import learn
from experiments.tables.outcomes import Names
from experiments.tables.presets import load_preset
from nba.bundle import load_bundle, posterior_bytes
from nba.context import Context
from nba.errors import InvalidConfig

LEFT = "action,bought"
PARTS = ("--channel", "channel", "--product", "product", "--reward", "revenue", "--leave-out", LEFT)
Capsys = pytest.CaptureFixture[str]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return written(tmp_path, log_frame())


def plan_of(log: Path, out: Path, **changes: Any) -> Any:
    order = Order(
        log=log,
        names=Names("bought", "action"),
        out=out,
        preset=load_preset("linucb"),
        wish=Wish(leave=("channel,product,revenue,chance",)),
    )
    return prepare(order._replace(**changes))


def test_labels_become_a_bundle_that_decides(log: Path, tmp_path: Path, capsys: Capsys) -> None:
    told = learnt(capsys, log, tmp_path / "b", *LABELS, "--policy", "linucb", "--propensity", "chance")
    frame = log_frame()
    for label, rows in frame.groupby("action"):
        assert told["actions"][label] == {
            "rows": len(rows),
            "mean_reward": pytest.approx(rows["bought"].mean()),
        }
    weights = 1.0 / frame["chance"]
    kish = weights.sum() ** 2 / (weights**2).sum()
    assert told["propensities"]["effective_rows"] == pytest.approx(kish)
    assert told["rounds"] == len(frame) and told["reward_scale"] == 1.0 and told["dropped_rows"] == 0
    snapshot = load_bundle(tmp_path / "b")
    context = Context(
        customer_id="c", at=datetime(2026, 1, 5, tzinfo=UTC), attributes=told["example_attributes"]
    )
    decision = snapshot.decide_one(context, "d")
    assert decision.actions[0].product in set(frame["action"]) and decision.no_contact_propensity == 0.0


def test_the_posterior_is_the_regression_of_the_encoded_rows(log: Path, tmp_path: Path) -> None:
    plan = plan_of(log, tmp_path)
    posterior, _, _ = learn(plan.snapshot.posterior, plan.lessons, lambda rows: None)
    features, lessons = plan.lessons.encoded.matrix(), plan.lessons
    model = plan.snapshot.strategy.model
    precision = np.full(features.shape[1], model.slope_sd**-2)
    precision[0] = model.level_sd**-2
    for action in range(1, lessons.catalogue.n_actions):
        rows = lessons.actions == action
        gram = features[rows].T @ features[rows] + np.diag(precision)
        ridge = np.linalg.solve(gram, features[rows].T @ lessons.rewards[rows])
        np.testing.assert_allclose(posterior.mean(features)[:, action], features @ ridge, atol=1e-6)


def test_a_logistic_model_goes_to_the_mode_of_all_rows(tmp_path: Path, capsys: Capsys) -> None:
    """The slope of log-likelihood and prior vanishes there, so the order of the rows leaves no trace."""
    frame = log_frame(600, 4)
    given = (*LABELS, "--policy", "logistic-thompson")
    told = learnt(capsys, written(tmp_path, frame), tmp_path / "b", *given)
    assert told["fit"]["method"] == "laplace" and 2 <= told["fit"]["passes"] <= 40
    assert told["prequential"]["measure"] == "log-loss"
    posterior: Any = load_bundle(tmp_path / "b").posterior
    other = tmp_path / "shuffled"
    other.mkdir()
    log = written(other, frame.sample(frac=1.0, random_state=1))
    plan = plan_of(log, other, names=Names("bought", "action"), preset=load_preset("logistic-thompson"))
    prior: Any = plan.snapshot.posterior
    at, likelihood = posterior.parameters(), np.zeros(prior.shift.size)
    for rounds in plan.lessons.contacts():
        likelihood += prior.gradient_and_curvature(rounds, at).gradient
    assert np.abs(likelihood).max() > 0.1
    np.testing.assert_allclose(likelihood, prior.prior_precision * at - prior.prior_shift, atol=1e-6)
    again, _, _ = learn(prior, plan.lessons, lambda rows: None)
    np.testing.assert_allclose(again.parameters(), at, atol=1e-7)
    np.testing.assert_allclose(again.precision, posterior.precision, rtol=1e-7, atol=1e-9)
    code, text, _ = run(capsys, "learn", "--log", log, "--out", tmp_path / "c", *given)
    assert code == 0 and "fitted    to the mode of all rows together (Laplace), in " in text


def test_what_the_log_shows_is_learnt(tmp_path: Path, capsys: Capsys) -> None:
    log = written(tmp_path, log_frame(4_000, 3))
    told = learnt(capsys, log, tmp_path / "b", *LABELS, "--policy", "linucb")
    assert told["prequential"]["measure"] == "squared error" and told["prequential"]["gain"] > 0.04
    code, text, _ = run(capsys, "learn", "--log", log, "--out", tmp_path / "b", *LABELS, "--policy", "linucb")
    assert code == 0
    moved = {
        line.split(":")[0].split()[-1]: line for line in text.splitlines() if line.startswith("moved by")
    }
    assert "segment=student +" in moved["mail-loan"] and "age +" in moved["call-card"]


def test_parts_without_contact_count_from_it(log: Path, tmp_path: Path, capsys: Capsys) -> None:
    words = (*PARTS, "--no-contact", "none", "--policy", "thompson-shared", "--propensity", "chance")
    told = learnt(capsys, log, tmp_path / "b", *words)
    frame = log_frame()
    assert told["reward_scale"] == frame["revenue"].max() and told["no_contact_baseline"]
    assert told["rounds"] == (frame["channel"] != "none").sum()
    snapshot = load_bundle(tmp_path / "b")
    assert snapshot.strategy.silence and snapshot.strategy.catalogue.shape == (2, 1, 2)
    assert set(snapshot.strategy.catalogue.values[1:]) == {frame["revenue"].max()}


def test_the_baseline_is_what_a_regression_without_contact_says(log: Path, tmp_path: Path) -> None:
    names = Names("bought", "action", no_contact="none")
    lessons = plan_of(log, tmp_path, names=names).lessons
    features, silent = lessons.encoded.matrix(), lessons.actions == 0
    some = features[silent]
    ridge = np.linalg.solve(some.T @ some + np.eye(some.shape[1]), some.T @ lessons.rewards[silent])
    np.testing.assert_allclose(lessons.baseline, ridge, atol=1e-12)
    rounds, contacted = lessons.rounds(slice(0, 50), features[:50])
    np.testing.assert_array_equal(contacted, ~silent[:50])
    np.testing.assert_allclose(rounds.rewards, (lessons.rewards - features @ ridge)[:50][contacted])


def test_going_on_equals_learning_without_a_break(tmp_path: Path, capsys: Capsys) -> None:
    frame = log_frame(900)
    first, second, third, rest = (
        written(tmp_path, part, f"{name}.csv")
        for name, part in enumerate((frame[:300], frame[300:420], frame[420:], frame[300:]))
    )
    learnt(capsys, first, tmp_path / "a", *LABELS, "--policy", "thompson")
    names = LABELS[:4]
    learnt(capsys, second, tmp_path / "b", *names, "--continue", tmp_path / "a")
    told = learnt(capsys, third, tmp_path / "c", *names, "--continue", tmp_path / "b")
    learnt(capsys, rest, tmp_path / "d", *names, "--continue", tmp_path / "a")
    assert (tmp_path / "c" / "manifest.json").read_bytes() == (tmp_path / "d" / "manifest.json").read_bytes()
    parted, whole = (load_bundle(tmp_path / name).posterior for name in "cd")
    assert posterior_bytes(parted) == posterior_bytes(whole)
    assert told["rounds"] == 900.0 and "chance" in told["left_out"]


def test_strength_and_weights_scale_the_evidence(log: Path, tmp_path: Path) -> None:
    names = Names("bought", "action", propensity="chance")
    plain = plan_of(log, tmp_path, names=names).lessons
    half = plan_of(log, tmp_path, names=names, strength=0.5).lessons
    rounds = [one.rounds(slice(0, 9), one.encoded.matrix(slice(0, 9)))[0] for one in (plain, half)]
    np.testing.assert_array_equal(rounds[1].exposure, 0.5 * rounds[0].exposure)
    np.testing.assert_array_equal(rounds[1].rewards, 0.5 * rounds[0].rewards)
    weighed = plan_of(log, tmp_path, names=names, weighing="ipw", most_weight=1.5).lessons
    n_actions = weighed.catalogue.n_actions - 1
    expected = np.minimum(1.0 / (n_actions * log_frame()["chance"]), 1.5)
    np.testing.assert_allclose(weighed.weights, expected)


def test_incomplete_rows_are_refused_or_dropped(tmp_path: Path, capsys: Capsys) -> None:
    frame = log_frame()
    frame.loc[[3, 8], "action"] = None
    frame["bought"] = frame["bought"].astype(float)
    frame.loc[10, "bought"] = np.nan
    log = written(tmp_path, frame)
    words = ("learn", "--log", log, "--out", tmp_path / "b", *LABELS, "--policy", "linucb")
    code, _, error = run(capsys, *words)
    assert code == 2 and "rows 4, 9, 11 (3 of 600; row 1 is the first below the header) lack one of" in error
    told = learnt(capsys, log, tmp_path / "b", *LABELS, "--policy", "linucb", "--drop-incomplete")
    assert (told["rows"], told["dropped_rows"]) == (597, 3)


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        (("--policy", "linukb"), "linukb: is no shipped policy; use one of random,"),
        (
            ("--policy", "linucb", "--set", "policy.alfa=1"),
            "policy.alfa=1: Object contains unknown field",
        ),
        (("--policy", "linucb", "--set", "policy.alpha=-1"), "alpha: must be finite and >= 0, got -1"),
        (("--policy", "linucb", "--set", "alpha"), "--set: alpha: must read KEY=VALUE"),
        (("--policy", "linucb", "--propensity", "chanse"), "chanse: no such column .*'chance'"),
        (("--policy", "linucb", "--propensity", "1.5"), r"--propensity: must lie in \(0, 1\]"),
        (("--policy", "linucb", "--propensity", "age"), r"age: a propensity must lie in \(0, 1\]; rows 1, 2"),
        (("--policy", "linucb", "--weights", "ipw"), "--weights: inverse propensities need --propensity"),
        (("--policy", "linucb", "--strength", "0"), r"--strength: must lie in \(0, 1\], got 0"),
        (("--policy", "linucb", "--no-contact", "nobody"), "no row is labelled 'nobody' in action"),
        (("--policy", "linucb", "--channel", "channel"), "--action: goes with --channel"),
        ((), "--policy: name a policy to begin with, or a bundle to go on with"),
        (("--policy", "random", "--reward", "balance"), "balance: .*rows .* are not"),
        (("--policy", "linucb", "--reward", "segment"), "segment: must be a number; rows .*the first is "),
        (("--policy", "linucb", "--reward", "country"), "country: must be a number"),
    ],
)
def test_a_mistake_is_one_line(words: tuple[str, ...], rule: str, tmp_path: Path, capsys: Capsys) -> None:
    import re

    frame = log_frame()
    frame["age"] = frame["age"].fillna(40.0)
    frame["segment"] = frame["segment"].fillna("mass")
    frame["balance"] = np.linspace(-1.0, 1.0, len(frame))
    log = written(tmp_path, frame)
    code, out, error = run(capsys, "learn", "--log", log, "--out", tmp_path / "b", *LABELS, *words)
    assert (code, out) == (2, "") and error.count("\n") == 1
    assert re.search(rule, error), error
    assert not (tmp_path / "b").exists()


def test_going_on_asks_for_the_same_columns(log: Path, tmp_path: Path, capsys: Capsys) -> None:
    learnt(capsys, log, tmp_path / "a", *LABELS, "--policy", "linucb")
    other = written(tmp_path, log_frame().drop(columns="visits"), "other.csv")
    new = log_frame()
    new.loc[5, "action"] = "visit-fund"
    strange = written(tmp_path, new, "strange.csv")
    words = ("--action", "action", "--continue", str(tmp_path / "a"))
    for path, reward, rule in (
        (other, "bought", "visits: no such column (named by the bundle)"),
        (strange, "bought", "action: rows 6 (1 of 600; row 1 is the first below the header) hold a product"),
        (log, "revenue", "--reward: the bundle was learnt with 'bought', not 'revenue'"),
    ):
        code, _, error = run(
            capsys, "learn", "--log", path, "--reward", reward, "--out", tmp_path / "b", *words
        )
        assert code == 2 and rule in error


def test_texts_that_a_bundle_does_not_know_are_told(log: Path, tmp_path: Path, capsys: Capsys) -> None:
    learnt(capsys, log, tmp_path / "a", *LABELS, "--policy", "linucb")
    new = log_frame()
    new.loc[5, "segment"] = "royal"
    told = learnt(capsys, written(tmp_path, new), tmp_path / "b", *LABELS[:4], "--continue", tmp_path / "a")
    assert list(told["unknown_texts"]) == ["segment"] and "rows 6 (1 of" in told["unknown_texts"]["segment"]


def test_labels_with_slashes_are_written_otherwise(tmp_path: Path, capsys: Capsys) -> None:
    frame = log_frame()
    frame["action"] = frame["action"].str.replace("-", "/")
    told = learnt(capsys, written(tmp_path, frame), tmp_path / "b", *LABELS, "--policy", "linucb")
    assert {"mail|loan", "none"} < set(told["actions"])
    frame.loc[0, "action"] = "mail|loan"
    with pytest.raises(InvalidConfig, match="cannot be told apart"):
        plan_of(written(tmp_path, frame), tmp_path)
