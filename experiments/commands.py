"""The commands `nba demo`, `simulate`, `train` and their like; what they need is imported when they run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

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
    strategy: Annotated[
        str | None, typer.Option(help="Train this strategy of the experiment alone, and write its bundle.")
    ] = None,
    log: Annotated[
        Path | None, typer.Option(help="Train on this table of logged decisions instead: CSV or Parquet.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Of one policy: folder for the bundle.")] = Path("build/trained"),
    learning: Annotated[
        Literal["daily", "online"],
        typer.Option(help="Of one policy: a batch at a time, in 256 logical blocks, or round by round."),
    ] = "daily",
    address: Annotated[
        str | None, typer.Option(help="Of one policy: HOST:PORT of a Ray cluster, or auto.")
    ] = None,
    world: Annotated[str | None, typer.Option(help="With --strategy: another world.")] = None,
    customers: Annotated[int | None, typer.Option(help="With --strategy: how many.", min=2)] = None,
    days: Annotated[int | None, typer.Option(help="With --strategy: for how long.", min=1)] = None,
    every_days: Annotated[int, typer.Option(help="With --strategy: days of a batch.", min=1)] = 1,
    seed: Annotated[int | None, typer.Option(help="Of one policy: keys what is random.", min=0)] = None,
    policy: Annotated[str, typer.Option(help="With --log: as for `nba learn`.")] = "linucb",
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="With --log: KEY=VALUE, as for `nba learn`; repeatable.")
    ] = None,
    reward: Annotated[str, typer.Option(help="With --log: column of rewards.")] = "reward",
    action: Annotated[str | None, typer.Option(help="With --log: column of actions.")] = None,
    channel: Annotated[str | None, typer.Option(help="With --log: column of channels.")] = None,
    timing: Annotated[str | None, typer.Option(help="With --log: column of timings.")] = None,
    product: Annotated[str | None, typer.Option(help="With --log: column of products.")] = None,
    no_contact: Annotated[str | None, typer.Option(help="With --log: label of no contact.")] = None,
    propensity: Annotated[str | None, typer.Option(help="With --log: column; it is no feature.")] = None,
    at: Annotated[
        str | None, typer.Option(help="With --log: column of dates; without it all rows are one batch.")
    ] = None,
    leave_out: Annotated[
        list[str] | None, typer.Option(help="With --log: columns that are no features.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train and compare the strategies of an experiment, log them to MLflow and register the best.

    With --strategy one of them is trained alone on the simulator, with --log a policy on a table, and the
    bundle is written to --out: the same bytes on 1 worker, on 64 and on a cluster. A training that was
    interrupted goes on where it stood. Examples:

    \b
      nba train --experiment demo
      nba train --strategy thompson --customers 20000 --workers 8 --out build/thompson
      nba train --log log.parquet --at date --action offer --reward bought --out build/offers
    """  # noqa: D301 - \b keeps an example as it is
    if strategy is None and log is None:
        from experiments.train import run_training

        run_training(experiment, workers, store, scale, as_json)
        return
    from experiments.tables.outcomes import Names
    from experiments.training import run
    from nba.errors import require

    require(log is None or strategy is None, "nba train", "--strategy, --log", "train on one of them")
    place, online = run.Place(out, workers, address), learning == "online"
    run.resumed_note(out)
    if log is not None:
        names = Names(reward, action, channel, timing, product, propensity, no_contact)
        columns, changes = tuple(leave_out or ()), tuple(settings or ())
        table = run.logged_training(log, names, policy, out, at, columns, changes, seed or 0, online)
        run.tell(run.train_logged(table, place), out, as_json)
        return
    assert strategy is not None
    sizes = run.Sizes(world, customers, days, seed, every_days)
    asked = run.simulated_training(experiment, strategy, sizes, online, scale)
    run.tell(run.train_simulated(asked, place), out, as_json)


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
