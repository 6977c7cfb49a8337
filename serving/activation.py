"""A deferred decision begins to count: what is watched of it, from when on, until when."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from msgspec import structs

from serving.body import decode_body
from serving.evidence import Windows
from serving.ledger import DecisionRow, EventRow
from serving.ledger.records import ACTIVATED, from_micros, to_micros
from serving.problems import invalid


class Begun(NamedTuple):
    """The entry of the log that makes a deferred decision count."""

    event: EventRow
    first_due: int
    opened_at: datetime
    feedback_until: datetime


def begun(row: DecisionRow, windows: Windows, now: datetime) -> Begun:
    """Let a decision count from `now`, or from the day that its contact was planned for."""
    body = decode_body(row.body)
    if not body.is_deferred:
        rule = "was not deferred: it counts since it was made"
        raise invalid("/decision_id", rule, slug="not-deferred", status=409)
    opened_at = max(now, from_micros(row.opens_at))
    decision = structs.replace(body.decision, opens_at=opened_at)
    (watch,) = windows.begun([decision], [body.context])
    event = EventRow(
        kind="exposure",  # it is the service's own, as all entries of this kind
        event_id=f"{ACTIVATED}:{row.decision_id}",
        decision_id=row.decision_id,
        customer_id=row.customer_id,
        fingerprint="",
        outcome=ACTIVATED,
        value=0.0,
        product=watch.product,
        channel=row.channel,
        step=None,
        occurred_at=to_micros(opened_at),
        received_at=to_micros(now),
        status="accepted",
    )
    return Begun(event, watch.first_due, opened_at, windows.feedback_until(opened_at, row.product))


def active(row: DecisionRow, events: list[EventRow], windows: Windows) -> DecisionRow:
    """A decision with the window that its activation began, if it was deferred and has been activated."""
    at = activated_at(events)
    if at is None:
        return row
    until = windows.feedback_until(from_micros(at), row.product)
    return structs.replace(row, opens_at=at, feedback_until=to_micros(until))


def activated_at(events: list[EventRow]) -> int | None:
    """When a decision was activated, from its events."""
    own = (one.occurred_at for one in events if one.kind == "exposure" and one.outcome == ACTIVATED)
    return next(own, None)


def too_late(row: DecisionRow) -> Exception:
    """What refuses an activation after the window of a decision."""
    rule = f"could be activated until {from_micros(row.feedback_until).isoformat()}; decide anew"
    return invalid("/decision_id", rule, slug="activation-too-late", status=409)


def never_made() -> Exception:
    """What refuses the activation of a contact that was taken back."""
    rule = "was reported as refused or cancelled: its contact was never made; decide anew"
    return invalid("/decision_id", rule, slug="contact-never-made", status=409)
