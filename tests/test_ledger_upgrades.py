"""A store of every earlier schema goes on under this one, with what it holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ledger_fixtures import new_schema, shared_server_url
from test_ledger import decision, event

from serving.ledger import LedgerError, open_ledger, open_reader
from serving.ledger.database import WritingDatabase
from serving.ledger.migrations import migrate, shipped

EARLIER = [
    (dialect, number) for dialect in ("sqlite", "postgres") for number in range(1, len(shipped(dialect)))
]
_DECISION = (
    "INSERT INTO decision (decision_id, request_id, fingerprint, customer_id, at, opens_at, channel, "
    "product, watched, policy_version, posterior_seq, feedback_until, body) "
    "VALUES ('d1', 'r1', 'f', 'c', 5, 5, 'mail', 'card', 'card', 1, 0, 99, ?)"
)
_EVENT = (
    "INSERT INTO event (kind, event_id, decision_id, customer_id, fingerprint, outcome, value, product, "
    "channel, occurred_at, received_at, status, teaches) VALUES "
    "('feedback', 'e1', 'd1', 'c', 'f', 'converted', 1.0, 'card', 'mail', 7, 8, 'accepted', ?)"
)
_PARTITION = "CREATE TABLE decision_1970_01 PARTITION OF decision FOR VALUES FROM (0) TO (2678400000000)"


def opened(dialect: str, tmp_path: Path) -> tuple[str, Any]:
    """A new store, and a connection that writes it as an earlier version would."""
    if dialect == "sqlite":
        from serving.ledger.sqlite_file import SQLiteConnection

        return f"sqlite:///{tmp_path}/log.db", SQLiteConnection(str(tmp_path / "log.db"))
    url = new_schema(shared_server_url())
    from serving.ledger.postgres import _Writing

    return url, _Writing(url)


def fill(db: WritingDatabase, dialect: str) -> None:
    if dialect == "postgres":
        db.execute(_PARTITION)
    db.execute(_DECISION, (b"{}",))
    db.execute(_EVENT, (True,))
    db.execute("INSERT INTO watch VALUES (1, 'c', 'card', 0, 9, NULL)")
    db.execute("INSERT INTO snapshot VALUES (1, ?, 'digest', 3)", (b"posterior",))


@pytest.mark.parametrize(("dialect", "number"), EARLIER)
def test_an_earlier_store_goes_on(dialect: str, number: int, tmp_path: Path) -> None:
    url, db = opened(dialect, tmp_path)
    migrate(db, shipped(dialect)[:number])
    fill(db, dialect)
    db.close()
    with pytest.raises(LedgerError, match="is of an older nba"):
        open_reader(url)
    ledger = open_ledger(url)
    assert ledger.append_decision(decision("d2", customer="c", at=20)).result() == 2
    assert ledger.append_event(event("e1")).result().status == "duplicate"
    assert ledger.append_event(event("e2", "d2", outcome="seen")).result().seq == 2
    reader = ledger.reader()
    assert [one[:3] for one in reader.history("c").contacts] == [
        ("d1", "mail", "card"),
        ("d2", "mail", "card"),
    ]
    assert [one.event.event_id for one in reader.events_after(0, 9)] == ["e1", "e2"]
    assert [one.decision_id for one in reader.due(10**15, 9)] == ["d1", "d2"]
    assert [saved.posterior for saved in reader.saved_posteriors()] == [b"posterior"]
    assert [(one.kind, one.row) for one in reader.receipts_after(0, 9)] == [
        ("decision", 1), ("event", 1), ("decision", 2), ("event", 2)
    ]  # fmt: skip
    reader.close()
    ledger.close()


@pytest.mark.parametrize("dialect", ["sqlite", "postgres"])
def test_the_store_remembers_what_it_ran(dialect: str, tmp_path: Path) -> None:
    url, db = opened(dialect, tmp_path)
    migrate(db, shipped(dialect))
    first = shipped(dialect)[0]
    with pytest.raises(LedgerError, match="another 0001"):
        migrate(db, [first._replace(script=first.script + "-- changed")])
    with pytest.raises(LedgerError, match="newer version"):
        migrate(db, shipped(dialect)[:-1])
    db.close()
    open_ledger(url).close()
