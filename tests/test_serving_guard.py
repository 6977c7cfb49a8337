from __future__ import annotations

import asyncio
import json
import logging
import re
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from litestar import Litestar
from litestar.routes import HTTPRoute
from serving_fixtures import customer, decided, reported, rows_in, service

from serving.ids import new_id
from serving.keys import SCOPES, hash_key
from serving.limits import Bucket
from serving.logs import JsonLines
from serving.settings import wall_clock

ROUTES = {"/v1/decisions": b"application/json", "/v1/feedback/batch": b"application/x-ndjson"}
PUBLIC = {"/livez", "/readyz", "/docs", "/schema", "/schema/{path}", "/schema/openapi.json"}


def keys_file(folder: Path, *lines: str) -> Path:
    path = folder / "keys"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def walked(app: Litestar) -> list[tuple[str, str, str | None]]:
    """(method, path template, scope) of everything that the application answers."""
    return [
        (method, route.path_format, handler.opt.get("scope"))
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for method, (handler, _) in route.route_handler_map.items()
        if method != "OPTIONS"
    ]


def test_every_route_has_a_scope_and_opens_to_no_other(tmp_path: Path) -> None:
    async def check() -> None:
        path = keys_file(tmp_path, *(f"{hash_key(scope)} {scope}" for scope in SCOPES))
        async with service(tmp_path, keys_file=path) as client:
            routes = walked(client.app)
            assert {path for _, path, scope in routes if scope is None} == PUBLIC
            assert {scope for *_, scope in routes} == {None, *SCOPES}
            for method, template, scope in routes:
                path = re.sub(r"\{\w+\}", new_id(wall_clock()), template)
                for key in SCOPES if scope is not None else ("read",):
                    answer = await client.request(method, path, headers={"x-api-key": key})
                    may = scope is None or key in (scope, "admin")
                    assert (answer.status_code == 403) != may, (method, path, key, answer.text)
                    assert answer.status_code < 500 and answer.headers["x-content-type-options"] == "nosniff"
                if scope is not None:
                    assert (await client.request(method, path)).status_code == 401
            assert rows_in(tmp_path) == 0

    asyncio.run(check())


def test_a_bucket_by_hand() -> None:
    now = [0.0]
    bucket = Bucket(2.0, lambda: now[0])
    assert [bucket.wait() for _ in range(3)] == [0.0, 0.0, 0.5]
    now[0] = 0.25
    assert bucket.wait() == 0.25  # asking too early costs nothing
    now[0] = 0.5
    assert [bucket.wait(), bucket.wait()] == [0.0, 0.5]
    bucket.charge(6)
    assert bucket.wait() == 3.5
    now[0] = 100.0
    assert [bucket.wait() for _ in range(3)] == [0.0, 0.0, 0.5]  # no more than a second's worth is kept
    slow = Bucket(0.1, lambda: now[0])
    assert [slow.wait(), slow.wait()] == [0.0, 10.0]


def test_a_key_that_asks_too_often_waits_and_no_other(tmp_path: Path) -> None:
    async def check() -> None:
        path = keys_file(
            tmp_path, f"{hash_key('slow')} decide rate=0.001", f"{hash_key('fast')} decide rate=1e6"
        )
        async with service(tmp_path, keys_file=path, requests_per_second=0.002) as client:
            body = {"customer": customer()}

            async def ask(key: str) -> Any:
                return await client.post("/v1/decisions", json=body, headers={"x-api-key": key})

            assert [(await ask("slow")).status_code for _ in range(3)] == [200, 429, 429]
            refused = await ask("slow")
            assert refused.json()["type"] == "urn:nba:error:too-many-requests"
            assert 990 <= int(refused.headers["retry-after"]) <= 1000
            assert [(await ask("fast")).status_code for _ in range(3)] == [200, 200, 200]
            assert rows_in(tmp_path) >= 4

    asyncio.run(check())


def test_a_batch_counts_by_its_lines(tmp_path: Path) -> None:
    async def check() -> None:
        path = keys_file(tmp_path, f"{hash_key('k')} decide")
        headers = {"x-api-key": "k", "content-type": "application/x-ndjson"}
        async with service(tmp_path, keys_file=path, requests_per_second=0.5) as client:
            lines = b"\n".join([msgspec.json.encode({"customer": customer()})] * 50)
            first = await client.post("/v1/decisions/batch", content=lines, headers=headers)
            assert first.status_code == 200 and len(first.text.splitlines()) == 50
            second = await client.post("/v1/decisions/batch", content=lines, headers=headers)
            assert second.status_code == 429 and int(second.headers["retry-after"]) > 90

    asyncio.run(check())


async def half_sent(app: Litestar, path: str, kind: bytes) -> list[Any]:
    """What the application answers to half a body, after which nothing comes."""
    halves: list[Any] = [{"type": "http.request", "body": b'{"cust', "more_body": True}]
    sent: list[Any] = []

    async def receive() -> Any:
        return halves.pop() if halves else await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    scope: Any = {
        "type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"",
        "headers": [(b"content-type", kind)], "http_version": "1.1", "scheme": "http", "root_path": "",
        "server": ("t", 1), "client": ("t", 2), "state": {},
    }  # fmt: skip
    async with asyncio.timeout(5.0):
        await app(scope, receive, send)
    return sent


def test_a_body_that_does_not_arrive_is_not_waited_for(tmp_path: Path) -> None:
    async def check() -> None:
        async with service(tmp_path, body_seconds=0.05) as client:
            for path, kind in ROUTES.items():
                sent = await half_sent(client.app, path, kind)
                assert sent[0]["status"] == 408 and (b"connection", b"close") in sent[0]["headers"]

    asyncio.run(check())


def test_metrics_audit_the_propensities_and_time_every_route(tmp_path: Path) -> None:
    async def check() -> None:
        async with service(tmp_path) as client:
            made = [await decided(client, f"c{number}") for number in range(40)]
            audits = [(await client.get(f"/v1/decisions/{one['decision_id']}")).json() for one in made]
            silent = [one["no_contact_propensity"] for one in audits]
            beyond = sum(one["actions"][0]["channel"] is None for one in audits) - sum(silent)
            expected = beyond / sum(p * (1 - p) for p in silent) ** 0.5
            text = (await client.get("/metrics")).text
            found = re.search(r"^nba_propensity_audit_z (\S+)$", text, flags=re.MULTILINE)
            assert found and float(found[1]) == pytest.approx(expected, rel=1e-9) and abs(expected) < 4
            counted = (
                "propensity_count 40.0",
                "feedback_lag_seconds_count",
                "learner_lag_events",
                "snapshot_age",
            )
            for name in (*counted, 'http_seconds_bucket{le="0.0005",route="/v1/decisions"}'):
                assert f"nba_{name}" in text

    asyncio.run(check())


def test_a_log_line_is_an_object_and_quotes_no_error() -> None:
    try:
        raise ValueError("Erika Mustermann")
    except ValueError:
        record = logging.LogRecord("serving", logging.ERROR, "", 1, "a %s failed", ("step",), sys.exc_info())
    line = json.loads(JsonLines().format(record))
    assert line.pop("at") and line == {
        "level": "error", "logger": "serving", "message": "a step failed", "error": "ValueError"
    }  # fmt: skip


def test_no_log_line_metric_or_problem_of_a_key_names_a_person(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything is logged, down to debugging, while requests succeed, are refused and fail."""
    name, private = "Erika Mustermann", {"age": 41.6180339, "segment": "Heidestrasse"}

    async def check() -> None:
        async with service(tmp_path) as client:
            fine = await decided(client, name, request_id="asked-by-Erika")
            await reported(client, fine["decision_id"], "opted_out", event_id="told-by-Erika")
            body = {"customer": customer(name, **private)}
            assert (await client.post("/v1/decisions", json=body)).status_code == 422
            assert (await client.post("/v1/decisions", json=body | {"x": name})).status_code == 422
            monkeypatch.setattr(type(client.app.state.runtime.service), "decide", _fail)
            assert (await client.post("/v1/decisions", json=body)).status_code == 500
            assert (await client.delete(f"/v1/customers/{name}")).status_code == 200
            assert name not in (await client.get("/metrics")).text

    with caplog.at_level(logging.DEBUG):
        asyncio.run(check())
    said = "\n".join(str(record.__dict__) for record in caplog.records if record.name != "httpx")
    assert "POST 500: ValueError" in caplog.text  # httpx is the caller
    assert [text for text in ("Erika", "41.618", "Heidestrasse") if text in said] == []


async def _fail(self: Any, request: Any) -> Any:
    raise ValueError(f"cannot decide for {request}")


def test_a_position_that_is_none_is_refused_by_name(tmp_path: Path) -> None:
    async def check() -> None:
        async with service(tmp_path) as client:
            for path in ("/v1/admin-calls", "/v1/export"):
                for after in ("x", "-1", str(2**63), "1.5"):
                    answer = await client.get(path, params={"after": after})
                    assert answer.status_code == 400 and answer.json()["detail"].startswith("?after=: ")
            assert (await client.get("/v1/admin-calls")).json() == []

    asyncio.run(check())
