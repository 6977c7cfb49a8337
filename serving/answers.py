"""From what the ledger keeps to what the service answers."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from nba.explain import why_not
from nba.strategy import Strategy
from serving.arms import Way, stored_ways
from serving.body import DecisionBody, decode_body, requested_of
from serving.ledger import Reader
from serving.ledger.records import AdminRow, DecisionRow, EventRow, Receipt, from_micros
from serving.pricing import prices_of
from serving.wire import DecisionAudit, DecisionResponse, FeedbackEntry, ReceiptProof, Slot
from serving.wire_admin import AdminCall

_SAME_IN_AUDIT = (
    "decision_id", "customer_id", "at", "opens_at", "policy", "policy_version", "posterior_seq",
    "price_version", "actions", "no_contact_propensity", "n_eligible", "removed", "terms", "best", "forgone",
    "eligible_digest", "distribution_digest",
)  # fmt: skip
_WAY = ("role", "mode", "direction", "is_deferred", "placement")


def response_of(
    slots: Sequence[tuple[DecisionBody, DecisionRow]], *, replayed: bool = False
) -> DecisionResponse:
    """The answer to a decision request, from its decisions: one, or one for each placement."""
    body, row = slots[0]
    decision = body.decision
    return DecisionResponse(
        decision_id=decision.decision_id,
        policy=decision.policy,
        policy_version=decision.policy_version,
        posterior_seq=decision.posterior_seq,
        actions=decision.actions,
        feedback_until=from_micros(row.feedback_until),
        replayed=replayed,
        role=body.role,
        mode=body.mode,
        slots=tuple(_slot(*one) for one in slots if one[0].placement is not None),
    )


def _slot(body: DecisionBody, row: DecisionRow) -> Slot:
    decision = body.decision
    return Slot(
        placement=body.placement or "",
        decision_id=decision.decision_id,
        actions=decision.actions,
        feedback_until=from_micros(row.feedback_until),
    )


def audit_of(row: DecisionRow, reader: Reader, strategy: Strategy) -> DecisionAudit:
    """All that is known about a decision, from its row, its events, its receipts and its version's prices."""
    body, receipts = decode_body(row.body), reader.receipts_of("decision", row.seq)
    context, decision = body.context, body.decision
    requested, is_erased = requested_of(body, strategy.catalogue), len(receipts) > 1
    way = {name: getattr(body, name) for name in _WAY}
    decided_by = stored_ways(reader, strategy, body.arms).strategy(Way(body.role, body.direction))
    same = {name: getattr(decision, name) for name in _SAME_IN_AUDIT}
    return DecisionAudit(
        attributes=context.attributes,
        features=dict(zip(strategy.schema.labels, decision.features, strict=True)),
        contacts=len(context.contacts),
        opted_out=context.opted_out,
        feedback_until=from_micros(row.feedback_until),
        is_exploration=None if decision.forgone is None else decision.forgone > 0.0,
        why_not=() if is_erased else why_not(decided_by, context, requested),
        prices=prices_of(reader, strategy, decision.price_version, body.own),
        budget_left=context.left,
        feedback=[_entry(event) for event in reader.events_of(row.decision_id)],
        erased=is_erased,
        receipt=_proof(receipts[-1]),
        **way,
        **same,
    )


def _entry(event: EventRow) -> FeedbackEntry:
    return FeedbackEntry(
        seq=event.seq,
        kind=event.kind,
        event_id=event.event_id,
        outcome=event.outcome,
        value=event.value,
        product=event.product,
        occurred_at=from_micros(event.occurred_at),
        status=event.status,
    )


def record_of(row: DecisionRow, reader: Reader) -> bytes:
    """A line of the log as it is exported, with its end: the stored record as it is."""
    line = {
        "seq": row.seq,
        "record": msgspec.Raw(row.body),
        "feedback": [_entry(event) for event in reader.events_of(row.decision_id)],
        "receipt": _proof(reader.receipts_of("decision", row.seq)[-1]),
    }
    return msgspec.json.encode(line) + b"\n"


def admin_call_of(row: AdminRow) -> AdminCall:
    """What an administrator did, as it is told."""
    detail = msgspec.json.decode(row.detail)
    return AdminCall(seq=row.seq, at=from_micros(row.at), actor=row.actor, what=row.what, detail=detail)


def _proof(receipt: Receipt) -> ReceiptProof:
    return ReceiptProof(seq=receipt.seq, content=receipt.content.hex(), digest=receipt.digest.hex())
