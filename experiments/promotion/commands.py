"""The command `nba promote`; what it needs is imported when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON line instead of text.")]
StoreDir = Annotated[Path, typer.Option(help="Folder of the MLflow store and its artifacts.")]
Version = "a number, an alias, or NAME@ALIAS or NAME/VERSION"


def promote(
    candidate: Annotated[str, typer.Option(help=f"The version to promote: {Version}.")],
    log: Annotated[
        Path | None,
        typer.Option(
            help="Judge by a log: a ledger, a folder of `nba simulate`, a table as for `nba evaluate`."
        ),
    ] = None,
    world: Annotated[
        str | None, typer.Option(help="Judge by a world: a shipped one, or the path of a TOML file.")
    ] = None,
    gates: Annotated[
        Path | None, typer.Option(help="TOML file with the gates; without it the usual ones.")
    ] = None,
    baseline: Annotated[str, typer.Option(help=f"What it must beat: {Version}.")] = "champion",
    store: StoreDir = Path("mlruns"),
    seeds: Annotated[int, typer.Option(help="Of a world, each a pair of runs.", min=2)] = 20,
    customers: Annotated[int, typer.Option(help="Of every seed.", min=2)] = 2_000,
    days: Annotated[int, typer.Option(help="Of every seed, on which is decided.", min=1)] = 28,
    settle_days: Annotated[int, typer.Option(help="After the last decision that still count.", min=0)] = 28,
    reward: Annotated[str | None, typer.Option(help="Column of a table's rewards.")] = None,
    action: Annotated[str, typer.Option(help="Column of a table's actions.")] = "action",
    propensity: Annotated[str | None, typer.Option(help="As for `nba evaluate`.")] = None,
    cluster: Annotated[str, typer.Option(help="Column of a log's customers.")] = "customer",
    at: Annotated[str, typer.Option(help="Column of a log's times, ISO 8601.")] = "at",
    workers: Annotated[int, typer.Option(help="Ray workers; 1 runs in this process without Ray.", min=1)] = 1,
    as_json: AsJson = False,
) -> None:
    """Promote a registered policy if it is proven better than the champion, else say why not.

    A proof is an interval, never a point estimate: the lower end of the difference in net value lies above
    its limit and the upper ends of opt-outs, complaints, the gap between elderly and others, cost and
    latency below theirs; propensities hold, support suffices, and the look is long enough. Limits are read
    from TOML (--gates). The verdict is written to the registry and the run, whatever it is; a refusal
    ends with exit code 1. Examples:

    \b
      nba promote --candidate 3 --world retail-bank
      nba promote --candidate challenger --log ledger.sqlite --gates gates.toml --json
    """  # noqa: D301 - \b keeps an example as it is
    from experiments.promotion.run import OfLog, OfWorld, Order, run_promotion
    from nba.errors import InvalidConfig

    if (log is None) == (world is None):
        raise InvalidConfig("nba promote", "--log, --world", "give one of them: what is judged by")
    if world is not None:
        by: OfLog | OfWorld = OfWorld(world, seeds, customers, days, settle_days)
    else:
        assert log is not None
        by = OfLog(log, reward, action, propensity, cluster, at)
    run_promotion(Order(candidate, baseline, store, gates, by, workers), as_json)
