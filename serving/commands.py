"""The commands `nba serve` and `nba replay`; what they need is imported when they run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

Bundle = Annotated[Path, typer.Option(help="Directory of the policy bundle.")]
Store = Annotated[
    str,
    typer.Option(help="sqlite:///relative/path, sqlite:////absolute/path, or postgresql://host/database."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON line instead of text.")]


def serve(
    bundle: Bundle,
    store: Store,
    host: Annotated[
        str, typer.Option(help="Address to listen on; others than loopback need --keys-file.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65535)
    ] = 8000,
    keys_file: Annotated[
        Path | None, typer.Option(help="Lines of: SHA-256 of a key, scopes with commas.")
    ] = None,
    prices: Annotated[
        Path | None, typer.Option(help="Output of `nba allocate --json`: where prices of budgets begin.")
    ] = None,
    arms: Annotated[
        Path | None, typer.Option(help="TOML of who is in the control, the random and the challenger's arm.")
    ] = None,
    posterior_map: Annotated[
        Path | None, typer.Option(help="File that shows the beliefs in use to other processes of this host.")
    ] = None,
    publish_seconds: Annotated[float, typer.Option(help="At most one new snapshot in this time.")] = 0.5,
    requests_per_second: Annotated[
        float | None, typer.Option(help="How often a key may ask whose line in the keys file has no rate=.")
    ] = None,
    most_waiting: Annotated[
        int, typer.Option(help="Requests for decisions that may wait; further ones are turned away.")
    ] = 1_000,
    as_json: AsJson = False,
) -> None:
    """Serve decisions of a policy bundle over HTTP, and learn from the feedback while serving."""
    _pin_threads()
    from serving.server import run
    from serving.settings import Settings

    settings = Settings(
        bundle=bundle,
        store=store,
        host=host,
        keys_file=keys_file,
        prices=prices,
        arms=arms,
        posterior_map=posterior_map,
        publish_seconds=publish_seconds,
        requests_per_second=requests_per_second,
        most_waiting=most_waiting,
    )
    run(settings, port, as_json=as_json)


def replay(
    bundle: Bundle,
    store: Store,
    head: Annotated[
        str | None, typer.Option(help="POSITION:DIGEST of a receipt, as it was kept elsewhere.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Verify a store's receipts, make every decision again, compare bit for bit; exit 1 on a difference."""
    _pin_threads()
    import msgspec

    from serving.chain import Anchor
    from serving.replay import replay as replay_store

    report = replay_store(bundle, store, None if head is None else Anchor.parse(head))
    if as_json:
        typer.echo(msgspec.json.encode(report).decode())
    else:
        counts = ", ".join(f"{count} {name}" for name, count in sorted(report.counts.items()))
        typer.echo(
            f"{report.decisions - report.erased} decisions made again under {report.snapshots} snapshots, "
            f"{report.mismatches} differ, {report.erased} are erased. The log holds {counts}. "
            f"Posterior at log position {report.last_seq}: sha256 {report.posterior_sha256}. "
            f"{report.receipts.entries} receipts, {report.receipts.faults} faults, "
            f"head {report.receipts.head}."
        )
        for fault in report.receipts.faulty:
            typer.echo(f"receipts: {fault}")
    if report.mismatches or report.receipts.faults:
        raise typer.Exit(1)


def _pin_threads() -> None:
    # One thread of BLAS: the matrices are small, and the bits of a product may depend on the number.
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"


def copy_store(
    store: Store,
    to: Annotated[str, typer.Option(help="URL of a store that does not exist yet.")],
    as_json: AsJson = False,
) -> None:
    """Copy a store, in use or not, to a new one of either kind, receipts and all: as a backup, or to move.

    Commands that read the file of a SQLite store, as `nba evaluate`, read a copy of a PostgreSQL store.
    """
    import msgspec

    from serving.ledger.copying import copy_store as copy

    counts = copy(store, to)
    if as_json:
        typer.echo(msgspec.json.encode(counts).decode())
    else:
        typer.echo(f"Copied {', '.join(f'{count} {name}' for name, count in counts.items() if count)}.")


def erase(
    store: Store,
    customer: Annotated[str, typer.Option(help="Id of the customer to forget.")],
    as_json: AsJson = False,
) -> None:
    """Forget a customer in a store that no service has open: names and attributes go, the sums stay."""
    import msgspec

    from serving.body import redacted
    from serving.ledger import open_ledger
    from serving.ledger.records import to_micros
    from serving.settings import wall_clock

    ledger = open_ledger(store, must_exist=True)
    try:
        found = ledger.erase(customer, to_micros(wall_clock()), "nba erase", redacted).result()
    finally:
        ledger.close()
    if as_json:
        typer.echo(msgspec.json.encode(found).decode())
    else:
        typer.echo(
            f"{found.decisions} decisions and {found.events} events are {found.pseudonym} now; "
            f"{found.objections} closed channels stay closed for who comes back."
        )


def export(
    bundle: Bundle,
    store: Store,
    out: Annotated[Path, typer.Option(help="The file to write.")],
    form: Annotated[str, typer.Option("--format", help="dsjson, parquet or arrow.")] = "parquet",
    as_json: AsJson = False,
) -> None:
    """Write a store's decisions, with all probabilities and what came of them, for other tools to read."""
    _pin_threads()
    import msgspec

    from nba.errors import require
    from serving.export import FORMATS, write

    require(form in FORMATS, "export", "--format", f"must be one of {', '.join(FORMATS)}, got {form!r}")
    count = write(bundle, store, out, form)
    facts = {"decisions": count, "out": str(out), "format": form}
    typer.echo(msgspec.json.encode(facts).decode() if as_json else f"{count} decisions are in {out}")


def retain(
    bundle: Bundle,
    store: Store,
    days: Annotated[float, typer.Option(help="Decisions whose feedback ended longer ago are forgotten.")],
    as_json: AsJson = False,
) -> None:
    """Forget whom old decisions were about, in a store that no service has open; what was learnt stays."""
    import msgspec

    from serving.retention import retain as carry_out
    from serving.settings import wall_clock

    found = carry_out(bundle, store, days, wall_clock())
    if as_json:
        typer.echo(msgspec.json.encode(found).decode())
    else:
        typer.echo(f"{found.decisions} decisions and {found.events} events are of nobody now.")
