"""List, fetch, promote, explain and govern policies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from experiments import registry
from experiments.explain_command import explain
from experiments.govern_command import govern
from experiments.registry import DEFAULT, Change, PolicyVersion

app = typer.Typer(help=__doc__, no_args_is_help=True, rich_markup_mode=None)
app.command()(explain)
app.command()(govern)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON line.")]
StoreDir = Annotated[Path, typer.Option(help="Folder of the MLflow store and its artifacts.")]

_HEADINGS = (
    "version",
    "alias",
    "strategy",
    "experiment",
    "gate",
    "promotion",
    "incremental value (95 %)",
    "bundle",
    "made (UTC)",
)


@app.command("list")
def list_policies(store: StoreDir = Path("mlruns"), as_json: AsJson = False) -> None:
    """Registered policies, the newest first."""
    found = registry.policies(store)
    if as_json:
        _print_json(found)
        return
    if not found:
        typer.echo("No policy is registered yet: `nba train` registers the best one of an experiment.")
        return
    _print_table([_HEADINGS, *(_cells(one) for one in found)])


@app.command()
def pull(
    reference: Annotated[
        str, typer.Argument(help="NAME@ALIAS or NAME/VERSION, also with models:/ before it.")
    ] = DEFAULT,
    out: Annotated[
        Path, typer.Option(help="Folder to write the bundle to; a bundle there is replaced.")
    ] = Path("bundle"),
    store: StoreDir = Path("mlruns"),
    as_json: AsJson = False,
) -> None:
    """Fetch a registered bundle, as `nba serve --bundle` reads it."""
    pulled = registry.pull(store, reference, out)
    if as_json:
        _print_json({"path": str(pulled.path), **msgspec.to_builtins(pulled.policy)})
        return
    policy = pulled.policy
    typer.echo(f"{policy.reference} ({policy.strategy}) is in {out}; serve it: nba serve --bundle {out}")


@app.command()
def promote(
    version: Annotated[int, typer.Option(help="Number of the version.", min=1)],
    alias: Annotated[str, typer.Option(help="Alias to point at it.")] = "champion",
    store: StoreDir = Path("mlruns"),
    as_json: AsJson = False,
) -> None:
    """Point an alias at a version by hand, which proves nothing and is noted so; `nba promote` proves."""
    _print_change(registry.promote(store, version, alias), as_json)


@app.command()
def rollback(store: StoreDir = Path("mlruns"), as_json: AsJson = False) -> None:
    """Go back to the champion before; the present one becomes the rollback."""
    _print_change(registry.rollback(store), as_json)


def _print_json(value: object) -> None:
    typer.echo(msgspec.json.encode(value).decode())


def _print_change(change: Change, as_json: bool) -> None:
    if as_json:
        _print_json(change)
        return
    before = "" if change.previous is None else f", before: version {change.previous}"
    typer.echo(f"{change.alias} is version {change.version}{before}")


def _cells(one: PolicyVersion) -> tuple[str, ...]:
    numbers = (one.incremental_value, one.incremental_ci_low, one.incremental_ci_high)
    value = ""
    if None not in numbers:
        value = "{:+.2f} ({:+.2f} to {:+.2f})".format(*numbers)
    made = one.created.strftime("%Y-%m-%d %H:%M")
    return (
        str(one.version),
        " ".join(one.aliases),
        one.strategy,
        one.experiment,
        one.gate,
        one.promotion,
        value,
        one.digest[:12],
        made,
    )


def _print_table(rows: list[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
