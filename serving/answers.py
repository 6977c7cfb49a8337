"""From what the ledger keeps to what the service answers."""

from __future__ import annotations

from collections.abc import Callable

from nba.decision import Decision
from nba.explain import why_not
from nba.strategy import Strategy
from serving.body import decode_body, requested_of
from serving.ledger.records import DecisionRow, EventRow, from_micros
from serving.wire import DecisionAudit, DecisionResponse, FeedbackEntry

_SAME_IN_AUDIT = (
    "decision_id", "customer_id", "at", "opens_at", "policy", "policy_version", "posterior_seq",
    "price_version", "actions", "no_contact_propensity", "n_eligible", "removed", "terms",
    "eligible_digest", "distribution_digest",
)  # fmt: skip


def response_of(decision: Decision, row: DecisionRow, *, replayed: bool = False) -> DecisionResponse:
    """The answer to a decision request."""
    return DecisionResponse(
        decision_id=decision.decision_id,
        policy=decision.policy,
        policy_version=decision.policy_version,
        posterior_seq=decision.posterior_seq,
        actions=decision.actions,
        feedback_until=from_micros(row.feedback_until),
        replayed=replayed,
    )


def audit_of(
    row: DecisionRow,
    events: list[EventRow],
    strategy: Strategy,
    prices_of: Callable[[int], dict[str, float]],
) -> DecisionAudit:
    """All that is known about a decision, from its row, its events and the prices of its version."""
    body = decode_body(row.body)
    context, decision = body.context, body.decision
    same = {name: getattr(decision, name) for name in _SAME_IN_AUDIT}
    return DecisionAudit(
        attributes=context.attributes,
        features=dict(zip(strategy.schema.labels, decision.features, strict=True)),
        contacts=len(context.contacts),
        opted_out=context.opted_out,
        feedback_until=from_micros(row.feedback_until),
        why_not=why_not(strategy, context, requested_of(body, strategy.catalogue)),
        prices=prices_of(decision.price_version),
        budget_left=context.left,
        feedback=[_entry(event) for event in events],
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
