"""The typed client: against the service itself, and against answers that make it try again."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from serving_fixtures import SURE, customer, tiny_bundle
from serving_process import ROOT

from serving.app import create_app
from serving.client import AsyncClient, Client, Refused, Retries, Unreachable
from serving.settings import Settings
from serving.wire import Customer, DecisionRequest, Feedback, Placement

KNOWN = customer()
REQUEST = DecisionRequest(customer=Customer(id="c1", attributes=KNOWN["attributes"]))
ANSWER = {
    "decision_id": "d", "policy": "p", "policy_version": 1, "posterior_seq": 0, "actions": [],
    "feedback_until": "2027-01-01T00:00:00Z",
}  # fmt: skip


def problem(status: int, slug: str = "x", **headers: str) -> httpx.Response:
    body = {"type": f"urn:nba:error:{slug}", "title": "No", "status": status, "detail": "why"}
    return httpx.Response(status, json=body, headers=headers)


class Script:
    """Answers one after another, and remembers what was sent and how long was waited."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers, self.sent, self.waits = list(answers), list[bytes](), list[float]()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request.content)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def client(self, **changes: Any) -> Client:
        transport = httpx.MockTransport(self)
        parts: dict[str, Any] = {"transport": transport, "sleep": self.waits.append, "chance": lambda: 1.0}
        return Client("http://bank", **(parts | changes))


def test_a_question_is_asked_again_as_the_same_question() -> None:
    busy = problem(429, **{"retry-after": "3"})
    waiting = problem(409, "request-in-flight", **{"retry-after": "1"})
    script = Script(httpx.ConnectError("no"), busy, waiting, problem(503), httpx.Response(200, json=ANSWER))
    with script.client() as client:
        assert client.decide(REQUEST).decision_id == "d"
    assert len(set(script.sent)) == 1 and json.loads(script.sent[0])["request_id"]
    assert script.waits == [0.1, 3.0, 1.0, 0.8]


@pytest.mark.parametrize(
    ("status", "slug"), [(422, "invalid-request"), (409, "conflict"), (401, "unauthorized")]
)
def test_what_is_refused_for_good_is_not_asked_again(status: int, slug: str) -> None:
    script = Script(problem(status, slug))
    with script.client() as client, pytest.raises(Refused, match=f"{status} No: why") as caught:
        client.report(Feedback(event_id="e", decision_id="d", outcome="seen"))
    assert caught.value.problem.type.endswith(slug) and len(script.sent) == 1


def test_in_the_end_it_is_told_what_was_tried() -> None:
    script = Script(*[httpx.ReadTimeout("slow")] * 3)
    with (
        script.client(retries=Retries(most=2)) as client,
        pytest.raises(Unreachable, match="no answer after 3"),
    ):
        client.decide(REQUEST)
    gateway = Script(*[httpx.Response(502, text="<html>")] * 5)
    with gateway.client() as client, pytest.raises(Refused, match="502"):
        client.decide(REQUEST)


def test_waits_grow_within_bounds_and_are_cut_by_chance() -> None:
    retries = Retries(first_seconds=1.0, most_seconds=5.0)
    assert [retries.wait(n, None, 1.0) for n in range(4)] == [1.0, 2.0, 4.0, 5.0]
    assert retries.wait(0, None, 0.0) == 0.5
    assert (retries.wait(0, "60", 1.0), retries.wait(0, "soon", 1.0)) == (5.0, 1.0)


def test_a_dry_run_has_no_id_and_others_keep_theirs() -> None:
    script = Script(*[httpx.Response(200, json=ANSWER)] * 2)
    with script.client() as client:
        client.decide(DecisionRequest(customer=REQUEST.customer, mode="dry_run"))
        client.decide(DecisionRequest(customer=REQUEST.customer, request_id="mine"))
    assert [json.loads(body)["request_id"] for body in script.sent] == [None, "mine"]


@contextmanager
def listening(folder: Path) -> Iterator[str]:
    """The address of a service on a real socket, in a thread of its own."""
    settings = Settings(bundle=tiny_bundle(folder / "bundle", **SURE), store=f"sqlite:///{folder}/log.db")
    app = create_app(settings)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, lifespan="on"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not (server.started and app.state.runtime.ready.is_set()):
            assert thread.is_alive()
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def told_plainly(url: str) -> None:
    with Client(url) as client:
        made = client.decide(REQUEST)
        told = Feedback(event_id="e1", decision_id=made.decision_id, outcome="seen")
        assert client.report(told).status == "accepted"
        assert client.report(told).status == "duplicate"
        lines = client.decide_all([REQUEST, DecisionRequest(customer=Customer(id="")), REQUEST])
        assert [line.status for line in lines] == [200, 422, 200]
        assert len(client.explain(made.decision_id).feedback) == 1


async def told_asynchronously(url: str) -> None:
    async with AsyncClient(url) as client:
        places = [Placement(name="a")]
        later = await client.decide(
            DecisionRequest(customer=REQUEST.customer, defer_activation=True, placements=places)
        )
        assert (await client.activate(later.decision_id)).status == "accepted"
        told = Feedback(event_id="e2", decision_id=later.decision_id, outcome="seen")
        (line,) = await client.report_all([told])
        assert line.receipt is not None and line.receipt.status == "accepted"
        with pytest.raises(Refused, match="404"):
            await client.explain("nothing")


def test_both_clients_and_the_example_against_the_service(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("example", ROOT / "examples" / "client.py")
    assert spec is not None and spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    visit: Callable[..., Any] = example.visit
    with listening(tmp_path) as url:
        told_plainly(url)
        asyncio.run(asyncio.wait_for(told_asynchronously(url), 60))
        page, receipt = visit(url, Customer(id="c9", attributes=KNOWN["attributes"]), "mail")
        assert [slot.placement for slot in page.slots] == ["hero", "side"]
        assert page.role in ("champion", "fallback") and (receipt is None or receipt.status == "accepted")
