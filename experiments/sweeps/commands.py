"""The command `nba sweep`, and `nba compare --sweep`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

AsJson = Annotated[bool, typer.Option("--json", help="End with one JSON line on stdout.")]


def sweep(
    config: Annotated[str, typer.Option(help="TOML file of a sweep, or the name of a shipped one.")],
    out: Annotated[
        Path, typer.Option(help="Folder of the results; what is there already is not run again.")
    ] = Path("build/sweeps"),
    address: Annotated[
        str | None, typer.Option(help="Run on the Ray cluster there: HOST:PORT, or auto for this machine's.")
    ] = None,
    workers: Annotated[
        int, typer.Option(help="Ray workers; 1 runs in this process without Ray.", min=1)
    ] = os.cpu_count() or 1,
    store: Annotated[Path, typer.Option(help="Folder of the MLflow store and its artifacts.")] = Path(
        "mlruns"
    ),
    track: Annotated[bool, typer.Option(help="Log the comparison to MLflow.")] = True,
    as_json: AsJson = False,
) -> None:
    """Run strategies in worlds under seeds, as its TOML file says, and compare them.

    Every cell (strategy, world, block of seeds) is kept under the digest of all that it follows from: a sweep
    that was interrupted goes on where it stopped, and of one that was changed only the changed cells run. A
    cell that fails is told with its traceback while the others run; the exit code is then 1.
    """
    from experiments.store import import_meanwhile
    from experiments.sweeps.compared import compare_sweep
    from experiments.sweeps.plan import load_plan
    from experiments.sweeps.shelved import keep

    plan = load_plan(config)
    if track:
        import_meanwhile()
    swept, seconds = _run(plan, out, workers, address)
    keep(swept, out)
    compared = compare_sweep(swept)
    summary = {
        "id": plan.id,
        "cells": swept.n_cells,
        "run": swept.cells_run,
        "kept": swept.cells_kept,
        "failed": len(swept.failures),
        "stopped": len(swept.stopped),
        "seconds": round(seconds, 1),
        "digest": swept.digest,
    }
    _show(compared, out / f"{plan.id}.html", store if track else None, as_json, summary)
    if swept.failures:
        raise typer.Exit(1)


def _run(plan: Any, out: Path, workers: int, address: str | None) -> tuple[Any, float]:
    """Run it while people watch; also the seconds."""
    from time import perf_counter

    from experiments.executor import executor
    from experiments.sweeps.live import watching
    from experiments.sweeps.run import run_sweep
    from experiments.terminal import say
    from nba.errors import InvalidConfig

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidConfig(str(out), "--out", f"cannot be written: {error.strerror}") from None
    say(
        f"sweep {plan.id}: {len(plan.tables)} strategies x {len(plan.worlds)} worlds x "
        f"{len(plan.sweep.all_seeds)} seeds in {sum(map(len, plan.digests.values()))} cells"
    )
    with executor(workers, address) as where, watching(plan, perf_counter) as heard:
        begun = perf_counter()
        return run_sweep(plan, out, where, heard), perf_counter() - begun


def compare_kept(sweep_id: str, folder: Path, html: Path | None, store: Path, as_json: bool) -> None:
    """What `nba compare --sweep` does."""
    from experiments.sweeps.compared import compare_sweep
    from experiments.sweeps.shelved import kept_sweep

    swept = kept_sweep(folder, sweep_id)
    page = folder / f"{swept.plan.id}.html" if html is None else html
    _show(compare_sweep(swept), page, store, as_json, {"id": swept.plan.id, "digest": swept.digest})


def _show(compared: Any, page: Path, store: Path | None, as_json: bool, summary: dict[str, Any]) -> None:
    """Print it, write the page, and log it if there is a store."""
    import msgspec

    from experiments.store import DATABASE
    from experiments.sweeps.told import lines

    recorded, seconds = record_and_draw(compared, page, store)
    summary = summary | {"tracking_seconds": round(seconds, 2)}
    if as_json:
        links = {} if recorded is None else {"runs_added": recorded.added, "compare": recorded.compare_link()}
        told = {**summary, "lines": compared.lines, "page": str(page), **links}
        typer.echo(msgspec.json.encode(told).decode())
        return
    typer.echo("\n".join(lines(compared)))
    typer.echo(f"\npage:     {page}")
    if recorded is not None and store is not None:
        typer.echo(
            f"in MLflow, {recorded.added} runs were added; `mlflow server --backend-store-uri "
            f"sqlite:///{store / DATABASE}` shows\n"
            f"compare:  {recorded.compare_link()}\n"
            f"report:   {recorded.report_link()}"
        )


def record_and_draw(compared: Any, page: Path, store: Path | None) -> tuple[Any, float]:
    """Write the page, and log everything if there is a store: where it is, and seconds of logging."""
    from time import perf_counter

    from experiments.sweeps.page import page_html
    from experiments.sweeps.record import record_sweep
    from experiments.terminal import say

    page.parent.mkdir(parents=True, exist_ok=True)
    html = page_html(compared)
    page.write_text(html, encoding="utf-8")
    if store is None:
        return None, 0.0
    say("logging to MLflow")
    begun = perf_counter()
    recorded = record_sweep(compared, html, store)
    return recorded, perf_counter() - begun
