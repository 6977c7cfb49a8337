"""The contract of a store, which SQLite and PostgreSQL keep, and how to open one.

- A write whose future is done is on the disk; one that raised LedgerError is not, and after ConnectionLost
  and the like the store itself finds out whether it was before it takes another.
- Writes take effect in the order of their calls, whole or not at all, and positions follow that order: a
  reader that has seen position n never sees a smaller one appear later. Numbers may be missing.
- An event id and a request id are stored once; two writers never write one store.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from nba.errors import InvalidConfig, NBAError
from serving.ledger.records import (
    AdminRow,
    Appended,
    DecisionRow,
    Due,
    EventRow,
    Exposed,
    History,
    LoggedEvent,
    PriceRow,
    Receipt,
    SavedPosterior,
    TakenBack,
)

if TYPE_CHECKING:
    from serving.ledger.erasure import Erased, Redact, Retained
    from serving.ledger.sqlite import SQLLedger, SQLReader


class LedgerError(NBAError, RuntimeError):
    """The store cannot be used, or could not make a write durable."""


class StoreLocked(LedgerError):
    """Another process already writes this store."""


class ConnectionLost(LedgerError):
    """The server ended a connection, or cannot be reached."""


class Unstorable(LedgerError):
    """A text holds what the store cannot keep, as PostgreSQL a NUL character; no later try will help."""


class Reader(Protocol):
    """Reads of the ledger; a reader belongs to one thread at a time and sees what is committed."""

    def decision(self, decision_id: str) -> DecisionRow | None:
        """The decision of an id."""
        ...

    def decision_of_request(self, request_id: str) -> DecisionRow | None:
        """The decision that answered a request id."""
        ...

    def history(self, customer_id: str) -> History:
        """A customer's contacts, opt-outs, conversions and household."""
        ...

    def histories(self, customer_ids: Sequence[str]) -> dict[str, History]:
        """The same of many customers at once."""
        ...

    def members(self, household: str) -> list[str]:
        """The customers whose household this is, by the decision that named one last."""
        ...

    def outcomes(self, customer_id: str) -> list[tuple[str, str, str, str, int]]:
        """What came of a customer's contacts: decision id, outcome, channel, product and when."""
        ...

    def events_after(self, seq: int, limit: int) -> list[LoggedEvent]:
        """Accepted events past a log position, in log order, each with its decision."""
        ...

    def events_of(self, decision_id: str) -> list[EventRow]:
        """All events of a decision, in log order."""
        ...

    def due(self, now: int, limit: int) -> list[Due]:
        """Decisions of which a step is due, the longest due first."""
        ...

    def decisions_by_posterior(self, after: tuple[int, int], limit: int) -> list[DecisionRow]:
        """Decisions after (posterior_seq, seq), ordered by both."""
        ...

    def decisions_after(self, seq: int, limit: int) -> list[DecisionRow]:
        """Decisions past a position, in the order in which they were committed."""
        ...

    def taken_back(self, after: int, until: int) -> list[TakenBack]:
        """Contacts that were told never to have been made, past a log position and up to another."""
        ...

    def price_rows(self) -> list[PriceRow]:
        """All versions of the prices of budgets, oldest first."""
        ...

    def price_row(self, version: int) -> PriceRow | None:
        """A version of the prices of budgets."""
        ...

    def saved_posteriors(self) -> list[SavedPosterior]:
        """Saved posteriors, newest first."""
        ...

    def last_seq(self) -> int:
        """The last log position, accepted or not; 0 for an empty log."""
        ...

    def backlog(self, seq: int) -> int:
        """How many accepted events lie past a log position."""
        ...

    def counts(self) -> dict[str, int]:
        """Rows by kind: "decisions", and events by "kind/status"."""
        ...

    def meta(self, key: str) -> str | None:
        """A stored setting."""
        ...

    def objections(self, customer_id: str) -> list[str | None]:
        """Channels that a customer had closed before being erased; None stands for all of them."""
        ...

    def purchases(self, customer_id: str) -> list[str]:
        """Products that a customer bought in decisions that are forgotten for their age."""
        ...

    def receipts_after(self, seq: int, limit: int) -> list[Receipt]:
        """Entries of the chain past a position, in their order."""
        ...

    def latest_receipts(self, kind: str, after: int, limit: int) -> list[Receipt]:
        """The last entry of each row past a position in its table, by row."""
        ...

    def receipts_of(self, kind: str, row: int) -> list[Receipt]:
        """The entries of one row, the newest last; more than one where it was erased."""
        ...

    def head(self) -> Receipt | None:
        """The last entry of the chain; None for an empty one."""
        ...

    def erased(self, kind: str) -> set[int]:
        """Positions of the rows of a table that were written anew without the person."""
        ...

    def log_after(self, seq: int, limit: int) -> list[EventRow]:
        """All events past a log position, accepted or not, in log order."""
        ...

    def admin_rows(self, seq: int, limit: int) -> list[AdminRow]:
        """What administrators did past a position, in the order of the deeds."""
        ...

    def close(self) -> None:
        """Release the connection."""
        ...


class Ledger(Protocol):
    """Writes of the ledger: a future is done when its write is on the disk."""

    def append_decision(self, row: DecisionRow) -> Future[int]:
        """Store a decision; gives its position."""
        ...

    def append_decisions(self, rows: Sequence[DecisionRow]) -> Future[list[int | LedgerError]]:
        """Store decisions in their order; gives the position of each, or what kept it from the store."""
        ...

    def append_activation(self, row: EventRow, first_due: int) -> Future[Appended]:
        """Store once that a deferred decision counts; a conflict if its contact was never made."""
        ...

    def append_event(self, row: EventRow) -> Future[Appended]:
        """Store feedback once."""
        ...

    def append_exposures(self, rows: Sequence[Exposed]) -> Future[int]:
        """Store exposure events once each and move their schedules on; gives how many were new."""
        ...

    def append_prices(self, row: PriceRow) -> Future[None]:
        """Store a version of the prices of budgets."""
        ...

    def save_posterior(self, saved: SavedPosterior, saved_at: int) -> Future[None]:
        """Store a posterior and its cursor in one transaction; the one before it is kept."""
        ...

    def erase(self, customer_id: str, at: int, actor: str, redact: Redact) -> Future[Erased]:
        """Forget a customer; `actor` is who asked, `redact` writes a body anew under a pseudonym."""
        ...

    def retain(self, before: int, after: int, at: int, actor: str, redact: Redact) -> Future[Retained]:
        """Forget whom the next old decisions were about, those whose feedback ended before a moment."""
        ...

    def note(self, row: AdminRow) -> Future[int]:
        """Store what an administrator did; gives its position."""
        ...

    def bind(self, key: str, value: str) -> Future[str]:
        """Set a setting once; gives what is stored, which an earlier call may have set otherwise."""
        ...

    def reader(self) -> Reader:
        """A new read-only connection."""
        ...

    def is_writable(self) -> bool:
        """Whether the writer still takes writes."""
        ...

    def close(self) -> None:
        """Commit what is queued and release the store."""
        ...


def open_ledger(url: str, *, must_exist: bool = False) -> SQLLedger:
    """Open the store of a URL for writing, creating it if it is missing and need not exist."""
    if is_postgres(url):
        from serving.ledger.postgres import PostgresLedger

        return PostgresLedger(url, must_exist=must_exist)
    from serving.ledger.sqlite_file import SQLiteLedger

    path = sqlite_path(url)
    if must_exist and not path.is_file():
        raise LedgerError(f"There is no store at {str(path)!r}.")
    return SQLiteLedger(path)


def open_reader(url: str) -> SQLReader:
    """Open the store of a URL for reading only."""
    if is_postgres(url):
        from serving.ledger.postgres import PostgresReader

        return PostgresReader(url)
    from serving.ledger.sqlite_file import SQLiteReader

    path = sqlite_path(url)
    if not path.is_file():
        raise LedgerError(f"There is no store at {str(path)!r}; `nba serve --store {url}` creates it.")
    return SQLiteReader(path)


def is_postgres(url: str) -> bool:
    """Whether a URL names a PostgreSQL database rather than a SQLite file."""
    return url.startswith(("postgresql://", "postgres://"))


def shown(url: str) -> str:
    """A URL that may be printed: without its password."""
    password = urlsplit(url).password
    hidden = url if password is None else url.replace(f":{password}@", ":***@", 1)
    return re.sub(r"(password=)[^&]*", r"\1***", hidden)


def sqlite_path(url: str) -> Path:
    """The file of a SQLite URL: sqlite:///relative/path or sqlite:////absolute/path."""
    scheme, separator, rest = url.partition(":///")
    if scheme != "sqlite" or not separator or not rest or rest.startswith(":memory:"):
        known = "sqlite:///relative/path, sqlite:////absolute/path or postgresql://host/database"
        rule = f"must read {known}, got {url!r}"
        raise InvalidConfig("settings", "store", rule)
    path = Path(rest)
    if path.is_dir() or not path.parent.is_dir():
        raise InvalidConfig("settings", "store", f"{str(path)!r} must be a file in an existing directory")
    return path
