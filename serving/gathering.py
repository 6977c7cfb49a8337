"""Single requests that come at the same time, answered together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

MOST = 64  # requests at a time: those that come meanwhile wait no longer than for these

Asked = TypeVar("Asked")
Found = TypeVar("Found")


class Gathering(Generic[Asked, Found]):
    """Hands on, as one list, what is asked within one turn of the event loop or while a list is under way.

    Nobody waits for company: a request that comes alone is answered alone. Under load lists grow, up to
    MOST, and what is done once for a list is done once for all of it, the wait for the disk among it.
    `answer` gives each request's answer, or what refuses it; it must not ask here itself.
    """

    def __init__(self, answer: Callable[[Sequence[Asked]], Awaitable[Sequence[Found | Exception]]]) -> None:
        self._answer = answer
        self._waiting: list[tuple[Asked, asyncio.Future[Found]]] = []
        self._under_way: asyncio.Task[None] | None = None

    async def ask(self, asked: Asked) -> Found:
        """The answer to one request. Who stops waiting stops nobody else, nor what was begun."""
        found: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._hand_on)
        self._waiting.append((asked, found))
        return await found

    def _hand_on(self) -> None:
        if self._waiting and self._under_way is None:
            some, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
            self._under_way = asyncio.get_running_loop().create_task(self._settle(some))
            self._under_way.add_done_callback(self._has_settled)

    def _has_settled(self, task: asyncio.Task[None]) -> None:
        self._under_way = None
        self._hand_on()

    async def _settle(self, waiting: list[tuple[Asked, asyncio.Future[Found]]]) -> None:
        answers: Sequence[Found | Exception]
        try:
            answers = await self._answer([asked for asked, _ in waiting])
        except Exception as error:  # it is the answer of each
            answers = [error] * len(waiting)
        for (_, found), answer in zip(waiting, answers, strict=True):
            if found.cancelled():
                continue
            if isinstance(answer, Exception):
                found.set_exception(answer)
            else:
                found.set_result(answer)
