"""`nba evaluate` on ordinary tables: figures that can be checked, targets of all kinds, reports."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluation_fixtures import KNOWN, LABELS, OFFERS, WHOLE, declared, estimates, evaluated, offers
from tables_fixtures import learnt, run, written

from experiments.evaluation import stored
from experiments.evaluation.names import Asked
from experiments.evaluation.run import Order, evaluate
from experiments.evaluation.survey import eligible_sets
from experiments.evaluation.told import found_json
from experiments.store import open_store
from nba.bundle import load_bundle
from nba.ope import Evaluation, LoggedRounds, Range, Ridge, Settings, cross_fitted

Capsys = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def commands(monkeypatch: pytest.MonkeyPatch) -> None:
    declared(monkeypatch)


def test_the_figures_are_those_of_the_table(tmp_path: Path, capsys: Capsys) -> None:
    frame = offers()
    found = evaluated(capsys, written(tmp_path, frame), *WHOLE)
    weights, told = frame["t"] / frame["p"], estimates(found)
    assert found["n"] == 4_000 and found["on_policy_mean"] == pytest.approx(frame["bought"].mean())
    assert found["effective_n"] == pytest.approx(weights.sum() ** 2 / (weights**2).sum())
    assert found["max_weight"] == pytest.approx(weights.max())
    assert found["mean_weight"] == pytest.approx(weights.mean())
    assert told["ips"]["value"] == pytest.approx((weights * frame["bought"]).mean())
    assert told["snips"]["value"] == pytest.approx((weights * frame["bought"]).sum() / weights.sum())
    assert list(told) == ["ips", "clipped-ips", "snips", "dm", "dr", "sndr", "switch-dr", "dros"]
    assert found["verdict"] == "supported" and found["reasons"] == [] and found["selected"] in told
    for one in told.values():
        if one["stderr"] is not None:
            assert one["ci_low"] < frame.attrs["truth"] < one["ci_high"] and one["method"] == "cressie-read"


def test_the_log_in_parts_is_the_log_in_memory(tmp_path: Path) -> None:
    frame = offers()
    log = tmp_path / "log.parquet"
    frame.to_parquet(log, row_group_size=900)
    asked = Asked("bought", "offer", "columns:mu_", features=("age,segment",))
    found = evaluate(Order(log, asked, ("columns:pi_",), reward_range=Range(0.0, 1.0)))
    assert found.prepared is not None and found.report is not None
    age = frame["age"].fillna(frame["age"].mean())
    deviation = np.std(frame["age"].dropna())  # as the reader standardises
    columns = [(age - frame["age"].mean()) / deviation, frame["age"].isna()]
    columns += [(frame["segment"].fillna("(missing)") == level) for level in ("mass", "rich", "(missing)")]
    features = np.column_stack([np.ones(len(frame)), *columns]).astype(np.float64)
    table = frame[[f"mu_{label}" for label in sorted(LABELS)]].to_numpy()
    actions = np.searchsorted(sorted(LABELS), frame["offer"])
    rounds = LoggedRounds(
        actions,
        frame["bought"].to_numpy(np.float64),
        frame["p"].to_numpy(),
        np.arange(1, 4_001, dtype=np.uint64),  # a row each
        logging=table,
        reward_range=Range(0.0, 1.0),
    )
    target = frame[[f"pi_{label}" for label in sorted(LABELS)]].to_numpy()
    predicted = {"rewards": cross_fitted(Ridge(), features, rounds, 3)}
    settings = Settings(estimators=found.prepared.estimators)
    whole = Evaluation.of(settings, rounds, target, predicted).report()
    for one, its in zip(found.report.estimates, whole.estimates, strict=True):
        assert (one.value, one.ci_low, one.ci_high) == pytest.approx((its.value, its.ci_low, its.ci_high))


def test_the_format_of_the_file_makes_no_difference(tmp_path: Path, capsys: Capsys) -> None:
    frame = offers(1_500)
    csv, parquet = written(tmp_path, frame), written(tmp_path, frame, "log.parquet")
    expected = evaluated(capsys, csv, *WHOLE)
    for path, plain in ((tmp_path / "log.csv.gz", csv), (tmp_path / "zipped.parquet", parquet)):
        path.write_bytes(gzip.compress(plain.read_bytes()))
    folder = tmp_path / "parts"
    folder.mkdir()
    for number, rows in enumerate((slice(0, 400), slice(400, None))):
        frame.iloc[rows].to_parquet(folder / f"part-{number}.parquet")
    german = tmp_path / "german.csv"
    frame.to_csv(german, sep=";", decimal=",", index=False)
    for path in (parquet, tmp_path / "log.csv.gz", tmp_path / "zipped.parquet", german):
        assert evaluated(capsys, path, *WHOLE) == expected, path
    told, wanted = estimates(evaluated(capsys, folder, *WHOLE)), estimates(expected)
    for name, one in told.items():  # batches end elsewhere, and sums round otherwise
        assert one["value"] == pytest.approx(wanted[name]["value"])


def test_uniform_spreads_over_actions_of_the_log_alone(tmp_path: Path, capsys: Capsys) -> None:
    frame = offers()
    words = (*KNOWN, "--targets", "uniform", "column:t", "--estimator", "ips", "--json")
    code, told, error = run(capsys, "compare-policies", "--log", written(tmp_path, frame), *words)
    gaps = (1 / 3 - frame["t"]) / frame["p"] * frame["bought"]
    assert code == 0 and json.loads(told)["difference"] == pytest.approx(gaps.mean()), error


def test_the_logging_policy_can_be_judged_where_it_is_estimated(tmp_path: Path, capsys: Capsys) -> None:
    frame = offers()
    words = (*OFFERS, "--features", "age,segment", "--target", "logged")
    found = evaluated(capsys, written(tmp_path, frame), *words)
    assert estimates(found)["ips"]["value"] == pytest.approx(frame["bought"].mean())


def test_targets_by_their_words(tmp_path: Path, capsys: Capsys) -> None:
    frame = offers()
    log, value = written(tmp_path, frame), {}
    for target in ("always:fund", "uniform", "logged", "column:t", "columns:pi_"):
        value[target] = estimates(evaluated(capsys, log, *KNOWN, "--target", target))
    funds = frame[frame["offer"] == "fund"]
    assert value["always:fund"]["ips"]["value"] == pytest.approx((funds["bought"] / funds["p"]).sum() / 4_000)
    even = (frame["bought"] / frame["p"] / 3).mean()
    assert value["uniform"]["ips"]["value"] == pytest.approx(even)
    for name in ("ips", "snips"):
        assert value["logged"][name]["value"] == pytest.approx(frame["bought"].mean(), abs=1e-12)
        assert value["column:t"][name] == value["columns:pi_"][name]
    assert list(value["column:t"]) == ["ips", "clipped-ips", "snips"]  # no model: it asks for all actions
    even_ones = evaluated(capsys, log, *OFFERS, "--propensity", "columns:mu_", "--target", "logged")
    assert even_ones["effective_n"] == pytest.approx(4_000) and "dr" in estimates(even_ones)


def test_a_learnt_bundle_is_a_target(tmp_path: Path, capsys: Capsys) -> None:
    frame = offers(2_000)
    log = written(tmp_path, frame)
    words = ("--action", "offer", "--reward", "bought", "--features", "age,segment")
    learnt(capsys, log, tmp_path / "bundle", *words, "--policy", "squarecb")
    found = evaluated(capsys, log, *KNOWN, "--target", tmp_path / "bundle", "--estimators", "snips,dr")
    snapshot = load_bundle(tmp_path / "bundle")
    order = Order(log, Asked("bought", "offer", "p"), (str(tmp_path / "bundle"),))
    prepared = evaluate(order).prepared
    assert prepared is not None and prepared.coder.labels == tuple(sorted(LABELS))
    assert snapshot.strategy.catalogue.n_actions == 4  # no-contact, which it may not choose
    assert [one["estimator"] for one in found["estimates"]] == ["snips", "dr"]
    assert found["on_policy_mean"] < estimates(found)["dr"]["value"]  # it has learnt what sells


def test_a_constant_propensity_of_all_actions_alike_is_a_whole_policy(tmp_path: Path, capsys: Capsys) -> None:
    frame = offers(3_000).assign(offer=np.random.default_rng(1).choice([3, 10, 2, 7], 3_000))
    log = written(tmp_path, frame)
    told = evaluated(capsys, log, *OFFERS, "--propensity", 0.25, "--target", "always:10")
    assert told["max_weight"] == 4.0 and told["verdict"] == "weak"  # some 750 rows are of the action
    words = ("--propensity", 0.25, "--target", "always:10.0")  # the same number
    assert evaluated(capsys, log, *OFFERS, *words) == told
    words = ("--propensity", 0.25, "--target", "always:10", "--estimators", "cab,mrdr,dr")
    assert list(estimates(evaluated(capsys, log, *OFFERS, *words))) == ["cab", "mrdr", "dr"]


@pytest.mark.parametrize("form", ["a|b", '["a", "b"]', "['a', 'b']", "a, b", "a;b"])
def test_eligible_sets_as_they_are_written(form: str, tmp_path: Path, capsys: Capsys) -> None:
    names = {"a": "loan", "b": "card"}
    both = form.replace("a", names["a"]).replace("b", names["b"])
    frame = offers(3_000)
    frame = frame[frame["offer"] != "fund"].assign(allowed=both, p=0.5)
    found = evaluated(
        capsys, written(tmp_path, frame), *KNOWN, "--eligible", "allowed", "--target", "uniform"
    )
    assert found["lost_target_mass"] == 0.0 and found["max_weight"] == 1.0


def test_lists_of_parquet_are_sets(tmp_path: Path, capsys: Capsys) -> None:
    frame = offers(3_000)
    frame["allowed"] = [["loan", "card", "fund"]] * 1_500 + [["loan", "card", "fund", "gold"]] * 1_500
    log = written(tmp_path, frame, "log.parquet")
    words = (*KNOWN, "--eligible", "allowed", "--propensity", "p")
    found = evaluated(capsys, log, *words, "--target", "uniform")
    expected = frame["p"].rdiv(1.0) / np.repeat([3, 4], 1_500)
    assert found["mean_weight"] == pytest.approx(expected.mean())


def test_numbers_that_are_names_are_categories(tmp_path: Path, capsys: Capsys) -> None:
    frame = offers()
    codes = frame["segment"].map({"mass": 7, "rich": 3}).fillna(5).astype(int)
    log = written(tmp_path, frame.assign(code=codes, segment=frame["segment"].fillna("none")))
    words = (*KNOWN, "--target", "columns:pi_", "--estimators", "dr", "--features")
    named = evaluated(capsys, log, *words, "segment")
    coded = evaluated(capsys, log, *words, "code", "--category", "code")
    assert estimates(coded)["dr"]["value"] == pytest.approx(estimates(named)["dr"]["value"], abs=1e-9)
    assert evaluated(capsys, log, *words, "code") != coded
    code, _, error = run(capsys, "evaluate", "--log", log, *words, "age", "--category", "code")
    assert code == 2 and "code: is a category (--category) and no feature" in error


def test_customers_who_come_back_are_drawn_whole(tmp_path: Path, capsys: Capsys) -> None:
    frame = offers(3_000)
    log = written(tmp_path, frame.assign(household=[f"h{row // 3}" for row in range(3_000)]))
    words = (*KNOWN, "--target", "uniform", "--estimators", "snips,dr")
    for column, method in (("household", "cluster-bootstrap"), ("customer", "cressie-read")):
        found = evaluated(capsys, log, *words, "--cluster", column)
        assert {one["method"] for one in found["estimates"]} == {method}
        assert found["reasons"] == []
    found = evaluated(capsys, log, *words, "--cluster", "household", "--replicates", 0)
    assert "67 % of rounds are of customers who had one before" in found["reasons"][0]


def test_without_propensities_they_are_estimated_with_a_warning(tmp_path: Path, capsys: Capsys) -> None:
    log, out = written(tmp_path, offers(6_000)), tmp_path / "report"
    words = ("--target", "uniform", "--features", "segment", "--out", out)
    code, told, error = run(capsys, "evaluate", "--log", log, "--json", *OFFERS, *words)
    found = json.loads(told)
    assert code == 0 and "warning: the log has no propensities" in error
    assert found["verdict"] == "weak" and "propensities were estimated" in found["reasons"][-1]
    frame = offers(6_000)
    known = estimates(evaluated(capsys, written(tmp_path, frame), *KNOWN, "--target", "uniform"))
    guessed = estimates(found)
    assert abs(guessed["ips"]["value"] - known["ips"]["value"]) < 2 * known["ips"]["stderr"]
    assert 'id="calibration"' in (out / "index.html").read_text(encoding="utf-8")
    _, text, _ = run(capsys, "evaluate", "--log", log, *OFFERS, *words[:4])
    assert "estimated propensity" in text


def test_choices_that_leave_nothing_to_chance_are_refused(tmp_path: Path, capsys: Capsys) -> None:
    frame = offers(3_000)
    frame["offer"] = np.where(frame["age"].fillna(0) > 50, "card", "loan")
    found = evaluated(capsys, written(tmp_path, frame), *OFFERS, "--features", "age", "--target", "uniform")
    assert found["verdict"] == "refused" and found["estimates"] == [] and found["selected"] is None
    assert found["reasons"][0].startswith("mean_weight is 0.52")


def test_the_report_is_a_page_and_a_run(tmp_path: Path, capsys: Capsys) -> None:
    log, out, store = written(tmp_path, offers()), tmp_path / "report", tmp_path / "store"
    words = (*WHOLE, "--segment", "segment", "--out", out)
    code, text, error = run(capsys, "evaluate", "--log", log, *words, "--store", store)
    assert code == 0, error
    lines = text.splitlines()
    assert lines[0].endswith("4,000 rounds, target columns:pi_: supported")
    assert text.index("effective rounds") < text.index("the target would have") and "by segment" in text
    page = (out / "index.html").read_text(encoding="utf-8")
    for figure in ("estimates", "weights", "arms", "sequence", "segments"):
        assert f'<figure id="{figure}"' in page
    assert "http" not in page.replace("http://www.w3.org", "") and "<script" not in page
    figures: dict[str, Any] = json.loads((out / "evaluation.json").read_bytes())
    assert set(figures["segments"]) == {"mass", "rich", "(missing)"} and set(figures["arms"]) == {*LABELS}
    assert sum(one["n"] for one in figures["segments"].values()) == 4_000
    client = open_store(store)
    (found,) = client.search_runs([client.get_experiment_by_name("evaluation").experiment_id])
    assert found.data.metrics["support/effective_n"] == pytest.approx(figures["effective_n"])
    assert "dr/ci_low" in found.data.metrics and found.data.tags["nba.verdict"] == "supported"
    assert [one.path for one in client.list_artifacts(found.info.run_id, "report")]


@pytest.mark.slow
@pytest.mark.ray
def test_workers_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "_PART_ROWS", 10_000)
    log = tmp_path / "log.parquet"
    offers(40_000).to_parquet(log, row_group_size=5_000)
    order = Order(log, Asked("bought", "offer", "p", features=("age,segment",)), ("columns:pi_",))
    assert found_json(evaluate(order)) == found_json(evaluate(order._replace(workers=2)))


def test_truths_are_labels_however_they_are_written(tmp_path: Path, capsys: Capsys) -> None:
    frame = offers(1_500).assign(called=lambda rows: rows["offer"] == "card", p=0.2)
    frame["p"] = frame["p"].where(frame["called"], 0.8)
    words = ("--reward", "bought", "--action", "called", "--propensity", "p", "--target")
    for name in ("log.csv", "log.parquet"):
        log = written(tmp_path, frame, name)
        one, other = (evaluated(capsys, log, *words, f"always:{word}") for word in ("True", "true"))
        assert one == other and one["n"] == 1_500


def test_labels_may_have_a_separator_in_them() -> None:
    assert eligible_sets(["a|b;c", "c"], ["a|b", "c"]) == {"a|b;c": ("a|b", "c"), "c": ("c",)}
    assert eligible_sets(["a|b|c"], ["a", "b"])["a|b|c"] == ("a", "b", "c")
