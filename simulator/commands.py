"""The command `nba calibrate`; what it needs is imported when it runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

_LIKELY_FIT = 170  # simulations that a fit usually takes: for the progress bar only


def calibrate(
    data: Annotated[Path, typer.Option(help="Campaign table: UCI's bank calls, or one with a column map.")],
    out: Annotated[Path, typer.Option(help="World file to write (.toml).")],
    world: Annotated[str, typer.Option(help="World to fit: a shipped one, or a TOML file.")] = "retail-bank",
    columns: Annotated[Path | None, typer.Option(help="Column map (TOML); UCI's without it.")] = None,
    members: Annotated[int, typer.Option(help="Parameter vectors of the ensemble.", min=0)] = 24,
    seed: Annotated[int, typer.Option(min=0)] = 1,
    evaluations: Annotated[
        int | None, typer.Option(help="At most so many simulations for the fit.", min=30)
    ] = None,
    habituation: Annotated[Path | None, typer.Option(help="HeartSteps V1 CSV, to derive it again.")] = None,
    delays: Annotated[Path | None, typer.Option(help="Folder of Complete Journey CSVs, likewise.")] = None,
    channels: Annotated[Path | None, typer.Option(help="Gerber-Green 1998 CSV, likewise.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="End with one JSON line on stdout.")] = False,
) -> None:
    """Fit a world to a campaign table and write it with an ensemble of vectors that fit as well."""
    from simulator.calibrate.command import Order, carry_out
    from simulator.calibrate.result import as_json as encoded
    from simulator.calibrate.result import lines

    order = Order(data, out, world, columns, members, seed, evaluations, habituation, delays, channels)
    with _progress((evaluations or _LIKELY_FIT) + members) as told:
        found, lent = carry_out(order, told)
    for line in [] if as_json else [*lines(found), f"written to {out}"]:
        typer.echo(line)
    if as_json:
        typer.echo(json.dumps(encoded(found, lent, str(out))))
    if found.verdict:
        typer.echo(f"not to be trusted: {found.verdict}", err=True)
        raise typer.Exit(1)


@contextmanager
def _progress(likely: int) -> Iterator[Callable[[str], None]]:
    """A bar on a terminal, a line now and then elsewhere; both on stderr, one call per simulation."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    done = [0]
    if not console.is_terminal:

        def line(what: str) -> None:
            done[0] += 1
            if done[0] % 25 == 0:
                typer.echo(f"{what}: {done[0]} simulations", err=True)

        yield line
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("fit", total=likely)

        def step(what: str) -> None:
            done[0] += 1
            bar.update(task, advance=1, description=what, total=max(likely, done[0]))

        yield step
