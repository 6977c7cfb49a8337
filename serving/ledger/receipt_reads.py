"""Reads of the receipts, of the whole log, and of what administrators did, for the SQLite ledger."""

from __future__ import annotations

from typing import Any

from serving.ledger import operations
from serving.ledger.database import Database
from serving.ledger.erasure import OBJECTION_KEY, objection_digest
from serving.ledger.records import AdminRow, EventRow, Receipt

_RECEIPT = "seq, kind, row, salt, content, digest"
_EVENT = ", ".join(operations.EVENT_COLUMNS)


class ReceiptReads:
    """What a reader of the ledger tells beside decisions and evidence."""

    _db: Database

    def receipts_after(self, seq: int, limit: int) -> list[Receipt]:
        """Entries of the chain past a position, in their order."""
        statement = f"SELECT {_RECEIPT} FROM receipt WHERE seq > ? ORDER BY seq LIMIT ?"
        return [_receipt(row) for row in self._db.execute(statement, (seq, limit))]

    def latest_receipts(self, kind: str, after: int, limit: int) -> list[Receipt]:
        """The last entry of each row past a position in its table, by row."""
        statement = (
            f"SELECT {_RECEIPT} FROM receipt r WHERE kind = ? AND row > ? AND seq = (SELECT max(o.seq) "
            "FROM receipt o WHERE o.kind = r.kind AND o.row = r.row) ORDER BY row LIMIT ?"
        )
        return [_receipt(row) for row in self._db.execute(statement, (kind, after, limit))]

    def receipts_of(self, kind: str, row: int) -> list[Receipt]:
        """The entries of one row, the newest last; more than one where it was erased."""
        statement = f"SELECT {_RECEIPT} FROM receipt WHERE kind = ? AND row = ? ORDER BY seq"
        return [_receipt(found) for found in self._db.execute(statement, (kind, row))]

    def head(self) -> Receipt | None:
        """The last entry of the chain; None for an empty one."""
        found = self._db.execute(f"SELECT {_RECEIPT} FROM receipt ORDER BY seq DESC LIMIT 1").fetchone()
        return None if found is None else _receipt(found)

    def erased(self, kind: str) -> set[int]:
        """Positions of the rows of a table that were written anew without the person."""
        statement = "SELECT row FROM receipt WHERE kind = ? GROUP BY row HAVING count(*) > 1"
        return {int(row) for (row,) in self._db.execute(statement, (kind,))}

    def log_after(self, seq: int, limit: int) -> list[EventRow]:
        """All events past a log position, accepted or not, in log order."""
        statement = f"SELECT seq, {_EVENT} FROM event WHERE seq > ? ORDER BY seq LIMIT ?"
        rows = self._db.execute(statement, (seq, limit))
        return [operations.event_of(row) for row in rows]

    def admin_rows(self, seq: int, limit: int) -> list[AdminRow]:
        """What administrators did past a position, in the order of the deeds."""
        rows = self._db.execute("SELECT * FROM admin WHERE seq > ? ORDER BY seq LIMIT ?", (seq, limit))
        names = ("seq", "at", "actor", "what", "detail")
        return [AdminRow(**dict(zip(names, row, strict=True))) for row in rows]

    def objections(self, customer_id: str) -> list[str | None]:
        """Channels that a customer had closed before being erased; None stands for all of them."""
        rows = self._kept("SELECT channel FROM objection WHERE digest = ?", customer_id)
        return [None if channel is None else str(channel) for (channel,) in rows]

    def purchases(self, customer_id: str) -> list[str]:
        """Products that a customer bought in decisions that are forgotten for their age."""
        return [
            str(row[0]) for row in self._kept("SELECT product FROM purchase WHERE digest = ?", customer_id)
        ]

    def _kept(self, statement: str, customer_id: str) -> list[tuple[Any, ...]]:
        """What is kept under the keyed digest of an id."""
        key = self._db.execute("SELECT value FROM meta WHERE key = ?", (OBJECTION_KEY,)).fetchone()
        if key is None:  # nobody was forgotten
            return []
        return self._db.execute(statement, (objection_digest(str(key[0]), customer_id),)).fetchall()


def _receipt(row: tuple[Any, ...]) -> Receipt:
    return Receipt(**dict(zip(Receipt.__struct_fields__, row, strict=True)))
