"""The ledger in PostgreSQL: the same SQL, the same promises, for who keeps their data on a server.

- Durable before it is acknowledged: a commit returns once its WAL is on the server's disk. A session that
  found `synchronous_commit` off turns it on; a server with `fsync` off is refused.
- One writer: a session lock of the server. A writer that loses its connection takes the lock again, and goes
  on only if no other had it in between (`epoch`); every commit checks that.
- A connection that is lost while it commits leaves open whether it has: `batch` in the table `head` tells.
  If it has, the writes are acknowledged, otherwise they are made again, so a caller only sees a delay.
- Positions come from `head` under its lock, so commits and positions have one order.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from functools import partial
from typing import Any

from serving.ledger import operations
from serving.ledger.migrations import migrate, shipped
from serving.ledger.postgres_words import Connection
from serving.ledger.receipts import adopt
from serving.ledger.records import DecisionRow, SavedPosterior, from_micros, to_micros
from serving.ledger.sqlite import SQLLedger, SQLReader
from serving.ledger.store import ConnectionLost, LedgerError, StoreLocked, shown
from serving.ledger.writer import Pending, Writer, attempt

LOCK_SECONDS = 2.0  # a killed service's session may end a moment after it
READ_SECONDS = 10.0  # a server that restarts is waited for so long by who reads,
WRITE_SECONDS = 30.0  # and by who writes
PAUSE = 0.1
TRIES = 5  # of one batch: a write that ends its session each time must not be repeated for ever
POSITIONED = ("decision", "event", "admin")
_AT = 1 + operations.DECISION_COLUMNS.index("at")
CHANNEL = "nba_snapshot"  # told of each saved posterior: `schema:position`
_LOCK = "hashtext('nba ledger'), hashtext(current_schema())"
_HOLDER = (
    "SELECT a.application_name FROM pg_locks l JOIN pg_stat_activity a USING (pid) "
    "WHERE l.locktype = 'advisory' AND l.classid = hashtext('nba ledger')::oid "
    "AND l.objid = hashtext(current_schema())::oid AND l.granted"
)


class PostgresReader(SQLReader):
    """Reads through a session that cannot write; one that the server ended is opened again."""

    def __init__(self, url: str) -> None:
        self._db = _Reading(url, f"nba reader {os.getpid()}")
        try:
            self._check_version(shown(url))
        except BaseException:
            self._db.close()
            raise

    def _check_version(self, store: str) -> None:
        if self._db.execute("SELECT to_regclass('migration')").fetchone()[0] is None:
            raise LedgerError(f"There is no store at {store!r}; `nba serve --store {store}` creates it.")
        if self._scalar("SELECT max(number) FROM migration") < shipped("postgres")[-1].number:
            raise LedgerError(f"{store!r} is of an older nba; `nba serve` on it brings it up to date.")


class _Reading(Connection):
    def connect(self) -> None:
        super().connect()
        super().execute("SET default_transaction_read_only = on")

    def execute(self, statements: str, bindings: Any = None, /) -> Any:
        deadline = time.monotonic() + READ_SECONDS
        while True:
            try:
                if self.is_lost:
                    self.connect()
                return super().execute(statements, bindings)
            except ConnectionLost:
                if not self.is_lost or time.monotonic() >= deadline:
                    raise
                time.sleep(PAUSE)


class _Writing(Connection):
    """The session that holds the lock; `begin` and `commit` outlive its end."""

    def __init__(self, url: str) -> None:
        self._epoch = self._batch = 0
        self._ended: LedgerError | None = None
        super().__init__(url, f"nba writer {os.getpid()} on {socket.gethostname()}")
        self._lock(time.monotonic() + LOCK_SECONDS)
        _require_durable(self)

    def take_over(self) -> None:
        """Name this writer in `head`, after which no earlier one can commit."""
        self.execute("UPDATE head SET epoch = epoch + 1")
        self._epoch, self._batch = self.execute("SELECT epoch, batch FROM head").fetchone()

    def begin(self) -> None:
        """Begin a transaction; no other writer can until it ends."""
        if self.is_lost:
            self._reconnect(time.monotonic() + WRITE_SECONDS, {self._batch})
        self.execute("BEGIN")
        try:
            if self._epoch and not self._count():
                raise self._end("another service has taken the store over")
        except BaseException:
            self.rollback()
            raise

    def _count(self) -> bool:
        """Count the commit to come, and lock out the others; False if this writer's epoch is over."""
        counted = self.execute("UPDATE head SET batch = batch + 1 WHERE epoch = ?", (self._epoch,))
        return bool(counted.rowcount == 1)

    def commit(self) -> None:
        """Make it durable; ConnectionLost if the server undid it."""
        try:
            self.execute("COMMIT")
        except ConnectionLost:
            if not self.is_lost or not self._epoch:
                raise
            before = self._batch
            self._reconnect(time.monotonic() + WRITE_SECONDS, {before, before + 1})
            if self._batch == before:
                raise
            return
        self._batch += 1 if self._epoch else 0

    def rollback(self) -> None:
        """Undo it; a server that ended the session has."""
        if not self.is_lost:
            self.execute("ROLLBACK")

    def forget(self) -> bool:
        """Empty the tables' pages of what was erased; archived WAL and backups are the operator's."""
        try:
            self.execute("VACUUM decision, decision_key, event, watch, receipt, objection, purchase")
        except ConnectionLost:
            return False
        return True

    def _reconnect(self, deadline: float, expected: set[int]) -> None:
        """A new session with the lock, if nobody else had it; `expected` are counts of commits."""
        if self._ended is not None:
            raise self._ended
        while self.is_lost:
            try:
                self.connect()
                self._lock(deadline)
                epoch, batch = self.execute("SELECT epoch, batch FROM head").fetchone()
            except ConnectionLost as lost:
                if time.monotonic() >= deadline:
                    raise LedgerError(str(lost)) from None
                time.sleep(PAUSE)
        if self._epoch and epoch != self._epoch:
            raise self._end("another service has taken the store over")
        if self._epoch and batch not in expected:
            raise self._end("a write that was told to have failed is in the store")
        self._batch = batch

    def _lock(self, deadline: float) -> None:
        while not self.execute(f"SELECT pg_try_advisory_lock({_LOCK})").fetchone()[0]:
            if time.monotonic() >= deadline:
                found = self.execute(_HOLDER).fetchone()
                holder = found[0] if found else "unknown"
                self.close()
                raise StoreLocked(
                    f"The store {shown(self.url)!r} already has a writer ({holder}). A store takes "
                    "one service: stop that one, or give this one another --store."
                )
            time.sleep(PAUSE)

    def _end(self, reason: str) -> LedgerError:
        """Take no more writes: what this process knows of the store is no longer true."""
        self.close()
        self._ended = LedgerError(f"This process cannot write the store any more: {reason}. Restart it.")
        return self._ended


class PostgresWriter(Writer):
    """Makes a batch again when the server ended the session before it was committed."""

    def _transact(self, batch: list[Pending]) -> list[Any]:
        for _ in range(TRIES - 1):
            try:
                return super()._transact(batch)
            except ConnectionLost:
                pass
        return super()._transact(batch)


class PostgresLedger(SQLLedger):
    """Writes one schema of a database; raises StoreLocked when another process already does."""

    def __init__(self, url: str, *, must_exist: bool = False) -> None:
        self.url = url
        if must_exist:
            PostgresReader(url).close()
        db = _Writing(url)
        try:
            migrate(db, shipped("postgres"))
            _adopt(db)
            db.take_over()
        except BaseException:
            db.close()
            raise
        self.writer = PostgresWriter(db)

    def make_room(self, db: Any, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Make the partitions of decisions that are copied; at the end positions go on behind them."""
        if table == "decision":
            _ensure_months(db, [row[_AT] for row in rows])
        if not table:
            found = ", ".join(f"{one} = (SELECT coalesce(max(seq), 0) FROM {one})" for one in POSITIONED)
            db.execute(f"UPDATE head SET {found}")

    def pour(self, db: Any, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
        """Put rows into a table as they are, by COPY."""
        db.copy(table, columns, rows)

    def append_decision(self, row: DecisionRow) -> Future[int]:
        """Store a decision; gives its position."""

        def operation(db: Any) -> int:
            _ensure_months(db, [row.at])
            return operations.append_decision(db, row)

        return self.writer.submit(operation)

    def append_decisions(self, rows: Sequence[DecisionRow]) -> Future[list[int | LedgerError]]:
        """Store decisions in their order; gives the position of each, or what kept it from the store."""

        def operation(db: Any) -> list[int | LedgerError]:
            _ensure_months(db, [row.at for row in rows])
            return [attempt(db, partial(operations.append_decision, row=row)) for row in rows]

        return self.writer.submit(operation, n_writes=len(rows))

    def save_posterior(self, saved: SavedPosterior, saved_at: int) -> Future[None]:
        """Store a posterior and its cursor in one transaction, and tell who listens once it is there."""

        def operation(db: Any) -> None:
            operations.save_posterior(db, saved, saved_at)
            db.execute(f"SELECT pg_notify('{CHANNEL}', current_schema() || '/' || ?)", (str(saved.last_seq),))

        return self.writer.submit(operation)

    def reader(self) -> PostgresReader:
        """A new read-only connection."""
        return PostgresReader(self.url)

    def close(self) -> None:
        """Commit what is queued and release the store."""
        self.writer.close()


def _ensure_months(db: Any, moments: Sequence[int]) -> None:
    """Make the partitions that decisions of these moments need."""
    for name, start, end in set(map(_month, moments)):
        if db.execute("SELECT to_regclass(?)", (name,)).fetchone()[0] is None:
            bounds = f"FROM ({start}) TO ({end})"
            db.execute(f"CREATE TABLE {name} PARTITION OF decision FOR VALUES {bounds}")


def _month(at: int) -> tuple[str, int, int]:
    """The partition of a moment: its name, and the microseconds it reaches from and to."""
    moment = from_micros(at)
    start = datetime(moment.year, moment.month, 1, tzinfo=UTC)
    end = datetime(moment.year + moment.month // 12, moment.month % 12 + 1, 1, tzinfo=UTC)
    return f"decision_{start:%Y_%m}", to_micros(start), to_micros(end)


def _adopt(db: _Writing) -> None:
    """Give receipts to what a store of before there were any holds."""
    reader = PostgresReader(db.url)
    db.begin()
    try:
        adopt(db, reader)
        db.commit()
    except BaseException:
        db.rollback()
        raise
    finally:
        reader.close()


def _require_durable(db: Connection) -> None:
    """Refuse a server whose acknowledgements mean nothing; wait for the disk where a session would not."""
    if db.execute("SELECT current_setting('fsync')").fetchone()[0] != "on":
        db.close()
        raise LedgerError(
            f"The server of {shown(db.url)!r} runs with fsync off and can lose what it acknowledged. "
            "Set fsync = on in its configuration."
        )
    if db.execute("SELECT current_setting('synchronous_commit')").fetchone()[0] == "off":
        db.execute("SET synchronous_commit = on")
