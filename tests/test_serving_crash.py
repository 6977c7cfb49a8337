"""The promise of the service: what was acknowledged survives a kill, and the posterior has the same bytes.

SIGKILL ends a process, not the machine: what a power cut does to the disk is not tested here.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import copy
from time import sleep
from typing import Any

import apsw
import httpx
import pytest
from serving_fixtures import customer, tiny_bundle
from serving_process import Service, nba

from serving.ledger import open_reader
from serving.ledger.records import from_micros
from serving.replay import ReplayReport
from serving.replay import replay as replay_store

FAILPOINTS = (
    pytest.param("learner.before_fold", marks=pytest.mark.slow),
    "learner.before_commit",
    pytest.param("learner.after_commit", marks=pytest.mark.slow),
    pytest.param("writer.before_commit:3", marks=pytest.mark.slow),
    "writer.after_commit:3",
)


def decide(service: Service, name: str, request_id: str) -> dict[str, Any]:
    return service.post("/v1/decisions", {"customer": customer(name), "request_id": request_id})


def conversion(decision: dict[str, Any], number: int) -> dict[str, Any]:
    body = {"event_id": f"e{number}", "decision_id": decision["decision_id"], "outcome": "converted"}
    return body | {"value": 1.5, "occurred_at": decision["at"]}


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a bundle and a store of decisions, from which runs with equal feedback can start."""
    folder = tmp_path_factory.mktemp("crash")
    tiny_bundle(folder / "bundle")
    with Service(folder / "bundle", folder / "log.db") as service:
        for number in range(24):
            decide(service, f"c{number}", f"r{number}")
        assert service.stop() == 0
    return folder


def decisions(store: Path) -> list[dict[str, Any]]:
    reader = open_reader(f"sqlite:///{store}")
    rows = reader.decisions_by_posterior((-1, 0), 1_000)
    reader.close()
    return [{"decision_id": row.decision_id, "at": from_micros(row.at).isoformat()} for row in rows]


def replay(bundle: Path, store: Path) -> ReplayReport:
    return replay_store(bundle, f"sqlite:///{store}")


@pytest.fixture(scope="module")
def uninterrupted(started: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The posterior checksum of a run that nothing interrupts."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    copy(started / "log.db", folder / "log.db")
    with Service(started / "bundle", folder / "log.db") as service:
        for number, decision in enumerate(decisions(started / "log.db")):
            service.post("/v1/feedback", conversion(decision, number))
        status = service.learner()
        assert service.stop() == 0
    report = replay(started / "bundle", folder / "log.db")
    assert report.posterior_sha256 == status["posterior_sha256"]
    assert report.counts == {"decisions": 24, "feedback/accepted": 24}
    return str(status["posterior_sha256"])


@pytest.mark.slow
def test_killed_between_feedback_and_publication(started: Path, uninterrupted: str, tmp_path: Path) -> None:
    store, bundle = Path(copy(started / "log.db", tmp_path)), started / "bundle"
    todo = list(enumerate(decisions(store)))
    for first in range(0, len(todo), 8):
        # Publication is an hour away: the kill falls between the acknowledgement and it.
        with Service(bundle, store, "--publish-seconds", "3600") as service:
            for number, decision in todo[first : first + 8]:
                receipt = service.post("/v1/feedback", conversion(decision, number))
                assert receipt["status"] == "accepted"
            service.kill()
        assert len(stored_events(store)) == first + 8  # also before anybody repairs the store
    with Service(bundle, store) as service:
        status = service.learner()
        assert status["posterior_sha256"] == uninterrupted and status["lag"] == 0
        for number, decision in todo:
            assert service.post("/v1/feedback", conversion(decision, number))["status"] == "duplicate"
        assert service.learner()["posterior_sha256"] == uninterrupted
    assert replay(bundle, store).posterior_sha256 == uninterrupted


@pytest.mark.parametrize("failpoint", FAILPOINTS)
def test_killed_at_a_failpoint(started: Path, uninterrupted: str, tmp_path: Path, failpoint: str) -> None:
    store, bundle = Path(copy(started / "log.db", tmp_path)), started / "bundle"
    todo, acknowledged = list(enumerate(decisions(store))), set()
    with Service(bundle, store, failpoint=failpoint) as service:
        try:
            for number, decision in todo:
                service.post("/v1/feedback", conversion(decision, number))
                acknowledged.add(f"e{number}")
            service.process.terminate()  # the learner saves at the end, if it lives that long
        except httpx.TransportError:
            pass
        assert service.process.wait(30) == 137
    with Service(bundle, store) as service:
        held = stored_events(store)
        assert acknowledged <= held
        for number, decision in todo:
            status = service.post("/v1/feedback", conversion(decision, number))["status"]
            assert status == ("duplicate" if f"e{number}" in held else "accepted")
        assert service.learner()["posterior_sha256"] == uninterrupted
        assert service.stop() == 0
    assert replay(bundle, store).mismatches == 0


def stored_events(store: Path) -> set[str]:
    reader = open_reader(f"sqlite:///{store}")
    found = {one.event.event_id for one in reader.events_after(0, 10_000)}
    reader.close()
    return found


@pytest.mark.slow
def test_what_was_acknowledged_under_load_survives_kills(tmp_path: Path) -> None:
    bundle, store = tiny_bundle(tmp_path / "bundle", contacts=2), tmp_path / "log.db"
    answers: dict[str, dict[str, Any]] = {}
    events: set[str] = set()

    def work(service: Service, worker: int) -> None:
        try:
            for number in range(1_000):
                request_id = f"{worker}-{number}-{service.process.pid}"
                answers[request_id] = answer = decide(service, f"c{number % 40}", request_id)
                event = {"event_id": f"e-{request_id}", "decision_id": answer["decision_id"]}
                service.post("/v1/feedback", event | {"outcome": "converted"})
                events.add(event["event_id"])
        except httpx.TransportError:
            return

    for delay in (0.4, 0.7, 0.55):
        with Service(bundle, store) as service, ThreadPoolExecutor(4) as pool:
            enough = len(answers) + 10  # however slow the machine is
            working = [pool.submit(work, service, worker) for worker in range(4)]
            while len(answers) < enough and not working[0].done():
                sleep(0.01)
            with pytest.raises(TimeoutError):
                working[0].result(timeout=delay)
            service.kill()
    with Service(bundle, store) as service:
        assert len(answers) > 20 and events <= stored_events(store)
        for request_id, answer in list(answers.items())[:: max(1, len(answers) // 50)]:
            again = decide(service, f"c{int(request_id.split('-')[1]) % 40}", request_id)
            assert again == answer | {"replayed": True}
        status = service.learner()
    report = replay(bundle, store)
    assert report.mismatches == 0 and report.posterior_sha256 == status["posterior_sha256"]
    contacts: dict[str, int] = {}
    for request_id, answer in answers.items():
        name = f"c{int(request_id.split('-')[1]) % 40}"
        contacts[name] = contacts.get(name, 0) + (answer["actions"][0]["channel"] is not None)
    assert max(contacts.values()) <= 2  # the limit held across the kills


def test_a_second_service_on_a_store_is_refused(tmp_path: Path) -> None:
    bundle, store = tiny_bundle(tmp_path / "bundle"), tmp_path / "log.db"
    with Service(bundle, store) as service:
        ran = nba("serve", "--bundle", str(bundle), "--store", f"sqlite:///{store}", "--port", "0")
        assert (
            ran.returncode == 2 and "already has a writer" in ran.stderr and len(ran.stderr.splitlines()) == 1
        )
        port = service.ready_line["port"]
        taken = nba(
            "serve", "--bundle", str(bundle), "--store", f"sqlite:///{tmp_path}/b.db", "--port", str(port)
        )
        assert taken.returncode == 2 and "Cannot listen" in taken.stderr
    ran = nba(
        "serve", "--bundle", str(tiny_bundle(tmp_path / "other", seed=9)), "--store", f"sqlite:///{store}"
    )
    assert ran.returncode == 2 and "written under bundle" in ran.stderr


def test_the_service_says_one_line_and_logs_no_personal_data(tmp_path: Path) -> None:
    bundle, store = tiny_bundle(tmp_path / "bundle"), tmp_path / "log.db"
    with Service(bundle, store) as service:
        answer = decide(service, "Erika Mustermann", "r1")
        service.client.post("/v1/decisions", content=b'{"customer": {"id": "Erika Mustermann", "x": 1}}')
        service.client.get(f"/v1/decisions/{answer['decision_id']}")
        assert service.stop() == 0
        assert service.process.stdout is not None and service.process.stderr is not None
        said = service.process.stdout.read() + service.process.stderr.read()
    assert said == ""
    assert set(service.ready_line) == {"policy", "version", "url", "port", "store"}


def test_nba_replay_reports_and_exits_with_1_on_a_difference(started: Path, tmp_path: Path) -> None:
    store, bundle = Path(copy(started / "log.db", tmp_path)), str(started / "bundle")
    arguments = ("replay", "--bundle", bundle, "--store", f"sqlite:///{store}")
    ran = nba(*arguments, "--json")
    report = json.loads(ran.stdout)
    assert (ran.returncode, report["decisions"], report["mismatches"]) == (0, 24, 0)
    db = apsw.Connection(str(store))
    changed = """replace(CAST(body AS TEXT), '"age":40.0', '"age":41.0')"""
    db.execute(f"UPDATE decision SET body = CAST({changed} AS BLOB) WHERE seq = 3")
    db.close()
    ran = nba(*arguments)
    assert ran.returncode == 1 and "24 decisions made again under 1 snapshots, 1 differ" in ran.stdout
    missing = nba("replay", "--bundle", bundle, "--store", f"sqlite:///{tmp_path}/none.db")
    assert missing.returncode == 2 and "There is no store" in missing.stderr
