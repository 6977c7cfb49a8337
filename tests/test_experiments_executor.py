"""Serial and Ray give the same results, digests, errors and progress; a worker that dies changes nothing."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from msgspec import structs
from small import bank, small_world

from experiments import rollout as rollouts
from experiments.compare import run_experiment, total_customer_days
from experiments.executor import (
    Executor,
    RayExecutor,
    Report,
    SerialExecutor,
    Task,
    executor,
)
from experiments.logs import digest
from experiments.rollout import Rollout, rollout
from experiments.spec import CONTROL, Experiment, Phase, StrategySpec
from nba import cli
from nba.bundle import posterior_bytes
from nba.errors import BadContext, InvalidConfig
from nba.policies import Greedy, NoContact, RandomEligible, ThompsonSampling
from nba.posteriors import FactoredModel, SegmentRatesModel
from nba.snapshot import Snapshot
from simulator.world import World

STEPS = (3, 1, 4)
PHASE = Phase(customers=75, days=16, seed=5, publish_every_days=8, settle_days=3)
TRIAL = Experiment(
    name="trial",
    world="small",
    train=Phase(customers=40, days=12, seed=1, publish_every_days=4),
    evaluate=Phase(customers=50, days=12, seed=2, settle_days=6),
    strategies=(
        StrategySpec(name=CONTROL, model=SegmentRatesModel(), policy=NoContact()),
        StrategySpec(name="random", model=SegmentRatesModel(), policy=RandomEligible()),
        StrategySpec(name="rules", model=SegmentRatesModel(), policy=Greedy()),
        StrategySpec(name="thompson", model=FactoredModel(), policy=ThompsonSampling(n_draws=16)),
    ),
)

BOTH = pytest.mark.parametrize("kind", ["serial", pytest.param("ray", marks=pytest.mark.ray)])


# Tasks stand at the top of the module, which workers get by value: they cannot import tests.


def squares(item: int, report: Report) -> Any:
    return np.arange(item) ** 2


def walk(item: int, report: Report) -> None:
    """Reports as many steps as its number says, one at a time."""
    for _ in range(item):
        report(1)
    # So long that the last report is surely heard before the task is over.
    time.sleep(0.3)


def double(item: int, report: Report) -> int:
    return 2 * item


def fail(item: BaseException | None, report: Report) -> None:
    if item is not None:
        raise item


def die_once(item: tuple[Task[Any, Any], Any, str], report: Report) -> Any:
    """Do the work, but the first time be killed before it is handed over."""
    task, part, mark = item
    result = task(part, report)
    if mark and not os.path.exists(mark):
        Path(mark).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return result


class DyingWorkers:
    """Ray, where the worker of the second task of every call is killed once."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.calls = folder, 0

    def map(self, task: Task[Any, Any], items: Sequence[Any], on_steps: Report | None = None) -> list[Any]:
        marks = [
            "" if number != 1 else str(self.folder / f"call-{self.calls}") for number in range(len(items))
        ]
        self.calls += 1
        work = [(task, item, mark) for item, mark in zip(items, marks, strict=True)]
        return RayExecutor().map(die_once, work, on_steps)


@pytest.fixture(scope="module")
def cluster(ray_session: ModuleType) -> ModuleType:
    ray_session.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    return ray_session


@pytest.fixture
def where(kind: str, request: pytest.FixtureRequest) -> Executor:
    if kind == "ray":
        request.getfixturevalue("cluster")
        return RayExecutor()
    return SerialExecutor()


def run(where: Executor | None, on_days: Report | None = None) -> Rollout:
    world = small_world(population={"branch_customers": 20})
    spec = StrategySpec(name="one", model=FactoredModel(), policy=ThompsonSampling(n_draws=16))
    return rollout(
        world,
        Snapshot.start(spec.strategy(world, 3)),
        PHASE,
        where,
        on_customer_days=on_days,
    )


def fingerprint(run: Rollout) -> tuple[str, bytes, int]:
    found = digest(run.decisions, run.outcomes), posterior_bytes(run.snapshot.posterior)
    return *found, run.snapshot.posterior_seq


@BOTH
def test_results_come_in_the_order_of_the_items(where: Executor) -> None:
    for item, result in zip(STEPS, where.map(squares, STEPS), strict=True):
        np.testing.assert_array_equal(result, np.arange(item) ** 2)
    assert where.map(double, range(20)) == [2 * item for item in range(20)]


@BOTH
def test_nothing_to_do_gives_nothing(where: Executor) -> None:
    assert where.map(double, []) == []


@BOTH
def test_the_steps_of_all_tasks_add_up(where: Executor) -> None:
    heard: list[int] = []
    where.map(walk, STEPS, heard.append)
    assert sum(heard) == sum(STEPS)


@BOTH
@pytest.mark.parametrize(
    "error",
    [InvalidConfig("world", "response.lift", "must be finite"), BadContext("/age", "must be a number")],
    ids=lambda error: type(error).__name__,
)
def test_an_error_of_ours_arrives_as_its_own_type(where: Executor, error: Any) -> None:
    with pytest.raises(type(error)) as caught:
        where.map(fail, [None, error])
    assert caught.value.pointer == error.pointer and caught.value.rule == error.rule
    assert str(error) in str(caught.value)


@BOTH
def test_any_other_error_arrives_as_its_own_type(where: Executor) -> None:
    with pytest.raises(ZeroDivisionError, match="by zero of a customer"):
        where.map(fail, [None, ZeroDivisionError("by zero of a customer")])


@pytest.mark.ray
def test_an_error_from_ray_tells_one_line(cluster: ModuleType) -> None:
    error = InvalidConfig("world", "response.lift", "must be finite")
    with pytest.raises(InvalidConfig) as caught:
        RayExecutor().map(fail, [error])
    assert type(caught.value) is InvalidConfig and str(caught.value) == str(error)


@pytest.mark.ray
def test_ray_changes_neither_log_nor_posterior(cluster: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = fingerprint(run(SerialExecutor()))
    monkeypatch.setattr(rollouts, "BLOCK_CUSTOMERS", 20)  # four tasks at a time
    assert fingerprint(run(RayExecutor())) == reference


@pytest.mark.slow
@pytest.mark.ray
def test_a_killed_worker_changes_nothing(
    cluster: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = fingerprint(run(SerialExecutor()))
    monkeypatch.setattr(rollouts, "BLOCK_CUSTOMERS", 40)
    assert fingerprint(run(DyingWorkers(tmp_path))) == reference
    # Two learning stretches and the settling one: a worker died in each.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["call-0", "call-1", "call-2"]


@pytest.mark.ray
def test_an_experiment_finds_the_same_on_ray(cluster: ModuleType) -> None:
    world, heard = small_world(), list[int]()
    serial = run_experiment(world, TRIAL, SerialExecutor(), heard.append)
    assert sum(heard) == total_customer_days(TRIAL)
    parallel = run_experiment(world, TRIAL, RayExecutor())
    assert [one.row for one in parallel.results] == [one.row for one in serial.results]
    assert (parallel.champion, parallel.margins) == (serial.champion, serial.margins)
    assert parallel.verdict == serial.verdict
    for one, other in zip(parallel.results, serial.results, strict=True):
        assert posterior_bytes(one.snapshot.posterior) == posterior_bytes(other.snapshot.posterior)


@pytest.mark.slow
@pytest.mark.ray
def test_the_command_gives_the_same_digest_on_ray(
    cluster: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In this process and on the cluster that is up; a slow test starts real ones."""
    people = structs.replace(bank().config.population, branch_customers=20)  # a block holds whole branches
    world = World(structs.replace(bank().config, population=people))
    monkeypatch.setattr("experiments.simulate.load_world", lambda name: world)
    monkeypatch.setattr(rollouts, "BLOCK_CUSTOMERS", 20)
    digests = set()
    for workers in ("1", "2"):
        words = [
            "simulate",
            "--customers",
            "50",
            "--days",
            "8",
            "--seed",
            "3",
            "--json",
            "--workers",
            workers,
        ]
        with pytest.raises(SystemExit) as exit_:
            cli.main([*words, "--out", str(tmp_path / workers)])
        assert exit_.value.code == 0
        digests.add(json.loads(capsys.readouterr().out.splitlines()[-1])["digest"])
    assert len(digests) == 1


def test_one_worker_needs_no_ray() -> None:
    with executor(1) as where:
        assert isinstance(where, SerialExecutor)


@pytest.mark.ray
def test_a_running_ray_is_used_and_left_running(cluster: ModuleType) -> None:
    with executor(2) as where:
        assert isinstance(where, RayExecutor)
        assert where.map(double, [1, 2]) == [2, 4]
    assert cluster.is_initialized()
