"""The command that reads off a log how long conversions take."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from experiments.delays import Columns, Curve


def delays(
    log: Annotated[
        Path, typer.Option(help="CSV or Parquet with a row per contact, or the folder of `nba simulate`.")
    ],
    product: Annotated[str, typer.Option(help="Column of the product.")] = "product",
    contact: Annotated[
        str, typer.Option(help="Column of the time of the contact: days, or a date.")
    ] = "contact",
    conversion: Annotated[
        str, typer.Option(help="Column of the time of the conversion; empty without one.")
    ] = "conversion",
    until: Annotated[
        str | None,
        typer.Option(help="Column of the time to which a row was watched; without it the last time."),
    ] = None,
    silent: Annotated[
        str | None,
        typer.Option(help="Column that is 1 for people left in silence, who tell the organic rate."),
    ] = None,
    window: Annotated[
        float, typer.Option(help="Attribution window in days; a simulated world has its own.", min=4)
    ] = 28.0,
    least: Annotated[
        int, typer.Option(help="Conversions that a product must have for a curve of its own.", min=1)
    ] = 100,
    out: Annotated[Path | None, typer.Option(help="SVG file to draw the curves to.")] = None,
    seed: Annotated[int, typer.Option(help="Of the intervals' draws.", min=0)] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="End with one JSON line on stdout.")] = False,
) -> None:
    """Estimate how delayed conversions fill the attribution window, and print the TOML that says so."""
    from experiments.delays import curves, read_contacts, simulated_contacts, table_of
    from experiments.world_report.written import check_place, write_page

    if out is not None:
        check_place(out, ".svg")
    columns = Columns(product, contact, conversion, until, silent)
    contacts = simulated_contacts(log) if log.is_dir() else read_contacts(log, columns, window)
    found = curves(contacts, least, seed)
    if out is not None:
        write_page(out, drawing(found))
    if as_json:
        typer.echo(msgspec.json.encode({"curves": found}).decode())
        return
    for line in table_of(found):
        typer.echo(line)
    typer.echo("\nIn the catalogue, a line for each product:\n")
    for curve in found:
        typer.echo(curve.toml())


def drawing(found: Sequence[Curve]) -> str:
    """The curves with their intervals, as an SVG file."""
    from experiments.report_svg import legend, svg

    def draw(axes: Any) -> None:
        for curve in found:
            days = [0.0, *curve.days]
            (line,) = axes.plot(days, [0.0, *curve.shares], label=curve.product)
            axes.fill_between(
                days, [0.0, *curve.lowest], [0.0, *curve.highest], color=line.get_color(), alpha=0.15
            )
        axes.set_xlabel("days since the contact")
        axes.set_ylabel("share of caused conversions")
        legend(axes, len(found))

    return svg("delays", draw).replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
