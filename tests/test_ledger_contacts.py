"""What the ledger keeps of contacts and households for limits that count them."""

from __future__ import annotations

from test_ledger import DAY, decision, event

from serving.ledger import SQLLedger


def test_a_contact_taken_back_at_once_was_never_made_and_is_not_watched(ledger: SQLLedger) -> None:
    told = {"d1": ["refused"], "d2": ["cancelled"], "d3": ["seen", "refused"], "d4": ["refused", "seen"]}
    for number, (name, outcomes) in enumerate(told.items()):
        ledger.append_decision(decision(name, at=number, watched=f"p{number}")).result()
        for outcome in outcomes:
            ledger.append_event(event(f"{name}-{outcome}", name, outcome=outcome)).result()
    sold = ledger.append_event(event("sold", "d1")).result()
    reader = ledger.reader()
    assert [(name, refused) for name, *_, refused in reader.history("c").contacts] == [
        ("d1", True),
        ("d3", False),
        ("d4", True),
    ]
    assert [due.decision_id for due in reader.due(9 * DAY, 10)] == ["d3"]
    assert sold.status == "accepted" and not reader.events_of("d1")[-1].teaches


def test_members_are_those_who_named_the_household_last(ledger: SQLLedger) -> None:
    homes = [("a", "h"), ("b", "h"), ("a", "g"), ("c", None), ("b", None), ("c", "h")]
    for number, (customer, home) in enumerate(homes):
        ledger.append_decision(decision(f"d{number}", customer=customer, household=home)).result()
    reader = ledger.reader()
    assert sorted(reader.members("h")) == ["b", "c"] and reader.members("g") == ["a"]
    assert [reader.history(name).household for name in "abc"] == ["g", "h", "h"]
