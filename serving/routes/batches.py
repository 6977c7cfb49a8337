"""Many decisions, or much feedback, in one request: a line of JSON each."""

from typing import Any

from litestar import Request, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.response import Stream

from serving.auth import charge
from serving.batches import MEDIA_TYPE, answers, lines_of
from serving.checks import check_content
from serving.openapi import problems
from serving.runtime import Runtime
from serving.wire import DecisionRequest, Feedback, LineAnswer

_ANSWERS = {
    200: ResponseSpec(
        data_container=LineAnswer,
        media_type=MEDIA_TYPE,
        description="An answer for every line of the body, a line of JSON each.",
        generate_examples=False,
    ),
    **problems(400, 401, 403, 413, 415, 503),
}
_MOST_BYTES = 32 * 2**20


@post(
    "/v1/decisions/batch",
    status_code=200,
    summary="Decide for many customers, a line each",
    opt={"scope": "decide"},
    request_max_body_size=_MOST_BYTES,
    responses=_ANSWERS,
)
async def decide_batch(request: Request[Any, Any, Any], runtime: NamedDependency[Runtime]) -> Stream:
    """Answer line by line, each once its decision is on the disk; a wrong line leaves the others alone."""
    lines, longest = await _lines(request), runtime.settings.max_body_bytes
    runtime.service.check_ready()
    told = answers(lines, longest, DecisionRequest, runtime.in_time.decide_all)
    return Stream(told, media_type=MEDIA_TYPE)


@post(
    "/v1/feedback/batch",
    status_code=200,
    summary="Report what came of many decisions, a line each",
    opt={"scope": "feedback"},
    request_max_body_size=_MOST_BYTES,
    responses=_ANSWERS,
)
async def record_batch(request: Request[Any, Any, Any], runtime: NamedDependency[Runtime]) -> Stream:
    """Answer line by line, each once its event is on the disk; lines enter the log in their order."""
    lines, longest = await _lines(request), runtime.settings.max_body_bytes
    told = answers(lines, longest, Feedback, runtime.service.record_all)
    return Stream(told, media_type=MEDIA_TYPE)


async def _lines(request: Request[Any, Any, Any]) -> list[bytes]:
    check_content(request.headers, MEDIA_TYPE, "application/jsonl")
    lines = lines_of(await request.body())
    charge(request.scope, len(lines) - 1)
    return lines
