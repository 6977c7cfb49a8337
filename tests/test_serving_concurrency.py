"""Many clients on few customers at once: no limit is overstepped and nothing is decided twice.

What is checked is what the clients were told and what is in the file, by means of their own: nothing of the
service's or the core's code takes part in the judgement.
"""

from __future__ import annotations

import http.client
import json
import random
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier
from typing import Any, NamedTuple

import pytest

from nba.constraints import ContactLimit, ContactPolicy
from tests.serving_fixtures import SURE, customer, tiny_bundle
from tests.serving_process import PATIENCE, Service

CLIENTS, CUSTOMERS = 50, 100
CONTACTS, DAYS = 3, 7  # the limit: in any 7 days
SPREAD_DAYS = 14  # moments that are decided for lie within as many days from now
TODAY = datetime.now(UTC).replace(microsecond=0)


class Told(NamedTuple):
    """One answer, and what was asked."""

    request_id: str
    decision_id: str
    customer: str
    at: datetime
    is_contact: bool


class Client:
    """One connection that asks for decisions, some alone and some in batches."""

    def __init__(self, port: int, number: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=4 * PATIENCE)
        self._chance, self._number = random.Random(number), number

    def rounds(self, n: int, lines: int, start: Barrier) -> list[Told]:
        """What came of n rounds, each of a request alone and a batch; every client begins at once.

        The request alone has an id that another client uses in the same round for the same question.
        """
        start.wait(PATIENCE)
        told: list[Told] = []
        for number in range(n):
            pair = random.Random(f"{number}-{self._number // 2}")
            told += self._ask("/v1/decisions", [self._request(f"both-{number}-{self._number // 2}", pair)])
            names = (f"{self._number}-{number}-{line}" for line in range(lines))
            told += self._ask("/v1/decisions/batch", [self._request(name, self._chance) for name in names])
        self._connection.close()
        return told

    @staticmethod
    def _request(request_id: str, chance: random.Random) -> dict[str, Any]:
        at = TODAY + timedelta(hours=chance.randrange(24 * SPREAD_DAYS))
        name = f"c{chance.randrange(CUSTOMERS)}"
        return {"customer": customer(name), "request_id": request_id, "at": at.isoformat()}

    def _ask(self, path: str, requests: list[dict[str, Any]]) -> Iterator[Told]:
        is_batch = path.endswith("batch")
        body = "\n".join(map(json.dumps, requests))
        media_type = "application/x-ndjson" if is_batch else "application/json"
        self._connection.request("POST", path, body, {"content-type": media_type})
        answer = self._connection.getresponse()
        lines = [json.loads(line) for line in answer.read().splitlines()]
        assert answer.status == 200 and len(lines) == len(requests), lines
        for asked, line in zip(requests, lines, strict=True):
            found = line["decision"] if is_batch else line
            moment = datetime.fromisoformat(asked["at"])
            is_contact = found["actions"][0]["channel"] is not None
            name = asked["customer"]["id"]
            yield Told(asked["request_id"], found["decision_id"], name, moment, is_contact)


def asked_at_once(folder: Path, rounds: int, lines: int) -> list[Told]:
    """The answers to 50 clients of a real service, in no order."""
    policy = ContactPolicy(limits=(ContactLimit(contacts=CONTACTS, days=DAYS),), planned="exact")
    bundle, start = tiny_bundle(folder / "bundle", **SURE, contact_policy=policy), Barrier(CLIENTS)
    with Service(bundle, folder / "log.db") as running, ThreadPoolExecutor(CLIENTS) as threads:
        clients = [Client(running.ready_line["port"], number) for number in range(CLIENTS)]
        working = [threads.submit(client.rounds, rounds, lines, start) for client in clients]
        return [told for one in working for told in one.result()]


def breaches(told: list[Told]) -> int:
    """How many contacts begin a window of 7 days with more contacts of their customer than the limit."""
    moments = defaultdict[str, list[datetime]](list)
    for one in {one.decision_id: one for one in told if one.is_contact}.values():
        moments[one.customer].append(one.at)
    return sum(
        later - first < timedelta(days=DAYS)
        for each in map(sorted, moments.values())
        for first, later in zip(each, each[CONTACTS:], strict=False)
    )


def judge(told: list[Told], store: Path, rounds: int, lines: int) -> None:
    """Assert that limits held, that every question has one decision, and that the file holds just these."""
    asked = CLIENTS * rounds * lines + CLIENTS // 2 * rounds
    assert len(told) == CLIENTS * rounds * (1 + lines)
    decided = {(one.request_id, one.decision_id) for one in told}
    assert (
        len(decided)
        == len({request for request, _ in decided})
        == len({made for _, made in decided})
        == asked
    )
    assert breaches(told) == 0
    contacts = len({one.decision_id for one in told if one.is_contact})
    assert contacts > CUSTOMERS * CONTACTS * SPREAD_DAYS / DAYS / 2, (
        "limits that are far from full prove nothing"
    )
    with sqlite3.connect(f"file:{store}?mode=ro", uri=True) as db:
        rows = db.execute(
            "SELECT count(*), count(channel), count(DISTINCT request_id) FROM decision"
        ).fetchone()
    db.close()
    assert rows == (asked, contacts, asked)


def test_the_checker_sees_a_breach() -> None:
    moments = [TODAY + timedelta(days=day) for day in (0, 1, 6, 7)]
    told = [Told(f"r{n}", f"d{n}", "c1", at, True) for n, at in enumerate(moments)]
    assert breaches(told) == 0
    assert breaches([*told, Told("r9", "d9", "c1", TODAY + timedelta(days=3), True)]) == 2


@pytest.mark.slow
def test_limits_hold_and_nothing_is_decided_twice(tmp_path: Path) -> None:
    judge(asked_at_once(tmp_path, 1, 20), tmp_path / "log.db", 1, 20)


@pytest.mark.slow
def test_limits_hold_over_a_hundred_thousand_decisions(tmp_path: Path) -> None:
    judge(asked_at_once(tmp_path, 20, 100), tmp_path / "log.db", 20, 100)
