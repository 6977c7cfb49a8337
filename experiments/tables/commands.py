"""The commands `nba learn` and `nba bandit-test`; what they need is imported when they run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON line instead of text.")]
Policy = Annotated[
    str | None,
    typer.Option(help="Shipped policy (`nba bandit-test --list` names them), or path of a TOML file."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="A field of the policy as KEY=VALUE, such as policy.alpha=0.1; repeatable."),
]
Features = Annotated[
    list[str] | None, typer.Option(help="Feature columns, A,B,C or repeated; all others without it.")
]
LeaveOut = Annotated[list[str] | None, typer.Option(help="Columns that are no features; A,B,C or repeated.")]
Category = Annotated[
    list[str] | None, typer.Option(help="Columns that are names although they look like numbers.")
]
Force = Annotated[list[str] | None, typer.Option(help="Features although they tell the outcome exactly.")]
Levels = Annotated[int, typer.Option(help="Levels of a category; rarer ones are pooled.", min=2)]
Separator = Annotated[str | None, typer.Option(help="Separator of a CSV; found out without it.")]
Encoding = Annotated[str, typer.Option(help="Encoding of a CSV.")]
Missing = Annotated[
    list[str] | None, typer.Option(help="Texts that mean a missing value, instead of ?, NA, null and such.")
]


def learn(
    log: Annotated[Path, typer.Option(help="Logged decisions: CSV or Parquet, plain or gzip.")],
    reward: Annotated[str, typer.Option(help="Column of rewards.")],
    out: Annotated[Path, typer.Option(help="Folder for the policy bundle.")],
    action: Annotated[str | None, typer.Option(help="Column of actions that are plain labels.")] = None,
    channel: Annotated[str | None, typer.Option(help="Column of channels, for actions in parts.")] = None,
    timing: Annotated[str | None, typer.Option(help="Column of timings.")] = None,
    product: Annotated[str | None, typer.Option(help="Column of products.")] = None,
    no_contact: Annotated[str | None, typer.Option(help="Label that means nobody was contacted.")] = None,
    propensity: Annotated[
        str | None, typer.Option(help="Column of the logged actions' probabilities, or one for all rows.")
    ] = None,
    policy: Policy = None,
    settings: Settings = None,
    continue_: Annotated[
        Path | None, typer.Option("--continue", help="Bundle of an earlier `nba learn` to go on with.")
    ] = None,
    strength: Annotated[float, typer.Option(help="Rows that a logged row counts as, in (0, 1].")] = 1.0,
    weights: Annotated[
        Literal["none", "ipw"], typer.Option(help="Weigh rows by inverse propensity or not at all.")
    ] = "none",
    most_weight: Annotated[float, typer.Option(help="Largest inverse propensity weight.")] = 20.0,
    drop_incomplete: Annotated[
        bool, typer.Option("--drop-incomplete", help="Pass over rows without action, reward or propensity.")
    ] = False,
    features: Features = None,
    leave_out: LeaveOut = None,
    category: Category = None,
    force_feature: Force = None,
    levels: Levels = 30,
    separator: Separator = None,
    encoding: Encoding = "utf-8",
    missing: Missing = None,
    seed: Annotated[int, typer.Option(help="Keys the bundle's draws and choices.", min=0)] = 0,
    as_json: AsJson = False,
) -> None:
    """Learn a policy from a table of logged decisions and write it as a bundle that `nba serve` reads."""
    from experiments.tables.columns import Wish
    from experiments.tables.learn import Order, carry_out, prepare
    from experiments.tables.learnt import learnt_json, learnt_lines
    from experiments.tables.outcomes import Names
    from experiments.tables.presets import load_preset
    from experiments.tables.read import MISSING, Format
    from experiments.terminal import progress

    order = Order(
        log=log,
        names=Names(reward, action, channel, timing, product, propensity, no_contact),
        out=out,
        preset=load_preset(policy, settings or ()) if policy else None,
        continued=continue_,
        strength=strength,
        weighing=weights,
        most_weight=most_weight,
        drop_incomplete=drop_incomplete,
        seed=seed,
        wish=Wish(_tuple(features), _tuple(leave_out), _tuple(category), _tuple(force_feature), levels),
        form=Format(separator, encoding, _tuple(missing) or MISSING),
    )
    plan = prepare(order)
    with progress("learn", plan.table.n_rows) as report:
        learnt = carry_out(plan, report)
    for line in [json.dumps(learnt_json(learnt))] if as_json else learnt_lines(learnt):
        typer.echo(line)


def bandit_test(
    data: Annotated[Path | None, typer.Option(help="Classified rows: CSV or Parquet, plain or gzip.")] = None,
    label: Annotated[str | None, typer.Option(help="Column of classes; each is an action.")] = None,
    policy: Policy = "linucb",
    settings: Settings = None,
    seeds: Annotated[int, typer.Option(help="How many times to play, each in another order.", min=1)] = 3,
    first_seed: Annotated[int, typer.Option(help="Seeds count from here.", min=0)] = 0,
    epochs: Annotated[int, typer.Option(help="How often each row comes up.", min=1)] = 1,
    rounds: Annotated[int | None, typer.Option(help="At most so many rounds.", min=1)] = None,
    batch: Annotated[
        int | None,
        typer.Option(help="Learn and publish after so many rounds; 1 for online models and 50 else.", min=1),
    ] = None,
    workers: Annotated[int, typer.Option(help="Ray workers; 1 runs in this process without Ray.", min=1)] = 1,
    features: Features = None,
    leave_out: LeaveOut = None,
    category: Category = None,
    force_feature: Force = None,
    levels: Levels = 30,
    separator: Separator = None,
    encoding: Encoding = "utf-8",
    missing: Missing = None,
    list_: Annotated[bool, typer.Option("--list", help="List the shipped policies and stop.")] = False,
    as_json: AsJson = False,
) -> None:
    """Play a classification table as a bandit: the right label pays 1."""
    from experiments.tables.columns import Wish
    from experiments.tables.play import Order, carry_out, prepare
    from experiments.tables.played import played_json, played_lines
    from experiments.tables.presets import load_preset, presets
    from experiments.tables.read import MISSING, Format
    from experiments.tables.words import preset_lines
    from experiments.terminal import progress

    if list_:
        shipped = presets()
        for line in [msgspec.json.encode(shipped).decode()] if as_json else preset_lines(shipped):
            typer.echo(line)
        return
    if data is None or label is None:
        raise typer.BadParameter("name a table and its column of classes: --data TABLE --label COL")
    order = Order(
        data=data,
        label=label,
        preset=load_preset(policy or "linucb", settings or ()),
        seeds=seeds,
        first_seed=first_seed,
        epochs=epochs,
        rounds=rounds,
        batch=batch,
        workers=workers,
        wish=Wish(_tuple(features), _tuple(leave_out), _tuple(category), _tuple(force_feature), levels),
        form=Format(separator, encoding, _tuple(missing) or MISSING),
    )
    setup = prepare(order)
    with progress("play", setup.game.rounds * seeds) as report:
        played = carry_out(setup, report)
    for line in [json.dumps(played_json(played))] if as_json else played_lines(played):
        typer.echo(line)


def _tuple(given: list[str] | None) -> tuple[str, ...]:
    return tuple(given or ())
