"""What administrators do, each deed in the log: forget a customer, and look at what was done."""

from typing import Any

from litestar import Request, delete, get
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, FromQuery
from litestar.response import Stream

from serving.answers import admin_call_of
from serving.auth import actor_of
from serving.batches import MEDIA_TYPE as NDJSON
from serving.openapi import problems
from serving.problems import Rejected
from serving.runtime import Runtime
from serving.wire_admin import AdminCall, ErasureReport, ExportedRecord

MOST = 1_000
_RECORDS = {
    200: ResponseSpec(
        data_container=ExportedRecord,
        media_type=NDJSON,
        description="A record of the log for every decision, a line of JSON each.",
        generate_examples=False,
    ),
    **problems(400, 401, 403, 503),
}


@delete(
    "/v1/customers/{customer_id:path}",
    status_code=200,
    summary="Forget a customer",
    opt={"scope": "admin"},
    responses=problems(401, 403, 404, 503),
)
async def erase(
    customer_id: FromPath[str],
    request: Request[Any, Any, Any],
    runtime: NamedDependency[Runtime],
) -> ErasureReport:
    """Take name and attributes out of every record; what was learnt, and the receipts, stay whole."""
    found = await runtime.erase(customer_id.removeprefix("/"), actor_of(request.scope))
    return ErasureReport(decisions=found.decisions, events=found.events, objections=found.objections)


@get(
    "/v1/admin-calls",
    summary="What administrators did",
    opt={"scope": "admin"},
    responses=problems(400, 401, 403),
)
async def admin_calls(runtime: NamedDependency[Runtime], after: FromQuery[int] = 0) -> list[AdminCall]:
    """Show up to 1,000 deeds past a position, in their order."""
    _check(after)
    return [admin_call_of(row) for row in runtime.admin_rows(after, MOST)]


@get("/v1/export", summary="Read the log", opt={"scope": "admin"}, responses=_RECORDS)
async def export(
    request: Request[Any, Any, Any], runtime: NamedDependency[Runtime], after: FromQuery[int] = 0
) -> Stream:
    """Show up to 1,000 decisions past a position, whole; `seq` of the last one is the next `after`."""
    _check(after)
    await runtime.noted("export", {"after": after}, actor_of(request.scope))
    return Stream(runtime.records(after, MOST), media_type=NDJSON)


def _check(after: int) -> None:
    if not 0 <= after < 2**63:
        raise Rejected(400, f"?after=: must be a position of the log, 0 or more, got {after}")
