"""What administrators do, each deed in the log: forget a customer, and look at what was done."""

from typing import Any

from litestar import Request, delete, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from serving.answers import admin_call_of
from serving.auth import actor_of
from serving.openapi import problems
from serving.runtime import Runtime
from serving.wire import AdminCall, ErasureReport

MOST = 1_000


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
    return [admin_call_of(row) for row in runtime.admin_rows(after, MOST)]
