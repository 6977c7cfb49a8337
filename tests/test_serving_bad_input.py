from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

from litestar import Litestar
from litestar.testing import AsyncTestClient
from serving_fixtures import customer, decided, rows_in, service

from serving.ids import new_id
from serving.settings import wall_clock

JSON = {"content-type": "application/json"}


def person(**changes: Any) -> dict[str, Any]:
    return {"customer": customer() | changes}


def attributes(text: str) -> bytes:
    return f'{{"customer": {{"id": "c1", "attributes": {text}}}}}'.encode()


NOT_JSON: list[tuple[bytes, str]] = [
    (b"", ""),
    (b"  ", ""),
    (b"{", ""),
    (b'{"customer": ', ""),
    (b"\xef\xbb\xbf{}", ""),
    (b"\xff\xfe", ""),
    (attributes('{"age": NaN}'), "/customer/attributes/age"),
    (attributes('{"age": -Infinity}'), "/customer/attributes/age"),
    (attributes('{"segment": "\xff"}').replace("\xff".encode(), b"\xff"), ""),
    (attributes('{"segment": "\\ud800"}'), ""),
    (attributes('{"age": 1}').replace(b"}}}", b"}}} trailing"), ""),
]
BROKEN_DECISIONS: list[tuple[Any, str]] = [
    ([], ""),
    (None, ""),
    (5, ""),
    ({}, "/customer"),
    ({"customer": None}, "/customer"),
    ({"customer": {}}, "/customer/id"),
    (person(id=5), "/customer/id"),
    (person(id=""), "/customer/id"),
    (person(id="x" * 257), "/customer/id"),
    (person(name="Ann"), "/customer/name"),
    (person() | {"limit": "5"}, "/limit"),
    (person() | {"limit": 0}, "/limit"),
    (person() | {"limit": 51}, "/limit"),
    (person() | {"limit": 1.5}, "/limit"),
    (person() | {"limit": True}, "/limit"),
    (person() | {"limit": None}, "/limit"),
    (person() | {"colour": "red"}, "/colour"),
    (person() | {"a/b~c": 1}, "/a~1b~0c"),
    (person() | {"channels": "mail"}, "/channels"),
    (person() | {"channels": ["mail", "pigeon"]}, "/channels/1"),
    (person() | {"channels": ["mail", 5]}, "/channels/1"),
    (person() | {"candidates": ["loan", "mail/evening/yacht"]}, "/candidates/1"),
    (person() | {"candidates": ["mail"]}, "/candidates/0"),
    (person() | {"exclude": ["no-contact"]}, "/exclude/0"),
    (person() | {"exclude": ["yacht"]}, "/exclude/0"),
    (person() | {"exclude": None}, "/exclude"),
    (person() | {"request_id": ""}, "/request_id"),
    (person() | {"request_id": 7}, "/request_id"),
    (person() | {"at": "yesterday"}, "/at"),
    (person() | {"at": "2026-01-01T00:00:00"}, "/at"),
    (person() | {"at": 1_700_000_000}, "/at"),
    (person() | {"at": "0001-01-01T00:00:00+14:00"}, "/at"),
    (person() | {"at": "9999-12-31T23:59:59-14:00"}, "/at"),
    (person(attributes=[]), "/customer/attributes"),
    (person(attributes={"age": "40"}), "/customer/attributes/age"),
    (person(attributes={"age": True}), "/customer/attributes/age"),
    (person(attributes={"age": [1]}), "/customer/attributes/age/0"),
    (person(attributes={"has_app": 1, "age": {"years": 40}}), "/customer/attributes/age"),
    (person(attributes={"has_app": 1}), "/customer/attributes/has_app"),
    (person(attributes={"segment": "rich"}), "/customer/attributes/segment"),
    (person(attributes={"shoe/size": 43}), "/customer/attributes/shoe~1size"),
    (person(attributes={"consents": "mail"}), "/customer/attributes/consents"),
    (person(attributes={"consents": ["mail", "pigeon"]}), "/customer/attributes/consents/1"),
    (person(attributes={"owned": ["yacht"]}), "/customer/attributes/owned/0"),
    (person(attributes={"age": 10**400}), "/customer/attributes/age"),
]
BROKEN_FEEDBACK: list[tuple[dict[str, Any], str]] = [
    ({"event_id": ""}, "/event_id"),
    ({"event_id": 5}, "/event_id"),
    ({"outcome": "bought"}, "/outcome"),
    ({"outcome": None}, "/outcome"),
    ({"value": "5"}, "/value"),
    ({"value": -1}, "/value"),
    ({"value": True}, "/value"),
    ({"value": 10**400}, "/value"),
    ({"occurred_at": "2026-01-01"}, "/occurred_at"),
    ({"occurred_at": "2001-01-01T00:00:00Z"}, "/occurred_at"),
    ({"occurred_at": "0001-01-01T00:00:00+14:00"}, "/occurred_at"),
    ({"occurred_at": "9999-12-31T23:59:59-14:00"}, "/occurred_at"),
    ({"product": "yacht"}, "/product"),
    ({"colour": "red"}, "/colour"),
    ({"decision_id": "no-uuid"}, "/decision_id"),
    ({"decision_id": 5}, "/decision_id"),
    ({"decision_id": "01a2024b-d6f5-4a20-8042-f05282f1f675"}, "/decision_id"),
    ({"decision_id": new_id(wall_clock() + timedelta(days=1))}, "/decision_id"),
    ({"decision_id": "\u0130" * 36}, "/decision_id"),
]


async def refused(
    client: AsyncTestClient[Litestar], path: str, content: bytes, pointer: str, *, status: int
) -> None:
    answer = await client.post(path, content=content, headers=JSON)
    assert answer.headers["content-type"] == "application/problem+json", content[:80]
    problem = answer.json()
    assert (answer.status_code, problem["errors"][0]["pointer"]) == (status, pointer), (content[:80], problem)
    assert set(problem) == {"type", "title", "status", "detail", "errors"}
    assert problem["status"] == status and problem["type"].startswith("urn:nba:error:")


def test_bad_bodies_are_problems_with_pointers_and_nothing_is_stored(tmp_path: Path) -> None:
    async def check() -> None:
        async with service(tmp_path) as client:
            good = {"event_id": "e", "decision_id": (await decided(client))["decision_id"], "outcome": "seen"}
            for content, pointer in NOT_JSON:
                await refused(client, "/v1/decisions", content, pointer, status=400)
            for body, pointer in BROKEN_DECISIONS:
                await refused(client, "/v1/decisions", json.dumps(body).encode(), pointer, status=422)
            for number in ("1e999", "-1e999", "9" * 400):
                content = attributes(f'{{"has_app": true, "age": {number}}}')
                await refused(client, "/v1/decisions", content, "/customer/attributes/age", status=422)
            for changes, pointer in BROKEN_FEEDBACK:
                await refused(
                    client, "/v1/feedback", json.dumps(good | changes).encode(), pointer, status=422
                )
            infinite = json.dumps(good)[:-1].encode() + b', "value": 1e999}'
            await refused(client, "/v1/feedback", infinite, "/value", status=422)
            nan = json.dumps(good)[:-1].encode() + b', "value": NaN}'
            await refused(client, "/v1/feedback", nan, "/value", status=400)
            for name in good:
                missing = {key: value for key, value in good.items() if key != name}
                await refused(client, "/v1/feedback", json.dumps(missing).encode(), f"/{name}", status=422)
            assert rows_in(tmp_path) == 1

    asyncio.run(check())


def test_deep_nesting_large_bodies_and_other_media_are_refused(tmp_path: Path) -> None:
    async def check() -> None:
        async with service(tmp_path, max_body_bytes=50_000) as client:
            deep = attributes('{"age": ' + "[" * 20_000 + "]" * 20_000 + "}")
            await refused(client, "/v1/decisions", deep, "/customer/attributes", status=422)
            await refused(client, "/v1/decisions", b"[" * 49_000, "", status=422)
            await refused(client, "/v1/decisions", b'{"x":' * 9_000, "/x", status=422)
            for headers in (JSON, JSON | {"transfer-encoding": "chunked"}):
                large = await client.post(
                    "/v1/decisions", content=attributes('{"age": 1}') + b" " * 60_000, headers=headers
                )
                assert (large.status_code, large.json()["status"]) == (413, 413)
            fine = json.dumps(person()).encode()
            for media_type in ("text/plain", "application/x-www-form-urlencoded", "application/msgpack", ""):
                other = await client.post("/v1/decisions", content=fine, headers={"content-type": media_type})
                assert (other.status_code, other.json()["type"]) == (
                    415,
                    "urn:nba:error:unsupported-media-type",
                )
            zipped = await client.post(
                "/v1/decisions", content=fine, headers=JSON | {"content-encoding": "gzip"}
            )
            latin = await client.post(
                "/v1/decisions", content=fine, headers={"content-type": "application/json; charset=latin-1"}
            )
            assert zipped.status_code == latin.status_code == 415
            utf8 = {"content-type": "application/json; charset=UTF-8"}
            assert (await client.post("/v1/decisions", content=fine, headers=utf8)).status_code == 200
            assert rows_in(tmp_path) == 1

    asyncio.run(check())


def test_wrong_paths_and_methods_are_problems(tmp_path: Path) -> None:
    async def check() -> None:
        async with service(tmp_path) as client:
            for method, path, status in (
                ("GET", "/v1/nothing", 404),
                ("GET", "/v1/decisions/", 405),
                ("GET", "/v1/decisions/no-uuid", 404),
                ("GET", "/v1/decisions/%00%ff", 404),
                ("PUT", "/v1/decisions", 405),
                ("DELETE", "/v1/feedback", 405),
                ("GET", "/v1/feedback", 405),
            ):
                answer = await client.request(method, path)
                assert (answer.status_code, answer.headers["content-type"]) == (
                    status,
                    "application/problem+json",
                )
                assert answer.json()["status"] == status

    asyncio.run(check())


def test_odd_but_valid_text_is_kept(tmp_path: Path) -> None:
    async def check() -> None:
        async with service(tmp_path) as client:
            for name in ("\x00", "né 😀", "x" * 256, "'; DROP TABLE decision; --"):
                answer = await decided(client, name)
                audit = (await client.get(f"/v1/decisions/{answer['decision_id'].upper()}")).json()
                assert audit["customer_id"] == name
            assert rows_in(tmp_path) == 4

    asyncio.run(check())
