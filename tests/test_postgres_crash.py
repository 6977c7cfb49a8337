"""Nothing that was acknowledged is lost or counted twice, whatever happens to service, sessions or server.

NBA_TEST_KILLS=200 kills the service more often.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import httpx
import pytest
from ledger_fixtures import PostgresServer, new_schema, own_server
from serving_fixtures import customer, tiny_bundle
from serving_process import PATIENCE, Service

from serving.ledger import open_reader
from serving.replay import replay

KILLS = int(os.environ.get("NBA_TEST_KILLS", "5"))
END_SESSIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'nba %'"
CUSTOMERS, LIMIT, WORKERS = 40, 3, 4


class Load:
    """Callers that decide and report conversions, and remember what was acknowledged."""

    def __init__(self) -> None:
        self.answers: dict[str, dict[str, Any]] = {}
        self.events: set[str] = set()
        self.is_over = False

    def run(self, service: Service, worker: int, started: int) -> None:
        """Until the service is gone or the load is over; a refusal fails the test."""
        number = 0
        while not self.is_over:
            name, number = f"{started}-{worker}-{number}", number + 1
            body = {"customer": customer(f"c{(number * WORKERS + worker) % CUSTOMERS}"), "request_id": name}
            try:
                answer = self.answers[name] = service.post("/v1/decisions", body)
                told = {"event_id": name, "decision_id": answer["decision_id"], "outcome": "converted"}
                service.post("/v1/feedback", told)
                self.events.add(name)
            except httpx.TransportError:
                return

    def during(self, service: Service, trouble: Callable[[], None], started: int = 0) -> None:
        """Run while `trouble` does."""
        self.is_over = False
        with ThreadPoolExecutor(WORKERS) as pool:
            working = [pool.submit(self.run, service, worker, started) for worker in range(WORKERS)]
            try:
                trouble()
            finally:
                self.is_over = True
            for one in working:
                one.result(PATIENCE)

    def wait_for(self, more: int) -> None:
        """Until so many more events are acknowledged."""
        enough, deadline = len(self.events) + more, monotonic() + PATIENCE
        while len(self.events) < enough:
            assert monotonic() < deadline, "the load stands still"
            sleep(0.01)


def check(load: Load, bundle: Path, store: str) -> None:
    """Every acknowledged event is there once, the posterior is that of a clean fold, limits held."""
    reader = open_reader(store)
    stored = Counter(
        one.event.event_id for one in reader.events_after(0, 100_000) if one.event.kind == "feedback"
    )
    requests = Counter(row.request_id for row in reader.decisions_after(0, 100_000))
    saved = reader.saved_posteriors()[0]
    reader.close()
    assert load.events <= set(stored) and set(stored.values()) == {1}
    assert set(load.answers) <= set(requests) and set(requests.values()) == {1}
    report = replay(bundle, store)
    assert report.mismatches == 0
    assert (saved.last_seq, saved.sha256) == (report.last_seq, report.posterior_sha256)


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    own = own_server()
    yield own
    own.remove()


@pytest.mark.slow
def test_the_service_is_killed_under_load(store: str, tmp_path: Path) -> None:
    bundle, load = tiny_bundle(tmp_path / "bundle", contacts=LIMIT), Load()
    for started in range(KILLS):
        with Service(bundle, store) as service:
            load.during(service, lambda: (load.wait_for(3), service.kill()), started)
    with Service(bundle, store) as service:
        service.learner()
        assert service.stop() == 0
    check(load, bundle, store)


@pytest.mark.slow
def test_the_server_ends_sessions_under_load(server: PostgresServer, tmp_path: Path) -> None:
    import psycopg

    bundle, load, store = tiny_bundle(tmp_path / "bundle", contacts=LIMIT), Load(), new_schema(server.url)

    def end_sessions() -> None:
        with psycopg.connect(server.url, autocommit=True) as session:
            for _ in range(20):
                load.wait_for(5)
                session.execute(END_SESSIONS)

    with Service(bundle, store) as service:
        load.during(service, end_sessions)  # no caller sees more than a delay
        service.learner()
        assert service.stop() == 0
    check(load, bundle, store)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_the_server_restarts_under_load(server: PostgresServer, tmp_path: Path, mode: str) -> None:
    bundle, load, store = tiny_bundle(tmp_path / "bundle", contacts=LIMIT), Load(), new_schema(server.url)

    def restart() -> None:
        for _ in range(3):
            load.wait_for(10)
            server.stop(mode)
            server.start()
        load.wait_for(10)

    with Service(bundle, store) as service:
        load.during(service, restart)
        service.learner()
        assert service.stop() == 0
    check(load, bundle, store)
