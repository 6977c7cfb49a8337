"""What PostgreSQL alone promises: one writer by epoch, partitions by month, word of each posterior."""

from __future__ import annotations

import psycopg
import pytest
from ledger_fixtures import new_schema, shared_server_url
from test_ledger import decision, event

from nba.errors import InvalidConfig
from serving.ledger import LedgerError, SavedPosterior, open_ledger, open_reader
from serving.ledger.postgres_words import translated
from serving.ledger.store import Unstorable, shown

YEAR = 365 * 86_400_000_000


@pytest.fixture
def url() -> str:
    return new_schema(shared_server_url())


def test_words_are_translated() -> None:
    assert translated("SELECT 1 WHERE a IS ? AND b = :b_c").text == (
        "SELECT 1 WHERE a IS NOT DISTINCT FROM %s AND b = %(b_c)s"
    )
    assert translated("UPDATE t SET a = ?2 WHERE b = ?1").text == "UPDATE t SET a = %(_2)s WHERE b = %(_1)s"
    assert translated("INSERT INTO event (a) VALUES (?)").text.endswith("RETURNING seq")


def test_passwords_are_not_shown() -> None:
    assert shown("postgresql://a:secret@h/d") == "postgresql://a:***@h/d"
    assert shown("postgresql://h/d?password=secret&x=1") == "postgresql://h/d?password=***&x=1"
    assert shown("sqlite:///log.db") == "sqlite:///log.db"


def test_decisions_lie_in_a_partition_per_month(url: str) -> None:
    ledger = open_ledger(url)
    for number in range(3):
        ledger.append_decision(decision(f"d{number}", at=number * YEAR)).result()
    with psycopg.connect(url) as session:
        found = session.execute("SELECT tableoid::regclass::text FROM decision ORDER BY seq").fetchall()
    assert [name for (name,) in found] == ["decision_1970_01", "decision_1971_01", "decision_1972_01"]
    with pytest.raises(LedgerError, match="UniqueViolation"):  # also in another month
        ledger.append_decision(decision("d0", at=5 * YEAR)).result()
    ledger.close()


def test_a_replaced_writer_can_write_no_more(url: str) -> None:
    """As if the server had dropped a session, and another service had come and gone meanwhile."""
    ledger = open_ledger(url)
    ledger.append_decision(decision("d1")).result()
    with psycopg.connect(url, autocommit=True) as session:
        session.execute("UPDATE head SET epoch = epoch + 1")
    with pytest.raises(LedgerError, match="could not commit"):
        ledger.append_decision(decision("d2")).result()
    with pytest.raises(LedgerError):
        ledger.append_decision(decision("d3")).result()
    assert not ledger.is_writable() and open_reader(url).counts() == {"decisions": 1}
    ledger.close()


def test_an_ended_session_is_only_a_delay(url: str) -> None:
    ledger = open_ledger(url)
    reader = ledger.reader()
    with psycopg.connect(url, autocommit=True) as session:
        for number in range(3):
            session.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'nba %'"
            )
            assert ledger.append_decision(decision(f"d{number}")).result() == number + 1
            assert reader.counts() == {"decisions": number + 1}
    ledger.close()


def test_who_listens_is_told_of_a_posterior(url: str) -> None:
    ledger = open_ledger(url)
    with psycopg.connect(url, autocommit=True) as session:
        session.execute("LISTEN nba_snapshot")
        ledger.save_posterior(SavedPosterior(last_seq=7, posterior=b"p", sha256="s"), 0).result()
        told = next(session.notifies(timeout=30))
    assert told.payload.endswith("/7")
    ledger.close()


def test_what_cannot_be_kept_or_reached_is_refused(url: str) -> None:
    ledger = open_ledger(url)
    with pytest.raises(Unstorable, match="NUL"):
        ledger.append_event(event("e\0")).result()
    with pytest.raises(Unstorable):
        ledger.reader().history("c\0")
    ledger.close()
    with pytest.raises(InvalidConfig, match="names a schema that does not exist"):
        open_ledger(url + "_no")
    with pytest.raises(LedgerError, match="There is no store"):
        open_reader(new_schema(shared_server_url()))
    with pytest.raises(LedgerError, match="cannot be reached"):
        open_ledger("postgresql://nobody:secret@/none?host=/no/such/folder")
