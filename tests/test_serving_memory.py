"""The service's memory: what is old is forgotten and found again, and a steady load keeps its size."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from nba.constraints import ContactLimit, ContactPolicy
from tests.serving_fixtures import SURE, decided, service

YEARS_AGO = (datetime.now(UTC) - timedelta(days=3 * 365)).isoformat()
ONE_A_WEEK = {"contact_policy": ContactPolicy(limits=(ContactLimit(contacts=1, days=7),))}


def test_old_contacts_are_forgotten_and_count_again_where_they_are_asked_for(tmp_path: Path) -> None:
    async def check() -> None:
        async with service(tmp_path, strategy=SURE | ONE_A_WEEK) as client:
            book = client.app.state.runtime.service._book
            assert (await decided(client, at=YEARS_AGO))["actions"][0]["channel"]
            assert len(book.remembered("c1").contacts) == 1
            assert (await decided(client))["actions"][0]["channel"]
            assert len(book.remembered("c1").contacts) == 1, "of years ago nothing is kept"
            assert (await decided(client, at=YEARS_AGO))["actions"][0]["channel"] is None
            assert len(book.remembered("c1").contacts) == 2
            assert (await decided(client))["actions"][0]["channel"] is None
            assert len(book.remembered("c1").contacts) == 1

    asyncio.run(check())


def test_the_slope_of_a_line_is_found_with_the_error_of_blocks() -> None:
    from experiments.benchmarks.load.memory import Slope

    hours = np.linspace(0.0, 2.0, 400)
    peaks = np.where(np.arange(400) % 40 == 5, 50.0, 0.0)  # they come and go, the floor is what counts
    exact = Slope.of(hours, 7.0 + 3.0 * hours + peaks)
    assert exact.per_hour == pytest.approx(3.0) and exact.error == pytest.approx(0.0, abs=1e-9)
    # Ten blocks, 1 above and 1 below in turn; the squares of their places sum to 82.5 squared steps.
    saw = np.repeat([1.0, -1.0] * 5, 40)
    step = 2.0 * 40 / 399
    found = Slope.of(hours, saw)
    slope = -5.0 / (82.5 * step)
    residuals = 10.0 - slope**2 * 82.5 * step**2
    assert found.per_hour == pytest.approx(slope)
    assert found.error == pytest.approx(np.sqrt(residuals / 8.0 / (82.5 * step**2)))


@pytest.mark.slow
def test_memory_is_steady_under_a_minute_of_load(tmp_path: Path) -> None:
    from experiments.benchmarks.load.bank import bank_bundle, bank_requests
    from experiments.benchmarks.load.memory import soak
    from experiments.benchmarks.load.server import Server

    bodies = tmp_path / "requests.ndjson"
    bodies.write_bytes(b"\n".join(bank_requests(200)))
    with Server.of_service(bank_bundle(tmp_path / "bundle"), tmp_path / "log.sqlite") as running:
        found = soak(running, bodies, minutes=0.7)
    assert found["failed"] == 0 and found["requests"] > 1_000
    # Not shown to grow by a megabyte a minute, which 120 bytes that every request leaves would come to.
    assert found["rss_mb_per_hour"] - 3.0 * found["rss_mb_per_hour_error"] < 60.0
