"""The demonstration: the whole path in one command, ending with a served decision that learns."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import msgspec
import typer

from experiments.registry import MODEL, pull
from experiments.terminal import say
from experiments.train import Training, print_links, print_result, summary, train_and_record
from nba.errors import NBAError

_START_SECONDS = 60.0
_LEARN_SECONDS = 30.0
_ASKS = 20

CUSTOMER: dict[str, Any] = {
    "id": "demo-customer",
    "attributes": {
        "age": 41,
        "segment": "family",
        "stage": "growth",
        "wealth_tier": 2,
        "digital_index": 0.7,
        "interest_saving": 1.2,
        "interest_borrowing": 0.8,
        "has_app": True,
        "active_evenings": True,
        "risk_class": 3,
        "days_to_key_day": 3,
        "consents": ["app_push", "mini_program", "sms", "email", "call"],
        "owned": ["salary-account", "credit-card"],
    },
}


class DemoError(NBAError, RuntimeError):
    """The served part of the demonstration did not do what it should."""


def run_demo(workers: int, store: Path, out: Path, scale: float, as_json: bool) -> None:
    """What `nba demo` does."""
    begun = perf_counter()
    training = train_and_record("demo", scale, workers, store)
    print_result(training)
    exchange = _serve_and_learn(training, store, out)
    for title, body in exchange.items():
        typer.echo(f"\n{title}\n{msgspec.json.format(msgspec.json.encode(body), indent=2).decode()}")
    print_links(training.recorded, training.result.champion, store)
    typer.echo(
        f"\nServe the champion yourself:\n"
        f"  .venv/bin/nba serve --port 8000 --bundle {out / 'champion'} "
        f"--store sqlite:///{out / 'my.sqlite'}\n"
        f"Check that every decision of the demo replays to the same bytes:\n"
        f"  .venv/bin/nba replay --bundle {out / 'champion'} --store sqlite:///{out / 'service.sqlite'}"
    )
    if as_json:
        typer.echo(msgspec.json.encode(summary(training, perf_counter() - begun)).decode())


def _serve_and_learn(training: Training, store: Path, out: Path) -> dict[str, Any]:
    """Start the service on the champion, decide, convert, wait for the learner, decide again."""
    for old in out.glob("service.sqlite*"):
        old.unlink()
    version = training.recorded.registered_version
    say(f"serving version {version} of {MODEL} from the registry")
    bundle = pull(store, f"{MODEL}/{version}", out / "champion").path
    with _service(bundle, out / "service.sqlite") as url:
        first = _contact(url)
        feedback = {
            "event_id": "demo-conversion",
            "decision_id": first["decision_id"],
            "outcome": "converted",
            "value": 60.0,
        }
        receipt = _post(f"{url}/v1/feedback", feedback)
        learner = _wait_for_newer(url, first["posterior_seq"])
        again = _post(f"{url}/v1/decisions", {"customer": CUSTOMER, "limit": 3})
    return {
        "decision (POST /v1/decisions)": first,
        "feedback (POST /v1/feedback)": receipt,
        "learner (GET /v1/learner)": learner,
        "decision after learning (POST /v1/decisions)": again,
    }


def _contact(url: str) -> Any:
    """A decision to contact: silence is a real choice, so ask for different customers until one is drawn."""
    for number in range(_ASKS):
        stage = ("growth", "mature", "onboarding", "at_risk")[number % 4]
        attributes = CUSTOMER["attributes"] | {"stage": stage, "interest_investing": 0.2 * number}
        customer = {"id": f"demo-customer-{number}", "attributes": attributes}
        answer = _post(f"{url}/v1/decisions", {"customer": customer, "limit": 3})
        if answer["actions"][0]["channel"] is not None:
            return answer
    say(f"{_ASKS} decisions in a row chose no contact, so the conversion below is an organic one")
    return answer


def _wait_for_newer(url: str, posterior_seq: int) -> Any:
    """The learner's state once a posterior newer than `posterior_seq` is published."""
    deadline = time.monotonic() + _LEARN_SECONDS
    while time.monotonic() < deadline:
        state = _get(f"{url}/v1/learner")
        if state["posterior_seq"] > posterior_seq:
            return state
        time.sleep(0.1)
    raise DemoError(f"no posterior newer than {posterior_seq} was published within {_LEARN_SECONDS:.0f} s")


@contextmanager
def _service(bundle: Path, ledger: Path) -> Iterator[str]:
    """The real service in a process of its own, on a free port; stopped cleanly at the end."""
    command = [
        sys.executable,
        "-m",
        "nba",
        "serve",
        "--bundle",
        str(bundle),
        "--store",
        f"sqlite:///{ledger}",
    ]
    process = subprocess.Popen([*command, "--port", "0", "--json"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        ready = process.stdout.readline()
        if not ready:
            raise DemoError(f"the service stopped at once with exit code {process.wait(_START_SECONDS)}")
        yield str(msgspec.json.decode(ready)["url"])
    finally:
        process.terminate()
        code = process.wait(_START_SECONDS)
    if code != 0:
        raise DemoError(f"the service did not stop cleanly: exit code {code}")


def _post(url: str, body: object) -> Any:
    data = msgspec.json.encode(body)
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    return _answer(request)


def _get(url: str) -> Any:
    return _answer(urllib.request.Request(url))


def _answer(request: urllib.request.Request) -> Any:
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return msgspec.json.decode(response.read())
    except urllib.error.HTTPError as error:
        raise DemoError(f"{request.full_url} answered {error.code}: {error.read().decode()}") from None
