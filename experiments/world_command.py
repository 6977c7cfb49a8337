"""Look into a world: report whether to believe it, and write the customer-weeks of a simulated log."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

app = typer.Typer(help=__doc__, no_args_is_help=True, rich_markup_mode=None)

WorldName = Annotated[str, typer.Option(help="Shipped world, or path of a TOML file.")]
Seed = Annotated[int, typer.Option(min=0)]
AsJson = Annotated[bool, typer.Option("--json", help="End with one JSON line on stdout.")]


@app.command()
def report(
    world: WorldName = "retail-bank",
    out: Annotated[Path, typer.Option(help="HTML file to write.")] = Path("build/world.html"),
    members: Annotated[
        int, typer.Option(help="Members of the ensemble, and draws of the assumptions, to rank in.", min=1)
    ] = 6,
    customers: Annotated[int, typer.Option(help="Customers of every run.", min=400)] = 2_000,
    days: Annotated[int, typer.Option(help="Days of every run; whole weeks are compared.", min=7)] = 28,
    seed: Seed = 1,
    data: Annotated[
        Path | None, typer.Option(help="Customer-weeks of a real log (Parquet), as `nba world weeks` writes.")
    ] = None,
    campaign: Annotated[
        Path | None, typer.Option(help="Table that the world was calibrated to; UCI's calls without it.")
    ] = None,
    columns: Annotated[Path | None, typer.Option(help="Column map of that table.")] = None,
    workers: Annotated[int, typer.Option(help="Ray workers; 1 runs in this process without Ray.", min=1)] = 1,
    as_json: AsJson = False,
) -> None:
    """Hold a world against data, itself and its own rules, and write what was found as a page."""
    from experiments.world_report.page import page_html
    from experiments.world_report.result import as_json as encoded
    from experiments.world_report.run import Order, make_report
    from experiments.world_report.written import check_place, write_page

    check_place(out)
    order = Order(world, members, customers, days, seed, data, campaign, columns, workers)
    found = make_report(order)
    write_page(out, page_html(found))
    if as_json:
        typer.echo(encoded(found).decode())
        return
    for one in found.sections:
        word = {True: "holds", False: "FAILS", None: "open"}[one.passes]
        typer.echo(f"{word:<6} {one.name}: {one.sentence}")
    typer.echo(f"wrote {out}")


@app.command()
def weeks(
    world: WorldName = "retail-bank",
    out: Annotated[Path, typer.Option(help="Parquet file to write.")] = Path("build/customer_weeks.parquet"),
    customers: Annotated[int, typer.Option(min=1)] = 2_000,
    days: Annotated[int, typer.Option(help="Whole weeks of these are written.", min=7)] = 28,
    seed: Seed = 1,
    as_json: AsJson = False,
) -> None:
    """Write the customer-weeks of a simulated log: the form in which `report --data` takes a real one."""
    from experiments.executor import silent
    from experiments.spec import Phase
    from experiments.world_report.samples import SampleWork, sample
    from experiments.world_report.weeks import write_weeks
    from experiments.world_report.written import check_place
    from simulator.world import load_world

    check_place(out, ".parquet")
    phase = Phase(customers=customers, days=days, seed=seed)
    found = sample(SampleWork(load_world(world), phase, 0), silent)
    write_weeks(found, out)
    if as_json:
        typer.echo(msgspec.json.encode({"path": str(out), "customer_weeks": found.customer.size}).decode())
        return
    typer.echo(f"wrote {found.customer.size:,} customer-weeks to {out}")
