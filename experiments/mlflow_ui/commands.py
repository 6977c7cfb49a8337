"""The command `nba mlflow`; what it needs is imported when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def mlflow(
    store: Annotated[Path, typer.Option(help="Folder of the MLflow store.")] = Path("mlruns"),
    port: Annotated[int, typer.Option(help="On 127.0.0.1; 0 takes a free one.", min=0, max=65_535)] = 5000,
    as_json: Annotated[bool, typer.Option("--json", help="Print the links as one JSON line.")] = False,
) -> None:
    """Start MLflow's user interface on the store, print its deep links, and stop it cleanly.

    It listens on this machine only, without MLflow's job runner and telemetry. It runs until Ctrl-C or
    SIGTERM, which stop all of its processes.
    """
    from experiments.mlflow_ui.links import links_of
    from experiments.mlflow_ui.server import serving, until_stopped

    with serving(store, port) as url:
        until_stopped(links_of(store, url), as_json)
