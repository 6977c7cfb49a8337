"""Decides under the published snapshot, writes the ledger, and answers only what is on the disk."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from datetime import datetime
from functools import partial
from typing import NamedTuple, TypeVar

from nba.errors import UnknownAction
from serving.activation import activated_at, active, begun, never_made, too_late
from serving.answers import audit_of, response_of
from serving.body import DecisionBody, decode_body
from serving.checks import check_same_request, feedback_fingerprint, issued, outcome_time
from serving.customers import CustomerBook, closed_channels, planned
from serving.evidence import Windows
from serving.gathering import Gathering
from serving.ids import made_at
from serving.learner import OnlineLearner
from serving.ledger import Appended, DecisionRow, EventRow, Ledger, LedgerError
from serving.ledger.records import TAKEN_BACK, from_micros, to_micros
from serving.making import Made, Maker
from serving.metrics import Metrics
from serving.placements import Asked
from serving.problems import Rejected, in_flight, invalid
from serving.settings import Clock
from serving.wire import (
    Activation,
    DecisionAudit,
    DecisionRequest,
    DecisionResponse,
    Feedback,
    FeedbackReceipt,
    fingerprint_of,
)

Result = TypeVar("Result")


class InFlight(NamedTuple):
    """A request id whose answer is on its way."""

    fingerprint: str
    is_done: asyncio.Event


class DecisionService:
    """The three things a channel system does: ask for a decision, report feedback, look one up."""

    def __init__(self, learner: OnlineLearner, ledger: Ledger, clock: Clock, metrics: Metrics) -> None:
        self._learner, self._ledger, self._clock, self._metrics = learner, ledger, clock, metrics
        self._strategy = learner.base.strategy
        self._windows = Windows(self._strategy)
        self._reader = ledger.reader()
        self._book = CustomerBook(self._reader, self._strategy)
        self._maker = Maker(learner, self._book, self._windows, clock, metrics)
        self._in_flight: dict[str, InFlight] = {}
        self._gathering = Gathering(partial(self.decide_all, waits=False))

    async def decide(self, request: DecisionRequest) -> DecisionResponse:
        """Decide once for each request id; the answer is durable before it is given."""
        return await self._gathering.ask(request)

    async def decide_all(
        self, requests: Sequence[DecisionRequest], *, waits: bool = True
    ) -> list[DecisionResponse | Exception]:
        """The same for many, one answer or its refusal each: as if they had come one after another.

        A request id that somebody else is being answered for is waited for, or refused unless it `waits`.
        """
        asked = [Asked(request, fingerprint_of(request)) for request in requests]
        self.check_ready()
        fresh = dict(self._fresh(asked))
        is_done = asyncio.Event()
        named = {name: one for one in fresh.values() if (name := one.request.request_id) is not None}
        self._in_flight |= {name: InFlight(one.fingerprint, is_done) for name, one in named.items()}
        try:
            answers = await self._decide_all(list(fresh.values()))
        finally:
            for name in named:
                del self._in_flight[name]
            is_done.set()
        found = dict(zip(fresh, answers, strict=True))
        for place in range(len(asked)):
            if place not in found:
                found[place] = await self._again(asked[place], waits)
        return [found[place] for place in range(len(asked))]

    def check_ready(self) -> None:
        """Refuse as long as the log is being replayed."""
        self._maker.snapshot()

    async def record(self, feedback: Feedback) -> FeedbackReceipt:
        """Append feedback; an opt-out closes its channel before the answer is given."""
        received_at = self._clock()
        row = self._reader.decision(feedback.decision_id.lower())
        if row is None:  # after a clock was set back, ids of this ledger lie ahead of it
            issued(feedback.decision_id, received_at)
        elif row.watched is None:
            row = active(row, self._reader.events_of(row.decision_id), self._windows)
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

    async def record_all(self, events: Sequence[Feedback]) -> list[FeedbackReceipt | Exception]:
        """The same for many, a receipt or a refusal each; they enter the log in their order."""
        found = await asyncio.gather(*(self.record(event) for event in events), return_exceptions=True)
        return [one if isinstance(one, FeedbackReceipt) else _told(one) for one in found]

    async def activate(self, decision_id: str) -> Activation:
        """Let a deferred decision count from now on; a second time changes nothing."""
        row, now = self._made(decision_id), self._clock()
        found, at = begun(row, self._windows, now), activated_at(self._reader.events_of(row.decision_id))
        if at is None and now > from_micros(row.feedback_until):
            raise too_late(row)
        appended = await _durable(self._ledger.append_activation(found.event, found.first_due))
        if appended.status == "conflict":
            raise never_made()
        if appended.status != "duplicate":
            self._book.activate(row.customer_id, row.decision_id, found.opened_at)
            return Activation(status="accepted", seq=appended.seq, feedback_until=found.feedback_until)
        known = active(row, self._reader.events_of(row.decision_id), self._windows)
        until = from_micros(known.feedback_until)
        return Activation(status="duplicate", seq=appended.seq, feedback_until=until)

    def audit(self, decision_id: str) -> DecisionAudit:
        """All that is known about a decision."""
        return audit_of(self._made(decision_id), self._reader, self._strategy)

    def is_cancelled(self, decision_id: str, event_id: str) -> bool:
        """Whether a decision was told never to have been made, by the event of an id."""
        told = self._reader.events_of(decision_id)
        return any((one.outcome, one.event_id) == ("cancelled", event_id) for one in told)

    async def forget(self, customer_id: str) -> None:
        """Forget what is remembered of a customer whom the ledger has forgotten."""
        await self._book.forget(customer_id)

    def close(self) -> None:
        """Release the reader."""
        self._reader.close()

    def _made(self, decision_id: str) -> DecisionRow:
        row = self._reader.decision(decision_id.lower())
        if row is None:
            rule = "this service has made no such decision"
            raise invalid("/decision_id", rule, slug="unknown-decision", status=404)
        return row

    def _fresh(self, asked: Sequence[Asked]) -> Iterator[tuple[int, Asked]]:
        """The requests that nobody has asked before, with their places."""
        seen: set[str] = set()
        for place, one in enumerate(asked):
            name = one.request.request_id
            if name is not None:
                is_flying = name in seen or name in self._in_flight
                if is_flying or self._reader.decision_of_request(name) is not None:
                    continue
                seen.add(name)
            yield place, one

    async def _again(self, asked: Asked, waits: bool) -> DecisionResponse | Exception:
        """The answer to a request id that is known, or the refusal of a request that is another."""
        name = asked.request.request_id
        assert name is not None
        try:
            if name in self._in_flight:
                check_same_request(self._in_flight[name].fingerprint, asked.fingerprint)
                if not waits:
                    raise in_flight()
                await self._in_flight[name].is_done.wait()
            stored = self._reader.decision_of_request(name)
            if stored is None:  # the first was refused
                (answer,) = await self.decide_all([asked.request], waits=waits)
                return answer
            check_same_request(stored.fingerprint, asked.fingerprint)
        except Exception as reason:
            return reason
        self._metrics.decisions.labels("replayed").inc()
        return response_of(self._slots(stored), replayed=True)

    async def _decide_all(self, asked: Sequence[Asked]) -> list[DecisionResponse | Exception]:
        """Decide and count the contacts without a pause, then wait for the disk."""
        found: list[Made | Rejected] = self._maker.make_all(asked)
        kept = [one for one in found if isinstance(one, Made) and one.body.mode != "dry_run"]
        slots = [slot for one in kept for slot in one.slots]
        failed: dict[str, LedgerError] = {}
        try:
            for slot, error in zip(slots, await self._stored([one.row for one in slots]), strict=True):
                if error is not None:
                    failed[slot.row.decision_id] = error
        finally:
            # A request that is cut off here may be stored all the same, so its contact keeps counting.
            for slot in slots:
                self._maker.settle(slot, is_stored=slot.row.decision_id not in failed)
        return [one if isinstance(one, Rejected) else self._answer(one, failed) for one in found]

    async def _stored(self, rows: Sequence[DecisionRow]) -> list[LedgerError | None]:
        """What kept each from the disk, None for those that are on it."""
        if not rows:
            return []
        try:
            stored = await _durable(self._ledger.append_decisions(rows))
        except LedgerError as error:
            return [error] * len(rows)
        return [one if isinstance(one, LedgerError) else None for one in stored]

    def _answer(self, made: Made, failed: Mapping[str, LedgerError]) -> DecisionResponse | LedgerError:
        for slot in made.slots:
            if slot.row.decision_id in failed:
                return failed[slot.row.decision_id]
            self._metrics.audit.note(slot.decision)
        kind = "contact" if made.contact else "no_contact"
        self._metrics.decisions.labels(kind if made.body.mode == "live" else made.body.mode).inc()
        return response_of([(one.body, one.row) for one in made.slots])

    def _slots(self, last: DecisionRow) -> list[tuple[DecisionBody, DecisionRow]]:
        """The stored decisions of a request, of which the last one has the request's id."""
        body = decode_body(last.body)
        rows = [row for name in body.slots if (row := self._reader.decision(name)) is not None]
        return [*((decode_body(row.body), row) for row in rows), (body, last)]

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
            body = decode_body(row.body)
            action = self._strategy.catalogue.row_of(body.decision.actions[0].action_id)
            self._learner.till.told(outcome, seq, action, made, body.own)

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


def _told(error: BaseException) -> Exception:
    """An error that a caller is told of; what stops the service goes on."""
    if isinstance(error, Exception):
        return error
    raise error
