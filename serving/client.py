"""A typed client of the service, for one thread or for asyncio: what is asked again is asked the same.

A question without a `request_id` is given one before it is sent, so that however often it is sent it is
decided once; feedback has its `event_id`, and to activate twice is to activate once. See `Retries` for what
is tried again; what is refused for good is a `Refused` with its problem document.
"""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import httpx
import msgspec

from serving.talking import (
    Answer,
    Call,
    Caller,
    Refused,
    Retries,
    Unreachable,
    batch,
    content,
    decide,
    headers,
    lines,
    report,
)
from serving.wire import (
    Activation,
    DecisionAudit,
    DecisionRequest,
    DecisionResponse,
    Feedback,
    FeedbackReceipt,
    LineAnswer,
)

__all__ = ["AsyncClient", "Client", "Refused", "Retries", "Unreachable"]

Result = TypeVar("Result")


class Client:
    """Asks the service at `url`; use it in a `with`, or `close` it. Threads may share one."""

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        retries: Retries | None = None,
        timeout_seconds: float = 10.0,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], object] = time.sleep,
        chance: Callable[[], float] = random.random,
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        self._caller, self._sleep = Caller(retries or Retries(), chance, new_id), sleep
        self._http = httpx.Client(
            base_url=url, headers=headers(key), timeout=timeout_seconds, transport=transport
        )

    def decide(self, request: DecisionRequest) -> DecisionResponse:
        """The decision of a request."""
        return self._ask(decide(self._caller.named(request)), DecisionResponse)

    def decide_all(self, requests: Iterable[DecisionRequest]) -> list[LineAnswer]:
        """The decisions of many, or the problem of each that was refused, in their order."""
        return lines(self._send(batch("decisions", [self._caller.named(one) for one in requests])))

    def report(self, feedback: Feedback) -> FeedbackReceipt:
        """Report what came of a decision."""
        return self._ask(report(feedback), FeedbackReceipt)

    def report_all(self, feedback: Iterable[Feedback]) -> list[LineAnswer]:
        """The receipts of many, or the problem of each that was refused, in their order."""
        return lines(self._send(batch("feedback", list(feedback))))

    def activate(self, decision_id: str) -> Activation:
        """Let a deferred decision count from now on."""
        return self._ask(Call("POST", f"/v1/decisions/{decision_id}/activate"), Activation)

    def explain(self, decision_id: str) -> DecisionAudit:
        """All that is known about a decision."""
        return self._ask(Call("GET", f"/v1/decisions/{decision_id}"), DecisionAudit)

    def close(self) -> None:
        """Release the connections."""
        self._http.close()

    def __enter__(self) -> Client:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Release the connections."""
        self.close()

    def _ask(self, call: Call, kind: type[Result]) -> Result:
        return msgspec.json.decode(self._send(call).content, type=kind)

    def _send(self, call: Call) -> httpx.Response:
        talk = self._caller.talk(call)
        answer: Answer | None = None
        while True:
            try:
                step = talk.send(answer)
            except StopIteration as end:
                found: httpx.Response = end.value
                return found
            answer = None
            if isinstance(step, Call):
                try:
                    answer = self._http.request(*step[:2], content=step.content, headers=content(step))
                except httpx.TransportError as error:
                    answer = error
            else:
                self._sleep(step)


class AsyncClient:
    """The same for asyncio."""

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        retries: Retries | None = None,
        timeout_seconds: float = 10.0,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        self._caller, self._sleep = Caller(retries or Retries(), chance, new_id), sleep
        self._http = httpx.AsyncClient(
            base_url=url, headers=headers(key), timeout=timeout_seconds, transport=transport
        )

    async def decide(self, request: DecisionRequest) -> DecisionResponse:
        """The decision of a request."""
        return await self._ask(decide(self._caller.named(request)), DecisionResponse)

    async def decide_all(self, requests: Iterable[DecisionRequest]) -> list[LineAnswer]:
        """The decisions of many, or the problem of each that was refused, in their order."""
        return lines(await self._send(batch("decisions", [self._caller.named(one) for one in requests])))

    async def report(self, feedback: Feedback) -> FeedbackReceipt:
        """Report what came of a decision."""
        return await self._ask(report(feedback), FeedbackReceipt)

    async def report_all(self, feedback: Iterable[Feedback]) -> list[LineAnswer]:
        """The receipts of many, or the problem of each that was refused, in their order."""
        return lines(await self._send(batch("feedback", list(feedback))))

    async def activate(self, decision_id: str) -> Activation:
        """Let a deferred decision count from now on."""
        return await self._ask(Call("POST", f"/v1/decisions/{decision_id}/activate"), Activation)

    async def explain(self, decision_id: str) -> DecisionAudit:
        """All that is known about a decision."""
        return await self._ask(Call("GET", f"/v1/decisions/{decision_id}"), DecisionAudit)

    async def close(self) -> None:
        """Release the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> AsyncClient:
        """Itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Release the connections."""
        await self.close()

    async def _ask(self, call: Call, kind: type[Result]) -> Result:
        return msgspec.json.decode((await self._send(call)).content, type=kind)

    async def _send(self, call: Call) -> httpx.Response:
        talk = self._caller.talk(call)
        answer: Answer | None = None
        while True:
            try:
                step = talk.send(answer)
            except StopIteration as end:
                found: httpx.Response = end.value
                return found
            answer = None
            if isinstance(step, Call):
                try:
                    answer = await self._http.request(*step[:2], content=step.content, headers=content(step))
                except httpx.TransportError as error:
                    answer = error
            else:
                await self._sleep(step)
