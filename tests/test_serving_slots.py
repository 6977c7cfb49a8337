"""Placements without repeats, inbound beside outbound, and who is in which arm."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving_fixtures import SURE, Clock, contacted, customer, decided, service, tiny_strategy

from nba.bundle import load_bundle
from nba.catalogue import Timing
from nba.context import Context
from nba.errors import InvalidConfig
from nba.policies import RandomEligible
from serving.arms import Arms, Way, Ways, load_arms
from serving.body import decode_body
from serving.ledger import open_reader
from serving.replay import replay

PLACES = [{"name": "hero"}, {"name": "side", "exclude": ["loan"]}, {"name": "foot", "candidates": ["card"]}]
ARMS = """
salt = "launch"
control = 20
random = 30
challenger = 20

[challenged_by.policy]
type = "greedy"
"""


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 60))


def same_again(folder: Path) -> None:
    report = replay(folder / "bundle", f"sqlite:///{folder}/log.db")
    assert (report.mismatches, report.decisions > 0) == (0, True)


def test_placements_are_filled_in_turn_and_no_product_twice(tmp_path: Path) -> None:
    async def test() -> None:
        async with service(tmp_path, strategy=SURE) as client:
            for number in range(10):
                name = f"c{number}"
                answer = await decided(client, name, placements=PLACES, request_id=f"r{number}")
                assert [slot["placement"] for slot in answer["slots"]] == ["hero", "side", "foot"]
                assert answer["decision_id"] == answer["slots"][0]["decision_id"]
                chosen = [slot["actions"][0]["product"] for slot in answer["slots"]]
                offered = [product for product in chosen if product is not None]
                assert len(set(offered)) == len(offered) and chosen[1] != "loan"
                assert chosen[2] in ("card", None) and not (chosen[2] and "card" in chosen[:2])
                again = await decided(client, name, placements=PLACES, request_id=f"r{number}")
                assert again == answer | {"replayed": True}
        same_again(tmp_path)

    run(test())


def test_the_propensity_of_a_slot_is_its_chance_given_the_slots_before(tmp_path: Path) -> None:
    async def test() -> None:
        async with service(tmp_path, strategy={"floor": tiny_strategy().floor}) as client:
            answer = await decided(client, placements=[{"name": "a"}, {"name": "b"}])
        reader = open_reader(f"sqlite:///{tmp_path}/log.db")
        second = decode_body(reader.decision(answer["slots"][1]["decision_id"]).body)  # type: ignore[union-attr]
        reader.close()
        base = load_bundle(tmp_path / "bundle")
        snapshot = base.at(base.posterior, 0)
        catalogue = snapshot.strategy.catalogue
        left = np.ones((1, catalogue.n_actions), dtype=np.bool_)
        taken = answer["slots"][0]["actions"][0]["product"]
        if taken is not None:
            left[0, catalogue.product_of == catalogue.level("product", taken)] = False
        shares = snapshot.action_distribution(snapshot.strategy.encode([second.context]), left)[0]
        chosen = answer["slots"][1]["actions"][0]
        assert chosen["propensity"] == shares[catalogue.row_of(chosen["action_id"])]
        assert second.placement == "b" and second.slots == (answer["decision_id"],)

    run(test())


@pytest.mark.parametrize(
    ("request_", "pointer"),
    [
        ({"placements": [{"name": "a"}, {"name": "a"}]}, "/placements/1/name"),
        ({"placements": [{"name": "a"}, {"name": "b", "exclude": ["gold"]}]}, "/placements/1/exclude/0"),
        ({"placements": [{"name": "a", "candidates": ["gold"]}]}, "/placements/0/candidates/0"),
        ({"placements": [{"name": "a", "exclude": ["card"]}], "exclude": ["gold"]}, "/exclude/0"),
        ({"direction": "inbound"}, "/channels"),
        ({"direction": "inbound", "channels": ["call", "mail"]}, "/channels"),
    ],
)
def test_what_is_wrong_with_a_request_of_places_is_named(
    tmp_path: Path, request_: dict[str, Any], pointer: str
) -> None:
    async def test() -> None:
        async with service(tmp_path, strategy=SURE | {"contacts": 1}) as client:
            answer = await client.post("/v1/decisions", json={"customer": customer(), **request_})
            assert answer.status_code == 422
            assert [one["pointer"] for one in answer.json()["errors"]] == [pointer]
            assert (await decided(client))["actions"][0]["channel"] is not None  # nothing was counted

    run(test())


def test_limits_do_not_hold_up_who_came_by_themselves_and_count_them(tmp_path: Path) -> None:
    async def test() -> None:
        strategy = tiny_strategy()
        later = strategy.catalogue.timings[0], Timing(name="saturday", waits_for="weekend")
        catalogue = type(strategy.catalogue)(
            channels=strategy.catalogue.channels, timings=later, products=strategy.catalogue.products
        )
        async with service(tmp_path, strategy=SURE | {"contacts": 1, "catalogue": catalogue}) as client:
            for _ in range(3):
                here = await decided(client, direction="inbound", channels=["mail"])
                chosen = here["actions"][0]
                assert (chosen["channel"], chosen["timing"]) == ("mail", "morning")
            assert (await decided(client))["actions"][0]["channel"] is None  # outbound they fill the limit
            audit = (await client.get(f"/v1/decisions/{here['decision_id']}")).json()
            assert audit["direction"] == "inbound" and audit["contacts"] == 2
            assert not any(one["rule"].startswith("contact_policy") for one in audit["why_not"])
        same_again(tmp_path)

    run(test())


def test_customers_are_decided_for_in_their_arm_and_every_arm_is_exact(tmp_path: Path) -> None:
    (tmp_path / "arms.toml").write_text(ARMS)
    arms = load_arms(tmp_path / "arms.toml")

    async def test() -> None:
        async with service(tmp_path, strategy=SURE, arms=tmp_path / "arms.toml") as client:
            seen: Counter[str] = Counter()
            for number in range(40):
                answer = await decided(client, f"c{number}")
                assert answer["role"] == arms.role(f"c{number}")
                seen[answer["role"]] += 1
                chosen = answer["actions"][0]
                audit = (await client.get(f"/v1/decisions/{answer['decision_id']}")).json()
                if answer["role"] == "control":
                    assert (chosen["channel"], chosen["propensity"]) == (None, 1.0)
                if answer["role"] == "random":
                    assert chosen["propensity"] == pytest.approx(1 / audit["n_eligible"], rel=1e-15)
                if answer["role"] == "challenger":
                    assert chosen["propensity"] == 1.0 and chosen["channel"] is not None
            assert set(seen) == {"champion", "challenger", "random", "control"}
        async with service(tmp_path) as client:  # without arms all are the champion's
            assert (await decided(client, "c0"))["role"] == "champion"
        same_again(tmp_path)  # under the arms of then

    run(test())


def test_the_ways_share_the_draws_of_the_champion_and_follow_its_prices() -> None:
    snapshot = __import__("nba.snapshot", fromlist=["Snapshot"]).Snapshot.start(tiny_strategy())
    ways = Ways(snapshot.strategy, Arms(salt="s", random=50))
    first = ways.snapshot(snapshot, Way("random"))
    assert isinstance(first.strategy.policy, RandomEligible) and first.frozen is not snapshot.frozen
    dearer = snapshot.priced(snapshot.prices + 1.0, 7)
    second = ways.snapshot(dearer, Way("random"))
    assert second.price_version == 7 and second.frozen is first.frozen
    later = ways.snapshot(snapshot.at(snapshot.posterior, 9), Way("random"))
    assert later.posterior_seq == 9 and later.frozen is not first.frozen
    context = Context(customer_id="c", at=Clock().now, attributes={"consents": ["mail"]})
    assert second.decide_one(context, "d").policy == "tiny"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('salt = ""\ncontrol = 5', "salt"),
        ('salt = "s"\ncontrol = 60\nrandom = 60', "arms"),
        ('salt = "s"\ncontrol = -1', "control"),
        ('salt = "s"\nchallenger = 5', "challenger"),
        ('salt = "s"\ncontrl = 5', "contrl"),
    ],
)
def test_wrong_arms_are_refused_at_the_start(tmp_path: Path, text: str, place: str) -> None:
    path = tmp_path / "arms.toml"
    path.write_text(text)
    with pytest.raises(InvalidConfig, match=place):
        load_arms(path)


def test_a_contact_of_a_slot_counts_for_the_next(tmp_path: Path) -> None:
    async def test() -> None:
        async with service(tmp_path, strategy=SURE | {"contacts": 1}) as client:
            answer = await decided(client, placements=[{"name": "a"}, {"name": "b"}])
            channels = [slot["actions"][0]["channel"] for slot in answer["slots"]]
            assert channels[0] is not None and channels[1] is None
            await contacted(client, "c2")

    run(test())
