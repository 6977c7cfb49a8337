"""Days since something happened that nothing has followed: by hand, in the simulator, in the service."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from checks.worlds import any_action, days_of
from msgspec import structs
from serving_fixtures import Clock, decided, reported, service, tiny_strategy
from small import NOW, bank, open_strategy, small_catalogue, small_schema

from experiments.longrun.challenger import with_follow_ups
from nba.conditions import Condition
from nba.constraints import OnlyIf
from nba.context import Contact, Context, Outcome
from nba.errors import BadContext, InvalidConfig
from nba.features import FeatureSchema
from nba.policies import RandomEligible
from nba.scope import Scope
from nba.since import Since, follow_up_columns
from nba.strategy import Strategy
from simulator.config import only
from simulator.contact_history import placed
from simulator.world import World

SILENCE = Since(
    name="unanswered",
    contacts=("mail",),
    unless_contacts=("call",),
    unless_outcomes=("engaged",),
    bands=(0, 3, 7),
)
LEAD = Since(name="lead", outcomes=("engaged",), products=("card",), unless_contacts=("call",), bands=(0, 14))


def seeing(strategy: Strategy) -> Strategy:
    schema = strategy.schema
    return structs.replace(strategy, schema=structs.replace(schema, columns=(*schema.columns, SILENCE, LEAD)))


def known(contacts: dict[str, float], outcomes: dict[str, float], **told: Any) -> Context:
    """A customer with contacts and outcomes so many days ago, by channel and by product engaged with."""
    made = [
        Contact(channel=name, product="card", at=NOW - timedelta(days=ago)) for name, ago in contacts.items()
    ]
    seen = [
        Outcome(outcome="engaged", product=name, at=NOW - timedelta(days=ago))
        for name, ago in outcomes.items()
    ]
    return Context(customer_id="c", at=NOW, attributes=told, contacts=tuple(made), outcomes=tuple(seen))


@pytest.mark.parametrize(
    ("context", "unanswered", "lead"),
    [
        (known({}, {}), None, None),
        (known({"mail": 4}, {}), 4.0, None),
        (known({"mail": 4}, {"card": 3.5}), None, 3.5),  # answered, and nobody has called
        (known({"mail": 4}, {"card": 4}), None, 4.0),  # at once
        (known({"mail": 4}, {"card": 5}), 4.0, 5.0),  # before
        (known({"mail": 4, "call": 2}, {"deposit": 3}), None, None),
        (known({"mail": 4, "call": 6}, {"card": 5}), 4.0, 5.0),
        (known({"mail": 4, "call": 2}, {"card": 5}), None, None),  # called since
        (known({"mail": -1}, {"card": -2}), None, None),  # both are still to come
        (known({"mail": 4}, {}, unanswered=9.5), 9.5, None),  # told by the record
        (known({"mail": 4}, {}, unanswered=None), None, None),
    ],
)
def test_days_count_from_the_last_until_something_follows(
    context: Context, unanswered: float | None, lead: float | None
) -> None:
    batch = seeing(open_strategy()).encode([context])
    for name, days in (("unanswered", unanswered), ("lead", lead)):
        np.testing.assert_allclose(batch.attributes[name], [np.nan if days is None else days])


def test_bands_are_columns_and_refused_contacts_are_none() -> None:
    strategy = seeing(open_strategy())
    ages = (0.0, 2.9, 3.0, 6.9, 7.0)
    batch = strategy.encode([known({"mail": ago}, {}) for ago in ages])
    places = [strategy.schema.labels.index(name) for name in ("unanswered=0-3", "unanswered=3-7")]
    np.testing.assert_array_equal(batch.features[:, places], [[1, 0], [1, 0], [0, 1], [0, 1], [0, 0]])
    refused = structs.replace(known({"mail": 4}, {}).contacts[0], refused=True)
    assert np.isnan(SILENCE.days(structs.replace(known({}, {}), contacts=(refused,))))
    assert strategy.lookback_days >= 14 and strategy.asks_outcomes
    later = msgspec.json.decode(msgspec.json.encode(strategy.schema), type=FeatureSchema)
    assert later == strategy.schema


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"bands": (1,)}, "bands"),
        ({"bands": (3, 1)}, "bands"),
        ({"bands": (0, np.inf)}, "bands"),
        ({"contacts": ()}, "contacts"),
        ({"products": ("card",)}, "products"),
        ({"unless_outcomes": ("ignored",)}, "unless_outcomes"),
    ],
)
def test_what_cannot_be_counted_is_refused(changes: dict[str, Any], pointer: str) -> None:
    with pytest.raises(InvalidConfig, match=rf"columns\.unanswered\.{pointer}"):
        structs.replace(SILENCE, **changes)


def test_unknown_channels_and_days_that_are_none_are_refused() -> None:
    schema = small_schema()
    unknown = structs.replace(SILENCE, contacts=("pigeon",))
    with pytest.raises(InvalidConfig, match="columns.unanswered.contacts: channel 'pigeon' is not in"):
        open_strategy(schema=structs.replace(schema, columns=(*schema.columns, unknown)))
    for days in (-1.0, True, "long"):
        with pytest.raises(BadContext, match="/unanswered: must be a finite number of days"):
            seeing(open_strategy()).encode([known({}, {}, unanswered=days)])


def test_columns_for_any_catalogue_name_every_channel_and_family() -> None:
    columns = {one.name: one for one in follow_up_columns(small_catalogue(), ("call",))}
    assert list(columns)[:2] == ["unanswered_call", "unanswered_mail"]
    assert list(columns)[2:] == ["interest_in_savings", "interest_in_credit"]
    assert columns["unanswered_mail"].unless_contacts == ("call",)
    assert columns["interest_in_credit"].products == ("card",)
    assert columns["interest_in_savings"].unless_contacts == ("call",)


def test_the_bank_sees_silence_after_a_channel_and_the_interest_of_a_family() -> None:
    channels, products = ("app_push", "email", "call"), ("term-deposit", "coupon")
    world = World(with_follow_ups(only(bank().config, channels, ("now",), products)))
    rows, catalogue = np.arange(300), world.config.catalogue
    *_, last = days_of(world, world.reset(1, rows), 25, any_action)
    state = last.after
    seen = world.observe(state, rows).attributes
    customer, channel, day = placed(state.contacts, state.day)  # touched or not: 25 days are all in the masks
    made = np.full((300, 3), -np.inf)
    np.maximum.at(made, (customer, channel), np.where(day < state.day, day, -np.inf))
    for number, name in enumerate(channels):
        others = np.delete(made, number, axis=1).max(axis=1)
        ended = np.maximum(others, state.lead_day)
        expected = np.where(made[:, number] > ended, state.day - made[:, number], np.nan)
        np.testing.assert_array_equal(seen[f"unanswered_{name}"], expected)
    assert 0.02 < (~np.isnan(seen["unanswered_email"])).mean() < 0.9
    families = np.unique([one.family for one in catalogue.products])
    for number, family in enumerate(families):
        mine = (state.lead[rows] == number + 1) & (state.lead_day > made[:, 2])
        np.testing.assert_array_equal(
            seen[f"interest_in_{family}"], np.where(mine, state.day - state.lead_day, np.nan)
        )
    fewer = only(world.config, ("email",), ("now",), ("coupon",)).schema
    assert [one.name for one in fewer.since] == ["unanswered_email", "interest_in_benefit"]


def test_a_world_refuses_what_its_history_does_not_tell() -> None:
    config = bank().config
    for changes, told in (
        ({"outcomes": ("converted",)}, "interest online"),
        ({"bands": (0.0, 60.0)}, "must end by 32"),
        ({"outcomes": ("engaged",), "products": ("term-deposit",)}, "whole families"),
    ):
        column = structs.replace(Since(name="x", contacts=("email",), bands=(0.0, 7.0)), **changes)
        schema = structs.replace(config.schema, columns=(*config.schema.columns, column))
        with pytest.raises(InvalidConfig, match=told):
            structs.replace(config, schema=schema)


def test_the_service_counts_from_its_own_log(tmp_path: Path) -> None:
    """A call needs two days of silence after a mail, and none after interest."""
    waited = OnlyIf(scope=Scope(channel=("call",)), when=Condition(attribute="unanswered", at_least=2.0))
    parts = {"policy": RandomEligible(), "rules": (waited,), "silence": False}
    schema = seeing(tiny_strategy()).schema

    async def scene() -> None:
        clock = Clock()
        async with service(tmp_path, clock=clock, strategy=parts | {"schema": schema}) as client:

            async def channels(name: str) -> str:
                return str((await decided(client, name))["actions"][0]["channel"])

            first = await decided(client, "c1")
            assert first["actions"][0]["channel"] == "mail"
            clock.forward(days=1)
            assert await channels("c2") == "mail"
            clock.forward(days=1.5)
            found = {await channels(name) for name in ("c1", "c1")}
            assert found <= {"mail", "call"}
            await reported(client, first["decision_id"], "engaged")
            clock.forward(days=3)
            assert await channels("c3") == "mail"

    asyncio.run(asyncio.wait_for(scene(), 60))
