"""Decisions and feedback."""

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from serving.openapi import problems
from serving.runtime import Runtime
from serving.service import DecisionService
from serving.wire import (
    DECODERS,
    Activation,
    DecisionAudit,
    DecisionRequest,
    DecisionResponse,
    Feedback,
    FeedbackReceipt,
)


@post(
    "/v1/decisions",
    status_code=200,
    summary="Decide the next best action of a customer",
    opt={"decoder": DECODERS[DecisionRequest], "scope": "decide"},
    responses=problems(400, 401, 403, 409, 413, 415, 422, 503),
)
async def decide(data: JSONBody[DecisionRequest], runtime: NamedDependency[Runtime]) -> DecisionResponse:
    """Answer once the decision is on the disk; the same request_id gives the same answer."""
    return await runtime.in_time.decide(data)


@post(
    "/v1/feedback",
    status_code=202,
    summary="Report what came of a decision",
    opt={"decoder": DECODERS[Feedback], "scope": "feedback"},
    responses=problems(400, 401, 403, 409, 413, 415, 422, 503),
)
async def record(data: JSONBody[Feedback], service: NamedDependency[DecisionService]) -> FeedbackReceipt:
    """Answer once the feedback is on the disk; the learner folds it within moments."""
    return await service.record(data)


@post(
    "/v1/decisions/{decision_id:str}/activate",
    status_code=202,
    summary="Let a deferred decision count from now on",
    opt={"scope": "decide"},
    responses=problems(401, 403, 404, 409, 503),
)
async def activate(decision_id: FromPath[str], service: NamedDependency[DecisionService]) -> Activation:
    """Answer once it is on the disk: the contact was made, and what comes of it teaches."""
    return await service.activate(decision_id)


@get(
    "/v1/decisions/{decision_id:str}",
    summary="Explain a decision",
    opt={"scope": "read"},
    responses=problems(400, 401, 403, 404),
)
async def audit(decision_id: FromPath[str], service: NamedDependency[DecisionService]) -> DecisionAudit:
    """Show what a decision saw, what it did with which probability, and what came of it."""
    return service.audit(decision_id)
