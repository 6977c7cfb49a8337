from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import apsw
import pytest
from msgspec import structs

from nba.errors import InvalidConfig
from serving.binding import bind, check_bound
from serving.ledger import (
    DecisionRow,
    EventRow,
    LedgerError,
    SavedPosterior,
    SQLiteLedger,
    SQLLedger,
    StoreLocked,
    open_ledger,
)
from serving.ledger.migrations import Migration, migrate, shipped
from serving.ledger.operations import append_decision
from serving.ledger.records import Exposed, from_micros, to_micros
from serving.ledger.sqlite_file import SQLiteConnection
from serving.ledger.store import sqlite_path

DAY = 86_400_000_000


def decision(
    name: str, *, customer: str = "c", at: int = 0, channel: str | None = "mail", **more: Any
) -> DecisionRow:
    product = "card" if channel else None
    parts: dict[str, Any] = {"watched": "card", "first_due": at + DAY, "request_id": None, "product": product}
    return DecisionRow(
        decision_id=name, fingerprint="f", customer_id=customer, at=at, opens_at=at, channel=channel,
        policy_version=1, posterior_seq=0, feedback_until=at + 9 * DAY, body=b"{}", **(parts | more),
    )  # fmt: skip


def event(name: str, decision_id: str = "d1", **more: Any) -> EventRow:
    parts: dict[str, Any] = {
        "kind": "feedback", "fingerprint": "f", "outcome": "converted", "value": 1.0, "product": "card",
        "channel": "mail", "step": None, "occurred_at": 5, "received_at": 6, "status": "accepted",
        "customer_id": "c",
    }  # fmt: skip
    return EventRow(event_id=name, decision_id=decision_id, **(parts | more))


def test_times_survive_the_trip_to_micros() -> None:
    for micros in (0, 1, -1, 1_795_334_854_389_104):
        assert to_micros(from_micros(micros)) == micros


def test_urls_are_relative_with_three_slashes_and_absolute_with_four(tmp_path: Path) -> None:
    assert sqlite_path("sqlite:///log.db") == Path("log.db")
    assert sqlite_path(f"sqlite:///{tmp_path}/log.db") == tmp_path / "log.db"
    for wrong in (
        "log.db",
        "sqlite://log.db",
        "sqlite:///",
        "postgresql:///x",
        "sqlite:///:memory:",
        "sqlite:////no/dir/x",
    ):
        with pytest.raises(InvalidConfig, match="store"):
            sqlite_path(wrong)


def test_a_sqlite_store_is_wal_full_and_strict(tmp_path: Path) -> None:
    ledger = SQLiteLedger(tmp_path / "log.db")
    db = apsw.Connection(str(ledger.path))
    assert db.execute("PRAGMA journal_mode").fetchall() == [("wal",)]
    settings = ledger.writer.submit(lambda own: own.execute("PRAGMA synchronous").fetchall()).result()
    assert settings == [(2,)]  # FULL
    names = [
        name for name, sql in db.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'table'") if sql
    ]
    strict = {row[1] for row in db.execute("PRAGMA table_list") if row[5]}
    assert {name for name in names if not name.startswith("sqlite_")} <= strict
    db.close()
    ledger.close()


def test_an_event_is_stored_once(ledger: SQLLedger) -> None:
    ledger.append_decision(decision("d1")).result()
    first = ledger.append_event(event("e1")).result()
    assert first.status == "accepted"
    assert ledger.append_event(event("e1")).result() == structs.replace(first, status="duplicate")
    assert ledger.append_event(event("e1", fingerprint="g")).result() == structs.replace(
        first, status="conflict"
    )
    assert ledger.reader().counts() == {"decisions": 1, "feedback/accepted": 1}


def test_a_sender_cannot_take_the_id_of_an_exposure(ledger: SQLLedger) -> None:
    ledger.append_decision(decision("d1")).result()
    assert ledger.append_event(event("exposure:d1:0")).result().status == "accepted"
    exposure = event("exposure:d1:0", kind="exposure", outcome="exposure", step=0)
    last = Exposed(event=exposure, decision_seq=1, next_step=None, next_due=None)
    assert ledger.append_exposures([last]).result() == 1


def test_many_writers_share_commits_and_lose_nothing(ledger: SQLLedger) -> None:
    sizes: list[int] = []
    ledger.writer.observe = lambda n, seconds: sizes.append(n)
    futures = [ledger.append_decision(decision(f"d{i}", customer=f"c{i}")) for i in range(600)]
    wait(futures)
    assert sorted(future.result() for future in futures) == list(range(1, 601))
    assert sum(sizes) == 600 and max(sizes) <= 256 and len(sizes) < 60


def test_a_refused_write_does_not_take_its_batch_along(ledger: SQLLedger) -> None:
    futures = [ledger.append_decision(decision(name)) for name in ("d1", "d2", "d1", "d3")]
    with pytest.raises(LedgerError, match="ConstraintError|UniqueViolation"):
        futures[2].result()
    assert [futures[i].result() for i in (0, 1, 3)] == [1, 2, 3]


def test_only_accepted_events_are_learnt_from(ledger: SQLLedger) -> None:
    ledger.append_decision(decision("d1")).result()
    for name, status in (("a", "late"), ("b", "accepted"), ("c", "accepted")):
        ledger.append_event(event(name, status=status)).result()
    ledger.append_event(event("o", "unknown", status="orphan", customer_id=None)).result()
    reader = ledger.reader()
    assert [one.event.event_id for one in reader.events_after(0, 10)] == ["b", "c"]
    assert [one.event.event_id for one in reader.events_after(2, 10)] == ["c"]
    assert (reader.backlog(0), reader.backlog(2), reader.last_seq()) == (2, 1, 4)
    assert reader.counts() == {
        "decisions": 1,
        "feedback/accepted": 2,
        "feedback/late": 1,
        "feedback/orphan": 1,
    }


def test_history_holds_contacts_opt_outs_and_conversions(ledger: SQLLedger) -> None:
    ledger.append_decision(decision("d1", at=7)).result()
    ledger.append_decision(decision("d2", at=8, channel=None)).result()
    ledger.append_decision(decision("d3", customer="other")).result()
    ledger.append_event(event("e1")).result()
    ledger.append_event(event("e2", outcome="opted_out", status="late")).result()
    history = ledger.reader().history("c")
    assert (history.contacts, history.opt_outs, history.conversions) == (
        [("d1", "mail", "card", 7, False)],
        ["mail"],
        ["card"],
    )


def due(ledger: SQLLedger, now: int) -> list[tuple[str, int]]:
    return [(one.decision_id, one.step) for one in ledger.reader().due(now, 100)]


def expose(ledger: SQLLedger, now: int, following: int | None) -> None:
    for one in ledger.reader().due(now, 100):
        row = event(
            f"x:{one.decision_id}:{one.step}",
            one.decision_id,
            kind="exposure",
            outcome="exposure",
            step=one.step,
        )
        more = Exposed(event=row, decision_seq=one.decision_seq, next_step=one.step + 1, next_due=following)
        ledger.append_exposures([more]).result()


def test_a_watch_moves_from_cut_to_cut_and_ends(ledger: SQLLedger) -> None:
    ledger.append_decision(decision("d1")).result()
    assert due(ledger, DAY - 1) == [] and due(ledger, DAY) == [("d1", 0)]
    expose(ledger, DAY, 2 * DAY)
    assert due(ledger, DAY) == [] and due(ledger, 2 * DAY) == [("d1", 1)]
    expose(ledger, 2 * DAY, None)
    assert due(ledger, 99 * DAY) == []


def test_a_newer_contact_ends_the_watch_but_not_what_has_passed(ledger: SQLLedger) -> None:
    ledger.append_decision(decision("old")).result()
    ledger.append_decision(decision("new", at=2 * DAY)).result()
    assert due(ledger, 2 * DAY) == [("old", 0)]  # its first cut passed before the newer contact
    expose(ledger, 2 * DAY, 4 * DAY)
    assert due(ledger, 2 * DAY) == [("old", 1)]  # and a part of the second, until the newer contact
    expose(ledger, 2 * DAY, None)
    assert due(ledger, 99 * DAY) == [("new", 0)]
    ledger.append_decision(decision("newest", at=2 * DAY + 1)).result()
    assert due(ledger, 2 * DAY + 1) == [("new", 0)]  # what was watched of it is due at once
    expose(ledger, 2 * DAY + 1, None)
    assert due(ledger, 99 * DAY) == [("newest", 0)]


def test_a_probe_gives_way_to_what_is_watched(ledger: SQLLedger) -> None:
    ledger.append_decision(decision("contact")).result()
    ledger.append_decision(decision("probe", channel=None)).result()
    ledger.append_decision(decision("free", channel=None, customer="other")).result()
    assert due(ledger, DAY) == [("contact", 0), ("free", 0)]
    reader = ledger.reader()
    watched = [getattr(reader.decision(name), "watched", "?") for name in ("contact", "probe", "free")]
    assert watched == ["card", None, "card"]


def test_two_posteriors_are_kept(ledger: SQLLedger) -> None:
    for seq in (3, 5, 9):
        ledger.save_posterior(SavedPosterior(last_seq=seq, posterior=b"p%d" % seq, sha256="s"), 0).result()
    assert [saved.last_seq for saved in ledger.reader().saved_posteriors()] == [9, 5]


def test_a_setting_is_bound_once(ledger: SQLLedger) -> None:
    assert ledger.bind("key", "first").result() == "first"
    assert ledger.bind("key", "second").result() == "first"
    assert ledger.reader().meta("key") == "first" and ledger.reader().meta("none") is None


def test_a_second_writer_is_refused(ledger: SQLLedger, store: str) -> None:
    with pytest.raises(StoreLocked, match=rf"already has a writer \(.*{os.getpid()}.*\)"):
        open_ledger(store)
    code = f"from serving.ledger import open_ledger; open_ledger({store!r})"
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parent.parent
    )
    assert "StoreLocked" in other.stderr
    ledger.close()
    open_ledger(store).close()


def test_a_closed_ledger_commits_what_was_queued_and_takes_no_more(store: str) -> None:
    ledger = open_ledger(store)
    futures = [ledger.append_decision(decision(f"d{i}")) for i in range(50)]
    ledger.close()
    assert all(future.done() for future in futures) and not ledger.is_writable()
    with pytest.raises(LedgerError, match="closed"):
        ledger.append_decision(decision("d50"))


def test_a_changed_migration_and_a_newer_store_are_refused(tmp_path: Path) -> None:
    open_ledger(f"sqlite:///{tmp_path}/log.db").close()
    db = SQLiteConnection(str(tmp_path / "log.db"))
    first = shipped()[0]
    with pytest.raises(LedgerError, match="another 0001"):
        migrate(db, [first._replace(script=first.script + "-- changed")])
    newest = shipped()[-1].number + 1
    migrate(db, [*shipped(), Migration(newest, "more.sqlite.sql", "CREATE TABLE more (a INTEGER) STRICT")])
    with pytest.raises(LedgerError, match=rf"newer version \(migration {newest}\)"):
        migrate(db, shipped())
    db.close()


def test_a_file_that_is_no_ledger_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log.db").write_bytes(b"not a database, but long enough to be looked at" * 100)
    with pytest.raises(LedgerError, match="cannot be opened"):
        open_ledger(f"sqlite:///{tmp_path}/log.db")


def test_a_failed_commit_fails_its_writes_and_the_next_one_heals(tmp_path: Path) -> None:
    ledger = SQLiteLedger(tmp_path / "log.db")

    def full(db: apsw.Connection) -> None:
        raise apsw.FullError("database or disk is full")

    ledger.append_decision(decision("d1")).result()
    with pytest.raises(LedgerError, match="FullError"):
        ledger.writer.submit(full).result()
    assert ledger.reader().counts() == {"decisions": 1}
    assert not ledger.is_writable()  # and tries
    ledger.append_decision(decision("d2")).result()
    assert ledger.is_writable() and ledger.reader().counts() == {"decisions": 2}
    ledger.close()


def test_a_store_that_was_taught_at_interval_ends_says_so(tmp_path: Path) -> None:
    """The schema of before: with decisions it is refused, empty it goes on."""
    for is_used in (False, True):
        path = tmp_path / f"{is_used}.db"
        db = SQLiteConnection(str(path))
        migrate(db, [one for one in shipped() if "evidence" not in one.name])
        if is_used:
            append_decision(db, decision("d1"))
        db.close()
        ledger = open_ledger(f"sqlite:///{path}")
        if is_used:
            with pytest.raises(LedgerError, match="told at interval ends, by an older nba"):
                bind(ledger, "digest")
        else:
            bind(ledger, "digest")
            check_bound(ledger.reader(), "digest")
        ledger.close()
