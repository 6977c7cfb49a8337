"""The service on Ray Serve: what it refuses, and one that is deployed on a real local Ray."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
from serving_fixtures import customer, tiny_bundle

from nba.errors import InvalidConfig
from serving.keys import add_key
from serving.ledger import open_ledger
from serving.ray_app import app
from serving.replay import replay

PATIENCE = 180.0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"port": "1"}, "port: is no setting; there are bundle, store"),
        ({"bundle": "b", "store": "s"}, "keys_file: is needed: .*`nba keys new`"),
        ({"keys_file": "k", "host": "0.0.0.0"}, "host: Ray's own http_options say"),
        ({"keys_file": "k", "bundle": "b"}, "missing required field `store`"),
        ({"keys_file": "k", "bundle": "b", "store": "s", "publish_seconds": "x"}, "publish_seconds"),
        ({"keys_file": "k", "bundle": "b", "store": "s", "publish_seconds": "-1"}, "must be > 0"),
    ],
)
def test_settings_of_an_application_are_refused_by_name(arguments: dict[str, str], told: str) -> None:
    with pytest.raises(InvalidConfig, match=told):
        app(arguments)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def waited(client: httpx.Client, path: str, holds: str) -> dict[str, Any]:
    """The answer of a path once one of its fields is not 0."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = client.get(path)
        if found.status_code == 200 and found.json()[holds]:
            answer: dict[str, Any] = found.json()
            return answer
        time.sleep(0.1)
    raise AssertionError(found.text)


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.filterwarnings("ignore")  # of Ray Serve's own start
def test_a_deployment_decides_learns_and_ends_cleanly(ray_session: ModuleType, tmp_path: Path) -> None:
    from ray import serve

    bundle, store, keys = tmp_path / "bundle", f"sqlite:///{tmp_path}/log.db", tmp_path / "keys"
    tiny_bundle(bundle)
    key = add_key(keys, "decide,feedback,read", None, None, "the test")
    settings = {"bundle": str(bundle), "store": store, "keys_file": str(keys), "publish_seconds": "0.05"}
    port = free_port()
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    try:
        serve.run(app(settings), route_prefix="/")
        url, headers = f"http://127.0.0.1:{port}", {"Authorization": f"Bearer {key}"}
        with httpx.Client(base_url=url, headers=headers, timeout=PATIENCE) as client:
            waited(client, "/readyz", "status")
            body = {"customer": customer("c1"), "request_id": "r1"}
            assert httpx.post(f"{url}/v1/decisions", json=body).status_code == 401
            answer = client.post("/v1/decisions", json=body)
            assert answer.status_code == 200, answer.text
            again = client.post("/v1/decisions", json=body).json()
            assert again == answer.json() | {"replayed": True}
            told = {"event_id": "e1", "decision_id": answer.json()["decision_id"], "outcome": "converted"}
            assert client.post("/v1/feedback", json=told).status_code == 202
            status = waited(client, "/v1/learner", "posterior_seq")
    finally:
        serve.shutdown()
    ledger = open_ledger(store)  # the replica has released it, and saved what it had learnt
    assert [one.sha256 for one in ledger.reader().saved_posteriors()][:1] == [status["posterior_sha256"]]
    ledger.close()
    report = replay(bundle, store, None)
    assert (report.decisions, report.mismatches, report.receipts.faults) == (1, 0, 0)
    assert report.posterior_sha256 == status["posterior_sha256"]
