"""The HTTP application: strict decoding in, records or problem documents out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from litestar import Litestar, Request, Response
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from serving.auth import KeyAuth
from serving.checks import check_content
from serving.errors import explained
from serving.metrics import Metrics
from serving.problems import MEDIA_TYPE, Rejected, undecodable
from serving.routes.administration import admin_calls, erase
from serving.routes.batches import decide_batch, record_batch
from serving.routes.decisions import activate, audit, decide, record
from serving.routes.operations import docs, learner, livez, metrics, readyz
from serving.runtime import Runtime
from serving.settings import Clock, Settings, wall_clock

_HANDLERS = [
    decide,
    decide_batch,
    activate,
    record,
    record_batch,
    audit,
    erase,
    admin_calls,
    learner,
    livez,
    readyz,
    metrics,
    docs,
]

# An answer is data for its caller alone: no browser runs, frames, sniffs or keeps it.
_PAGE = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
]
_SECURITY = [*_PAGE, (b"cache-control", b"no-store"), (b"content-security-policy", b"default-src 'none'")]


class StrictRequest(Request[Any, Any, Any]):
    """Decodes a body straight into the handler's record, without the framework's coercion."""

    async def body(self) -> bytes:
        """The body, if it arrives in time: who sends a byte a minute must not hold a place."""
        seconds: float = self.app.state.runtime.settings.body_seconds
        try:
            async with asyncio.timeout(seconds):
                return await super().body()
        except TimeoutError:
            closing = {"connection": "close"}
            raise Rejected(408, f"The body must arrive within {seconds:g} s.", headers=closing) from None

    async def json(self) -> Any:
        """The body as the record that the handler declares, or a problem."""
        decoder = self.route_handler.opt.get("decoder")
        if decoder is None:
            return await super().json()
        check_content(self.headers, "application/json")
        body = await self.body()
        try:
            return decoder.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise undecodable(body, error) from None


class Observed(ASGIMiddleware):
    """Counts and times requests by route template."""

    scopes = (ScopeType.HTTP,)

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Pass the request on and note what became of it."""
        started, route = time.perf_counter(), str(scope.get("path_template") or "unmatched")

        method = str(scope.get("method"))

        async def note(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.requests.labels(route, method, str(message["status"])).inc()
                self._metrics.latency.labels(route).observe(time.perf_counter() - started)
            await send(message)

        await next_app(scope, receive, note)


def create_app(settings: Settings, clock: Clock = wall_clock) -> Litestar:
    """The application of a bundle and a store, which it opens now and releases at shutdown."""
    runtime = Runtime(settings, clock)

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        runtime.start()
        try:
            yield
        finally:
            await runtime.stop()

    app = Litestar(
        route_handlers=_HANDLERS,
        dependencies=_provided(runtime, lambda: app.openapi_schema.to_schema()),
        request_class=StrictRequest,
        request_max_body_size=settings.max_body_bytes,
        lifespan=[lifespan],
        middleware=[Observed(runtime.metrics), *_guards(runtime)],
        before_send=[secured],
        exception_handlers={Exception: answer_error},
        openapi_config=_openapi(),
        logging_config=None,
    )
    app.state.runtime = runtime
    return app


async def secured(message: Message, scope: Scope) -> None:
    """Tell browsers what they must not do with an answer."""
    if message["type"] == "http.response.start":
        headers = _PAGE if scope["path"] == "/docs" else _SECURITY
        message["headers"] = [*message["headers"], *headers]


def _guards(runtime: Runtime) -> list[ASGIMiddleware]:
    if runtime.ring is None:
        return []
    return [KeyAuth(runtime.ring, runtime.clock, runtime.settings.requests_per_second)]


def answer_error(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """The problem document of any error."""
    document = explained(error, request.method)
    headers = dict(getattr(error, "headers", None) or {})
    if document.status == 401:
        headers["www-authenticate"] = "Bearer"
    if document.status == 503 or document.type.endswith(":request-in-flight"):
        headers["retry-after"] = "1"
    content = msgspec.json.encode(document)
    return Response(content, status_code=document.status, media_type=MEDIA_TYPE, headers=headers)


def _provided(runtime: Runtime, schema: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What handlers may ask for by name."""

    async def provide_service() -> Any:
        return runtime.service

    async def provide_runtime() -> Any:
        return runtime

    async def provide_schema() -> Any:
        return schema()

    return {"service": provide_service, "runtime": provide_runtime, "schema": provide_schema}


def _openapi() -> OpenAPIConfig:
    return OpenAPIConfig(
        title="Next best action",
        version="1",
        description="Ask for decisions, report what came of them. Errors are problem documents (RFC 9457).",
        path="/schema",
        render_plugins=[JsonRenderPlugin(path="/openapi.json")],
    )
