"""The commands `nba tune-fatigue`, `nba frequency-curve` and `nba fit-q`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Experiment = Annotated[str, typer.Option(help="Shipped experiment, or path of a TOML file.")]
Strategy = Annotated[str, typer.Option(help="A strategy of the experiment.")]
WorldName = Annotated[
    str | None, typer.Option(help="Shipped world, or path of a TOML file; without it the experiment's.")
]
Customers = Annotated[int, typer.Option(help="Customers of every run.", min=2)]
Days = Annotated[int, typer.Option(help="Days of every run on which is decided.", min=1)]
SettleDays = Annotated[int, typer.Option(help="Days after the last decision that still count.", min=0)]
TrainDays = Annotated[int, typer.Option(help="Days on which the strategy learns before.", min=1)]
Seed = Annotated[int, typer.Option(help="The first; every further run takes the next.", min=0)]
Cells = Annotated[
    Path | None, typer.Option(help="Folder that keeps every run, from which a stopped search goes on.")
]
Workers = Annotated[int, typer.Option(help="Ray workers; 1 runs in this process without Ray.", min=1)]
Address = Annotated[str | None, typer.Option(help="Ray cluster to run on, as in RAY_ADDRESS.")]
AsJson = Annotated[bool, typer.Option("--json", help="End with one JSON line on stdout.")]


def tune_fatigue(
    out: Annotated[Path, typer.Option(help="TOML file to write the price to.")],
    world: WorldName = None,
    experiment: Experiment = "demo",
    strategy: Strategy = "thompson",
    customers: Customers = 2_000,
    days: Days = 84,
    settle_days: SettleDays = 28,
    train_days: TrainDays = 84,
    method: Annotated[
        Literal["search", "lsvi"],
        typer.Option(help="Search in the simulator, or learn by value iteration from what is believed."),
    ] = "search",
    rounds: Annotated[int, typer.Option(help="Sweeps over all coordinates, of a search.", min=1)] = 2,
    seeds: Annotated[int, typer.Option(help="Seeds to search on.", min=1)] = 4,
    fresh_seeds: Annotated[int, typer.Option(help="Further seeds to judge on.", min=1)] = 4,
    by_channel: Annotated[
        bool, typer.Option("--by-channel", help="Tune a level and a slope for every channel.")
    ] = False,
    seed: Seed = 1,
    cells: Cells = None,
    workers: Workers = 1,
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Find the long-run price of a contact per segment, and judge it in the simulator on fresh seeds."""
    from experiments.longrun.prepared import Order
    from experiments.longrun.tune import Search
    from experiments.longrun.tuned_toml import run_tuning
    from experiments.spec import Phase
    from experiments.world_report.written import check_place

    check_place(out, ".toml")
    train = Phase(customers=customers, days=train_days, seed=seed, publish_every_days=4)
    judge = Phase(customers=customers, days=days, settle_days=settle_days, seed=0)
    order = Order(experiment, strategy, world, train, judge, cells, workers, address)
    first, last = seed + 1, seed + 1 + seeds
    search = Search(
        rounds=rounds,
        seeds=tuple(range(first, last)),
        fresh_seeds=tuple(range(last, last + fresh_seeds)),
        by_channel=by_channel,
    )
    run_tuning(order, search, out, as_json, method)


def frequency_curve(
    world: WorldName = None,
    experiment: Experiment = "demo",
    strategy: Strategy = "thompson",
    customers: Customers = 2_000,
    days: Days = 84,
    settle_days: SettleDays = 28,
    train_days: TrainDays = 84,
    seeds: Annotated[int, typer.Option(help="Seeds of every point; half choose the best point.", min=2)] = 4,
    seed: Seed = 1,
    out: Annotated[Path | None, typer.Option(help="SVG file to draw the curves to.")] = None,
    cells: Cells = None,
    workers: Workers = 1,
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Show value, opt-outs and reach against contacts per week, and who is contacted too often."""
    from experiments.longrun.curve_shown import run_curve
    from experiments.longrun.prepared import Order
    from experiments.spec import Phase
    from experiments.world_report.written import check_place

    if out is not None:
        check_place(out, ".svg")
    train = Phase(customers=customers, days=train_days, seed=seed, publish_every_days=4)
    judge = Phase(customers=customers, days=days, settle_days=settle_days, seed=0)
    order = Order(experiment, strategy, world, train, judge, cells, workers, address)
    run_curve(order, tuple(range(seed + 1, seed + 1 + seeds)), out, as_json)


def fit_q(
    world: WorldName = None,
    experiment: Experiment = "long-run",
    strategy: Annotated[str, typer.Option(help="A strategy of it with the model fitted_q.")] = "fitted-q",
    behaviour: Annotated[str, typer.Option(help="The strategy of it that makes the log.")] = "explorer",
    channels: Annotated[str | None, typer.Option(help="Channels to keep, with commas; else all.")] = None,
    timings: Annotated[str | None, typer.Option(help="Timings to keep, with commas; else all.")] = None,
    products: Annotated[str | None, typer.Option(help="Products to keep, with commas; else all.")] = None,
    follow_ups: Annotated[
        bool, typer.Option("--follow-ups", help="Let models see unanswered contacts and open interest.")
    ] = False,
    customers: Annotated[int, typer.Option(help="Customers of the log.", min=2)] = 2_000,
    judged: Annotated[int, typer.Option(help="Further customers to judge on.", min=2)] = 2_000,
    days: Days = 84,
    settle_days: SettleDays = 28,
    corrected: Annotated[int, typer.Option(help="Decisions that sequential DR corrects.", min=0)] = 1,
    seed: Annotated[int, typer.Option(help="Of the log; the judging lives take the next.", min=0)] = 1,
    out: Annotated[Path | None, typer.Option(help="Folder to write the policy bundle to.")] = None,
    as_json: AsJson = False,
) -> None:
    """Fit Q to the journeys of a strategy's customers, and judge it by the log and by living."""
    from experiments.longrun.challenger import FitOrder, run_fit
    from experiments.longrun.journeys import Span

    log = Span(customers=customers, days=days, settle_days=settle_days, seed=seed)
    seen = (channels, timings, products, follow_ups)
    run_fit(FitOrder(experiment, strategy, behaviour, world, *seen, log, judged, corrected), out, as_json)
