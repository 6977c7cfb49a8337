"""Single requests that come at the same time, answered together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

MOST = 64  # requests at a time: those that come meanwhile wait no longer than for these

Asked = TypeVar("Asked")
Found = TypeVar("Found")


class Gathering(Generic[Asked, Found]):
    """Hands on, as one list, what is asked within one turn of the event loop.

    Nobody waits for company: a request that comes alone is answered alone. Under load several are ready
    at once, and what is done once for a list is then done once for all of them. `answer` gives each
    request's answer, or what refuses it.
    """

    def __init__(self, answer: Callable[[Sequence[Asked]], Awaitable[Sequence[Found | Exception]]]) -> None:
        self._answer = answer
        self._waiting: list[tuple[Asked, asyncio.Future[Found]]] = []
        self._under_way: set[asyncio.Task[None]] = set()  # the event loop itself holds tasks weakly

    async def ask(self, asked: Asked) -> Found:
        """The answer to one request. Who stops waiting stops nobody else, nor what was begun."""
        found: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._hand_on)
        self._waiting.append((asked, found))
        return await found

    def _hand_on(self) -> None:
        waiting, self._waiting = self._waiting, []
        for start in range(0, len(waiting), MOST):
            task = asyncio.get_running_loop().create_task(self._settle(waiting[start : start + MOST]))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

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
