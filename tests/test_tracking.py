"""What MLflow holds after an experiment: runs, metrics, files, and a model that decides as its bundle."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest

from experiments.registry import find, pull
from experiments.report_series import MAX_STEPS
from experiments.spec import CONTROL, Experiment
from experiments.store import MissingStoreError, open_store
from experiments.tracking import Recorded, UnknownExperimentError, metric_of, record, search
from experiments.train import efficiency
from nba.bundle import load_bundle
from nba.context import Context
from nba.errors import NBAError
from tests.experiment_fixtures import EXPERIMENT, empty_store, record_quickly, small_result


class Written(NamedTuple):
    """One result in a store that tests only read."""

    store: Path
    recorded: Recorded
    client: Any


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    store = empty_store(tmp_path_factory)
    recorded = record(small_result(), store)
    return Written(store, recorded, open_store(store))


@pytest.fixture
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return empty_store(tmp_path_factory)


@pytest.fixture
def copied(written: Written, tmp_path: Path) -> Path:
    """The store with one result, copied: it must work wherever it lies."""
    return Path(shutil.copytree(written.store, tmp_path / "a copy"))


def run_of(written: Written, strategy: str) -> Any:
    return written.client.get_run(written.recorded.run_ids[strategy])


def test_there_is_one_flat_finished_run_per_strategy(written: Written) -> None:
    runs = [run_of(written, name) for name in (CONTROL, "rules", "thompson")]
    assert [run.info.run_name for run in runs] == [CONTROL, "rules", "thompson"]
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert {run.data.tags["nba.sweep_id"] for run in runs} == {written.recorded.sweep_id}
    assert not any("parentRunId" in tag for run in runs for tag in run.data.tags)
    assert [run.data.tags["nba.role"] for run in runs] == ["control", "challenger", "champion"]


def test_links_lead_to_the_runs_of_this_result(written: Written) -> None:
    recorded = written.recorded
    base = f"http://host:1/#/experiments/{recorded.experiment_id}/runs"
    wanted = f"tags.%60nba.sweep_id%60%20%3D%20%27{recorded.sweep_id}%27"
    assert recorded.compare_link("http://host:1") == f"{base}?compareRunsMode=CHART&searchFilter={wanted}"
    report = f"{base}/{recorded.run_ids['rules']}/artifacts/report/index.html"
    assert recorded.report_link("rules", "http://host:1") == report


def test_the_best_run_is_the_newest(written: Written) -> None:
    runs = written.client.search_runs([written.recorded.experiment_id])
    assert runs[0].info.run_name == "thompson"


def test_metrics_are_few_and_those_of_the_result(written: Written) -> None:
    result, run = small_result().result("thompson"), run_of(written, "thompson")
    assert len(run.data.metrics) <= 20
    for field, value in msgspec.structs.asdict(result.row).items():
        if field != "strategy":
            assert run.data.metrics[metric_of(field)] == value
    history = written.client.get_metric_history(run.info.run_id, "online/cumulative_net_value")
    assert len(history) == MAX_STEPS and max(point.step for point in history) == 300
    assert {key.partition("/")[0] for key in run.data.metrics} == {
        "online",
        "evaluation",
        "final",
        "cost",
        "guard",
    }


def test_the_control_has_no_learning_curves(written: Written) -> None:
    assert not any(key.startswith("online/") for key in run_of(written, CONTROL).data.metrics)


def test_parameters_are_the_settings(written: Written) -> None:
    params = run_of(written, "thompson").data.params
    assert (
        params["policy"] == "thompson" and params["model"] == "factored" and params["policy.n_draws"] == "16"
    )
    assert params["train.customers"] == "100" and params["evaluate.seed"] == "2" and params["world"] == "tiny"


def test_tags_name_no_place_of_this_machine(written: Written) -> None:
    run = run_of(written, "thompson")
    texts = [*run.data.tags.values(), *run.data.params.values()]
    assert not [text for text in texts if str(Path.cwd()) in text or str(written.store) in text]
    assert not [text for text in texts if text.startswith("/")]
    assert len(run.data.tags["nba.data_digest"]) == 64


def test_the_verdict_describes_runs_and_experiment(written: Written) -> None:
    verdict = small_result().verdict
    assert run_of(written, "rules").data.tags["mlflow.note.content"] == f"As <usual> & always.\n\n{verdict}"
    tags = written.client.get_experiment(written.recorded.experiment_id).tags
    assert tags["mlflow.note.content"] == verdict
    assert tags["mlflow.experimentKind"] == "custom_model_development"


def test_every_run_carries_report_tables_and_bundle(written: Written, tmp_path: Path) -> None:
    for name, run_id in written.recorded.run_ids.items():
        folder = Path(written.client.download_artifacts(run_id, "", str(tmp_path)))
        assert (folder / "report" / "index.html").stat().st_size > 10_000
        assert (folder / "tables" / "leaderboard.csv").exists()
        assert load_bundle(folder / "bundle").strategy.name == name


def test_the_champion_is_registered_with_its_gate(written: Written) -> None:
    assert (written.recorded.registered_version, written.recorded.alias) == (1, "champion")
    found = find(written.store)
    assert (found.version, found.strategy, found.gate, found.aliases) == (
        1,
        "thompson",
        "passed",
        ("champion",),
    )
    assert (found.incremental_value, found.incremental_ci_low) == (4.0, 3.5)
    assert found.run_id == written.recorded.run_ids["thompson"]


def test_the_model_decides_as_its_bundle_does(written: Written, tmp_path: Path) -> None:
    import pandas as pd

    model, snapshot = (
        loaded(written.store),
        load_bundle(pull(written.store, "nba-policy", tmp_path / "b").path),
    )
    row = {
        "customer_id": "c1",
        "at": "2026-03-02T09:00:00+00:00",
        "age": 50.0,
        "has_app": True,
        "segment": "mass",
    }
    contact = {"channel": "mail", "product": "card", "at": "2026-03-01T09:00:00+00:00"}
    rows = [
        row | {"consents": ["call", "mail"], "owned": ["loan"], "contacts": [contact], "decision_id": "d1"},
        row | {"consents": ["mail"], "owned": [], "contacts": [], "decision_id": "d2"},
    ]
    answer = model.predict(pd.DataFrame(rows))
    shares = model.predict(pd.DataFrame(rows), params={"output": "distribution"})
    for number, full in enumerate(rows):
        attributes = {k: full[k] for k in ("age", "has_app", "segment", "consents", "owned")}
        plain = {
            "customer_id": "c1",
            "at": full["at"],
            "attributes": attributes,
            "contacts": full["contacts"],
        }
        context = msgspec.convert(plain, Context)
        decision = snapshot.decide_one(context, f"d{number + 1}")
        assert answer["action_id"][number] == decision.actions[0].action_id
        assert answer["propensity"][number] == decision.actions[0].propensity
        expected = snapshot.action_distribution(snapshot.strategy.encode([context]))[0]
        assert np.array_equal(shares.iloc[number].to_numpy(), expected)


def test_the_least_a_frame_may_hold_gives_no_contact(written: Written) -> None:
    import pandas as pd

    frame = pd.DataFrame([{"customer_id": "c1", "at": "2026-03-02T09:00:00+00:00"}])
    answer = loaded(written.store).predict(frame)
    assert answer["action_id"].tolist() == ["no-contact"] and answer["propensity"].tolist() == [1.0]
    assert answer["channel"].tolist() == [None]


def loaded(store: Path) -> Any:
    """The champion through MLflow's own interface, with its global state put back."""
    import mlflow

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{store / 'mlflow.db'}")
    try:
        return mlflow.pyfunc.load_model("models:/nba-policy@champion")
    finally:
        mlflow.set_tracking_uri(before)


def test_search_gives_the_newest_leaderboard_best_first(copied: Path) -> None:
    store = copied
    recorded = record_quickly(small_result(gain=5.0), store)
    rows = search(store, EXPERIMENT.name)
    assert [row["strategy"] for row in rows] == ["thompson", "rules", CONTROL]
    assert rows[0]["incremental_value"] == 5.0 and rows[0]["run_id"] == recorded.run_ids["thompson"]
    assert {row["sweep_id"] for row in rows} == {recorded.sweep_id}
    other = msgspec.structs.replace(EXPERIMENT, name="other")
    record_quickly(small_result(experiment=other), store)
    assert {row["experiment"] for row in search(store)} == {EXPERIMENT.name, "other"}
    with pytest.raises(UnknownExperimentError, match="it has: other, tiny trial"):
        search(store, "missing")


def test_a_store_that_was_moved_is_as_good_as_before(copied: Path, tmp_path: Path) -> None:
    open_store(copied)
    moved = Path(shutil.move(copied, tmp_path / "elsewhere"))
    assert pull(moved, "nba-policy", tmp_path / "bundle").policy.version == 1
    run_id = search(moved)[0]["run_id"]
    assert Path(open_store(moved).get_run(run_id).info.artifact_uri).is_relative_to(moved)
    assert loaded(moved).metadata.signature is not None
    assert record_quickly(small_result(), moved).registered_version == 2
    assert not copied.exists()


def test_a_run_that_breaks_off_is_marked_and_not_searched(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    def broken(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(mlflow.MlflowClient, "log_artifacts", broken)
    with pytest.raises(OSError, match="disk full"):
        record_quickly(small_result(), store)
    client = open_store(store)
    experiment = client.get_experiment_by_name(EXPERIMENT.name)
    assert [run.info.status for run in client.search_runs([experiment.experiment_id])] == ["FAILED"]
    with pytest.raises(UnknownExperimentError):
        search(store)


def test_a_deleted_experiment_comes_back(written: Written, copied: Path) -> None:
    experiment_id = written.recorded.experiment_id
    open_store(copied).delete_experiment(experiment_id)
    assert record_quickly(small_result(), copied).experiment_id == experiment_id


def test_any_name_of_an_experiment_gives_a_folder(store: Path) -> None:
    name = "a/b: ä " + 200 * "x"
    experiment: Experiment = msgspec.structs.replace(EXPERIMENT, name=name)
    record_quickly(small_result(experiment=experiment), store)
    assert search(store)[0]["experiment"] == name


def test_searching_nowhere_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(MissingStoreError, match="`nba demo` and `nba train` make one") as caught:
        search(tmp_path / "nowhere")
    assert issubclass(MissingStoreError, NBAError)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.slow
def test_a_new_store_is_made_in_silence_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from experiments.tracking import record;"
        "from tests.experiment_fixtures import small_result; record(small_result(), Path('runs'))"
    )
    root = Path(__file__).parent.parent
    environment = os.environ | {"PYTHONPATH": str(root)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_scaling_efficiency_is_the_share_of_time_that_workers_were_busy() -> None:
    result = small_result()  # three strategies of 2 s each, in 12 s
    assert efficiency(result, workers=1) == 0.5 and efficiency(result, workers=2) == 0.25
