"""`nba policies govern`: lay rules, limits, budgets and levers over a learnt policy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from nba.bundle import bundle_digest, load_bundle, save_bundle
from nba.errors import require
from nba.governance import Governance
from simulator.files import load_toml


def govern(
    bundle: Annotated[Path, typer.Option(help="Folder of the policy bundle.")],
    limits: Annotated[
        Path, typer.Option("--with", help="TOML file: tags, rules, contact_policy, pacing, arbitration.")
    ],
    out: Annotated[Path, typer.Option(help="Folder to write the governed bundle to; it must be new.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON line.")] = False,
) -> None:
    """Write a bundle with the same beliefs under other rules, limits, budgets and levers."""
    require(limits.suffix == ".toml", str(limits), "", "must be a .toml file; see examples/limits.toml")
    taken = out.exists() and (not out.is_dir() or any(out.iterdir()))
    require(not taken, str(out), "", "is there already; name a new folder with --out")
    snapshot = load_toml(str(limits), "experiments", "specs", Governance).over(load_bundle(bundle))
    strategy, digest = snapshot.strategy, bundle_digest(save_bundle(snapshot, out))
    if as_json:
        told = {"path": str(out), "digest": digest, "rules": strategy.rule_names}
        typer.echo(msgspec.json.encode(told).decode())
        return
    typer.echo(f"{out} asks {', '.join(strategy.rule_names)}; serve it: nba serve --bundle {out} --store NEW")
