"""What the ledger keeps of deferred decisions, in both stores."""

from __future__ import annotations

from msgspec import structs
from test_ledger import DAY, decision, event

from serving.ledger import EventRow, SQLLedger


def activation(name: str, at: int) -> EventRow:
    told = event(f"activated:{name}", name, outcome="activated")
    return structs.replace(told, kind="exposure", product="p", channel="sms", occurred_at=at, fingerprint="")


def test_a_deferred_contact_is_held_until_its_activation_and_watched_from_then_on(ledger: SQLLedger) -> None:
    deferred = structs.replace(decision("d1", at=1), product="p", channel="sms", watched=None)
    ledger.append_decision(deferred).result()
    early = ledger.append_event(structs.replace(event("e1", "d1"), product="p", occurred_at=2)).result()
    reader = ledger.reader()
    assert reader.history("c").held == {"d1": deferred.feedback_until} and reader.due(99 * DAY, 9) == []
    done = ledger.append_activation(activation("d1", DAY), 2 * DAY).result()
    again = ledger.append_activation(activation("d1", DAY + 5), 2 * DAY).result()
    assert (done.status, again.status, again.seq) == ("accepted", "duplicate", done.seq)
    late = ledger.append_event(structs.replace(event("e2", "d1"), product="p", occurred_at=DAY + 7)).result()
    history = reader.history("c")
    assert history.held == {} and [contact[3] for contact in history.contacts] == [DAY]
    assert [(due.decision_id, due.at) for due in reader.due(99 * DAY, 9)] == [("d1", DAY)]
    watched = {one.event.seq: one.watched for one in reader.events_after(0, 9)}
    assert (watched[early.seq], watched[late.seq]) == (None, "p")


def test_a_contact_that_was_taken_back_cannot_be_activated(ledger: SQLLedger) -> None:
    ledger.append_decision(structs.replace(decision("d1"), product="p", channel="sms", watched=None)).result()
    ledger.append_event(event("e", "d1", outcome="cancelled")).result()
    assert ledger.append_activation(activation("d1", DAY), DAY).result().status == "conflict"
    assert ledger.reader().due(99 * DAY, 9) == []
