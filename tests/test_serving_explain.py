"""The service explains a decision: terms that add up, and every removed action with its rule."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine
from math import fsum
from pathlib import Path
from typing import Any

import numpy as np
from serving_fixtures import contacted, decided, reported, service, tiny_strategy

from nba.conditions import Condition
from nba.constraints import Consent, NotOwned, OnlyIf, Rest
from nba.scope import Scope
from serving.body import decode_body
from serving.replay import replay

ADULT = OnlyIf(name="adult", scope=Scope(product="loan"), when=Condition(attribute="age", at_least=50))


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 60))


def test_a_decision_is_explained_by_its_terms_and_by_what_was_removed(tmp_path: Path) -> None:
    async def test() -> None:
        strategy = {"rules": (Consent(), NotOwned(), ADULT)}
        async with service(tmp_path, strategy=strategy) as client:
            made = await contacted(client, exclude=["card"], limit=2)
            audit = (await client.get(f"/v1/decisions/{made['decision_id']}")).json()
            assert len(audit["terms"]) == len(audit["actions"]) > 0
            for terms, action in zip(audit["terms"], audit["actions"], strict=True):
                names = ("conversion", "cost", "shadow_price", "fatigue_price", "waiting", "rounding")
                assert (
                    fsum([*(terms[name] for name in names), *terms["stages"].values()])
                    == action["expected_value"]
                )
            removed = {one["rule"]: one for one in audit["why_not"]}
            assert removed.keys() == audit["removed"].keys() == {"request", "adult"}
            assert removed["adult"]["layer"] == "eligible" and removed["adult"]["needs"] == "age >= 50"
            assert removed["adult"]["values"] == {"age": 40.0}
            assert sorted(removed["adult"]["actions"]) == [
                f"{channel}/{timing}/loan"
                for channel in ("call", "mail")
                for timing in ("evening", "morning")
            ]
            assert {one.split("/")[2] for one in removed["request"]["actions"]} == {"card"}

    run(test())


def test_what_was_removed_is_told_as_it_was_when_the_decision_was_made(tmp_path: Path) -> None:
    async def test() -> None:
        async with service(tmp_path, strategy={"contacts": 1}) as client:
            first = await contacted(client)
            second = await decided(client)
            before, after = [
                (await client.get(f"/v1/decisions/{one['decision_id']}")).json() for one in (first, second)
            ]
            assert before["why_not"] == []
            (limit,) = after["why_not"]
            assert limit["rule"] == limit["layer"] == "contact_policy"
            assert len(limit["actions"]) == tiny_strategy().catalogue.n_actions - 1

    run(test())


REST = Rest(outcome="rejected", times=2, within_days=30, days=60)


def test_outcomes_make_a_product_rest_at_once_and_after_a_restart(tmp_path: Path) -> None:
    async def test() -> None:
        strategy = {"rules": (Consent(), REST)}
        async with service(tmp_path, strategy=strategy) as client:
            for _ in range(2):
                made = await contacted(client, candidates=["card"])
                before = (await client.get(f"/v1/decisions/{made['decision_id']}")).json()
                assert "rest" not in before["removed"]
                await reported(client, made["decision_id"], "rejected")
            assert (await removed(client))["rest"] == 4
        async with service(tmp_path) as client:
            assert (await removed(client))["rest"] == 4, "the ledger remembers"
            assert "rest" not in await removed(client, "another")
        report = replay(tmp_path / "bundle", f"sqlite:///{tmp_path}/log.db")
        assert report.decisions >= 5 and report.mismatches == 0

    run(test())


async def removed(client: Any, name: str = "c1") -> dict[str, int]:
    """What each rule removed in a new decision; with a rest the product is the card, and it says so."""
    made = await decided(client, name)
    audit = (await client.get(f"/v1/decisions/{made['decision_id']}")).json()
    for one in audit["why_not"]:
        if one["rule"] == "rest":
            assert {action.split("/")[2] for action in one["actions"]} == {"card"}
            assert one["layer"] == "contact_policy"
            assert one["needs"] == "no rest of 60 days after 2 x rejected in 30 days for one product"
    found: dict[str, int] = audit["removed"]
    return found


def test_exploration_is_told_with_its_price(tmp_path: Path) -> None:
    """What is forgone is the best expected value of all eligible actions less that of the one decided on."""

    async def test() -> None:
        async with service(tmp_path) as client:
            snapshot = client.app.state.runtime.learner.published.snapshot
            reader, spent, seen = client.app.state.runtime.ledger.reader(), 0.0, set()
            for number in range(40):
                made = await decided(client, f"c{number}")
                audit = (await client.get(f"/v1/decisions/{made['decision_id']}")).json()
                context = decode_body(reader.decision(made["decision_id"]).body).context
                encoded, ids = (
                    snapshot.strategy.encode([context]),
                    np.array([made["decision_id"]], dtype=object),
                )
                values = snapshot.decide(encoded, ids).expected_values[0]
                chosen = audit["actions"][0]["expected_value"]
                assert audit["forgone"] == float(values.max()) - chosen >= 0.0
                assert snapshot.strategy.catalogue.action_ids[int(values.argmax())] == audit["best"]
                spent += audit["forgone"]
                seen.add(audit["is_exploration"])
            reader.close()
            assert seen == {False, True}
            text = (await client.get("/metrics")).text
            found = re.search(r"^nba_forgone_value_total (\S+)$", text, flags=re.MULTILINE)
            assert found and abs(float(found[1]) - spent) < 1e-9

    run(test())
