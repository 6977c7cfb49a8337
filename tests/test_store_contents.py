"""What a store holds after an experiment, a sweep and a judgement: datasets, figures, and no paths."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from experiment_fixtures import empty_store, record_quickly, small_result
from msgspec import structs
from sweep_fixtures import HEAD, plan_in, swept_in
from test_promotion_gates import evidence

from experiments.inputs import Input
from experiments.mlflow_ui.links import links_of
from experiments.promotion.gates import Gates
from experiments.promotion.judge import judged
from experiments.promotion.judgement_run import log_judgement, metrics_of
from experiments.promotion.records import write
from experiments.registry import find
from experiments.store import ARTIFACTS, DATABASE, open_store
from experiments.sweeps.compared import compare_sweep
from experiments.sweeps.record import RecordedSweep, record_sweep
from experiments.sweeps.shelved import keep, kept_sweep
from experiments.tracking import Recorded

# MLflow writes these itself; `open_store` puts them right where a store was moved.
OF_MLFLOW = {
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
}


class Held(NamedTuple):
    """A store that tests only read."""

    store: Path
    result: Recorded
    sweep: RecordedSweep
    judgement: str  # run id


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Held:
    store, folder = empty_store(tmp_path_factory), tmp_path_factory.mktemp("sweep")
    result = record_quickly(small_result(), store)
    keep(swept_in(folder, plan_in(folder, HEAD.replace("seeds = 3", "seeds = 1"))), folder)
    sweep = record_sweep(compare_sweep(kept_sweep(folder, "small")), "<p>not drawn</p>", store)
    champion = find(store)
    log = folder / "log.csv"
    log.write_text("a\n1\n")
    found = judged(structs.replace(evidence(), kind="log", source="log log.csv"), Gates(), "one", "other")
    write(store, champion, champion, found, 1)
    run = log_judgement(store, champion, champion, found, 1, Input.log(log, "promotion", {"rounds": 1}))
    return Held(store, result, sweep, run)


def texts_of(database: Path) -> Iterator[tuple[str, str, str]]:
    """(table, column, text) of all cells that hold text."""
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as db:
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            rows = db.execute(f'SELECT * FROM "{table}"')
            names = [one[0] for one in rows.description]
            for row in rows.fetchall():
                yield from (
                    (table, name, cell)
                    for name, cell in zip(names, row, strict=True)
                    if isinstance(cell, str)
                )


def test_no_path_of_this_machine_is_in_the_store(held: Held) -> None:
    places = [str(held.store), str(Path.cwd()), str(Path.home()), str(held.store.parent.parent)]
    named = {
        (table, column)
        for table, column, text in texts_of(held.store / DATABASE)
        if any(place in text for place in places)
    }
    assert named <= OF_MLFLOW
    files = [file for file in (held.store / ARTIFACTS).rglob("*") if file.is_file()]
    assert len(files) > 10
    wrong = [file.name for file in files if any(place.encode() in file.read_bytes() for place in places)]
    assert wrong == []


def datasets(run: Any) -> dict[str, Any]:
    """The datasets of a run by what they were used for."""
    return {one.tags[0].value: one.dataset for one in run.inputs.dataset_inputs}


def test_runs_name_the_datasets_that_they_rest_on(held: Held) -> None:
    client = open_store(held.store)
    found = {name: datasets(client.get_run(run_id)) for name, run_id in held.result.run_ids.items()}
    assert set(found["thompson"]) == {"training", "evaluation"} and set(found["no-contact"]) == {"evaluation"}
    judged_on = {one["evaluation"].digest for one in found.values()}
    assert len(judged_on) == 1  # all met the same customers
    assert found["thompson"]["training"].digest not in judged_on
    assert found["rules"]["evaluation"].name == "tiny evaluation"
    assert '"customers":200' in found["rules"]["evaluation"].profile
    of_sweep = {
        datasets(client.get_run(run))["evaluation"].digest
        for run in held.sweep.run_ids.values()
        if run != held.sweep.run_ids["summary"]
    }
    assert len(of_sweep) == 1


def test_a_judgement_is_a_run_of_its_own_with_few_figures(held: Held) -> None:
    client = open_store(held.store)
    run = client.get_run(held.judgement)
    assert (
        run.info.status == "FINISHED" and client.get_experiment(run.info.experiment_id).name == "promotions"
    )
    assert 10 < len(run.data.metrics) <= 20
    assert {key.partition("/")[0] for key in run.data.metrics} == {"promotion"}
    assert run.data.metrics["promotion/value_low"] == 0.9 and run.data.metrics["promotion/passed"] == 1.0
    assert run.data.metrics["promotion/cost_high"] == 0.1 and run.data.metrics["promotion/latency_ms"] == 3.0
    assert run.data.tags["nba.gate.value.low"] == "0.9"
    assert client.get_model_version("nba-policy", "1").tags["nba.gate.value.low"] == "0.9"
    (dataset,) = datasets(run).values()
    assert (dataset.name, dataset.source_type, len(dataset.digest)) == ("log.csv", "log", 32)


def test_what_is_not_told_is_no_figure() -> None:
    found = evidence(differences=dict(evidence().differences) | {"complaints": None}, latency_ms=None)
    keys = metrics_of(judged(found, Gates(), "one", "other"))
    assert not any("complaints" in key or "latency" in key for key in keys)
    assert keys["promotion/passed"] == 0.0 and keys["promotion/gates_failed"] == 2.0


def test_a_log_is_known_by_its_content(tmp_path: Path) -> None:
    for name, text in (("one", "a"), ("two", "a"), ("three", "b")):
        (tmp_path / name).write_text(text)
    one, two, three = (Input.log(tmp_path / name, "promotion", {}).digest for name in ("one", "two", "three"))
    assert one == two != three
    (tmp_path / "run" / "decisions").mkdir(parents=True)
    part = tmp_path / "run" / "decisions" / "part.parquet"
    part.write_text("a")
    before = Input.log(tmp_path / "run", "promotion", {})
    part.write_text("b")
    assert Input.log(tmp_path / "run", "promotion", {}).digest != before.digest and before.name == "run"


def test_the_links_lead_to_sweeps_and_judgements_too(held: Held) -> None:
    links = links_of(held.store, "http://x")
    assert links["compare small"] == held.sweep.compare_link("http://x")
    assert links["report of small"] == held.sweep.report_link("http://x")
    judged_in = open_store(held.store).get_run(held.judgement).info.experiment_id
    assert links["promotions"] == f"http://x/#/experiments/{judged_in}/runs?compareRunsMode=CHART"
