"""The writes of the SQLite ledger; each runs inside a transaction of the writer thread."""

from __future__ import annotations

from collections.abc import Sequence

import apsw
from msgspec import structs

from serving.ledger.records import Appended, DecisionRow, EventRow, Exposed, SavedPosterior

DECISION_COLUMNS = (
    "decision_id", "request_id", "fingerprint", "customer_id", "at", "channel", "product",
    "policy_version", "posterior_seq", "feedback_until", "body",
)  # fmt: skip
EVENT_COLUMNS = (
    "kind", "event_id", "decision_id", "customer_id", "fingerprint", "outcome", "value", "product",
    "channel", "step", "occurred_at", "received_at", "status",
)  # fmt: skip
KEPT_POSTERIORS = 2  # the newest, and the one before it should the newest be damaged


def _insert(table: str, columns: tuple[str, ...]) -> str:
    names, values = ", ".join(columns), ", ".join(f":{name}" for name in columns)
    return f"INSERT INTO {table} ({names}) VALUES ({values})"


_INSERT_DECISION = _insert("decision", DECISION_COLUMNS)
_INSERT_EVENT = _insert("event", EVENT_COLUMNS)
_CLOSE = (
    "DELETE FROM exposure_due WHERE decision_seq IN "
    "(SELECT seq FROM decision WHERE customer_id = ? AND channel IS NOT NULL AND product = ?)"
)


def append_decision(db: apsw.Connection, row: DecisionRow) -> int:
    """Insert a decision and the first cut of its exposure schedule; gives its position."""
    for product in row.closes:
        db.execute(_CLOSE, (row.customer_id, product))
    db.execute(_INSERT_DECISION, structs.asdict(row))
    seq = db.last_insert_rowid()
    if row.first_due is not None:
        db.execute("INSERT INTO exposure_due (decision_seq, step, due_at) VALUES (?, 0, ?)", (seq, row.first_due))
    return seq


def append_event(db: apsw.Connection, row: EventRow) -> Appended:
    """Insert an event unless its id is known; the same id with other contents is a conflict."""
    known = db.execute(
        "SELECT seq, fingerprint FROM event WHERE kind = ? AND event_id = ?", (row.kind, row.event_id)
    ).fetchone()
    if known is not None:
        seq, fingerprint = known
        return Appended("duplicate" if fingerprint == row.fingerprint else "conflict", seq)
    db.execute(_INSERT_EVENT, structs.asdict(row))
    return Appended(row.status, db.last_insert_rowid())


def append_exposures(db: apsw.Connection, rows: Sequence[Exposed]) -> int:
    """Append exposure events once each and move their schedules on; gives how many were new."""
    new = 0
    for row in rows:
        new += append_event(db, row.event).status == row.event.status
        if row.next_due is None:
            db.execute("DELETE FROM exposure_due WHERE decision_seq = ?", (row.decision_seq,))
        else:
            assert row.event.step is not None
            following = (row.event.step + 1, row.next_due, row.decision_seq)
            db.execute("UPDATE exposure_due SET step = ?, due_at = ? WHERE decision_seq = ?", following)
    return new


def save_posterior(db: apsw.Connection, saved: SavedPosterior, saved_at: int) -> None:
    """Store a posterior with its cursor, and forget all but the newest few."""
    db.execute(
        "INSERT OR REPLACE INTO snapshot (last_seq, posterior, sha256, saved_at) VALUES (?, ?, ?, ?)",
        (saved.last_seq, saved.posterior, saved.sha256, saved_at),
    )
    db.execute(
        "DELETE FROM snapshot WHERE last_seq NOT IN (SELECT last_seq FROM snapshot ORDER BY last_seq DESC LIMIT ?)",
        (KEPT_POSTERIORS,),
    )


def bind(db: apsw.Connection, key: str, value: str) -> str:
    """Set a key once; gives what is stored."""
    db.execute("INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO NOTHING", (key, value))
    stored = db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    assert stored is not None
    return str(stored[0])
