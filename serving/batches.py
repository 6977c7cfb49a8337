"""Many requests in one body, a line of JSON each (NDJSON), and an answer for every line.

A line is answered as the request would be alone, with the status that it would have; one that is wrong does
not touch the others. Lines are decided in stretches, and a stretch is answered once it is on the disk: what a
caller has read is safe, and a caller who was cut off sends the rest again (lines with a `request_id` or an
`event_id` all of them).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar

import msgspec

from serving.errors import explained
from serving.problems import Rejected, invalid, undecodable
from serving.wire import DECODERS, DecisionRequest, DecisionResponse, Feedback, FeedbackReceipt, LineAnswer

MEDIA_TYPE = "application/x-ndjson"
MOST_LINES = 20_000
STRETCH = 256  # lines at a time: other requests wait no longer than for these
_AHEAD = 1  # stretches that are decided while an earlier one is not answered yet

Record = TypeVar("Record", DecisionRequest, Feedback)
Found = TypeVar("Found", DecisionResponse, FeedbackReceipt)


def lines_of(body: bytes) -> list[bytes]:
    """The lines of a body, without an empty one at its end; Rejected where they are none or too many."""
    lines = body.split(b"\n")
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise invalid("", "the body is empty; it must hold a JSON object in every line", status=400)
    if len(lines) > MOST_LINES:
        rule = f"holds {len(lines):,} lines, and a batch has at most {MOST_LINES:,}; send several"
        raise Rejected(413, f"The body {rule}.")
    return lines


async def answers(
    lines: Sequence[bytes],
    longest: int,
    kind: type[Record],
    answer: Callable[[Sequence[Record]], Awaitable[list[Found | Exception]]],
) -> AsyncIterator[bytes]:
    """Answers to lines of requests, in their order; none may have more than `longest` bytes.

    `answer` gives each request's answer, or what refuses it, as `DecisionService.decide_all` does. While
    one stretch is on its way to the disk, the next is answered.
    """

    async def stretch(start: int) -> bytes:
        found: dict[int, Any] = {}
        records: dict[int, Record] = {}
        for number, line in enumerate(lines[start : start + STRETCH], start=start + 1):
            try:
                records[number] = _decoded(line, longest, kind)
            except Rejected as error:
                found[number] = error
        found.update(zip(records, await _each(answer, list(records.values())), strict=True))
        return b"".join(msgspec.json.encode(_told(number, found[number])) + b"\n" for number in sorted(found))

    ahead: deque[asyncio.Task[bytes]] = deque()
    try:
        for start in range(0, len(lines), STRETCH):
            ahead.append(asyncio.create_task(stretch(start)))
            if len(ahead) > _AHEAD:
                yield await ahead.popleft()
        while ahead:
            yield await ahead.popleft()
    finally:
        for task in ahead:  # the caller was cut off
            task.cancel()


async def _each(
    answer: Callable[[Sequence[Record]], Awaitable[list[Found | Exception]]], records: Sequence[Record]
) -> Sequence[Found | Exception]:
    """The answers; what stops a whole stretch is the answer of each of its lines."""
    try:
        return await answer(records)
    except Exception as error:
        return [error] * len(records)


def _decoded(line: bytes, longest: int, kind: type[Record]) -> Record:
    if len(line) > longest:
        raise Rejected(413, f"The line has {len(line):,} bytes, and at most {longest:,} are read.")
    try:
        record: Record = DECODERS[kind].decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise undecodable(line, error) from None
    return record


def _told(number: int, found: DecisionResponse | FeedbackReceipt | Exception) -> LineAnswer:
    if isinstance(found, DecisionResponse):
        return LineAnswer(line=number, status=200, decision=found)
    if isinstance(found, FeedbackReceipt):
        return LineAnswer(line=number, status=202, receipt=found)
    problem = explained(found, "a line")
    return LineAnswer(line=number, status=problem.status, problem=problem)
