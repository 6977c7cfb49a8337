"""A whole store into another, of either kind: the same rows, positions and receipts, all of them or none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from serving.ledger.database import Database
from serving.ledger.operations import DECISION_COLUMNS, EVENT_COLUMNS
from serving.ledger.sqlite import SQLLedger
from serving.ledger.store import LedgerError, is_postgres, open_ledger, open_reader, shown

PAGE = 1_000  # rows at a time
TABLES = {
    "decision": ("seq", *DECISION_COLUMNS),
    "event": ("seq", *EVENT_COLUMNS),
    "watch": ("decision_seq", "customer_id", "product", "step", "due_at", "closed_at"),
    "price": ("version", "decision_seq", "planned", "state"),
    "receipt": ("seq", "kind", "row", "salt", "content", "digest"),
    "admin": ("seq", "at", "actor", "what", "detail"),
    "snapshot": ("last_seq", "posterior", "sha256", "saved_at"),
    "meta": ("key", "value"),
    "objection": ("digest", "channel"),
    "purchase": ("digest", "product"),
}
_SMALL = ("meta", "objection", "purchase")  # read at once
_BOOLEAN = ("planned", "teaches")  # numbers in SQLite


def copy_store(source: str, target: str) -> dict[str, int]:
    """Copy the store of one URL to a new one of another; gives the rows of each table.

    The source may be in use: what is copied is what it held at one moment. LedgerError where the target
    holds anything already.
    """
    ledger = open_ledger(target)
    try:
        reader = ledger.reader()
        is_empty = reader.head() is None and reader.last_seq() == 0 and not reader.saved_posteriors()
        reader.close()
        if not is_empty:
            raise LedgerError(f"The store {shown(target)!r} holds a log already; name a new one.")
        with _moment(source) as db:
            return ledger.writer.submit(lambda own: _fill(db, own, ledger)).result()
    finally:
        ledger.close()


def _fill(source: Database, target: Database, ledger: SQLLedger) -> dict[str, int]:
    counts = dict.fromkeys(TABLES, 0)
    for table, columns in TABLES.items():
        for rows in _pages(source, table, columns):
            ledger.make_room(target, table, rows)
            ledger.pour(target, table, columns, rows)
            counts[table] += len(rows)
    ledger.make_room(target, "", [])
    return counts


def _pages(db: Database, table: str, columns: tuple[str, ...]) -> Iterator[list[tuple[Any, ...]]]:
    """The rows of a table, ordered by its key, which is its first column; the small ones all at once."""
    named = f"SELECT {', '.join(columns)} FROM {table}"
    if table in _SMALL:
        rows = db.execute(named).fetchall()
    else:
        statement = f"{named} WHERE {columns[0]} > ? ORDER BY {columns[0]} LIMIT {PAGE}"
        rows = db.execute(statement, (-1,)).fetchall()
    while rows:
        flags = [columns.index(name) for name in _BOOLEAN if name in columns]
        yield [tuple(bool(v) if i in flags else v for i, v in enumerate(row)) for row in rows]
        small = table in _SMALL
        rows = [] if small else db.execute(statement, (rows[-1][0],)).fetchall()


@contextmanager
def _moment(url: str) -> Iterator[Database]:
    """A connection that sees a store as it is now, whatever is written meanwhile."""
    reader = open_reader(url)
    try:
        db = reader._db
        if is_postgres(url):
            from serving.ledger.postgres_words import Connection

            # Not one that is opened again when it is lost: that would see a later moment.
            db = Connection(url, "nba copy-store")
            db.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        else:
            db.execute("BEGIN")
        yield db
        db.close()
    finally:
        reader.close()
