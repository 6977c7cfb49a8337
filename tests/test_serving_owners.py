"""Budgets of each customer's own manager in the service: one purse and one price for each."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import convert
from serving_fixtures import Clock, customer, reported, service, tiny_bundle, tiny_strategy
from serving_process import Service
from test_serving_budgets import Client, again, budgeted, priced

from nba.allocation.budgets import Budget, Pacing
from nba.context import Context
from nba.errors import InvalidConfig
from nba.snapshot import Snapshot

HOURS: dict[str, Any] = {"per": "segment", "each": {"affluent": 2.0}, "period": "month"}


async def asked(client: Client, name: str, **attributes: Any) -> dict[str, Any]:
    body = {"customer": customer(name, **attributes), "channels": ["call"]}
    answer = await client.post("/v1/decisions", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_each_manager_has_a_budget_of_its_own_and_nobody_elses(tmp_path: Path) -> None:
    """Three calls for the mass, two for the affluent; one is refused, after a restart another made."""

    async def check() -> None:
        clock = Clock()
        clock.now = clock.now.replace(day=3, hour=9)
        strategy = budgeted(3.0, every=1_000, **HOURS)
        async with service(tmp_path, clock=clock, strategy=strategy) as client:
            found = [await asked(client, f"a{n}", segment="affluent") for n in range(4)]
            assert [one["actions"][0]["channel"] for one in found] == ["call", "call", None, None]
            mass = [await asked(client, f"m{n}") for n in range(2)]
            assert [one["actions"][0]["channel"] for one in mass] == ["call", "call"]
            status = (await client.get("/v1/learner")).json()
            assert status["budget_left"] == {"calls/mass": 1.0, "calls/affluent": 0.0}
            assert 'nba_budget_left{budget="calls/affluent"} 0.0' in (await client.get("/metrics")).text
            audit = (await client.get(f"/v1/decisions/{found[3]['decision_id']}")).json()
            assert audit["budget_left"] == {"calls": 0.0} and set(audit["prices"]) == {"calls/affluent"}
            await reported(client, found[0]["decision_id"], "refused", event_id="e0")
            assert (await client.get("/v1/learner")).json()["budget_left"]["calls/affluent"] == 1.0
            erased = (await client.delete("/v1/customers/a1")).json()
            assert erased["decisions"] == 1, "whose call stays counted for its manager, after a restart too"
        async with service(tmp_path, clock=clock) as client:
            last = [await asked(client, f"b{n}", segment="affluent") for n in range(2)]
            last += [await asked(client, f"n{n}") for n in range(2)]
            assert [one["actions"][0]["channel"] for one in last] == ["call", None, "call", None]
        assert again(tmp_path) == []

    asyncio.run(check())


def test_who_has_no_manager_gets_nothing_of_theirs_and_is_told_why(tmp_path: Path) -> None:
    async def check() -> None:
        async with service(tmp_path, strategy=budgeted(3.0, **HOURS)) as client:
            made = await asked(client, "c1", segment=None)
            assert made["actions"][0]["channel"] is None
            audit = (await client.get(f"/v1/decisions/{made['decision_id']}")).json()
            (why,) = [one for one in audit["why_not"] if one["rule"] == "limit_owner"]
            assert why["values"] == {"segment": None} and len(why["actions"]) == 6
            assert "whose budget or limit" in why["needs"]
            assert audit["budget_left"] == {"calls": 0.0} and audit["prices"] == {}
        assert again(tmp_path) == []

    asyncio.run(check())


def test_prices_of_managers_part_and_a_restart_and_a_replay_find_them_again(tmp_path: Path) -> None:
    async def check() -> None:
        clock = Clock()
        clock.now = clock.now.replace(day=3, hour=9)
        more = HOURS | {"each": {"affluent": 18.0}}
        async with service(tmp_path, clock=clock, strategy=budgeted(18.0, **more)) as client:
            for number in range(15):
                await asked(client, f"c{number}", segment="affluent" if number % 5 else "mass")
                await priced(client, (number + 1) // 5)
            prices = (await priced(client, 3))["prices"]
            assert prices["calls/affluent"] > 1.0 and prices["calls/mass"] < 0.2 * prices["calls/affluent"]
            for segment in ("mass", "affluent"):
                made = await asked(client, f"d-{segment}", segment=segment)
                audit = (await client.get(f"/v1/decisions/{made['decision_id']}")).json()
                own = prices[f"calls/{segment}"]
                assert audit["prices"] == {f"calls/{segment}": own}
                assert audit["terms"][0]["shadow_price"] == pytest.approx(-own)
                assert abs(audit["terms"][0]["rounding"]) < 1e-3
        async with service(tmp_path, clock=clock) as client:
            assert (await priced(client, 3))["prices"] == prices
        assert again(tmp_path) == []

    asyncio.run(check())


def test_utilities_pay_the_own_price_only() -> None:
    strategy = tiny_strategy(**budgeted(18.0, **HOURS))
    base = Snapshot.start(strategy)
    assert base.prices.size == 2 + 2, "two channels and two rows"
    dear = base.priced(np.array([0.0, 0.0, 1.0, 7.0]), 1)
    contexts = strategy.encode([_context(segment) for segment in ("mass", "affluent", None)])
    everything = np.ones((3, strategy.catalogue.n_actions), dtype=np.bool_)
    gap = base.expected_values(contexts, everything) - dear.expected_values(contexts, everything)
    is_call = strategy.catalogue.channel_of == 0
    np.testing.assert_allclose(gap[:, is_call], np.repeat([[1.0], [7.0], [0.0]], 6, axis=1), atol=1e-4)
    assert not gap[:, ~is_call].any()
    eligible = strategy.eligible(contexts).mask
    assert eligible[:2, is_call].all() and not eligible[2, is_call].any()


def _context(segment: str | None) -> Context:
    known = {"age": 40.0, "has_app": True, "segment": segment, "consents": ["call", "mail"]}
    return Context(customer_id="c", at=datetime(2026, 3, 2, tzinfo=UTC), attributes=known)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"per": "age"}, r"budgets\[0\].per: 'age' is no category of the schema; it has segment"),
        ({"per": ("segment", "segment")}, "per: must name each attribute once"),
        ({"per": "segment", "each": {"vip": 1.0}}, "segment has no value 'vip'; it has affluent, mass"),
        ({"each": {"mass": 1.0}}, "each: needs `per`"),
        ({"per": "segment", "each": {"mass": -1.0}}, "each.mass: must be a finite number >= 0, got -1"),
        ({"rolling": 0}, "rolling: must be between 1 and 366 days, got 0"),
        ({"rolling": 7, "period": "week"}, "period: a rolling budget counts days; drop period = 'week'"),
    ],
)
def test_words_that_do_not_fit_are_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidConfig, match=told):
        tiny_strategy(**budgeted(3.0, **changes))


def test_two_rows_of_one_name_are_refused() -> None:
    given = [
        {"name": "calls", "at_most": 3, "traffic": 9, "per": "segment"},
        {"name": "calls/mass", "at_most": 3, "traffic": 9},
    ]
    budgets = tuple(convert(one, Budget) for one in given)
    with pytest.raises(InvalidConfig, match="two are both reported as 'calls/mass'"):
        tiny_strategy(pacing=Pacing(budgets=budgets))


@pytest.mark.slow
def test_own_budgets_hold_under_concurrent_callers_and_across_a_kill(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "bundle", **budgeted(7.0, **HOURS | {"each": {"affluent": 4.0}}))
    store, calls = tmp_path / "log.db", {"mass": 0, "affluent": 0}

    def work(worker: int) -> int:
        segment, found = ("mass", "affluent")[worker % 2], 0
        for number in range(6):
            body = {
                "customer": customer(f"c{worker}-{number}-{calls}", segment=segment),
                "channels": ["call"],
            }
            found += service.post("/v1/decisions", body)["actions"][0]["channel"] == "call"
        return found

    for _ in range(2):
        with Service(bundle, store) as service, ThreadPoolExecutor(8) as pool:
            for worker, made in enumerate(pool.map(work, range(8))):
                calls[("mass", "affluent")[worker % 2]] += made
            service.kill()
        assert calls == {"mass": 7, "affluent": 4}
    assert again(tmp_path) == []
