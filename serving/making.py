"""From requests to decisions that are counted at once, before anything waits for the disk."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import numpy as np

from nba.arrays import BoolArray
from nba.context import Contact, Context
from nba.decision import Decision
from nba.errors import BadContext
from nba.snapshot import Snapshot
from serving.body import DecisionBody, encode_body, requested_of
from serving.checks import attribute_pointer, check_contacts, check_places, check_way, decision_time
from serving.customers import CustomerBook, Remembered, settled, with_contact
from serving.evidence import Watch, Windows
from serving.ids import new_id
from serving.learner import OnlineLearner
from serving.ledger import DecisionRow
from serving.ledger.records import from_micros, to_micros
from serving.metrics import Metrics
from serving.placements import Asked, in_place, slot_of
from serving.problems import Rejected, invalid
from serving.settings import Clock
from serving.till import Own
from serving.wire import DecisionRequest


class Made(NamedTuple):
    """A decision that is not on the disk yet."""

    decision: Decision
    row: DecisionRow
    known: Remembered
    contact: Contact | None
    action: int  # row of the catalogue
    at: datetime  # when it was made, which is when budgets count it
    body: DecisionBody
    before: tuple[Made, ...] = ()  # the slots before it, of a request with placements

    @property
    def slots(self) -> tuple[Made, ...]:
        """All decisions of the request, in their order."""
        return (*self.before, self)


class _Ready(NamedTuple):
    """A request that has been checked, with the context that it will be decided in."""

    asked: Asked
    context: Context
    requested: BoolArray | None  # (1, A)
    own: Own  # the customer's rows of the budgets


class Maker:
    """Makes decisions on the event loop: whatever is counted is counted before another request is seen."""

    def __init__(
        self, learner: OnlineLearner, book: CustomerBook, windows: Windows, clock: Clock, metrics: Metrics
    ) -> None:
        self._learner, self._book, self._windows = learner, book, windows
        self._clock, self._metrics = clock, metrics
        self._strategy, self._ways = learner.base.strategy, learner.ways

    def snapshot(self) -> Snapshot:
        """What is published; Rejected while the log is being replayed."""
        published = self._learner.published
        if published is None:
            raise Rejected(503, "The log is still being replayed; ask again when /readyz says so.")
        return published.snapshot

    def make(self, asked: Asked) -> Made:
        """Decide and count the contact, without a pause; Rejected says what is wrong with the request."""
        (found,) = self.make_all([asked])
        if isinstance(found, Rejected):
            raise found
        return found

    def make_all(self, asked: Sequence[Asked]) -> list[Made | Rejected]:
        """The same for many, in the same order: as if each had been asked for alone, one after another.

        What one decision changes for another is the history of its customer, of its household and the
        budgets; those that could touch each other are decided in turns, and all others at once.
        """
        snapshot, found = self.snapshot(), dict[int, Made | Rejected]()
        self._book.recall(one.request.customer.id for one in asked)
        try:
            for turn in self._turns(asked):
                if asked[turn[0]].request.placements:
                    found[turn[0]] = self._filled(snapshot, asked[turn[0]])
                else:
                    found.update(self._turn(snapshot, {place: asked[place] for place in turn}))
        except BaseException:  # nothing of it will be stored
            for made in found.values():
                for slot in made.slots if isinstance(made, Made) else ():
                    self.settle(slot, is_stored=False)
            raise
        return [found[place] for place in range(len(asked))]

    def settle(self, made: Made, *, is_stored: bool) -> None:
        """Note that a decision reached the disk, or take back what was counted."""
        if made.body.mode != "live":
            return
        settled(made.known, made.row.decision_id, is_stored=is_stored)
        if self._learner.till is not None and not is_stored:
            self._learner.till.give_back(made.action, made.at, made.body.own)

    def _filled(self, snapshot: Snapshot, asked: Asked) -> Made | Rejected:
        """Placements one after another, as decisions of their own; what a slot takes the next leave out."""
        made: list[Made] = []
        try:
            check_places(asked.request)
        except Rejected as error:
            return error
        for number, place in enumerate(asked.request.placements):
            part = slot_of(asked, number, [one.decision for one in made])
            found = self._turn(snapshot, {0: part})[0]
            if isinstance(found, Rejected):
                for one in made:
                    self.settle(one, is_stored=False)
                return in_place(found, place, number)
            made.append(found)
        return made[-1]._replace(before=tuple(made[:-1]))

    def _turns(self, asked: Sequence[Asked]) -> list[list[int]]:
        """Places that can be decided at once: nobody twice, no household twice, one length of list."""
        if self._learner.till is not None:
            return [[place] for place in range(len(asked))]
        turns: dict[tuple[int, int, str, str, int], list[int]] = {}
        last: dict[tuple[str, str], int] = {}
        homes: dict[
            str, set[str]
        ] = {}  # where a customer may live by then: a request can move it, or be refused
        for place, one in enumerate(asked):
            request, customer = one.request, one.request.customer
            names = {("customer", customer.id)}
            if self._book.has_households:
                told = (customer.household, self._book.remembered(customer.id).household)
                own = homes.setdefault(customer.id, set())
                own.update(home for home in told if home is not None)
                names.update(("household", home) for home in own)
            turn = 1 + max(last.get(name, -1) for name in names)
            last.update(dict.fromkeys(names, turn))
            alone = place if request.placements else -1
            key = (turn, request.limit, *self._ways.way(customer.id, request.direction), alone)
            turns.setdefault(key, []).append(place)
        return [places for _, places in sorted(turns.items())]

    def _turn(self, snapshot: Snapshot, asked: dict[int, Asked]) -> dict[int, Made | Rejected]:
        """One turn; a request that is wrong is refused alone."""
        now, found, ready = self._clock(), dict[int, Made | Rejected](), dict[int, _Ready]()
        for place, one in asked.items():
            try:
                ready[place] = self._ready(one, now)
            except Rejected as error:
                found[place] = error
        if not ready:
            return found
        waiting = list(ready.values())
        try:
            decisions = self._decided(snapshot, waiting, now)
        except BadContext as error:
            if len(ready) == 1:
                return found | {place: _refused(error, waiting[0].asked.request) for place in ready}
            places = list(ready)  # one of them is wrong: it is alone in the end
            for half in (places[: len(places) // 2], places[len(places) // 2 :]):
                found |= self._turn(snapshot, {place: asked[place] for place in half})
            return found
        told = self._windows.begun(decisions, [one.context for one in waiting])
        rows = zip(waiting, decisions, told, strict=True)
        return found | dict(zip(ready, (self._counted(*row, now) for row in rows), strict=True))

    def _ready(self, asked: Asked, now: datetime) -> _Ready:
        request, till = asked.request, self._learner.till
        check_way(request)
        at = decision_time(request.at, now)
        requested = requested_of(request, self._strategy.catalogue)
        check_contacts(request.customer.contacts, self._strategy.catalogue)
        own = self._strategy.tally.own(request.customer.attributes)
        left = {} if till is None else till.left(now, own)
        return _Ready(asked, self._book.context(request.customer, at, left), requested, own)

    def _decided(self, snapshot: Snapshot, ready: Sequence[_Ready], now: datetime) -> list[Decision]:
        masks = [one.requested for one in ready]
        everything = np.ones((1, self._strategy.catalogue.n_actions), dtype=np.bool_)
        requested = None
        if any(mask is not None for mask in masks):
            requested = np.concatenate([everything if mask is None else mask for mask in masks])
        ids, first = [new_id(now) for _ in ready], ready[0].asked.request
        limit, way = first.limit, self._ways.way(first.customer.id, first.direction)
        with self._metrics.scoring.time():
            chooser = self._ways.snapshot(snapshot, way)
            return chooser.decide_all([one.context for one in ready], ids, limit, requested)

    def _counted(self, ready: _Ready, decision: Decision, watch: Watch, now: datetime) -> Made:
        asked, request, context = ready.asked, ready.asked.request, ready.context
        role = self._ways.way(context.customer_id, request.direction).role
        body = DecisionBody(
            channels=request.channels,
            candidates=request.candidates,
            exclude=request.exclude,
            limit=request.limit,
            context=context,
            decision=decision,
            role=role,
            direction=request.direction,
            mode=request.mode,
            is_deferred=request.defer_activation,
            placement=asked.placement,
            slots=asked.slots,
            arms="" if self._ways.arms is None else self._ways.arms.digest,
            own=tuple(ready.own),
        )
        known, row = self._book.remembered(context.customer_id), self._row(asked, body, watch)
        action = self._strategy.catalogue.row_of(decision.actions[0].action_id)
        if request.mode != "live":
            return Made(decision, row, known, None, action, now, body)
        contact = _contact(decision)
        self._book.move(request.customer)
        until = from_micros(row.feedback_until) if body.is_deferred else None
        with_contact(known, decision.decision_id, contact, until)
        if self._learner.till is not None:
            self._learner.till.take(action, now, body.own)
        return Made(decision, row, known, contact, action, now, body)

    def _row(self, asked: Asked, body: DecisionBody, watch: Watch) -> DecisionRow:
        request, decision, chosen = asked.request, body.decision, body.decision.actions[0]
        is_live, is_watched = body.mode == "live", body.mode == "live" and not body.is_deferred
        return DecisionRow(
            decision_id=decision.decision_id,
            request_id=request.request_id,
            fingerprint=asked.fingerprint,
            customer_id=decision.customer_id,
            household=body.context.household if is_live else None,
            at=to_micros(decision.at),
            opens_at=to_micros(decision.opens_at),
            channel=chosen.channel if is_live else None,  # nobody is contacted by a shadow
            product=chosen.product if is_live else None,
            policy_version=decision.policy_version,
            posterior_seq=decision.posterior_seq,
            feedback_until=to_micros(self._windows.feedback_until(decision.opens_at, chosen.product)),
            body=encode_body(body),
            watched=watch.product if is_watched else None,
            first_due=watch.first_due,
        )


def _refused(error: BadContext, request: DecisionRequest) -> Rejected:
    return invalid(attribute_pointer(error.pointer, request), error.rule)


def _contact(decision: Decision) -> Contact | None:
    chosen = decision.actions[0]
    if chosen.channel is None or chosen.product is None:
        return None
    return Contact(channel=chosen.channel, product=chosen.product, at=decision.opens_at)
