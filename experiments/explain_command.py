"""`nba policies explain`: what each layer of rules leaves, or why one customer gets what they get."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from msgspec import Struct

from nba.bundle import load_bundle
from nba.catalogue import NO_ACTION
from nba.context import Context
from nba.errors import BadContext, InvalidConfig, require
from nba.explain import Explanation, Funnel, FunnelStep
from nba.snapshot import Snapshot

_CHUNK = 256  # contexts at a time
_SHOWN = 10  # candidates of one customer that are printed; all are in the JSON


class BulkFunnel(Struct, frozen=True, kw_only=True):
    """The funnel of many customers, down to how many contacts the policy is expected to make."""

    customers: int
    steps: tuple[FunnelStep, ...]
    expected_contacts: float


def explain(
    bundle: Annotated[Path, typer.Option(help="Folder of the policy bundle.")],
    contexts: Annotated[
        Path, typer.Option(help="One customer per line, as JSON: customer_id, at, attributes, contacts, ...")
    ],
    customer: Annotated[str | None, typer.Option(help="Explain this one instead of counting all.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON line.")] = False,
) -> None:
    """Count what each rule removes, or explain every action of one customer."""
    snapshot = load_bundle(bundle)
    records = read_contexts(snapshot, contexts)
    if customer is None:
        found = funnel_of(snapshot, records)
        typer.echo(msgspec.json.encode(found).decode() if as_json else funnel_text(found))
        return
    one = next((record for record in records if record.customer_id == customer), None)
    if one is None:
        raise InvalidConfig(contexts.name, "customer_id", f"no line is of customer {customer!r}")
    told = snapshot.explain(one)
    typer.echo(msgspec.json.encode(told).decode() if as_json else explanation_text(told))


def read_contexts(snapshot: Snapshot, path: Path) -> list[Context]:
    """The customers of a file; InvalidConfig names the line that the bundle cannot read."""
    require(path.is_file(), str(path), "", "there is no such file; it holds one customer per line, as JSON")
    found, decoder = [], msgspec.json.Decoder(Context)
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            found.append(decoder.decode(line))
            snapshot.strategy.encode(found[-1:])
        except (msgspec.MsgspecError, BadContext) as error:
            raise InvalidConfig(path.name, f"line {number}", str(error)) from None
    require(bool(found), path.name, "", "holds no customer")
    return found


def funnel_of(snapshot: Snapshot, records: list[Context]) -> BulkFunnel:
    """The funnel of all customers."""
    strategy, total, contacts = snapshot.strategy, None, 0.0
    for chunk in _chunks(records):
        batch = strategy.encode(chunk)
        part = Funnel.of(strategy, strategy.eligible(batch))
        total = part if total is None else total + part
        contacts += float((1.0 - snapshot.action_distribution(batch)[:, NO_ACTION]).sum())
    assert total is not None
    return BulkFunnel(customers=len(records), steps=total.steps(strategy), expected_contacts=contacts)


def funnel_text(found: BulkFunnel) -> str:
    """The funnel as lines."""
    lines = [f"{found.customers} customers"]
    lines.append(f"{'layer':<18}{'contacts left':>14}{'customers left':>16}  removed")
    for step in found.steps:
        removed = ", ".join(f"{name} {count}" for name, count in step.removed.items())
        lines.append(f"{step.layer:<18}{step.actions:>14}{step.customers:>16}  {removed}".rstrip())
    return "\n".join([*lines, f"{'expected contacts':<18}{found.expected_contacts:>14.1f}"])


def explanation_text(told: Explanation) -> str:
    """Why, and why not, as lines."""
    lines = [f"{told.customer_id}: {len(told.candidates)} actions may be drawn"]
    for one in told.candidates[:_SHOWN]:
        terms, parts = one.terms, ("conversion", "cost", "shadow_price", "fatigue_price", "waiting")
        amounts = {name: getattr(terms, name) for name in parts} | terms.stages
        said = ", ".join(f"{name} {value:+.4f}" for name, value in amounts.items() if value)
        lines.append(f"{one.action_id}: {terms.expected_value:+.4f} with {one.probability:.4f} ({said})")
    for gone in told.removed:
        values = ", ".join(f"{name} = {value}" for name, value in gone.values.items())
        because = f"{gone.needs}; {values}" if values else gone.needs
        lines.append(f"{len(gone.actions)} removed by {gone.rule} ({gone.layer}): needs {because}")
    return "\n".join(lines)


def _chunks(records: list[Context]) -> Iterator[list[Context]]:
    return (records[start : start + _CHUNK] for start in range(0, len(records), _CHUNK))
