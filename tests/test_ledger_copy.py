"""A store is copied whole, between files and servers, and its copy goes on where it stood."""

from __future__ import annotations

from pathlib import Path

import pytest
from ledger_fixtures import new_schema, shared_server_url
from test_ledger import decision, event

from serving.chain import verify
from serving.ledger import LedgerError, SavedPosterior, open_ledger, open_reader
from serving.ledger.copying import TABLES, copy_store
from serving.ledger.store import Unstorable


def filled(url: str) -> None:
    ledger = open_ledger(url)
    for number in range(5):
        ledger.append_decision(decision(f"d{number}", at=number * 20 * 86_400_000_000)).result()
    ledger.append_event(event("e1")).result()
    ledger.append_event(event("e2", "d1", outcome="opted_out")).result()
    ledger.save_posterior(SavedPosterior(last_seq=2, posterior=b"p", sha256="s"), 0).result()
    ledger.bind("bundle_digest", "x").result()
    ledger.close()


def contents(url: str) -> list[object]:
    reader = open_reader(url)
    assert verify(reader).faults == 0
    found: list[object] = [
        reader.decisions_after(0, 99),
        reader.log_after(0, 99),
        reader.receipts_after(0, 99),
        reader.due(10**18, 99),
        reader.saved_posteriors(),
        reader.meta("bundle_digest"),
        reader.counts(),
    ]
    reader.close()
    return found


@pytest.mark.parametrize("kinds", ["sqlite-postgres-sqlite", "postgres-postgres"])
def test_a_copy_is_the_same_store(kinds: str, tmp_path: Path) -> None:
    urls = [
        f"sqlite:///{tmp_path}/{place}.db" if kind == "sqlite" else new_schema(shared_server_url())
        for place, kind in enumerate(kinds.split("-"))
    ]
    filled(urls[0])
    for source, target in zip(urls, urls[1:], strict=False):
        counts = copy_store(source, target)
        assert set(counts) == set(TABLES) and counts["decision"] == 5 and counts["receipt"] == 7
        assert contents(target) == contents(urls[0])
        with pytest.raises(LedgerError, match="holds a log already"):
            copy_store(source, target)
    ledger = open_ledger(urls[-1])
    assert ledger.append_decision(decision("more")).result() == 6
    assert ledger.append_event(event("e1")).result().status == "duplicate"
    assert ledger.append_event(event("e3", "more", outcome="seen")).result().seq == 3
    ledger.close()


def test_what_a_server_cannot_hold_is_refused_and_undone_alone() -> None:
    ledger = open_ledger(new_schema(shared_server_url()))
    rows = [("one", "fine"), ("two", "not\0fine")]
    refused = ledger.writer.submit(lambda db: ledger.pour(db, "meta", ("key", "value"), rows))
    with pytest.raises(Unstorable, match="NUL"):
        refused.result()
    reader = ledger.reader()
    assert reader.meta("one") is None
    assert ledger.bind("two", "fine").result() == "fine" == reader.meta("two")
    reader.close()
    ledger.close()
