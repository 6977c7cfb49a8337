"""An answer in any case, for callers who name a time budget: no contact, when there is no better one in time.

Where more requests wait than can be answered soon, further ones are turned away at once, so that those that
are let in are answered: with a fallback if they name a budget, with 503 and when to come again if not.

The catalogue's safe default is no-contact, which breaks no rule. A fallback is nobody's draw: its propensity
is 1, it is not stored, counts for nothing and teaches nothing, and feedback on it is an orphan. A decision
that was made but came too late is taken back as soon as it is on the disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import apsw
from msgspec import structs

from nba.catalogue import NO_ACTION_ID
from nba.decision import RankedAction
from serving.ids import new_id
from serving.ledger import LedgerError
from serving.metrics import Metrics
from serving.problems import Rejected, in_flight, invalid, overloaded
from serving.service import DecisionService
from serving.settings import Clock
from serving.wire import DecisionRequest, DecisionResponse, Feedback, Slot

Reason = Literal["late", "breaker", "not_ready", "store", "overload"]
_SILENCE = RankedAction(
    action_id=NO_ACTION_ID,
    channel=None,
    timing=None,
    product=None,
    rank=1,
    propensity=1.0,
    expected_value=0.0,
)


class Breaker:
    """Lets nothing through for a while after some answers in a row came late, then tries one."""

    def __init__(self, most: int = 3, rest_seconds: float = 10.0) -> None:
        self._most, self._rest = most, rest_seconds
        self._late, self._until = 0, 0.0

    def is_open(self, now: float) -> bool:
        """Whether to answer without asking, at a moment of a monotonic clock (seconds)."""
        if self._late < self._most:
            return False
        if now < self._until:
            return True
        self._until = now + self._rest  # whoever asks now is the probe; the others wait for what it finds
        return False

    def note(self, now: float, *, is_late: bool) -> None:
        """Note what became of one that was let through."""
        self._late = self._late + 1 if is_late else 0
        if self._late >= self._most:
            self._until = now + self._rest


class Served(NamedTuple):
    """The policy in whose place a fallback stands."""

    policy: str
    version: int


class InTime:
    """Decides within the budget that a request names; one without waits for as long as it takes.

    At most `most_waiting` single requests are let in at a time.
    """

    def __init__(
        self,
        service: DecisionService,
        served: Served,
        metrics: Metrics,
        clock: Clock,
        breaker: Breaker,
        monotonic: Callable[[], float],
        most_waiting: int,
    ) -> None:
        self._service, self._served, self._metrics, self._clock = service, served, metrics, clock
        self._breaker, self._monotonic = breaker, monotonic
        self._waiting, self._most_waiting = 0, most_waiting
        self._late: dict[asyncio.Task[None], str | None] = {}  # what is being taken back, by its request id

    async def decide(self, request: DecisionRequest) -> DecisionResponse:
        """The decision, or a fallback; what is wrong with a request is told either way."""
        if request.request_id is not None and request.request_id in self._late.values():
            raise in_flight()
        is_full = self._waiting >= self._most_waiting
        if request.budget_ms is None:
            if is_full:
                raise overloaded(self._most_waiting)
            return self._as_given(request, await self._asked(request))
        if is_full:
            return self._fallback(request, "overload")
        if self._breaker.is_open(self._monotonic()):
            return self._fallback(request, "breaker")
        asked = asyncio.ensure_future(self._asked(request))
        await asyncio.wait({asked}, timeout=request.budget_ms / 1000)
        is_late = not asked.done()
        self._breaker.note(self._monotonic(), is_late=is_late)
        if is_late:
            task = asyncio.get_running_loop().create_task(self._take_back(asked))
            self._late[task] = request.request_id
            task.add_done_callback(self._late.pop)
            return self._fallback(request, "late")
        try:
            return self._as_given(request, asked.result())
        except (LedgerError, apsw.Error):
            return self._fallback(request, "store")
        except Rejected as error:
            if error.status != 503:
                raise
            return self._fallback(request, "not_ready")

    async def decide_all(self, requests: Sequence[DecisionRequest]) -> list[DecisionResponse | Exception]:
        """Decisions of a batch, which has no hurry: a line with a budget is refused."""
        answers = iter(await self._service.decide_all([one for one in requests if one.budget_ms is None]))
        rule = "is for single decisions; a batch waits until all of its lines are on the disk"
        return [next(answers) if one.budget_ms is None else invalid("/budget_ms", rule) for one in requests]

    async def close(self) -> None:
        """Wait until what came late is taken back."""
        await asyncio.gather(*self._late)

    async def _asked(self, request: DecisionRequest) -> DecisionResponse:
        """Ask the service, and count who waits for it; one that comes too late is waited for as well."""
        self._waiting += 1
        self._metrics.waiting.set(self._waiting)
        try:
            return await self._service.decide(request)
        finally:
            self._waiting -= 1
            self._metrics.waiting.set(self._waiting)

    def _as_given(self, request: DecisionRequest, found: DecisionResponse) -> DecisionResponse:
        """The answer; for one that once came too late, the fallback that was given in its stead."""
        if found.replayed and any(self._was_late(one) for one, _ in _decisions(found)):
            return structs.replace(self._fallback(request, "late"), replayed=True)
        return found

    def _was_late(self, decision_id: str) -> bool:
        return self._service.is_cancelled(decision_id, _late_id(decision_id))

    async def _take_back(self, asked: asyncio.Future[DecisionResponse]) -> None:
        """Report the contacts of a decision that came too late as cancelled: they are not made.

        A crash before that leaves them counted, which breaks no limit.
        """
        try:
            found = await asked
        except Exception:  # nothing was stored
            return
        for decision_id, actions in _decisions(found):
            if found.mode == "live" and not found.replayed and actions[0].channel is not None:
                late = _late_id(decision_id)
                await self._service.record(
                    Feedback(event_id=late, decision_id=decision_id, outcome="cancelled")
                )

    def _fallback(self, request: DecisionRequest, reason: Reason) -> DecisionResponse:
        self._metrics.fallbacks.labels(reason).inc()
        now = self._clock()
        slots = tuple(
            Slot(placement=place.name, decision_id=new_id(now), actions=(_SILENCE,), feedback_until=now)
            for place in request.placements
        )
        return DecisionResponse(
            decision_id=slots[0].decision_id if slots else new_id(now),
            policy=self._served.policy,
            policy_version=self._served.version,
            posterior_seq=0,
            actions=(_SILENCE,),
            feedback_until=now,
            role="fallback",
            mode=request.mode,
            slots=slots,
        )


def _late_id(decision_id: str) -> str:
    """The id of the event that takes back what came too late."""
    return f"late:{decision_id}"


def _decisions(answer: DecisionResponse) -> list[tuple[str, tuple[RankedAction, ...]]]:
    """All decisions of an answer with their actions."""
    if not answer.slots:
        return [(answer.decision_id, answer.actions)]
    return [(slot.decision_id, slot.actions) for slot in answer.slots]
