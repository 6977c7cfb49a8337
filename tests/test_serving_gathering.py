"""Requests that come together are answered together, in their order, each with its own answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from serving.gathering import MOST, Gathering


class Desk:
    """Answers numbers with their doubles, and refuses odd ones; a list takes until the gate is opened."""

    def __init__(self) -> None:
        self.lists: list[list[int]] = []
        self.gate = asyncio.Event()

    async def answer(self, asked: Sequence[int]) -> list[int | Exception]:
        self.lists.append(list(asked))
        await self.gate.wait()
        if 13 in asked:
            raise RuntimeError("no luck today")
        return [ValueError(f"{one} is odd") if one % 2 else 2 * one for one in asked]


def test_what_comes_while_a_list_is_under_way_is_the_next_list() -> None:
    async def check() -> None:
        desk = Desk()
        gathering = Gathering(desk.answer)
        first = [asyncio.create_task(gathering.ask(number)) for number in (2, 3)]
        await asyncio.sleep(0.001)
        later = [asyncio.create_task(gathering.ask(2 * number)) for number in range(50, 50 + MOST + 1)]
        await asyncio.sleep(0.001)
        assert desk.lists == [[2, 3]]
        desk.gate.set()
        assert await first[0] == 4
        with pytest.raises(ValueError, match="3 is odd"):
            await first[1]
        assert await asyncio.gather(*later) == [4 * number for number in range(50, 50 + MOST + 1)]
        assert [len(each) for each in desk.lists] == [2, MOST, 1]

    asyncio.run(check())


def test_who_gives_up_stops_nobody_and_what_stops_a_list_stops_no_other() -> None:
    async def check() -> None:
        desk = Desk()
        gathering = Gathering(desk.answer)
        gone, stays = (asyncio.create_task(gathering.ask(number)) for number in (2, 4))
        await asyncio.sleep(0.001)
        unlucky = [asyncio.create_task(gathering.ask(number)) for number in (13, 6)]
        gone.cancel()
        desk.gate.set()
        assert await stays == 8
        for one in unlucky:
            with pytest.raises(RuntimeError, match="no luck"):
                await one
        assert await gathering.ask(10) == 20
        assert desk.lists == [[2, 4], [13, 6], [10]]

    asyncio.run(check())
