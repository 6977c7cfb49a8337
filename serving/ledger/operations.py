"""The writes of the ledger, for every store; each runs inside a transaction of the writer thread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import structs

from serving.ledger.database import Database
from serving.ledger.receipts import seal
from serving.ledger.records import (
    ACTIVATED,
    TAKEN_BACK,
    Appended,
    DecisionRow,
    EventRow,
    Exposed,
    PriceRow,
    SavedPosterior,
)

DECISION_COLUMNS = (
    "decision_id", "request_id", "fingerprint", "customer_id", "at", "opens_at", "channel", "product",
    "watched", "policy_version", "posterior_seq", "feedback_until", "body", "household",
)  # fmt: skip
EVENT_COLUMNS = (
    "kind", "event_id", "decision_id", "customer_id", "fingerprint", "outcome", "value", "product",
    "channel", "step", "occurred_at", "received_at", "status", "teaches",
)  # fmt: skip
# What was told first of the contact of a row of `decision`.
FIRST_TOLD = (
    "(SELECT e.outcome FROM event e WHERE e.decision_id = decision.decision_id "
    "AND e.kind = 'feedback' AND e.status <> 'orphan' ORDER BY e.seq LIMIT 1)"
)
KEPT_POSTERIORS = 2  # the newest, and the one before it should the newest be damaged


def _activation(row: str, column: str, before: str | None = None) -> str:
    """A column of the entry that activated a row of `decision`; what has been watched all along has none."""
    known = "" if before is None else f" AND a.seq < {before}"
    return (
        f"CASE WHEN {row}.watched IS NULL THEN (SELECT a.{column} FROM event a WHERE a.decision_id = "
        f"{row}.decision_id AND a.kind = 'exposure' AND a.outcome = '{ACTIVATED}'{known}) END"
    )


def watched(row: str, before: str | None = None) -> str:
    """The product that is watched of a row of `decision`: that of a deferred one from its activation on."""
    return f"coalesce({row}.watched, {_activation(row, 'product', before)})"


def opened(row: str) -> str:
    """When the contact of a row of `decision` was made: its activation if it was deferred and is overdue."""
    return f"max({row}.opens_at, coalesce({_activation(row, 'occurred_at')}, 0))"


def begun(row: str) -> str:
    """When a row of `decision` began to count: when it was decided, or activated."""
    return f"coalesce({_activation(row, 'occurred_at')}, {row}.at)"


def held(row: str) -> str:
    """Until when a row of `decision`, one of a contact, may still be activated; NULL for one that counts."""
    return f"CASE WHEN {watched(row)} IS NULL THEN {row}.feedback_until END"


# What is told of a contact of a customer.
CONTACT = (
    f"{held('decision')}, customer_id, decision_id, channel, product, {opened('decision')}, {FIRST_TOLD}"
)
# What folding an event `e` needs of its decision `d`; what it teaches follows from the log before it.
KNOWN = (
    f"{watched('d', 'e.seq')}, "
    "(SELECT coalesce(group_concat(o.outcome), '') FROM event o WHERE o.decision_id = e.decision_id "
    f"AND o.seq < e.seq AND o.status = 'accepted' AND o.teaches), {opened('d')}"
)


def _insert(table: str, columns: tuple[str, ...]) -> str:
    names, values = ", ".join(columns), ", ".join(f":{name}" for name in columns)
    return f"INSERT INTO {table} ({names}) VALUES ({values})"


_INSERT_DECISION = _insert("decision", DECISION_COLUMNS)
_INSERT_EVENT = _insert("event", EVENT_COLUMNS)
_WATCH = "INSERT INTO watch (decision_seq, customer_id, product, step, due_at) VALUES (?, ?, ?, 0, ?)"
_WATCH_ID = _WATCH.replace("VALUES (?,", "VALUES ((SELECT seq FROM decision WHERE decision_id = ?),")
_IS_WATCHED = "SELECT 1 FROM watch WHERE customer_id = ? AND product = ? AND closed_at IS NULL"
# A round that a newer contact cuts short is due at once.
_CLOSE = (
    "UPDATE watch SET closed_at = ?1, due_at = min(due_at, ?1) "
    "WHERE customer_id = ?2 AND product = ?3 AND closed_at IS NULL"
)
_END = "DELETE FROM watch WHERE decision_seq = ?"
_MOVE = "UPDATE watch SET step = ?2, due_at = min(?3, coalesce(closed_at, ?3)) WHERE decision_seq = ?1"


# A conversion is credited once (methods B1): not to a decision whose product a newer contact has taken
# over, and, unless the product can be bought again, only the first time.
_IS_SPENT = f"""
SELECT EXISTS (
  SELECT 1 FROM decision d JOIN decision newer
    ON newer.customer_id = d.customer_id AND newer.channel IS NOT NULL AND newer.seq <> d.seq
   AND {watched("newer")} = {watched("d")} AND {opened("newer")} <= :occurred_at
   AND CASE WHEN newer.watched IS NULL OR d.watched IS NULL
       THEN {begun("newer")} > {begun("d")} ELSE newer.seq > d.seq END
  WHERE d.decision_id = :decision_id
) OR (:is_once AND EXISTS (
  SELECT 1 FROM event
  WHERE decision_id = :decision_id AND product IS :product AND outcome = 'converted'
    AND status = 'accepted' AND teaches
))
"""


# A stage of a contact is told once, however many events tell it.
_IS_TOLD = """
SELECT EXISTS (
  SELECT 1 FROM event
  WHERE decision_id = :decision_id AND outcome = :outcome AND status = 'accepted' AND teaches
)
"""


_TAKEN_BACK = f"SELECT {FIRST_TOLD} IN ('refused', 'cancelled') FROM decision WHERE decision_id = ?"
_UNWATCH = "DELETE FROM watch WHERE decision_seq = (SELECT seq FROM decision WHERE decision_id = ?)"


def append_decision(db: Database, row: DecisionRow) -> int:
    """Insert a decision and watch its product; gives its position.

    Every customer-day of a product belongs to one round (methods B1): a contact ends what was watched of
    the product before, a no-contact probe gives way to what is.
    """
    cell = (row.customer_id, row.watched)
    if row.channel is not None:
        db.execute(_CLOSE, (row.at, *cell))
    elif row.watched is not None and db.execute(_IS_WATCHED, cell).fetchone() is not None:
        row = structs.replace(row, watched=None)
    db.execute(_INSERT_DECISION, structs.asdict(row))
    seq = db.last_insert_rowid()
    seal(db, row, seq)
    if row.watched is not None:
        db.execute(_WATCH, (seq, *cell, row.first_due))
    return seq


def append_activation(db: Database, row: EventRow, first_due: int) -> Appended:
    """Log that a deferred decision counts from now on, and watch its product; a second time changes nothing.

    One whose contact is known never to have been made is a conflict.
    """
    cell = (row.customer_id, row.product)
    if _is_taken_back(db, row):
        return Appended("conflict", 0)
    if row.channel is None and row.product is not None and db.execute(_IS_WATCHED, cell).fetchone():
        row = structs.replace(row, product=None)  # a probe gives way to what is watched
    appended = append_event(db, row)
    if appended.status == "accepted" and row.product is not None:
        if row.channel is not None:
            db.execute(_CLOSE, (row.occurred_at, *cell))
        db.execute(_WATCH_ID, (row.decision_id, *cell, first_due))
    return appended


def append_event(db: Database, row: EventRow) -> Appended:
    """Insert an event unless its id is known; the same id with other contents is a conflict."""
    known = db.execute(
        "SELECT seq, fingerprint FROM event WHERE kind = ? AND event_id = ?", (row.kind, row.event_id)
    ).fetchone()
    if known is not None:
        seq, fingerprint = known
        return Appended("duplicate" if fingerprint == row.fingerprint else "conflict", seq)
    if row.kind == "feedback":
        is_spent = _IS_SPENT if row.outcome == "converted" else _IS_TOLD
        spent = db.execute(is_spent, structs.asdict(row)).fetchone()
        row = structs.replace(row, teaches=not (spent and spent[0]) and not _is_taken_back(db, row))
    db.execute(_INSERT_EVENT, structs.asdict(row))
    seq = db.last_insert_rowid()
    seal(db, row, seq)
    if row.outcome in TAKEN_BACK and _is_taken_back(db, row):
        db.execute(_UNWATCH, (row.decision_id,))  # silence after a contact that was never made is no answer
    return Appended(row.status, seq)


def _is_taken_back(db: Database, row: EventRow) -> bool:
    """Whether the contact of an event is known never to have been made."""
    found = db.execute(_TAKEN_BACK, (row.decision_id,)).fetchone()
    return bool(found and found[0])


def append_exposures(db: Database, rows: Sequence[Exposed]) -> int:
    """Append exposure events once each and move their schedules on; gives how many were new."""
    new = 0
    for row in rows:
        new += append_event(db, row.event).status == row.event.status
        if row.next_due is None:
            db.execute(_END, (row.decision_seq,))
        else:
            db.execute(_MOVE, (row.decision_seq, row.next_step, row.next_due))
    return new


def append_prices(db: Database, row: PriceRow) -> None:
    """Store a version of the prices of budgets; a second time after a failure in between, the same one."""
    db.execute(
        "INSERT INTO price VALUES (:version, :decision_seq, :planned, :state) "
        "ON CONFLICT (version) DO UPDATE "
        "SET decision_seq = :decision_seq, planned = :planned, state = :state",
        structs.asdict(row),
    )
    seal(db, row, row.version)


def save_posterior(db: Database, saved: SavedPosterior, saved_at: int) -> None:
    """Store a posterior with its cursor, and forget all but the newest few."""
    db.execute(
        "INSERT INTO snapshot VALUES (?1, ?2, ?3, ?4) "
        "ON CONFLICT (last_seq) DO UPDATE SET posterior = ?2, sha256 = ?3, saved_at = ?4",
        (saved.last_seq, saved.posterior, saved.sha256, saved_at),
    )
    db.execute(
        "DELETE FROM snapshot WHERE last_seq NOT IN "
        "(SELECT last_seq FROM snapshot ORDER BY last_seq DESC LIMIT ?)",
        (KEPT_POSTERIORS,),
    )


def bind(db: Database, key: str, value: str) -> str:
    """Set a key once; gives what is stored."""
    db.execute("INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO NOTHING", (key, value))
    stored = db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    assert stored is not None
    return str(stored[0])


def decision_of(row: tuple[Any, ...]) -> DecisionRow:
    """A decision from its position and DECISION_COLUMNS."""
    return DecisionRow(first_due=0, **dict(zip(("seq", *DECISION_COLUMNS), row, strict=True)))


def event_of(row: tuple[Any, ...]) -> EventRow:
    """An event from its position and EVENT_COLUMNS."""
    return EventRow(**dict(zip(("seq", *EVENT_COLUMNS), row, strict=True)))
