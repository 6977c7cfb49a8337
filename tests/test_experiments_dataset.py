"""The folder of a run: whole parts, a digest for any cut, and a killed run that goes on where it stood."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from dataset_fixtures import PHASE, SNAPSHOT, WORLD, bytes_of, in_small_parts, run_in, settings, simulated
from msgspec import structs

from experiments import parquet, simulate
from experiments.dataset import TABLES, RunFolder, opened
from experiments.executor import Report, Task, silent
from experiments.logs import digest
from experiments.rollout import decision_id, rollout
from experiments.simulate import Run, part_works, run_part
from experiments.spec import Contender, Phase


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    in_small_parts(monkeypatch)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        in_small_parts(patch)
        simulated(path)
    return path


# What the folder holds.


def test_the_parts_together_are_the_log_of_the_run(whole: Path) -> None:
    run = rollout(WORLD, SNAPSHOT, PHASE, with_oracle=False)
    decisions, outcomes = (pd.read_parquet(whole / table) for table in TABLES)
    assert len(decisions) == run.decisions.number.size and len(outcomes) == run.outcomes.day.size > 5
    ids = [decision_id(PHASE.seed, int(number)) for number in run.decisions.number]
    log = decisions.set_index("decision_id").loc[ids]
    np.testing.assert_array_equal(log.customer, run.decisions.customer)
    np.testing.assert_array_equal(log.propensity, run.decisions.propensity)
    np.testing.assert_array_equal(log.cost, run.decisions.cost)
    days = (log.contact_date.to_numpy() - WORLD.date(0)).astype("timedelta64[D]").astype(int)
    np.testing.assert_array_equal(days, run.decisions.contact_day)
    assert log.action_id.tolist() == [WORLD.config.catalogue.action_ids[a] for a in run.decisions.action]
    credited = run.outcomes.decision[run.outcomes.decision >= 0]
    expected = {decision_id(PHASE.seed, int(number)) for number in credited}
    assert set(outcomes.decision_id.dropna()) == expected
    assert outcomes.value.sum() == run.outcomes.value.sum()


def test_the_manifest_adds_up_the_run(whole: Path) -> None:
    manifest, run = json.loads((whole / "manifest.json").read_text()), rollout(WORLD, SNAPSHOT, PHASE)
    sums = manifest["sums"]
    assert "oracle_value" not in sums and "expected_value" not in sums
    for name in ("value", "cost", "loss", "contacts", "conversions", "decisions"):
        assert sums[name] == pytest.approx(getattr(run.totals, name).sum()), name
    assert [part["name"] for part in manifest["parts"]] == [f"part-{n:05d}" for n in range(5)]
    assert manifest["settings"] == json.loads((whole / "run.json").read_text())


def test_a_part_holds_its_own_customers_by_day(whole: Path) -> None:
    for number in range(5):
        part = pd.read_parquet(whole / "decisions" / f"part-{number:05d}.parquet")
        assert part.customer.between(20 * number, 20 * number + 19).all()
        assert part[["date", "customer"]].apply(tuple, axis=1).is_monotonic_increasing


def test_names_are_kept_once_and_numbers_are_small(whole: Path) -> None:
    table = pd.read_parquet(whole / "decisions")
    for name in ("action_id", "channel", "timing", "product", "timing_type"):
        assert table[name].dtype == "category", name
    assert list(table.action_id.cat.categories) == list(WORLD.config.catalogue.action_ids)
    kinds = {
        "customer": "int32",
        "n_eligible": "int32",
        "queued_days": "int16",
        "expected_value": "float32",
        "propensity": "float64",
    }
    assert {name: str(table[name].dtype) for name in kinds} == kinds
    assert table.date.dtype.kind == "M" and table.delivered.dtype == bool


def test_rows_come_in_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "ROWS_PER_GROUP", 30)
    simulated(tmp_path)
    found = pq.read_metadata(tmp_path / "decisions" / "part-00000.parquet")
    groups = [found.row_group(number).num_rows for number in range(found.num_row_groups)]
    assert groups[:-1] == [30] * (len(groups) - 1) and len(groups) > 2
    assert sum(groups) == found.num_rows and 0 < groups[-1] <= 30


def test_the_oracle_is_asked_on_demand_and_changes_no_log(whole: Path, tmp_path: Path) -> None:
    manifest = simulated(tmp_path, oracle=True)
    run = rollout(WORLD, SNAPSHOT, PHASE)
    assert manifest.sums["oracle_value"] == pytest.approx(run.totals.oracle_value.sum())
    assert manifest.sums["expected_value"] == pytest.approx(run.totals.expected_value.sum())
    for table in TABLES:
        assert bytes_of(tmp_path / table) == bytes_of(whole / table)


# The same for any cut of the work.


class Workers:
    """Workers that get pickled copies, in reverse order: what a cluster may do to the work."""

    def map(self, task: Task[Any, Any], items: Sequence[Any], on_steps: Report | None = None) -> list[Any]:
        sent = [pickle.loads(pickle.dumps(item)) for item in items[::-1]]
        return [pickle.loads(pickle.dumps(task(item, on_steps or silent))) for item in sent][::-1]


def test_workers_write_the_same_bytes(whole: Path, tmp_path: Path) -> None:
    with opened(tmp_path, settings()) as folder:
        done = Workers().map(run_part, part_works(run_in(folder)))
        folder.finish([one.part for one in done])
    assert bytes_of(tmp_path) == bytes_of(whole)


@pytest.mark.parametrize("size", [10, 20])
def test_the_size_of_blocks_inside_a_part_changes_no_byte(
    size: int, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("experiments.rollout.BLOCK_CUSTOMERS", size)
    simulated(tmp_path)
    assert bytes_of(tmp_path / "decisions") == bytes_of(whole / "decisions")


def test_the_parts_of_a_large_run_are_large_but_bounded() -> None:
    def sizes(customers: int, days: int) -> list[int]:
        phase = Phase(customers=customers, days=days, seed=1)
        run = Run(RunFolder(Path(), settings(phase)), WORLD, Contender(SNAPSHOT.strategy), phase, False)
        return [work.customers for work in part_works(run)]

    for customers, days in ((1_000_000, 90), (100_000, 3000), (3_000, 10), (1, 1)):
        found = sizes(customers, days)
        assert sum(found) == customers and len(set(found[:-1])) <= 1
        rows = found[0] * days / WORLD.config.decide_every_days
        assert found[0] <= 20 or rows <= simulate.ROWS_PER_PART, (customers, days)
    assert len(sizes(1_000_000, 90)) < 60


# A run that was killed.


@pytest.mark.parametrize("at", [0, 3, 9])
def test_a_killed_run_goes_on_where_it_stood(
    at: int, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the middle of file number `at`: half a draft is there, and then nothing more."""
    written = [0]

    def half(table: Any, draft: Path, **options: Any) -> None:
        if written[0] == at:
            draft.write_bytes(b"PAR1 and no more")
            raise KeyboardInterrupt
        written[0] += 1
        pq.core_write(table, draft, **options)

    monkeypatch.setattr(pq, "core_write", pq.write_table, raising=False)
    monkeypatch.setattr(pq, "write_table", half)
    with pytest.raises(KeyboardInterrupt):
        simulated(tmp_path)
    monkeypatch.undo()
    in_small_parts(monkeypatch)
    assert not (tmp_path / "manifest.json").exists()
    assert len(list(tmp_path.glob("*/part-*.parquet"))) == at
    worked: list[int] = []
    monkeypatch.setattr(simulate, "run_part", recording(worked, run_part))
    simulated(tmp_path)
    assert worked == list(range(at // 2, 5)), "only parts without both files are simulated"
    assert bytes_of(tmp_path) == bytes_of(whole), "and no draft is left"


def recording(worked: list[int], task: Callable[[Any, Report], Any]) -> Callable[[Any, Report], Any]:
    def run(work: Any, report: Report) -> Any:
        worked.append(work.number)
        return task(work, report)

    return run


def test_a_complete_run_is_not_simulated_again(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = simulated(tmp_path)
    monkeypatch.setattr(simulate, "_simulated", None)
    assert simulated(tmp_path) == first


@pytest.mark.parametrize("with_manifest", [False, True])
def test_a_part_whose_file_was_cut_is_simulated_again(
    with_manifest: bool, whole: Path, tmp_path: Path
) -> None:
    simulated(tmp_path)
    if not with_manifest:
        (tmp_path / "manifest.json").unlink()
    cut = tmp_path / "decisions" / "part-00002.parquet"
    cut.write_bytes(cut.read_bytes()[:-1])
    (tmp_path / "outcomes" / "part-00003.parquet").unlink()
    simulated(tmp_path)
    assert bytes_of(tmp_path) == bytes_of(whole)


def test_a_run_that_learns_is_written_stretch_by_stretch(tmp_path: Path) -> None:
    phase = structs.replace(PHASE, publish_every_days=6)
    manifest = simulated(tmp_path, phase)
    assert len(manifest.parts) == 4, "6, 6 and 4 days, and the days of settling"
    decisions = pd.read_parquet(tmp_path / "decisions")
    assert decisions.date.is_monotonic_increasing
    run = rollout(WORLD, SNAPSHOT, phase, with_oracle=False)
    assert len(decisions) == run.decisions.number.size
    np.testing.assert_array_equal(decisions.propensity, run.decisions.propensity)
    (tmp_path / "manifest.json").unlink()
    assert simulated(tmp_path, phase) == manifest, "again from the first day, to the same digest"


def test_the_digest_of_a_part_is_that_of_its_logs(whole: Path) -> None:
    run = rollout(WORLD, SNAPSHOT, structs.replace(PHASE, customers=20), first_customer=40)
    part = json.loads((whole / "parts" / "part-00002.json").read_text())
    assert part["digest"] == digest(run.decisions, run.outcomes)
