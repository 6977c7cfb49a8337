"""The commands `nba demo`, `simulate`, `train` and their like; what they need is imported when they run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="End with one JSON line on stdout.")]
Workers = Annotated[int, typer.Option(help="Ray workers; 1 runs in this process without Ray.", min=1)]
StoreDir = Annotated[Path, typer.Option(help="Folder of the MLflow store and its artifacts.")]
ExperimentName = Annotated[str, typer.Option(help="Shipped experiment, or path of a TOML file.")]


def demo(
    workers: Workers = 2,
    store: StoreDir = Path("mlruns"),
    out: Annotated[Path, typer.Option(help="Folder for the served bundle and ledger; replaced.")] = Path(
        "build/demo"
    ),
    scale: Annotated[float, typer.Option(help="Factor on the numbers of customers.", min=0.01)] = 1.0,
    as_json: AsJson = False,
) -> None:
    """Simulate, train, log to MLflow, print the leaderboard, serve a decision and learn from it."""
    from experiments.demo import run_demo

    run_demo(workers, store, out, scale, as_json)


def simulate(
    world: Annotated[str, typer.Option(help="Shipped world, or path of a TOML file.")] = "retail-bank",
    strategy: Annotated[str, typer.Option(help="A strategy of the experiment.")] = "thompson",
    customers: Annotated[int, typer.Option(min=1)] = 10_000,
    days: Annotated[int, typer.Option(min=1)] = 30,
    seed: Annotated[int, typer.Option(min=0)] = 1,
    workers: Workers = 1,
    out: Annotated[Path, typer.Option(help="Folder for the Parquet files.")] = Path("build/simulation"),
    experiment: ExperimentName = "demo",
    publish_every_days: Annotated[
        int, typer.Option(help="Learn in this rhythm; 0 keeps the prior, and memory bounded.", min=0)
    ] = 4,
    oracle: Annotated[
        bool, typer.Option(help="Also add up true expected values; takes about twice as long.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Simulate one strategy on customers and write its decisions and outcomes to Parquet.

    Of an outcome, `value` is the margin of its product and `amount` what this conversion brought, both in
    account currency: the same where the world's amounts do not vary.
    """
    from experiments.simulate import run_simulation
    from experiments.spec import Phase

    phase = Phase(customers=customers, days=days, seed=seed, publish_every_days=publish_every_days)
    run_simulation(world, experiment, strategy, phase, workers, out, as_json, oracle)


def train(
    experiment: ExperimentName = "demo",
    workers: Annotated[
        int, typer.Option(help="Ray workers; 1 runs in this process without Ray.", min=1)
    ] = os.cpu_count() or 1,
    store: StoreDir = Path("mlruns"),
    scale: Annotated[float, typer.Option(help="Factor on the numbers of customers.", min=0.01)] = 1.0,
    as_json: AsJson = False,
) -> None:
    """Train and compare the strategies of an experiment, log them to MLflow and register the best."""
    from experiments.train import run_training

    run_training(experiment, workers, store, scale, as_json)


def half_lives(
    strategy: Annotated[str, typer.Option(help="A strategy of the experiment.")] = "thompson",
    experiment: ExperimentName = "demo",
    customers: Annotated[int, typer.Option(min=1)] = 2_000,
    days: Annotated[int, typer.Option(help="Days to decide on and to foresee.", min=2)] = 60,
    seed: Annotated[int, typer.Option(min=0)] = 1,
    half_life: Annotated[
        list[str] | None,
        typer.Option(
            help="Days, `never`, or `blocks` for a pace of its own per kind of parameter; repeatable, at "
            "least two. Without it never, 365, 120 and 30 days, and blocks where the model has them."
        ),
    ] = None,
    workers: Workers = 1,
    as_json: AsJson = False,
) -> None:
    """Find the half-life that foresees the next day best, and print the line for the experiment."""
    from experiments.half_lives_command import Order, run_half_lives
    from experiments.spec import Phase

    order = Order(experiment, strategy, Phase(customers=customers, days=days, seed=seed), half_life or ())
    run_half_lives(order, workers, as_json)


def compare(
    store: StoreDir = Path("mlruns"),
    experiment: Annotated[
        str | None, typer.Option(help="Name of a logged experiment; all without it.")
    ] = None,
    sweep: Annotated[
        str | None, typer.Option(help="A finished sweep by its id, or by its name: compared in full.")
    ] = None,
    sweeps: Annotated[Path, typer.Option(help="With --sweep: the folder that `nba sweep` wrote.")] = Path(
        "build/sweeps"
    ),
    html: Annotated[Path | None, typer.Option(help="With --sweep: where to write the page.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print the leaderboards that are logged in MLflow, or compare the strategies of a sweep side by side.

    Of a sweep: means, intervals, paired differences to the baseline with common random numbers, the Pareto
    front of value against opt-outs, learning curves, action mix, fatigue, calibration, fairness by segment
    and cost; printed, as one HTML page, and logged to MLflow if it is not there yet.
    """
    if sweep is not None:
        from experiments.sweeps.commands import compare_kept

        compare_kept(sweep, sweeps, html, store, as_json)
        return
    from experiments.train import print_comparison

    print_comparison(store, experiment, as_json)
