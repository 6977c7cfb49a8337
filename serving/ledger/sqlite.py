"""What a ledger reads and writes, for every store: the SQL is SQLite's, and PostgreSQL is told the same."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

from msgspec import structs

from serving.ledger import operations
from serving.ledger.database import Database
from serving.ledger.erasure import AdministrativeWrites
from serving.ledger.receipt_reads import ReceiptReads
from serving.ledger.records import (
    Appended,
    DecisionRow,
    Due,
    EventRow,
    Exposed,
    History,
    LoggedEvent,
    PriceRow,
    SavedPosterior,
    TakenBack,
)
from serving.ledger.store import LedgerError
from serving.ledger.writer import Writer, attempt

_DECISION = ", ".join(operations.DECISION_COLUMNS)
_PRICE = "SELECT version, decision_seq, planned, state FROM price"
_EVENT = ", ".join(f"e.{name}" for name in operations.EVENT_COLUMNS)


class SQLReader(ReceiptReads):
    """The reads of every store; use one from one thread at a time."""

    _db: Database

    def decision(self, decision_id: str) -> DecisionRow | None:
        """The decision of an id."""
        return self._decision("decision_id = ?", (decision_id,))

    def decision_of_request(self, request_id: str) -> DecisionRow | None:
        """The decision that answered a request id."""
        return self._decision("request_id = ?", (request_id,))

    def history(self, customer_id: str) -> History:
        """A customer's contacts, opt-outs, conversions and household."""
        return self.histories([customer_id])[customer_id]

    def histories(self, customer_ids: Sequence[str]) -> dict[str, History]:
        """The same of many customers at once."""
        some = f"customer_id IN ({', '.join('?' * len(customer_ids))})"
        found = {name: History(contacts=[], opt_outs=[], conversions=[]) for name in customer_ids}
        for held, name, *made, told in self._db.execute(
            f"SELECT {operations.CONTACT} FROM decision WHERE {some} AND channel IS NOT NULL ORDER BY seq",
            tuple(customer_ids),
        ):
            if told != "cancelled":
                found[name].contacts.append((*made, told == "refused"))
                if held is not None:
                    found[name].held[made[0]] = held
        for name, outcome, channel, product in self._db.execute(
            "SELECT customer_id, outcome, channel, product FROM event "
            f"WHERE {some} AND outcome IN ('converted', 'opted_out') ORDER BY seq",
            tuple(customer_ids),
        ):
            if outcome == "opted_out":
                found[name].opt_outs.append(channel)
            elif product is not None:
                found[name].conversions.append(product)
        homes = self._db.execute(
            f"SELECT customer_id, household FROM decision d WHERE {some} AND household IS NOT NULL AND "
            "seq = (SELECT max(seq) FROM decision o WHERE o.customer_id = d.customer_id "
            "AND o.household IS NOT NULL)",
            tuple(customer_ids),
        )
        return found | {name: structs.replace(found[name], household=home) for name, home in homes}

    def outcomes(self, customer_id: str) -> list[tuple[str, str, str, str, int]]:
        """What came of a customer's contacts: decision id, outcome, channel, product and when."""
        return self._db.execute(
            "SELECT decision_id, e.outcome, e.channel, e.product, e.occurred_at FROM decision d JOIN event e "
            "USING (decision_id) WHERE d.customer_id = ? AND d.channel IS NOT NULL AND e.kind = 'feedback' "
            "ORDER BY e.seq",
            (customer_id,),
        ).fetchall()

    def members(self, household: str) -> list[str]:
        """The customers whose household this is, by the decision that named one last."""
        rows = self._db.execute(
            "SELECT DISTINCT customer_id FROM decision d WHERE household = ? AND NOT EXISTS ("
            "SELECT 1 FROM decision newer WHERE newer.customer_id = d.customer_id AND newer.seq > d.seq "
            "AND newer.household IS NOT NULL AND newer.household <> d.household)",
            (household,),
        )
        return [str(name) for (name,) in rows]

    def events_after(self, seq: int, limit: int) -> list[LoggedEvent]:
        """Accepted events past a log position, in log order, each with its decision."""
        rows = self._db.execute(
            f"SELECT e.seq, {_EVENT}, d.body, {operations.KNOWN} "
            "FROM event e JOIN decision d USING (decision_id) "
            "WHERE e.seq > ? AND e.status = 'accepted' ORDER BY e.seq LIMIT ?",
            (seq, limit),
        )
        return [LoggedEvent(operations.event_of(row[:-4]), *row[-4:]) for row in rows]

    def events_of(self, decision_id: str) -> list[EventRow]:
        """All events of a decision, in log order."""
        statement = f"SELECT e.seq, {_EVENT} FROM event e WHERE e.decision_id = ? ORDER BY e.seq"
        return [operations.event_of(row) for row in self._db.execute(statement, (decision_id,))]

    def due(self, now: int, limit: int) -> list[Due]:
        """Decisions of which a step is due, the longest due first."""
        rows = self._db.execute(
            f"SELECT decision_seq, step, due_at, decision_id, w.customer_id, {operations.opened('d')}, "
            "w.product, channel FROM watch w JOIN decision d ON d.seq = decision_seq WHERE due_at <= ? "
            "ORDER BY due_at, decision_seq LIMIT ?",
            (now, limit),
        )
        return [Due(**dict(zip(Due.__struct_fields__, row, strict=True))) for row in rows]

    def decisions_by_posterior(self, after: tuple[int, int], limit: int) -> list[DecisionRow]:
        """Decisions after (posterior_seq, seq), ordered by both."""
        rows = self._db.execute(
            f"SELECT seq, {_DECISION} FROM decision WHERE (posterior_seq, seq) > (?, ?) "
            "ORDER BY posterior_seq, seq LIMIT ?",
            (*after, limit),
        )
        return [operations.decision_of(row) for row in rows]

    def decisions_after(self, seq: int, limit: int) -> list[DecisionRow]:
        """Decisions past a position, in the order in which they were committed."""
        statement = f"SELECT seq, {_DECISION} FROM decision WHERE seq > ? ORDER BY seq LIMIT ?"
        return [operations.decision_of(row) for row in self._db.execute(statement, (seq, limit))]

    def taken_back(self, after: int, until: int) -> list[TakenBack]:
        """Contacts that were told never to have been made, past a log position and up to another."""
        rows = self._db.execute(
            "SELECT e.seq, d.seq, d.decision_id, e.outcome, d.body FROM event e "
            "JOIN decision d USING (decision_id) WHERE e.seq > ? AND e.seq <= ? AND e.kind = 'feedback' "
            "AND e.outcome IN ('refused', 'cancelled') AND e.status <> 'orphan' AND NOT EXISTS ("
            "SELECT 1 FROM event o WHERE o.decision_id = e.decision_id AND o.kind = 'feedback' "
            "AND o.status <> 'orphan' AND o.seq < e.seq) ORDER BY e.seq",
            (after, until),
        )
        return [TakenBack(**dict(zip(TakenBack.__struct_fields__, row, strict=True))) for row in rows]

    def price_rows(self) -> list[PriceRow]:
        """All versions of the prices of budgets, oldest first."""
        rows = self._db.execute(f"{_PRICE} ORDER BY version")
        return [_price(row) for row in rows]

    def price_row(self, version: int) -> PriceRow | None:
        """A version of the prices of budgets."""
        row = self._db.execute(f"{_PRICE} WHERE version = ?", (version,)).fetchone()
        return None if row is None else _price(row)

    def saved_posteriors(self) -> list[SavedPosterior]:
        """Saved posteriors, newest first."""
        rows = self._db.execute("SELECT last_seq, posterior, sha256 FROM snapshot ORDER BY last_seq DESC")
        return [SavedPosterior(last_seq=seq, posterior=blob, sha256=digest) for seq, blob, digest in rows]

    def last_seq(self) -> int:
        """The last log position, accepted or not; 0 for an empty log."""
        return int(self._scalar("SELECT coalesce(max(seq), 0) FROM event"))

    def backlog(self, seq: int) -> int:
        """How many accepted events lie past a log position."""
        return int(self._scalar("SELECT count(*) FROM event WHERE status = 'accepted' AND seq > ?", (seq,)))

    def counts(self) -> dict[str, int]:
        """Rows by kind: "decisions", and events by "kind/status"."""
        found = {"decisions": int(self._scalar("SELECT count(*) FROM decision"))}
        rows = self._db.execute("SELECT kind || '/' || status, count(*) FROM event GROUP BY kind, status")
        return found | {str(name): int(count) for name, count in rows}

    def meta(self, key: str) -> str | None:
        """A stored setting."""
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def close(self) -> None:
        """Release the connection."""
        self._db.close()

    def _decision(self, condition: str, values: tuple[str, ...]) -> DecisionRow | None:
        statement = f"SELECT seq, {_DECISION} FROM decision WHERE {condition}"
        row = self._db.execute(statement, values).fetchone()
        return None if row is None else operations.decision_of(row)

    def _scalar(self, statement: str, values: tuple[int, ...] = ()) -> Any:
        row = self._db.execute(statement, values).fetchone()
        assert row is not None
        return row[0]


class SQLLedger(AdministrativeWrites, ABC):
    """The writes of every store, through one thread."""

    writer: Writer

    @abstractmethod
    def reader(self) -> SQLReader:
        """A new read-only connection."""

    @abstractmethod
    def close(self) -> None:
        """Commit what is queued and release the store."""

    def make_room(self, db: Database, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Prepare a table for rows that are copied to it with their positions; `table` is "" at the end."""

    def pour(self, db: Any, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
        """Put rows into a table as they are, positions and all."""
        places = ", ".join("?" * len(columns))
        db.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})", rows)

    def append_decision(self, row: DecisionRow) -> Future[int]:
        """Store a decision; gives its position."""
        return self.writer.submit(lambda db: operations.append_decision(db, row))

    def append_decisions(self, rows: Sequence[DecisionRow]) -> Future[list[int | LedgerError]]:
        """Store decisions in their order; gives the position of each, or what kept it from the store."""
        kept = [partial(operations.append_decision, row=row) for row in rows]
        return self.writer.submit(lambda db: [attempt(db, one) for one in kept], n_writes=len(kept))

    def append_activation(self, row: EventRow, first_due: int) -> Future[Appended]:
        """Store once that a deferred decision counts; a conflict if its contact was never made."""
        return self.writer.submit(lambda db: operations.append_activation(db, row, first_due))

    def append_event(self, row: EventRow) -> Future[Appended]:
        """Store feedback once."""
        return self.writer.submit(lambda db: operations.append_event(db, row))

    def append_exposures(self, rows: Sequence[Exposed]) -> Future[int]:
        """Store exposure events once each and move their schedules on; gives how many were new."""
        return self.writer.submit(lambda db: operations.append_exposures(db, rows))

    def append_prices(self, row: PriceRow) -> Future[None]:
        """Store a version of the prices of budgets."""
        return self.writer.submit(lambda db: operations.append_prices(db, row))

    def save_posterior(self, saved: SavedPosterior, saved_at: int) -> Future[None]:
        """Store a posterior and its cursor in one transaction; the one before it is kept."""
        return self.writer.submit(lambda db: operations.save_posterior(db, saved, saved_at))

    def bind(self, key: str, value: str) -> Future[str]:
        """Set a setting once; gives what is stored, which an earlier call may have set otherwise."""
        return self.writer.submit(lambda db: operations.bind(db, key, value))

    def is_writable(self) -> bool:
        """Whether the last commit went well; if not, a write is tried, and a later asker sees if it did."""
        if self.writer.is_alive:
            return True
        if not self.writer.is_closed:
            self.writer.submit(lambda db: db.execute("UPDATE meta SET value = value"))
        return False


def _price(row: tuple[Any, ...]) -> PriceRow:
    return PriceRow(version=row[0], decision_seq=row[1], planned=bool(row[2]), state=row[3])
