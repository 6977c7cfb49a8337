"""The log of a store as files that other tools read: DSJSON of Vowpal Wabbit, or a Parquet or Arrow table.

DSJSON wants the probabilities of all actions, and the log keeps those of the ranked ones with a digest of the
rest: every decision is made again under its own posterior, as `nba replay` does. Decisions that were never
carried out are left out, and erased ones, for nobody knows any more what they knew. Order is by posterior,
then by position in the log. Lines of DSJSON are written one by one; a table is put together in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from nba.arrays import FloatArray
from nba.bundle import bundle_digest, load_bundle
from nba.context import AttributeValue
from serving.binding import check_bound
from serving.body import DecisionBody, requested_of
from serving.ledger import DecisionRow, EventRow, LedgerError, open_reader
from serving.ledger.records import ACTIVATED
from serving.replay import Replay

FORMATS = ("dsjson", "parquet", "arrow")
_ROWS = 10_000  # of a table at a time


class Exported(NamedTuple):
    """One decision with all that is exported of it."""

    row: DecisionRow
    body: DecisionBody
    actions: list[int]  # rows of the catalogue that could be chosen, no-contact first
    chances: FloatArray  # of `actions`
    action_ids: tuple[str, ...]  # of the catalogue
    events: list[EventRow]

    @property
    def chosen(self) -> int:
        """Place of the decision in `actions`."""
        return self.actions.index(self.action_ids.index(self.body.decision.actions[0].action_id))

    @property
    def conversions(self) -> int:
        """Conversions that the decision is credited with."""
        return len(self._credited)

    @property
    def value(self) -> float:
        """What they brought."""
        return sum(one.value for one in self._credited)

    @property
    def _credited(self) -> list[EventRow]:
        told = (one for one in self.events if one.outcome == "converted" and one.status == "accepted")
        return [one for one in told if one.teaches]


def exported(bundle: Path, store: str) -> Iterator[Exported]:
    """All decisions of a store that were not erased; LedgerError for one that is not made again."""
    base, reader = load_bundle(bundle), open_reader(store)
    try:
        check_bound(reader, bundle_digest(bundle))
        ids = base.strategy.catalogue.action_ids
        erased = reader.erased("decision")
        for row, body, snapshot in Replay(base.at(base.posterior, 0), reader).decisions():
            if row.seq in erased or not _counts(body, events := reader.events_of(row.decision_id)):
                continue
            strategy, decision = snapshot.strategy, body.decision
            names = np.array([decision.decision_id], dtype=object)
            requested = requested_of(body, strategy.catalogue)
            batch = snapshot.decide(strategy.encode([body.context]), names, 1, requested)
            actions = np.flatnonzero(batch.eligible[0]).tolist()
            found = Exported(row, body, actions, batch.distribution[0, actions], ids, events)
            if found.chances[found.chosen] != decision.actions[0].propensity:
                raise LedgerError(
                    f"Decision {decision.decision_id} has another propensity when it is made again: the log "
                    "was changed, or another nba wrote it. `nba replay` tells which."
                )
            yield found
    finally:
        reader.close()


def _counts(body: DecisionBody, events: list[EventRow]) -> bool:
    """Whether a decision was carried out: no shadow, and activated if it waited for that."""
    is_active = not body.is_deferred or any(one.outcome == ACTIVATED for one in events)
    return body.mode == "live" and is_active


def dsjson(one: Exported) -> bytes:
    """A line of DSJSON, without its end: `_label_cost` is minus the conversions that are credited.

    `a` are places in `_multi` counted from 1, the chosen one first, and `p` their probabilities. Fields that
    VW does not know it passes over: `customer`, whose rounds are not independent, and outcomes in `o`.
    """
    decision, chosen = one.body.decision, one.chosen
    order = [
        chosen,
        *(place for place in np.argsort(-one.chances, kind="stable").tolist() if place != chosen),
    ]
    return msgspec.json.encode(
        {
            "_label_cost": 0.0 - one.conversions,
            "_label_probability": float(one.chances[chosen]),
            "_label_Action": chosen + 1,
            "_labelIndex": chosen,
            "Timestamp": decision.at,
            "Version": "1",
            "EventId": decision.decision_id,
            "a": [place + 1 for place in order],
            "c": {
                "Customer": dict(_flat(one.body.context.attributes)),
                "_multi": [_action(one.action_ids[action]) for action in one.actions],
            },
            "p": one.chances[order].tolist(),
            "o": [
                {"EventId": event.event_id, "v": event.value, "outcome": event.outcome}
                for event in one.events
                if event.kind == "feedback"
            ],
            "VWState": {"m": f"{decision.policy}/{decision.policy_version}/{decision.posterior_seq}"},
            "customer": decision.customer_id,
        }
    )


def table_row(one: Exported) -> dict[str, Any]:
    """A row of a table that `nba evaluate` and `nba learn` read; attributes are columns of their names."""
    decision = one.body.decision
    chosen = decision.actions[0]
    own = {
        "decision_id": decision.decision_id,
        "role": one.body.role,
        "customer": decision.customer_id,
        "at": decision.at.isoformat(),
        "action": chosen.action_id,
        "channel": chosen.channel,
        "product": chosen.product,
        "propensity": chosen.propensity,
        "eligible": "|".join(one.action_ids[action] for action in one.actions),
        "reward": float(one.conversions),
        "value": one.value,
        "expected_value": chosen.expected_value,
        "forgone": decision.forgone,
        "policy_version": decision.policy_version,
        "posterior_seq": decision.posterior_seq,
    }
    return {name: value for name, value in _flat(one.body.context.attributes) if name not in own} | own


def write(bundle: Path, store: str, out: Path, form: str) -> int:
    """Write the log to a file; gives how many decisions it holds."""
    if form == "dsjson":
        count = 0
        with out.open("wb") as file:
            for one in exported(bundle, store):
                file.write(dsjson(one) + b"\n")
                count += 1
        return count
    return _write_table([table_row(one) for one in exported(bundle, store)], out, form)


def _write_table(rows: list[dict[str, Any]], out: Path, form: str) -> int:
    """One table of all rows: which attributes there are, and of which kind, is known at the end alone."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = dict.fromkeys(name for row in rows for name in row)
    table = pa.table({name: _column([row.get(name) for row in rows]) for name in names})
    if form == "parquet":
        pq.write_table(table, out)
    else:
        with pa.OSFile(str(out), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table, max_chunksize=_ROWS)
    return len(rows)


def _column(cells: list[Any]) -> list[Any]:
    """Cells of one kind: texts where any is a text."""
    if any(isinstance(cell, str) for cell in cells):
        return [cell if cell is None or isinstance(cell, str) else str(cell) for cell in cells]
    if any(isinstance(cell, float) for cell in cells):
        return [None if cell is None else float(cell) for cell in cells]
    return cells


def _flat(attributes: dict[str, AttributeValue]) -> Iterator[tuple[str, float | str | bool]]:
    """Attributes as features; a list is a flag for each of its names."""
    for name, value in attributes.items():
        if isinstance(value, list):
            yield from ((f"{name}={entry}", True) for entry in value)
        elif value is not None:
            yield name, value


def _action(action_id: str) -> dict[str, Any]:
    parts = dict(zip(("channel", "timing", "product"), action_id.split("/"), strict=False))
    return {"_tag": action_id, "Action": parts if len(parts) == 3 else {"channel": "none"}}
