"""The only thread that writes: it gathers writes for a moment and commits them together.

A commit waits for the disk; gathering makes one wait serve many callers (design/serving.md 4.2, of
SQLite: 419 rows a second alone, 52,199 in batches of 100).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, TypeVar

import apsw

from serving.failpoints import failpoint
from serving.ledger.database import Database, WritingDatabase
from serving.ledger.store import ConnectionLost, LedgerError

MAX_BATCH = 256
GATHER_SECONDS = 0.0015

Result = TypeVar("Result")
Operation = Callable[[Database], Any]


class Pending(NamedTuple):
    """An operation on its way, with who waits for it, and how many writes it stands for."""

    operation: Operation
    future: Future[Any]
    n_writes: int


log = logging.getLogger("serving.ledger")


class Writer:
    """Runs operations on one connection, in the order of `submit`, in group commits."""

    def __init__(
        self, connection: WritingDatabase, observe: Callable[[int, float], None] | None = None
    ) -> None:
        self.observe = observe  # called with (writes, seconds) after each commit
        self.wants_checkpoint = False  # set by an operation: no old page may stay in the log of writes
        self._connection = connection
        self._queue: SimpleQueue[Pending | None] = SimpleQueue()
        self._gate = threading.Lock()
        self._closed = False
        self._failed = False
        self._thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether writes are taken, and the last commit went well."""
        return self._thread.is_alive() and not self._closed and not self._failed

    @property
    def is_closed(self) -> bool:
        """Whether the end has begun."""
        return self._closed or not self._thread.is_alive()

    def submit(self, operation: Callable[[Database], Result], n_writes: int = 1) -> Future[Result]:
        """Queue an operation; its future has the result once the commit is on the disk."""
        future: Future[Result] = Future()
        future.set_running_or_notify_cancel()  # a caller that gives up must not undo a write on its way
        with self._gate:  # otherwise a write could slip in behind the end mark and never be answered
            if self._closed:
                raise LedgerError("The ledger is closed; the service is shutting down.")
            self._queue.put(Pending(operation, future, n_writes))
        return future

    def close(self) -> None:
        """Commit what is queued, then end the thread."""
        with self._gate:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        is_open = True
        while is_open:
            batch, is_open = self._gather()
            if batch:
                self._commit(batch)

    def _gather(self) -> tuple[list[Pending], bool]:
        """The next batch, and whether more may follow."""
        first = self._queue.get()
        if first is None:
            return [], False
        batch = [first]
        deadline = time.monotonic() + GATHER_SECONDS
        while len(batch) < MAX_BATCH:
            try:
                item = self._queue.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                break
            if item is None:
                return batch, False
            batch.append(item)
        return batch, True

    def _commit(self, batch: list[Pending]) -> None:
        started = time.monotonic()
        try:
            outcomes = self._transact(batch)
        except Exception as error:
            log.error("a commit of %d operations failed: %s", len(batch), type(error).__name__)
            self._failed = True
            self._fail(batch, error)
            return
        self._failed = False
        failpoint("writer.after_commit")
        if self.wants_checkpoint:
            self.wants_checkpoint = not self._connection.forget()
        for waiting, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, BaseException):
                waiting.future.set_exception(outcome)
            else:
                waiting.future.set_result(outcome)
        if self.observe is not None:
            self.observe(sum(each.n_writes for each in batch), time.monotonic() - started)

    def _transact(self, batch: list[Pending]) -> list[Any]:
        db = self._connection
        db.begin()
        try:
            outcomes = [attempt(db, each.operation) for each in batch]
            failpoint("writer.before_commit")
            db.commit()
        except BaseException:
            db.rollback()
            raise
        return outcomes

    def _fail(self, batch: list[Pending], error: Exception) -> None:
        for waiting in batch:
            waiting.future.set_exception(LedgerError(f"The ledger could not commit: {type(error).__name__}."))


def attempt(db: Database, operation: Callable[[Database], Result]) -> Result | LedgerError:
    """The result of one operation or the error that undid it alone; what stands beside it goes on."""
    try:
        with db:  # a savepoint
            result = operation(db)
    except (apsw.FullError, apsw.IOError, apsw.CorruptError, ConnectionLost):
        raise
    except LedgerError as error:
        return error
    except Exception as error:
        return LedgerError(f"The ledger refused a write: {type(error).__name__}.")
    return result
