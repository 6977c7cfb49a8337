"""A bank with fewer actions: its customers, odds and numbers are those of the bank it was cut from."""

from __future__ import annotations

import numpy as np
import pytest
from checks.worlds import any_action, days_of, edited
from msgspec import structs
from small import bank

from nba.catalogue import Combination
from nba.constraints import ContactLimit
from nba.errors import UnknownAction
from simulator.config import EVENTS, only
from simulator.hazards import organic_hazards
from simulator.oracle import all_odds
from simulator.world import World

CATALOGUE = bank().config.catalogue
CHANNELS, TIMINGS, PRODUCTS = (
    [one.name for one in part] for part in (CATALOGUE.channels, CATALOGUE.timings, CATALOGUE.products)
)


def cut(channels: list[str], timings: list[str], products: list[str]) -> World:
    return World(only(bank().config, channels, timings, products))


def test_the_first_actions_of_the_bank_have_their_odds_in_the_smaller_one() -> None:
    """Noise is keyed by place, so the first channels and products keep theirs, to the bit."""
    big, rows = edited(bank(), cross_sell=()), np.arange(60)  # else what is gone would still lift what is not
    small = World(only(big.config, CHANNELS[:3], TIMINGS, PRODUCTS[:8]))
    state, whole = small.reset(4, rows), big.reset(4, rows)
    one, other = all_odds(small, state, rows), all_odds(big, whole, rows)
    np.testing.assert_array_equal(one.engaged, other.engaged[:, :3])
    np.testing.assert_array_equal(one.mass, other.mass[:, :3, :, :8])
    np.testing.assert_array_equal(one.opt_out, other.opt_out[:, :3, :, :8])
    np.testing.assert_array_equal(one.complaint, other.complaint[:, :3, :, :8])
    hazards = [
        organic_hazards(world.laws.hazards, world.today(today), today, rows)
        for world, today in ((small, state), (big, whole))
    ]
    np.testing.assert_array_equal(hazards[0], hazards[1][:, :8])
    for name in ("stage", "joined"):
        np.testing.assert_array_equal(getattr(state, name), getattr(whole, name))


def test_every_row_of_numbers_follows_its_names() -> None:
    """Whatever the order in which they are named."""
    channels, timings, products = (
        ["branch", "sms", "call"],
        ["weekend", "now"],
        ["mortgage", "coupon", "equity-fund"],
    )
    small, full = only(bank().config, channels, timings, products), bank().config
    c, t, p = (
        [names.index(name) for name in some]
        for names, some in ((CHANNELS, channels), (TIMINGS, timings), (PRODUCTS, products))
    )
    for section in ("response", "population", "capacity"):
        one, whole = structs.asdict(getattr(small, section)), structs.asdict(getattr(full, section))
        for name, value in whole.items():
            if isinstance(value, tuple) and len(value) in (7, 20) and name != "weekday":
                rows = c if len(value) == 7 else p
                assert one[name] == tuple(value[row] for row in rows), (section, name)
    answer, whole_answer = small.response, full.response
    assert answer.receptivity == tuple(tuple(row[k] for k in t) for row in whole_answer.receptivity)
    for kind, rows in (("opt_out", ("base", "cost")), ("complaint", ("base", "elderly"))):
        for name in rows:
            whole = getattr(getattr(whole_answer, kind), name)
            assert getattr(getattr(answer, kind), name) == tuple(whole[k] for k in c), (kind, name)
    families = {"lending", "benefit", "investment"}
    assert answer.channel_fit.keys() == small.population.loadings.keys() == families
    assert answer.channel_fit["lending"] == tuple(whole_answer.channel_fit["lending"][k] for k in c)
    assert small.calendar.payday.keys() <= families
    assert small.market == full.market and small.life_cycle.transitions == full.life_cycle.transitions


def test_what_is_gone_leaves_nothing_behind() -> None:
    small = only(bank().config, ["app_push"], ["now"], ["coupon", "card-instalment"])
    assert {one.channel for one in small.contact.policy.limits} == {None}
    assert [type(rule).__name__ for rule in small.contact.rules] == [
        "Consent",
        "NotOwned",
        "Suitability",
        "Requires",
    ]
    assert not small.response.platform_limits and not small.cross_sell and not small.life_cycle.entry_products
    kinds = {kind.name: kind for kind in small.behaviour.events}
    assert kinds["loan_repaid"].per_day == kinds["product_matured"].per_day == 0.0, "nobody has such products"
    assert kinds["card_declined"].per_day > 0 and kinds["browse"].boosts == {"@": 0.8}
    assert all(kind.boosts.keys() <= {"@", "card", "benefit"} for kind in small.behaviour.events)
    assert all(day.organic.keys() <= {"*", "card", "benefit"} for day in small.calendar.holidays)


def test_a_limit_over_channels_keeps_those_that_stay() -> None:
    contact = bank().config.contact
    limits = tuple(
        ContactLimit(contacts=1, days=3, channels=names)
        for names in ((), ("sms", "email"), ("app_push", "sms"), ("app_push",))
    )
    policy = structs.replace(contact.policy, limits=limits)
    config = structs.replace(bank().config, contact=structs.replace(contact, policy=policy))
    left = only(config, ["app_push"], ["now"], ["coupon", "card-instalment"]).contact.policy.limits
    assert [limit.channels for limit in left] == [(), ("app_push",), ("app_push",)]


def test_links_between_products_that_stay_are_kept() -> None:
    small = only(bank().config, ["sms"], ["now"], ["salary-account", "credit-card", "coupon"])
    assert [(link.owns, link.lifts) for link in small.cross_sell] == [("salary-account", "credit-card")]
    assert small.life_cycle.entry_products == bank().config.life_cycle.entry_products


@pytest.mark.parametrize(
    ("channels", "timings", "products", "wrong"),
    [
        (["fax"], TIMINGS, PRODUCTS, "fax"),
        (CHANNELS, ["noon"], PRODUCTS, "noon"),
        (CHANNELS, TIMINGS, ["gold"], "gold"),
    ],
)
def test_unknown_names_are_named(
    channels: list[str], timings: list[str], products: list[str], wrong: str
) -> None:
    with pytest.raises(UnknownAction, match=wrong):
        only(bank().config, channels, timings, products)


def test_all_names_give_the_bank_itself() -> None:
    assert only(bank().config, CHANNELS, TIMINGS, PRODUCTS) == structs.replace(bank().config, ensemble=())
    barred = structs.replace(CATALOGUE, excluded=(Combination(channel="sms", product="mortgage"),))
    world = edited(bank(), catalogue=barred)
    assert only(world.config, ["sms"], ["now"], ["coupon"]).catalogue.n_actions == 2


@pytest.mark.parametrize(
    "products", [["mortgage"], ["coupon", "salary-account"], ["term-deposit", "term-life"]]
)
def test_a_small_bank_can_be_lived_in(products: list[str]) -> None:
    world = cut(["branch", "app_push"], ["now", "next_key_day"], products)
    days = list(days_of(world, world.reset(2, np.arange(2_000)), 12, any_action))
    assert sum(int(day.responses.engaged.sum()) for day in days) > 50
    assert set(np.unique(days[-1].after.event)) > {0, EVENTS.index("browse")}
