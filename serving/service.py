"""Decides under the published snapshot, writes the ledger, and answers only what is on the disk."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from datetime import datetime
from functools import partial
from typing import NamedTuple, TypeVar

from msgspec import structs

from nba.context import Contact
from nba.decision import Decision
from nba.errors import BadContext, UnknownAction
from nba.snapshot import Snapshot
from serving.answers import audit_of, response_of
from serving.body import DecisionBody, decode_body, encode_body, requested_of
from serving.checks import (
    attribute_pointer,
    check_contacts,
    check_same_request,
    decision_time,
    feedback_fingerprint,
    issued,
    outcome_time,
)
from serving.customers import CustomerBook, Remembered, closed_channels, planned, settled, with_contact
from serving.evidence import Windows
from serving.ids import made_at, new_id
from serving.learner import OnlineLearner
from serving.ledger import Appended, DecisionRow, EventRow, Ledger, LedgerError
from serving.ledger.records import TAKEN_BACK, to_micros
from serving.metrics import Metrics
from serving.pricing import prices_of
from serving.problems import Rejected, invalid
from serving.settings import Clock
from serving.wire import (
    DecisionAudit,
    DecisionRequest,
    DecisionResponse,
    Feedback,
    FeedbackReceipt,
    fingerprint_of,
)

Result = TypeVar("Result")


class Made(NamedTuple):
    """A decision that is not on the disk yet."""

    decision: Decision
    row: DecisionRow
    known: Remembered
    contact: Contact | None
    action: int  # row of the catalogue
    at: datetime  # when it was made, which is when budgets count it


class InFlight(NamedTuple):
    """A request id whose answer is on its way."""

    fingerprint: str
    answer: asyncio.Future[DecisionResponse]


class DecisionService:
    """The three things a channel system does: ask for a decision, report feedback, look one up."""

    def __init__(self, learner: OnlineLearner, ledger: Ledger, clock: Clock, metrics: Metrics) -> None:
        self._learner, self._ledger, self._clock, self._metrics = learner, ledger, clock, metrics
        self._strategy = learner.base.strategy
        self._windows = Windows(self._strategy)
        self._reader = ledger.reader()
        self._book = CustomerBook(self._reader, self._strategy)
        self._in_flight: dict[str, InFlight] = {}

    async def decide(self, request: DecisionRequest) -> DecisionResponse:
        """Decide once for each request id; the answer is durable before it is given."""
        fingerprint = fingerprint_of(request)
        if request.request_id is None:
            return await self._decide(request, fingerprint)
        flying = self._in_flight.get(request.request_id)
        if flying is not None:
            check_same_request(flying.fingerprint, fingerprint)
            return structs.replace(await asyncio.shield(flying.answer), replayed=True)
        stored = self._reader.decision_of_request(request.request_id)
        if stored is not None:
            check_same_request(stored.fingerprint, fingerprint)
            self._metrics.decisions.labels("replayed").inc()
            return response_of(decode_body(stored.body).decision, stored, replayed=True)
        return await self._decide_once(request, request.request_id, fingerprint)

    async def record(self, feedback: Feedback) -> FeedbackReceipt:
        """Append feedback; an opt-out closes its channel before the answer is given."""
        received_at = self._clock()
        row = self._reader.decision(feedback.decision_id.lower())
        if row is None:  # after a clock was set back, ids of this ledger lie ahead of it
            issued(feedback.decision_id, received_at)
        event = self._event(feedback, row, received_at)
        appended = await _durable(self._ledger.append_event(event))
        if appended.status == "conflict":
            rule = "was used for other feedback; a new event needs a new id"
            raise invalid("/event_id", rule, slug="event-id-reused", status=409)
        if appended.status != "duplicate":
            first = self._first_told(event)
            self._book.apply(event, first.outcome)
            if row is not None and first.event_id == event.event_id:
                self._return(row, event.outcome, appended.seq)
        return self._receipt(event, appended, received_at)

    def audit(self, decision_id: str) -> DecisionAudit:
        """All that is known about a decision."""
        row = self._reader.decision(decision_id.lower())
        if row is None:
            rule = "this service has made no such decision"
            raise invalid("/decision_id", rule, slug="unknown-decision", status=404)
        events, strategy = self._reader.events_of(row.decision_id), self._strategy
        return audit_of(row, events, strategy, partial(prices_of, self._reader, strategy))

    def close(self) -> None:
        """Release the reader."""
        self._reader.close()

    async def _decide_once(
        self, request: DecisionRequest, request_id: str, fingerprint: str
    ) -> DecisionResponse:
        answer: asyncio.Future[DecisionResponse] = asyncio.get_running_loop().create_future()
        self._in_flight[request_id] = InFlight(fingerprint, answer)
        try:
            response = await self._decide(request, fingerprint)
        except BaseException as error:
            is_ours = isinstance(error, Exception)
            answer.set_exception(
                error if is_ours else LedgerError("The first request with this id was cut off.")
            )
            answer.exception()  # looked at: nobody else may be waiting for it
            raise
        else:
            answer.set_result(response)
            return response
        finally:
            del self._in_flight[request_id]

    async def _decide(self, request: DecisionRequest, fingerprint: str) -> DecisionResponse:
        """Decide and count the contact without a pause, then wait for the disk."""
        made = self._make(request, fingerprint)
        self._book.move(request.customer)
        with_contact(made.known, made.row.decision_id, made.contact)
        if self._learner.till is not None:
            self._learner.till.take(made.action, made.at)
        is_stored = True
        try:
            await _durable(self._ledger.append_decision(made.row))
        except LedgerError:
            is_stored = False
            raise
        finally:
            # A request that is cut off here may be stored all the same, so its contact keeps counting.
            settled(made.known, made.row.decision_id, is_stored=is_stored)
            if self._learner.till is not None and not is_stored:
                self._learner.till.give_back(made.action, made.at)
        self._metrics.decisions.labels("contact" if made.contact else "no_contact").inc()
        return response_of(made.decision, made.row)

    def _make(self, request: DecisionRequest, fingerprint: str) -> Made:
        now = self._clock()
        at = decision_time(request.at, now)
        snapshot = self._snapshot()
        requested = requested_of(request, self._strategy.catalogue)
        check_contacts(request.customer.contacts, self._strategy.catalogue)
        left = {} if self._learner.till is None else self._learner.till.left(now)
        context = self._book.context(request.customer, at, left)
        with self._metrics.scoring.time():
            try:
                decision = snapshot.decide_one(context, new_id(now), request.limit, requested)
            except BadContext as error:
                raise invalid(attribute_pointer(error.pointer, request), error.rule) from None
        body = DecisionBody(
            channels=request.channels,
            candidates=request.candidates,
            exclude=request.exclude,
            limit=request.limit,
            context=context,
            decision=decision,
        )
        known = self._book.remembered(context.customer_id)
        row, action = self._row(request, fingerprint, body), decision.actions[0].action_id
        return Made(decision, row, known, _contact(decision), self._strategy.catalogue.row_of(action), now)

    def _first_told(self, event: EventRow) -> EventRow:
        """The first feedback on a decision; only what may take a contact back has to know."""
        if event.outcome not in TAKEN_BACK:
            return event
        told = self._reader.events_of(event.decision_id)
        return next((one for one in told if one.kind == "feedback" and one.status != "orphan"), event)

    def _return(self, row: DecisionRow, outcome: str, seq: int) -> None:
        """Give back to the budgets what a contact would have used that was never made."""
        made = made_at(row.decision_id)
        if self._learner.till is not None and outcome in TAKEN_BACK and made is not None:
            action = decode_body(row.body).decision.actions[0].action_id
            self._learner.till.told(outcome, seq, self._strategy.catalogue.row_of(action), made)

    def _row(self, request: DecisionRequest, fingerprint: str, body: DecisionBody) -> DecisionRow:
        decision, chosen = body.decision, body.decision.actions[0]
        opens_at = to_micros(decision.opens_at)
        watched = self._windows.watched(decision, body.context)
        return DecisionRow(
            decision_id=decision.decision_id,
            request_id=request.request_id,
            fingerprint=fingerprint,
            customer_id=decision.customer_id,
            household=body.context.household,
            at=to_micros(decision.at),
            opens_at=opens_at,
            channel=chosen.channel,
            product=chosen.product,
            policy_version=decision.policy_version,
            posterior_seq=decision.posterior_seq,
            feedback_until=to_micros(self._windows.feedback_until(decision.opens_at, chosen.product)),
            body=encode_body(body),
            watched=watched,
            first_due=self._first_due(decision, opens_at, watched),
        )

    def _first_due(self, decision: Decision, opens_at: int, watched: str | None) -> int:
        if watched is None:
            return 0
        is_contact = decision.actions[0].channel is not None
        return self._windows.due(decision.decision_id, opens_at, watched, 0, is_contact=is_contact)

    def _snapshot(self) -> Snapshot:
        published = self._learner.published
        if published is None:
            raise Rejected(503, "The log is still being replayed; ask again when /readyz says so.")
        return published.snapshot

    def _event(self, feedback: Feedback, row: DecisionRow | None, received_at: datetime) -> EventRow:
        outcome = "converted" if feedback.outcome == "conversion" else feedback.outcome
        # A contact can be taken back, and a customer be gone, long before the moment that it was planned for.
        judged = None if outcome in (*TAKEN_BACK, "opted_out") else row
        occurred_at = outcome_time(feedback.occurred_at or received_at, received_at, judged)
        if feedback.product is not None:
            try:
                self._strategy.catalogue.level("product", feedback.product)
            except UnknownAction as error:
                raise invalid("/product", str(error)) from None
        if outcome in TAKEN_BACK and row is not None and row.channel is None:
            raise invalid("/outcome", f"{outcome!r} is said of a contact, and this decision made none")
        product = feedback.product or (row.product if row else None)
        is_late = row is not None and occurred_at > row.feedback_until
        return EventRow(
            kind="feedback",
            event_id=feedback.event_id,
            decision_id=feedback.decision_id.lower(),
            customer_id=row.customer_id if row else None,
            fingerprint=feedback_fingerprint(feedback, outcome, occurred_at),
            outcome=outcome,
            value=feedback.value or 0.0,
            product=product,
            channel=row.channel if row else None,
            step=None,
            occurred_at=occurred_at,
            received_at=to_micros(received_at),
            status="orphan" if row is None else "late" if is_late else "accepted",
            is_once=product is not None and self._windows.is_once(product),
        )

    def _receipt(self, event: EventRow, appended: Appended, now: datetime) -> FeedbackReceipt:
        assert appended.status != "conflict"
        self._metrics.feedback.labels(appended.status, event.outcome).inc()
        if appended.status in ("accepted", "late"):
            self._metrics.feedback_lag.observe(max(0.0, (event.received_at - event.occurred_at) / 1e6))
        to_cancel: tuple[str, ...] = ()
        if event.outcome == "opted_out" and event.customer_id is not None:
            closed = closed_channels(event.channel, self._strategy.catalogue)
            to_cancel = planned(self._book.remembered(event.customer_id), closed, now)
        return FeedbackReceipt(status=appended.status, seq=appended.seq, to_cancel=to_cancel)


async def _durable(future: Future[Result]) -> Result:
    return await asyncio.shield(asyncio.wrap_future(future))


def _contact(decision: Decision) -> Contact | None:
    chosen = decision.actions[0]
    if chosen.channel is None or chosen.product is None:
        return None
    return Contact(channel=chosen.channel, product=chosen.product, at=decision.opens_at)
