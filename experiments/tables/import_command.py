"""Make tables of the decision logs of other systems: `nba import dsjson`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

app = typer.Typer(no_args_is_help=True, help="Make tables of other systems' decision logs.")


@app.callback()
def main() -> None:
    """Make tables of other systems' decision logs."""


@app.command()
def dsjson(
    log: Annotated[Path, typer.Option(help="Lines of DSJSON, as Vowpal Wabbit and Personalizer log them.")],
    out: Annotated[Path, typer.Option(help="The table to write: .csv, or Parquet.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON line instead of text.")] = False,
) -> None:
    """Make a table of a DSJSON log, for `nba evaluate` and `nba learn`."""
    from experiments.tables.dsjson import write_table

    n_rows = write_table(log, out)
    facts = {"rows": n_rows, "out": str(out)}
    typer.echo(msgspec.json.encode(facts).decode() if as_json else f"{n_rows} decisions are in {out}")
