"""Forgetting a customer while the log stays whole: names and attributes go, what was learnt stays.

Every row of the customer is written anew under a random pseudonym and gets a new receipt; the salts of the
old receipts are destroyed, so that they still prove the chain and say nothing about what they stood for.
Channels that the customer had closed stay closed: they are kept by a keyed digest of the id, which finds them
only for who asks with that id. Ids of events are kept, for they tell a duplicate: callers keep names out of
them. `features` of decisions are kept as well: learning is a sum over them, and a fold of the log must stay
what it was.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable
from concurrent.futures import Future

import msgspec
from msgspec import Struct, structs

from serving.ledger import operations
from serving.ledger.database import Database
from serving.ledger.operations import DECISION_COLUMNS, EVENT_COLUMNS
from serving.ledger.receipts import forget_salts, seal
from serving.ledger.records import AdminRow, DecisionRow, EventRow
from serving.ledger.writer import Writer

OBJECTION_KEY = "objection_key"  # of `meta`
Redact = Callable[[bytes, str], bytes]

_FIND = f"SELECT seq, {', '.join(DECISION_COLUMNS)} FROM decision WHERE customer_id = ? ORDER BY seq"
BATCH = 500  # decisions of one transaction
# Old decisions of which nothing is watched any more, and that have not been written anew yet.
_OLD = (
    f"SELECT seq, {', '.join(DECISION_COLUMNS)} FROM decision d WHERE seq > ? AND feedback_until < ? "
    "AND NOT EXISTS (SELECT 1 FROM watch WHERE decision_seq = d.seq) "
    "AND (SELECT count(*) FROM receipt WHERE kind = 'decision' AND row = d.seq) = 1 ORDER BY seq LIMIT ?"
)
_EVENTS = f"SELECT seq, {', '.join(EVENT_COLUMNS)} FROM event WHERE decision_id = ? ORDER BY seq"
_REWRITE = (
    "UPDATE decision SET customer_id = :customer_id, request_id = NULL, household = NULL, "
    "fingerprint = :fingerprint, body = :body WHERE seq = :seq"
)


class Erased(Struct, frozen=True, kw_only=True):
    """What an erasure changed; `pseudonym` is what the rows hold instead of the id."""

    decisions: int
    events: int
    objections: int  # channels that stay closed for who comes back
    pseudonym: str


class Retained(Struct, frozen=True, kw_only=True):
    """How many decisions and events were written anew for their age, and the last position looked at."""

    decisions: int
    events: int
    last: int


class AdministrativeWrites:
    """What a ledger does for administrators beside keeping decisions and events."""

    writer: Writer

    def erase(self, customer_id: str, at: int, actor: str, redact: Redact) -> Future[Erased]:
        """Forget a customer, also in the log of writes; `actor` is who asked."""

        def operation(db: Database) -> Erased:
            self.writer.wants_checkpoint = True
            return erase(db, customer_id, at, actor, redact)

        return self.writer.submit(operation)

    def retain(self, before: int, after: int, at: int, actor: str, redact: Redact) -> Future[Retained]:
        """Forget whom the next old decisions were about, those whose feedback ended before a moment."""

        def operation(db: Database) -> Retained:
            self.writer.wants_checkpoint = True
            return retain(db, before, after, at, actor, redact)

        return self.writer.submit(operation)

    def note(self, row: AdminRow) -> Future[int]:
        """Store what an administrator did; gives its position."""
        return self.writer.submit(lambda db: note(db, row))


def objection_digest(key: str, customer_id: str) -> str:
    """What an erased customer's closed channels are kept under: HMAC-SHA-256 under a key of the store."""
    return hmac.digest(bytes.fromhex(key), customer_id.encode("utf-8"), "sha256").hex()


def erase(db: Database, customer_id: str, at: int, actor: str, redact: Redact) -> Erased:
    """Write a customer's rows anew without the person; `redact` does so with a body, given a pseudonym."""
    pseudonym = f"erased-{os.urandom(12).hex()}"
    decisions = [operations.decision_of(row) for row in db.execute(_FIND, (customer_id,)).fetchall()]
    events = [event for one in decisions for event in _rewrite(db, one, pseudonym, redact)]
    closed = {one.channel for one in events if one.outcome == "opted_out"}
    db.execute("UPDATE watch SET customer_id = ? WHERE customer_id = ?", (pseudonym, customer_id))
    digest = _digest(db, customer_id)
    _keep_closed(db, digest, closed)
    db.execute("DELETE FROM purchase WHERE digest = ?", (digest,))
    found = Erased(decisions=len(decisions), events=len(events), objections=len(closed), pseudonym=pseudonym)
    note(db, AdminRow(at=at, actor=actor, what="erase", detail=msgspec.json.encode(found).decode()))
    return found


def retain(db: Database, before: int, after: int, at: int, actor: str, redact: Redact) -> Retained:
    """Write up to BATCH decisions anew, past a position, whose feedback ended before a moment.

    Every one gets a pseudonym of its own. Channels that were closed and products that were bought stay known
    by the keyed digest of the customer's id, for rules ask about them however long ago they were.
    """
    old = [operations.decision_of(row) for row in db.execute(_OLD, (after, before, BATCH)).fetchall()]
    n_events = 0
    for decision in old:
        events = _rewrite(db, decision, f"erased-{os.urandom(12).hex()}", redact)
        n_events += len(events)
        closed = {one.channel for one in events if one.outcome == "opted_out"}
        bought = {one.product for one in events if one.outcome == "converted" and one.product}
        if closed or bought:
            digest = _digest(db, decision.customer_id)
            _keep_closed(db, digest, closed)
            for product in bought:
                db.execute("INSERT INTO purchase VALUES (?, ?) ON CONFLICT DO NOTHING", (digest, product))
    found = Retained(decisions=len(old), events=n_events, last=old[-1].seq if old else after)
    if old:
        note(db, AdminRow(at=at, actor=actor, what="retain", detail=msgspec.json.encode(found).decode()))
    return found


def _rewrite(db: Database, decision: DecisionRow, pseudonym: str, redact: Redact) -> list[EventRow]:
    """Write a decision and its events anew, with new receipts; gives the events as they were."""
    changed = structs.replace(
        decision,
        customer_id=pseudonym,
        request_id=None,
        household=None,
        fingerprint="",
        body=redact(decision.body, pseudonym),
    )
    db.execute(_REWRITE, structs.asdict(changed))
    forget_salts(db, "decision", decision.seq)
    seal(db, changed, decision.seq)
    events = [operations.event_of(row) for row in db.execute(_EVENTS, (decision.decision_id,)).fetchall()]
    for event in events:
        db.execute("UPDATE event SET customer_id = ? WHERE seq = ?", (pseudonym, event.seq))
        forget_salts(db, "event", event.seq)
        seal(db, structs.replace(event, customer_id=pseudonym), event.seq)
    return events


def note(db: Database, row: AdminRow) -> int:
    """Put into the log what an administrator did; gives its position."""
    db.execute(
        "INSERT INTO admin (at, actor, what, detail) VALUES (?, ?, ?, ?)",
        (row.at, row.actor, row.what, row.detail),
    )
    seq = db.last_insert_rowid()
    seal(db, row, seq)
    return seq


def _digest(db: Database, customer_id: str) -> str:
    return objection_digest(operations.bind(db, OBJECTION_KEY, os.urandom(32).hex()), customer_id)


def _keep_closed(db: Database, digest: str, closed: set[str | None]) -> None:
    for channel in closed:
        db.execute("DELETE FROM objection WHERE digest = ? AND channel IS ?", (digest, channel))
        db.execute("INSERT INTO objection VALUES (?, ?)", (digest, channel))
