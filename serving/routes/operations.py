"""What operators ask: is it alive, is it ready, where is the learner, what are the numbers."""

from litestar import MediaType, Response, get
from litestar.di import NamedDependency

from serving.docs import PAGE_HEADERS, page
from serving.metrics import CONTENT_TYPE
from serving.openapi import problems
from serving.problems import Rejected
from serving.runtime import Runtime
from serving.wire import Health, LearnerStatus


@get("/livez", summary="Is the process alive")
async def livez() -> Health:
    """Answer as long as the event loop turns."""
    return Health(status="ok")


@get("/readyz", summary="May requests be sent", responses=problems(503))
async def readyz(runtime: NamedDependency[Runtime]) -> Response[Health]:
    """Answer 200 when the store takes writes and the log has been replayed, otherwise 503."""
    health = runtime.health()
    return Response(health, status_code=200 if health.status == "ok" else 503)


@get("/v1/learner", summary="Where the learner is", opt={"scope": "read"}, responses=problems(401, 403, 503))
async def learner(runtime: NamedDependency[Runtime]) -> LearnerStatus:
    """Show log positions, lag and the checksum of the published posterior."""
    status = await runtime.status()
    if status is None:
        raise Rejected(503, "The log is still being replayed.")
    return status


@get(
    "/metrics",
    summary="Metrics for Prometheus",
    opt={"scope": "read"},
    media_type=MediaType.TEXT,
    responses=problems(401, 403),
)
async def metrics(runtime: NamedDependency[Runtime]) -> Response[bytes]:
    """Show counters and histograms in the exposition format."""
    return Response(runtime.exposition(), headers={"content-type": CONTENT_TYPE})


@get("/docs", include_in_schema=False, media_type=MediaType.HTML)
async def docs(schema: NamedDependency[dict]) -> Response[str]:  # type: ignore[type-arg]
    """Show the API as one page that asks no other host for anything."""
    return Response(page(schema), media_type=MediaType.HTML, headers=PAGE_HEADERS)
