"""Decides under the published snapshot, writes the ledger, and answers only what is on the disk."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from datetime import datetime
from typing import NamedTuple, TypeVar

from msgspec import structs

from nba.errors import UnknownAction
from serving.answers import audit_of, response_of
from serving.body import decode_body
from serving.checks import check_same_request, feedback_fingerprint, issued, outcome_time
from serving.customers import CustomerBook, closed_channels, planned
from serving.evidence import Windows
from serving.gathering import Gathering
from serving.ids import made_at
from serving.learner import OnlineLearner
from serving.ledger import Appended, DecisionRow, EventRow, Ledger, LedgerError
from serving.ledger.records import TAKEN_BACK, to_micros
from serving.making import Asked, Made, Maker
from serving.metrics import Metrics
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
        self._maker = Maker(learner, self._book, self._windows, clock, metrics)
        self._in_flight: dict[str, InFlight] = {}
        self._gathering = Gathering(self.decide_all)

    async def decide(self, request: DecisionRequest) -> DecisionResponse:
        """Decide once for each request id; the answer is durable before it is given."""
        return await self._gathering.ask(request)

    async def decide_all(self, requests: Sequence[DecisionRequest]) -> list[DecisionResponse | Exception]:
        """The same for many, one answer or its refusal each: as if they had come one after another."""
        asked = [Asked(request, fingerprint_of(request)) for request in requests]
        self.check_ready()
        fresh = dict(self._fresh(asked))
        flights = {one.request.request_id: self._take_off(one) for one in fresh.values()}
        found: dict[int, DecisionResponse | Exception] = {}
        try:
            answers = await self._decide_all(list(fresh.values()))
            found.update(zip(fresh, answers, strict=True))
        finally:
            for place, one in fresh.items():
                cut_off = LedgerError("The first request with this id was cut off.")
                self._land(one, flights[one.request.request_id], found.get(place, cut_off))
        for place in range(len(asked)):
            if place not in found:
                found[place] = await self._again(asked[place])
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

    def audit(self, decision_id: str) -> DecisionAudit:
        """All that is known about a decision."""
        row = self._reader.decision(decision_id.lower())
        if row is None:
            rule = "this service has made no such decision"
            raise invalid("/decision_id", rule, slug="unknown-decision", status=404)
        return audit_of(row, self._reader, self._strategy)

    async def forget(self, customer_id: str) -> None:
        """Forget what is remembered of a customer whom the ledger has forgotten."""
        await self._book.forget(customer_id)

    def close(self) -> None:
        """Release the reader."""
        self._reader.close()

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

    def _take_off(self, asked: Asked) -> asyncio.Future[DecisionResponse] | None:
        """Whoever asks the same again waits for this answer."""
        name = asked.request.request_id
        if name is None:
            return None
        answer: asyncio.Future[DecisionResponse] = asyncio.get_running_loop().create_future()
        self._in_flight[name] = InFlight(asked.fingerprint, answer)
        return answer

    def _land(
        self,
        asked: Asked,
        answer: asyncio.Future[DecisionResponse] | None,
        found: DecisionResponse | Exception,
    ) -> None:
        if answer is None or asked.request.request_id is None:
            return
        del self._in_flight[asked.request.request_id]
        if isinstance(found, Exception):
            answer.set_exception(found)
            answer.exception()  # looked at: nobody else may be waiting for it
        else:
            answer.set_result(found)

    async def _again(self, asked: Asked) -> DecisionResponse | Exception:
        """The answer to a request id that is known, or the refusal of a request that is another."""
        name = asked.request.request_id
        assert name is not None
        try:
            flying = self._in_flight.get(name)
            if flying is not None:
                check_same_request(flying.fingerprint, asked.fingerprint)
                return structs.replace(await asyncio.shield(flying.answer), replayed=True)
            stored = self._reader.decision_of_request(name)
            if stored is None:  # the first was refused
                return await self.decide(asked.request)
            check_same_request(stored.fingerprint, asked.fingerprint)
        except Exception as reason:  # also the one that the first request met
            return reason
        self._metrics.decisions.labels("replayed").inc()
        return response_of(decode_body(stored.body).decision, stored, replayed=True)

    async def _decide_all(self, asked: Sequence[Asked]) -> list[DecisionResponse | Exception]:
        """Decide and count the contacts without a pause, then wait for the disk."""
        found: list[Made | Rejected] = self._maker.make_all(asked)
        made = [one for one in found if isinstance(one, Made)]
        failed: dict[str, LedgerError] = {}
        try:
            for one, error in zip(made, await self._stored(made), strict=True):
                if error is not None:
                    failed[one.row.decision_id] = error
        finally:
            # A request that is cut off here may be stored all the same, so its contact keeps counting.
            for one in made:
                self._maker.settle(one, is_stored=one.row.decision_id not in failed)
        return [
            one if isinstance(one, Rejected) else failed.get(one.row.decision_id) or self._answer(one)
            for one in found
        ]

    async def _stored(self, made: Sequence[Made]) -> list[LedgerError | None]:
        """What kept each from the disk, None for those that are on it."""
        if not made:
            return []
        try:
            stored = await _durable(self._ledger.append_decisions([one.row for one in made]))
        except LedgerError as error:
            return [error] * len(made)
        return [one if isinstance(one, LedgerError) else None for one in stored]

    def _answer(self, made: Made) -> DecisionResponse:
        self._metrics.decisions.labels("contact" if made.contact else "no_contact").inc()
        self._metrics.decided(made.decision)
        return response_of(made.decision, made.row)

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
