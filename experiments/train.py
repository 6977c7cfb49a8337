"""Run an experiment from end to end: simulate, train, compare, record, register."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import msgspec
import typer
from msgspec import structs

from experiments.compare import run_experiment, total_customer_days
from experiments.executor import executor
from experiments.results import ExperimentResult, LeaderboardRow
from experiments.spec import Experiment, Phase, check_strategies, load_experiment
from experiments.store import DATABASE
from experiments.terminal import print_leaderboard, progress, say
from experiments.tracking import Recorded, record, search
from simulator.world import World, load_world


class Training(NamedTuple):
    """What was found, and where it is recorded."""

    result: ExperimentResult
    recorded: Recorded
    workers: int


def train_and_record(name: str, scale: float, workers: int, store: Path) -> Training:
    """Run an experiment, its customers times `scale`, with a progress bar, and log it to the MLflow store."""
    experiment = scaled(load_experiment(name), scale)
    world = load_world(experiment.world)
    check_strategies(experiment, world, name)
    channels, timings, products = world.config.catalogue.shape
    say(
        f"world {world.config.name}: {channels} channels x {timings} timings x {products} products = "
        f"{world.config.catalogue.n_actions - 1} actions and no contact; "
        f"{provenance(world)}"
    )
    if workers > 1:
        say(f"starting Ray with {workers} workers")
    with executor(workers) as where:
        label = f"training and judging {len(experiment.strategies)} strategies"
        with progress(label, total_customer_days(experiment)) as report:
            result = run_experiment(world, experiment, where, report)
    say("logging to MLflow")
    return Training(result, record(result, store), workers)


def provenance(world: World) -> str:
    """Where the numbers of a world come from, as its calibration says."""
    found = world.config.calibration
    if not found:
        return "response assumed: nobody has calibrated this world"
    return (
        f"response calibrated on {found['data']}, with {len(world.config.ensemble)} further worlds that fit"
    )


def scaled(experiment: Experiment, factor: float) -> Experiment:
    """The experiment with its numbers of customers multiplied."""

    def phase(one: Phase) -> Phase:
        return structs.replace(one, customers=max(2, round(one.customers * factor)))

    return structs.replace(experiment, train=phase(experiment.train), evaluate=phase(experiment.evaluate))


def summary(training: Training, seconds: float) -> dict[str, object]:
    """The JSON line of `nba train` and `nba demo`."""
    result, recorded, _ = training
    return {
        "leaderboard": [one.row for one in result.results],
        "champion": result.champion,
        "apprentices": {one.spec.name: one.apprenticed for one in result.results if one.apprenticed},
        "experiment_id": recorded.experiment_id,
        "registered_version": recorded.registered_version,
        "seconds": round(seconds, 1),
        "scaling_efficiency": round(efficiency(result, training.workers), 3),
    }


def efficiency(result: ExperimentResult, workers: int) -> float:
    """Seconds that tasks took, in parts of what the workers had: 1 if all were busy from beginning to end.

    Tasks that slow each other down, on fewer cores than workers, count as busy all the same.
    """
    busy = sum(one.train_seconds + one.evaluate_seconds for one in result.results)
    return busy / (workers * result.seconds)


def print_result(training: Training) -> None:
    """The leaderboard and the verdict's sentences."""
    print_leaderboard([one.row for one in training.result.results])
    typer.echo("")
    for line in training.result.verdict.splitlines():
        if not line.startswith("|"):
            typer.echo(line.replace("**", ""))
    result, workers = training.result, training.workers
    share = efficiency(result, workers)
    typer.echo(f"\n{result.seconds:.0f} s on {workers} workers, scaling efficiency {share:.0%}.")


def run_training(name: str, workers: int, store: Path, scale: float, as_json: bool) -> None:
    """What `nba train` does."""
    begun = perf_counter()
    training = train_and_record(name, scale, workers, store)
    if as_json:
        typer.echo(msgspec.json.encode(summary(training, perf_counter() - begun)).decode())
        return
    print_result(training)
    print_links(training.recorded, training.result.champion, store)


def print_links(recorded: Recorded, champion: str, store: Path) -> None:
    """Which pages of MLflow to open, and how to start it."""
    typer.echo(
        f"\nLook at it in MLflow. Start it with\n"
        f"  MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false .venv/bin/mlflow server --workers 1 --port 5000 "
        f"--backend-store-uri sqlite:///{store / DATABASE}\n"
        f"and open\n"
        f"  compare:  {recorded.compare_link()}\n"
        f"  report:   {recorded.report_link(champion)}"
    )


def print_comparison(store: Path, experiment: str | None, as_json: bool) -> None:
    """What `nba compare` does."""
    rows = search(store, experiment)
    if as_json:
        typer.echo(msgspec.json.encode(rows).decode())
        return
    for name, found in groupby(rows, key=lambda row: row["experiment"]):
        typer.echo(f"{name}")
        print_leaderboard([msgspec.convert(row, LeaderboardRow) for row in found])
        typer.echo("")
