"""Logins, key events and days of one's own: how often, what they need and bring, and who comes up."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest
from checks.worlds import N, agrees, changed, clones, days_of, edited, everybody, without
from msgspec import structs
from small import bank

from simulator.behaviour import until_birthday
from simulator.config import EVENTS, STAGES, TIMING_TYPES, EventKind
from simulator.hazards import organic_hazards
from simulator.state import LONG_AGO, WorldState
from simulator.today import days_since, days_until
from simulator.world import World

MATURE = STAGES.index("mature")
KINDS = {kind.name: kind for kind in bank().config.behaviour.events}
FAMILIES = bank().config.families
EVERYTHING = 2**20 - 1  # a mask of all products


def eventful(**rates: float) -> World:
    """The bank with these events a day and no others; nobody buys, nobody moves on."""
    events = tuple(structs.replace(kind, per_day=rates.get(name, 0.0)) for name, kind in KINDS.items())
    return edited(
        without(bank(), "life_cycle"), behaviour={"events": events}, response={"organic": (1e-9,) * 20}
    )


def day_after(world: World, state: WorldState) -> WorldState:
    (day,) = days_of(world, state, 1)
    return day.after


# --- Logins -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "digital"), [("mature", 204), ("dormant", 255), ("onboarding", 0), ("onboarding", 255)]
)
def test_customers_log_in_at_the_rate_of_their_stage_and_index(stage: str, digital: int) -> None:
    world = without(bank(), "events", "life_cycle")
    state = clones(world, 3, N, stage=STAGES.index(stage), digital=digital)
    behaviour, life = world.config.behaviour, world.config.life_cycle
    rate = behaviour.login * life.login[STAGES.index(stage)]
    rate *= np.exp(behaviour.login_digital * (digital / 255 - 0.5))
    assert agrees(day_after(world, state).login == 4, min(rate, 0.95))
    assert (stage, digital) != ("onboarding", 255) or rate < 0.95


def test_days_since_login_count_from_the_morning_it_was_seen() -> None:
    world = without(bank(), "events")
    state = world.reset(1, np.arange(300))
    last = np.full(300, -1)
    for day in days_of(world, state, 15):
        seen = np.flatnonzero(day.after.login != day.before.login)
        last[seen] = day.after.day
        np.testing.assert_array_equal(day.after.login, last)
    assert (last > 0).mean() > 0.5


# --- Events -------------------------------------------------------------------------------------------


def test_events_come_at_their_rates_and_at_most_one_a_day() -> None:
    rates = {name: 0.03 for name in KINDS if name not in ("account_opened", "invited", "complaint")}
    world = eventful(**rates)
    state = clones(world, 3, N, stage=MATURE, digital=204, owned=EVERYTHING)
    after = day_after(world, state)
    happened = after.event_day == 4
    for name, rate in rates.items():
        expected = rate * np.exp(KINDS[name].digital * (204 / 255 - 0.5))
        assert agrees(happened & (after.event == EVENTS.index(name)), expected), name
    assert agrees(happened, sum(rates[n] * np.exp(KINDS[n].digital * (204 / 255 - 0.5)) for n in rates))


@pytest.mark.parametrize("name", ["product_matured", "loan_repaid", "card_declined"])
def test_an_event_needs_its_product(name: str) -> None:
    world = eventful(**{name: 0.2})
    held = np.array([1 << p for p in range(20)])  # customer p holds product p alone
    state = changed(world, world.reset(1, np.arange(2_000)), stage=MATURE, owned=np.tile(held, 100))
    happened = day_after(world, state).event_day == 1
    fits = np.tile(np.array(FAMILIES) == KINDS[name].owns, 100)
    assert fits.sum() > 200 and not happened[~fits].any() and agrees(happened[fits], 0.2)


@pytest.mark.parametrize("stage", ["acquisition", "churned"])
def test_who_is_no_customer_has_no_events(stage: str) -> None:
    world = eventful(browse=0.3, large_inflow=0.3)
    state = clones(world, 3, 2_000, stage=STAGES.index(stage))
    assert (day_after(world, state).event_day < 0).all()


def test_customers_look_at_what_they_are_likely_to_buy() -> None:
    world = eventful(browse=0.45)
    state = clones(world, 3, N, stage=MATURE, digital=128, owned=0b11)
    hazards = organic_hazards(world.laws.hazards, world.today(state), state, np.arange(1))[0]
    after = day_after(world, state)
    looked = after.event_day == 4
    for product, share in enumerate(hazards / hazards.sum()):
        assert agrees(after.event_product[looked] == product, share), product
    assert (after.lead_day == 4).tolist() == looked.tolist() and (after.login[looked] == 4).all()
    names = np.unique(FAMILIES)
    np.testing.assert_array_equal(
        names[after.lead[looked] - 1], np.array(FAMILIES)[after.event_product[looked]]
    )


@pytest.mark.parametrize("name", ["large_inflow", "browse", "large_outflow", "card_declined"])
@pytest.mark.parametrize("age", [0, 1, 4, 9])
def test_an_event_lifts_hazards_and_mass_by_a_boost_that_halves(name: str, age: int) -> None:
    """Of its own families, and with "@" of the family it was about: here cards."""
    world, rows, about = bank(), np.arange(2), FAMILIES.index("card")
    state = clones(world, 3, 2, stage=MATURE, owned=0)
    state = changed(
        world, state, event=EVENTS.index(name), event_product=about, event_day=[LONG_AGO, 3 - age]
    )
    boosts: dict[str, float] = KINDS[name].boosts
    size = np.array([boosts.get(f, 0.0) + boosts.get("@", 0.0) * (f == "card") for f in FAMILIES])
    expected = np.exp(size * 0.5 ** (age / world.config.behaviour.boost_half_life_days))
    hazards = organic_hazards(world.laws.hazards, world.today(state), state, rows)
    np.testing.assert_allclose(hazards[1] / hazards[0], expected, rtol=1e-9)
    zeros = np.zeros((2, 20), dtype=np.int64)
    mass = world.odds(state, rows[:, None] + zeros, zeros + 3, zeros, zeros + np.arange(20)).mass
    np.testing.assert_allclose(mass[1] / mass[0], expected, rtol=1e-9)


def test_a_boost_is_seen_in_how_often_customers_buy_and_fades() -> None:
    """Conversions by day after a large inflow against the hazards of a customer without one."""
    world = without(bank(), "life_cycle", "payday", "seasons", "drift", "competitors")
    world = edited(world, behaviour={"events": (structs.replace(KINDS["large_inflow"], per_day=0.0),)})
    deposit = tuple(0.01 if p == 0 else 0.0 for p in range(20))
    world = edited(world, response={"organic": deposit})
    state = clones(world, 3, N, stage=MATURE, owned=0, event=EVENTS.index("large_inflow"), event_day=3)
    plain = clones(world, 3, 1, stage=MATURE, owned=0)
    base = organic_hazards(world.laws.hazards, world.today(plain), plain, np.arange(1))[0, 0]
    waiting = np.ones(N, dtype=np.bool_)
    for age, day in enumerate(days_of(world, state, 7)):
        sold = np.isin(np.arange(N), day.sold.customers)
        assert agrees(sold[waiting], -np.expm1(-base * np.exp(1.2 * 0.5 ** (age / 2)))), age
        waiting &= ~sold


def test_the_balance_trend_adds_up_and_halves_in_thirty_days() -> None:
    world = edited(
        without(bank(), "life_cycle"),
        behaviour={"events": (EventKind(name="large_inflow", per_day=0.2, balance=1.0),)},
        response={"organic": (0.0,) * 20},
    )
    state, trend = world.reset(1, np.arange(200)), np.zeros(200)
    state = changed(world, state, stage=MATURE)
    for day in days_of(world, state, 40):
        trend = trend * 0.5 ** (1 / 30) + (day.after.event_day == day.after.day)
    schema = structs.replace(
        world.config.schema, columns=(*world.config.schema.columns, _numeric("balance_trend"))
    )
    seen = edited(world, schema=schema).observe(day.after, np.arange(200)).attributes["balance_trend"]
    np.testing.assert_allclose(seen, trend, rtol=5e-3)
    assert trend.max() > 5


def _numeric(name: str) -> Any:
    plain = next(one for one in bank().config.schema.columns if one.name == "tenure_years")
    return structs.replace(plain, name=name)


def test_engaging_online_makes_a_lead_and_a_person_does_not() -> None:
    world, catalogue = bank(), bank().config.catalogue
    state = clones(world, 3, 2_000, stage=MATURE, fatigue=0)
    for action_id, is_online in (
        ("app_push/now/coupon", True),
        ("sms/now/coupon", False),
        ("call/now/coupon", False),
    ):
        (day,) = days_of(without(world, "events"), state, 1, everybody(catalogue.row_of(action_id)))
        engaged = day.responses.engaged
        assert engaged.sum() > 20
        np.testing.assert_array_equal(day.after.lead > 0, engaged & is_online, err_msg=action_id)


# --- Who comes up, and why ----------------------------------------------------------------------------


def test_customers_come_up_on_their_days_and_on_the_morning_of_an_event_that_asks() -> None:
    world = bank()
    every = world.config.decide_every_days
    rows = np.arange(2 * len(EVENTS))
    kinds, fresh = rows // 2, rows % 2 == 0
    state = world.reset(1, rows)
    state = changed(world, state, event=kinds, event_day=np.where(fresh, 700, 699), phase=rows % every)
    due = np.isin(rows, world.due(state._replace(day=700)))
    asks = np.array([name in KINDS and KINDS[name].decides for name in EVENTS])
    np.testing.assert_array_equal(due, ((700 + rows % every) % every == 0) | (fresh & asks[kinds]))
    routine = edited(world, decide_on_events=False)
    assert routine.due(state._replace(day=700)).tolist() == [
        r for r in rows if (700 + r % every) % every == 0
    ]


def test_over_a_year_customers_come_up_every_few_days() -> None:
    world = edited(bank(), decide_on_events=False)
    state, days = world.reset(1, np.arange(40)), np.zeros((40, 400), dtype=np.bool_)
    for day in range(400):  # past 255: phases are bytes
        days[world.due(state._replace(day=day)), day] = True
    gaps = {int(gap) for row in days for gap in np.diff(np.flatnonzero(row))}
    assert gaps == {world.config.decide_every_days} and days.sum(axis=1).min() == 100


def test_an_event_goes_before_a_day_of_ones_own_before_a_campaign_before_routine() -> None:
    world = bank()
    birthday, plain = 100, 200
    state = world.reset(1, np.arange(5))
    state = changed(world, state, payday=[10, 1, 1, 1, 10], birthday=[plain, birthday, plain, plain, plain])
    state = changed(world, state, event=EVENTS.index("browse"), event_day=[LONG_AGO] * 2 + [LONG_AGO, 39, 39])

    def types(day: int) -> list[str]:
        today = state._replace(day=day)
        return [TIMING_TYPES[code] for code in world.timing_types(today, np.arange(5))]

    assert world.date(39) == np.datetime64("2026-04-10") and world.date(32) == np.datetime64("2026-04-03")
    assert types(39) == ["key_day", "key_day", "regular", "node", "node"]  # the 100th day of the year
    assert types(32) == ["special"] * 5 and types(38) == ["regular"] * 5


def test_the_key_day_is_the_nearer_of_pay_day_and_birthday() -> None:
    world = bank()
    state = changed(world, world.reset(1, np.arange(2)), payday=25, birthday=[96, 200])  # 6 April, 19 July
    seen = world.observe(state._replace(day=32), np.arange(2)).attributes["days_to_key_day"]
    assert seen.tolist() == [3.0, 22.0]


def test_a_birthday_is_the_same_date_in_every_year() -> None:
    """2028 is a leap year; who was born on 28 February has a second day in it."""
    world = bank()
    born = [date(2001, 1, 1) + timedelta(days=n) for n in range(365)]
    state = changed(world, world.reset(1, np.arange(365)), birthday=np.arange(1, 366))
    start = date(2026, 3, 2)
    for day in [*range(660, 760), *range(1020, 1070), *range(0, 660, 50)]:
        today, at = start + timedelta(days=day), state._replace(day=day)
        days = until_birthday(at, np.arange(365), world.today(at))
        for one, ahead in zip(born, days.tolist(), strict=True):
            coming = today + timedelta(days=ahead)
            leaping = (coming.month, coming.day) == (2, 29) and (one.month, one.day) == (2, 28)
            assert (coming.month, coming.day) == (one.month, one.day) or leaping, (today, one)
            assert 0 <= ahead <= 366


def test_days_to_and_from_a_pay_day() -> None:
    for start in (
        date(2026, 2, 20),
        date(2028, 2, 25),
        date(2027, 12, 25),
        date(2026, 4, 1),
        date(2028, 3, 1),
    ):
        for payday in (1, 10, 15, 25, 28):
            days = np.array([start + timedelta(days=n) for n in range(33)], dtype="datetime64[D]")
            until = days_until(np.array([[payday]]), days)[0]
            since = days_since(np.array([[payday]]), days)[0]
            for n, (ahead, behind) in enumerate(zip(until.tolist(), since.tolist(), strict=True)):
                today = start + timedelta(days=n)
                assert ahead == next(m for m in range(40) if (today + timedelta(days=m)).day == payday)
                assert behind == next(m for m in range(40) if (today - timedelta(days=m)).day == payday)


def test_waits_reach_the_weekend_and_the_key_day() -> None:
    world, rows = bank(), np.arange(20)
    state, timings = world.reset(1, rows), [one.name for one in world.config.catalogue.timings]
    for day in (0, 4, 5, 6, 27, 58, 719, 724):
        today = state._replace(day=day)
        waits, start = world.waits(today, rows), date(2026, 3, 2) + timedelta(days=day)
        ahead = 0 if start.weekday() >= 5 else 5 - start.weekday()
        assert (waits[:, timings.index("weekend")] == ahead).all()
        payday = world.today(today).until_payday[state.people.payday]
        birthday = until_birthday(today, rows, world.today(today))
        np.testing.assert_array_equal(waits[:, timings.index("next_key_day")], np.minimum(payday, birthday))
        assert not waits[:, [name not in ("weekend", "next_key_day") for name in timings]].any()
