"""Make, revoke and list the keys of a service: `nba keys new | revoke | list`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from serving.keys import SCOPES, add_key, hash_key, load_keys, revoke_key

app = typer.Typer(no_args_is_help=True, help="Make, revoke and list the keys of a service.")
KeysFile = Annotated[Path, typer.Option(help="The file that `nba serve --keys-file` reads.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON line instead of text.")]


@app.command()
def new(
    keys_file: KeysFile,
    scopes: Annotated[str, typer.Option(help=f"With commas: {', '.join(SCOPES)}; admin may do everything.")],
    rate: Annotated[float | None, typer.Option(help="Most requests a second.")] = None,
    until: Annotated[str | None, typer.Option(help="The first day on which it is void: 2027-01-31.")] = None,
    note: Annotated[str, typer.Option(help="Whose it is, as a comment.")] = "",
    as_json: AsJson = False,
) -> None:
    """Add a key and print it, once: the file holds its SHA-256 alone."""
    key = add_key(keys_file, scopes, rate, until, note)
    typer.echo(msgspec.json.encode({"key": key, "digest": hash_key(key)}).decode() if as_json else key)


@app.command()
def revoke(
    keys_file: KeysFile,
    digest: Annotated[str, typer.Option(help="How the digest of the key begins, 6 digits at least.")],
    as_json: AsJson = False,
) -> None:
    """Take a key away; a running service refuses it within a second."""
    found = revoke_key(keys_file, digest)
    typer.echo(msgspec.json.encode({"revoked": found}).decode() if as_json else f"revoked {found}")


@app.command(name="list")
def list_keys(keys_file: KeysFile, as_json: AsJson = False) -> None:
    """Show digests, scopes, rates and last days; no file holds a key."""
    keys = load_keys(keys_file)
    if as_json:
        rows = [key._asdict() | {"scopes": sorted(key.scopes)} for key in keys]
        typer.echo(msgspec.json.encode(rows).decode())
        return
    for key in keys:
        rate = "" if key.rate is None else f" rate={key.rate:g}"
        until = "" if key.until is None else f" until={key.until:%Y-%m-%d}"
        typer.echo(f"{key.digest[:12]} {','.join(sorted(key.scopes))}{rate}{until}")
