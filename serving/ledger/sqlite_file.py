"""The ledger in one SQLite file: WAL, `synchronous=FULL`, one writer, any number of readers.

apsw brings its own SQLite, so that every machine has one without the WAL-reset bug of 3.7.0 to 3.51.2.
"""

from __future__ import annotations

import logging
from pathlib import Path
from urllib.parse import quote

import apsw

from serving.ledger.lock import WriterLock
from serving.ledger.migrations import migrate, shipped
from serving.ledger.receipts import adopt
from serving.ledger.sqlite import SQLLedger, SQLReader
from serving.ledger.store import LedgerError
from serving.ledger.writer import Writer

BUSY_MILLISECONDS = 5000
log = logging.getLogger("serving.ledger")


class SQLiteReader(SQLReader):
    """Reads through a `mode=ro` connection; use it from one thread at a time."""

    def __init__(self, path: Path) -> None:
        flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        try:
            db = SQLiteConnection(f"file:{quote(str(path.absolute()))}?mode=ro", flags=flags)
            db.set_busy_timeout(BUSY_MILLISECONDS)
            (done,) = db.execute("SELECT max(number) FROM migration").fetchone() or (None,)
        except apsw.Error as error:
            raise LedgerError(f"{str(path)!r} is not a ledger that can be read: {error}") from None
        if done is None or int(done) < shipped()[-1].number:
            raise LedgerError(f"{str(path)!r} is of an older nba; `nba serve` on it brings it up to date.")
        self._db = db


class SQLiteLedger(SQLLedger):
    """Writes one file; raises StoreLocked when another process already does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = WriterLock(path)
        try:
            self.writer = Writer(_writing_connection(path))
        except apsw.Error as error:
            self._lock.release()
            raise LedgerError(f"{str(path)!r} cannot be opened as a ledger: {error}") from None
        except BaseException:
            self._lock.release()
            raise

    def reader(self) -> SQLiteReader:
        """A new read-only connection."""
        return SQLiteReader(self.path)

    def close(self) -> None:
        """Commit what is queued and release the store."""
        self.writer.close()
        self._lock.release()


class SQLiteConnection(apsw.Connection):
    """A connection with the words of `Database`."""

    def begin(self) -> None:
        """Begin a transaction that writes; one that only turned out to write could be refused."""
        self.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Make it durable."""
        self.execute("COMMIT")

    def rollback(self) -> None:
        """Undo it; a full disk may have done so already."""
        if not self.get_autocommit():
            self.execute("ROLLBACK")

    def forget(self) -> bool:
        """Empty the log of writes."""
        try:
            self.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except apsw.BusyError:
            log.warning("a reader keeps the log of writes from being emptied; it is tried again")
            return False
        return True


def _writing_connection(path: Path) -> SQLiteConnection:
    db = SQLiteConnection(str(path))
    db.set_busy_timeout(BUSY_MILLISECONDS)
    db.execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON")
    db.execute("PRAGMA secure_delete = ON")  # what is erased leaves no copy in free pages
    migrate(db, shipped())
    reader = SQLiteReader(path)
    adopt(db, reader)
    reader.close()
    return db
