from __future__ import annotations

import asyncio
from hashlib import sha256
from pathlib import Path
from shutil import copyfile

import apsw
import pytest
from msgspec import structs
from serving_fixtures import Clock, decided, reported, service
from test_ledger import decision, event

from nba.errors import InvalidConfig
from serving.chain import Anchor, verify
from serving.ledger import LedgerError, open_ledger, open_reader
from serving.ledger.migrations import migrate, shipped
from serving.ledger.operations import append_decision
from serving.ledger.receipts import START, canonical
from serving.ledger.sqlite_file import SQLiteConnection
from serving.replay import replay


def url(folder: Path) -> str:
    return f"sqlite:///{folder}/log.db"


async def _some_log(folder: Path) -> None:
    """Six decisions of three customers, three conversions and an opt-out."""
    clock = Clock()
    async with service(folder, clock=clock, publish_seconds=30.0) as client:
        for number in range(6):
            answer = await decided(client, f"Erika {number % 3}", request_id=f"r{number}")
            if number % 2:
                await reported(client, answer["decision_id"], "converted", value=float(number))
            clock.forward(days=1)
        await reported(client, answer["decision_id"], "opted_out")


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("receipts")
    asyncio.run(_some_log(folder))
    return folder


def changed(log: Path, folder: Path, *statements: str) -> str:
    """A copy of a store that somebody has written to."""
    copyfile(log / "log.db", folder / "log.db")
    db = apsw.Connection(str(folder / "log.db"))
    for statement in statements:
        db.execute(statement)
    db.close()
    return url(folder)


def faults(store: str, anchor: Anchor | None = None) -> list[str]:
    reader = open_reader(store)
    try:
        return verify(reader, anchor).faulty
    finally:
        reader.close()


def test_the_first_receipts_by_hand(tmp_path: Path) -> None:
    """The chain as its definition says, without any of its functions but the canonical bytes."""
    ledger = open_ledger(url(tmp_path))
    ledger.append_decision(structs.replace(decision("d1"), body=b"what was decided")).result()
    ledger.append_event(event("e1")).result()
    reader = ledger.reader()
    first, second = reader.receipts_after(0, 10)
    stored, told = reader.decisions_after(0, 1)[0], reader.log_after(0, 1)[0]
    assert canonical(stored).endswith(b"\nwhat was decided") and b'"decision_id":"d1"' in canonical(stored)
    assert first.content == sha256((first.salt or b"") + canonical(stored)).digest()
    assert second.content == sha256((second.salt or b"") + canonical(told)).digest()
    assert first.digest == sha256(START + b"1 decision 1" + first.content).digest()
    assert second.digest == sha256(first.digest + b"2 event 1" + second.content).digest()
    report = verify(reader)
    assert (report.entries, report.faults, report.head) == (2, 0, f"2:{second.digest.hex()}")
    reader.close()
    ledger.close()


def test_an_untouched_store_has_no_faults(log: Path) -> None:
    report = replay(log / "bundle", url(log))
    assert (report.mismatches, report.erased, report.receipts.faults, report.receipts.erased) == (0, 0, 0, 0)
    assert report.receipts.entries == sum(report.counts.values()) == 10


SWAP = "UPDATE {table} SET seq = CASE seq WHEN 2 THEN -3 ELSE -2 END WHERE seq IN (2, 3)"
BACK = "UPDATE {table} SET seq = -seq WHERE seq < 0"


@pytest.mark.parametrize(
    ("statements", "named"),
    [
        (["UPDATE decision SET at = at + 1 WHERE seq = 3"], ["decision 3 ("]),
        (["UPDATE decision SET household = 'h' WHERE seq = 3"], ["decision 3 ("]),
        (["UPDATE decision SET body = CAST(body AS TEXT) || ' ' WHERE seq = 3"], []),  # a STRICT column
        (["UPDATE event SET value = value * 2 WHERE seq = 2"], ["event 2 (converted-"]),
        (["DELETE FROM event WHERE seq = 2"], ["event 2: removed"]),
        (["DELETE FROM event WHERE seq = (SELECT max(seq) FROM event)"], ["event 4: removed"]),
        ([SWAP.format(table="event"), BACK.format(table="event")], ["event 2 (", "event 3 ("]),
        (["DELETE FROM receipt WHERE seq = 4"], ["receipt 4: removed", "receipt 5 (", "has no receipt"]),
        (["DELETE FROM receipt WHERE seq = 10"], ["event 4 (opted_out-"]),
        (["UPDATE receipt SET content = zeroblob(32) WHERE seq = 1"], ["receipt 1 (", "decision 1 ("]),
        ([SWAP.format(table="receipt"), BACK.format(table="receipt")], ["receipt 2 (", "receipt 3 ("]),
        (
            ["INSERT INTO receipt SELECT 11, kind, row, salt, content, digest FROM receipt WHERE seq = 1"],
            ["receipt 11 (decision 1)", "1 rows have a second receipt"],
        ),
    ],
)
def test_what_was_changed_is_named(
    log: Path, tmp_path: Path, statements: list[str], named: list[str]
) -> None:
    if not named:
        with pytest.raises(apsw.ConstraintError):
            changed(log, tmp_path, *statements)
        return
    found = faults(changed(log, tmp_path, *statements))
    assert all(any(name in fault for fault in found) for name in named), found
    assert len(found) <= 2 * len(named)


def test_a_chain_that_was_written_anew_is_not_the_one_that_was_kept(log: Path, tmp_path: Path) -> None:
    reader = open_reader(url(log))
    kept = Anchor.parse(verify(reader).head)
    reader.close()
    assert faults(url(log), kept) == []
    store = changed(log, tmp_path, "UPDATE event SET value = 9.0 WHERE seq = 2", "DELETE FROM receipt")
    open_ledger(store).close()  # begins a chain of the rows that it finds
    assert faults(store) == []
    assert [fault[:12] for fault in faults(store, kept)] == ["receipt 10: "]


@pytest.mark.parametrize("text", ["", "7", "x:" + "0" * 64, "7:" + "0" * 63, "7:" + "G" * 64])
def test_an_anchor_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidConfig, match="POSITION:DIGEST"):
        Anchor.parse(text)


def test_a_store_of_before_gets_its_receipts_when_it_is_opened(tmp_path: Path) -> None:
    db = SQLiteConnection(str(tmp_path / "log.db"))
    migrate(db, [one for one in shipped() if one.number < 7])
    for name in ("d1", "d2"):
        _append_without_receipt(db, name)
    db.close()
    with pytest.raises(LedgerError, match="older nba"):
        open_reader(url(tmp_path))
    open_ledger(url(tmp_path)).close()
    reader = open_reader(url(tmp_path))
    assert [(one.kind, one.row) for one in reader.receipts_after(0, 9)] == [("decision", 1), ("decision", 2)]
    assert verify(reader).faults == 0
    reader.close()


def _append_without_receipt(db: SQLiteConnection, name: str) -> None:
    db.execute("CREATE TEMP TABLE IF NOT EXISTS receipt (seq, kind, row, salt, content, digest)")
    append_decision(db, decision(name))
    db.execute("DELETE FROM temp.receipt")
