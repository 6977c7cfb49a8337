"""The service against its own OpenAPI document: requests of its schemas, and broken ones, find no 5xx.

What Schemathesis would do, with Hypothesis alone: every operation is asked with bodies that the document
allows, and with bodies of which one part was replaced by something else; each answer must be one that the
document names, and each refusal a problem document.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from litestar.testing import TestClient
from serving_fixtures import PATIENCE, customer, tiny_bundle

from serving.app import create_app
from serving.replay import replay
from serving.settings import Settings
from serving.wire import Problem

Json = Any
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8),
    st.sampled_from(["c1", "mail", "card", "no-contact", "converted", "2026-11-23T00:00:00Z"]),
)  # fmt: skip
JUNK = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
)


class Api:
    """A running service and its document."""

    def __init__(self, client: TestClient[Any]) -> None:
        self.client, self.ids = client, ["nobody", "c1", "Müller & Söhne", "?#%2F"]
        self.document: Json = client.get("/schema/openapi.json").json()
        for name in ("c1", "c2"):
            made = client.post("/v1/decisions", json={"customer": customer(name)})
            self.ids.append(made.json()["decision_id"])

    def operations(self) -> list[tuple[str, str, Json]]:
        """(method, path template, operation) of the document."""
        return [
            (verb, path, one) for path, verbs in self.document["paths"].items() for verb, one in verbs.items()
        ]

    def resolved(self, schema: Json) -> Json:
        """A schema, or what it refers to."""
        name = schema.get("$ref", "").rpartition("/")[2]
        return self.document["components"]["schemas"][name] if name else schema

    def values(self, schema: Json) -> st.SearchStrategy[Json]:
        """Values that a schema allows."""
        schema = self.resolved(schema)
        if "enum" in schema:
            return st.sampled_from(schema["enum"])
        if "const" in schema:
            return st.just(schema["const"])
        parts = schema.get("oneOf") or schema.get("anyOf")
        if parts:
            return st.one_of(*(self.values(part) for part in parts))
        kind = schema.get("type")
        if isinstance(kind, list):
            return st.one_of(*(self.values({**schema, "type": one}) for one in kind))
        return {
            "object": self.objects, "array": self.arrays, "string": self.strings,
            "integer": lambda s: st.integers(s.get("minimum", -(2**63)), s.get("maximum", 2**63 - 1)),
            "number": lambda s: st.floats(s.get("minimum", -1e300), s.get("maximum", 1e300)),
            "boolean": lambda s: st.booleans(),
            "null": lambda s: st.none(),
        }.get(kind, lambda s: JUNK)(schema)  # fmt: skip

    def objects(self, schema: Json) -> st.SearchStrategy[Json]:
        named = {name: self.values(one) for name, one in schema.get("properties", {}).items()}
        if not named:
            extra = schema.get("additionalProperties")
            return st.dictionaries(
                st.sampled_from(["age", "has_app", "segment", "owned"]) | st.text(max_size=3),
                self.values(extra) if isinstance(extra, dict) else JUNK,
                max_size=3,
            )
        needed = set(schema.get("required", []))
        must = {name: one for name, one in named.items() if name in needed}
        return st.fixed_dictionaries(must, optional={n: one for n, one in named.items() if n not in needed})

    def arrays(self, schema: Json) -> st.SearchStrategy[Json]:
        return st.lists(self.values(schema.get("items", {})), max_size=3)

    def strings(self, schema: Json) -> st.SearchStrategy[Json]:
        if schema.get("format") == "date-time":
            return st.datetimes().map(lambda moment: moment.isoformat() + "Z")
        size = {"min_size": schema.get("minLength", 0), "max_size": min(schema.get("maxLength", 20), 20)}
        known = [name for name in ("c1", "mail", "card", *self.ids) if len(name) >= size["min_size"]]
        return st.sampled_from(known) | st.text(**size)


@st.composite
def broken(draw: st.DrawFn, value: Json) -> Json:
    """A value of which one part is something else."""
    if isinstance(value, dict) and value and draw(st.booleans()):
        name = draw(st.sampled_from(sorted(value)))
        return {**value, name: draw(broken(value[name]))}
    if isinstance(value, list) and value and draw(st.booleans()):
        return [draw(broken(value[0])), *value[1:]]
    return draw(JUNK)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("schema")
    store = f"sqlite:///{folder}/log.db"
    app = create_app(Settings(bundle=tiny_bundle(folder / "bundle"), store=store, publish_seconds=0.2))
    with TestClient(app, raise_server_exceptions=False) as client:
        deadline = time.monotonic() + PATIENCE
        while client.get("/readyz").status_code != 200 and time.monotonic() < deadline:
            time.sleep(0.01)
        yield Api(client)
        assert client.get("/readyz").status_code == 200
    report = replay(folder / "bundle", store)
    assert (report.mismatches, report.receipts.faults) == (0, 0), report.receipts.faulty


def asked(api: Api, verb: str, template: str, operation: Json, data: st.DataObject) -> None:
    """One request; the answer must be one of the document's."""
    path = re.sub(r"\{\w+\}", lambda _: quote(data.draw(st.sampled_from(api.ids))), template)
    query = {
        one["name"]: data.draw(SCALARS) for one in operation.get("parameters", []) if one["in"] == "query"
    }
    content = b""
    for kind, body in operation.get("requestBody", {}).get("content", {}).items():
        value = data.draw(api.values(body["schema"]))
        content = msgspec.json.encode(data.draw(st.just(value) | broken(value)))
        headers = {"content-type": kind}
    if not operation.get("requestBody"):
        headers = {"content-type": "application/x-ndjson"} if verb == "post" else {}
        lines = data.draw(st.lists(JUNK, min_size=1, max_size=3)) if verb == "post" else []
        content = b"\n".join(msgspec.json.encode(line) for line in lines)
    answer = api.client.request(verb.upper(), path, params=query, content=content, headers=headers)
    assert answer.status_code < 500, (verb, path, query, content, answer.text)
    assert str(answer.status_code) in operation["responses"], (verb, path, content, answer.text)
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert msgspec.json.decode(answer.content, type=Problem).status == answer.status_code


@given(data=st.data())
@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_a_few_requests_of_the_document_find_no_failure(api: Api, data: st.DataObject) -> None:
    asked(api, *data.draw(st.sampled_from(api.operations())), data)


@pytest.mark.slow
@given(data=st.data())
@settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))
def test_requests_of_the_document_find_no_failure(api: Api, data: st.DataObject) -> None:
    asked(api, *data.draw(st.sampled_from(api.operations())), data)
