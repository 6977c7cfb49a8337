"""Switches: each mechanism that is off takes its own effect out of the world, and nothing else."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
import numpy as np
import pytest
from checks.worlds import any_action, busy_bank, changed, days_of, edited, without
from msgspec import Struct, structs
from small import bank

from simulator.behaviour import Happening, events_of
from simulator.config import MECHANISMS, MechanismsConfig, PlatformLimit, WorldConfig
from simulator.hazards import organic_hazards
from simulator.life_cycle import moved
from simulator.mechanisms import switched
from simulator.memory import remembered
from simulator.oracle import all_odds
from simulator.purchases import bought
from simulator.screen import LOGS_IN, Bounds, Uniforms, flags_numpy
from simulator.state import LONG_AGO, Conversions, WorldState
from simulator.world import World

N, DAY = 500, 20

# What the absence of each mechanism changes for the same customers, on the same day, with the same past.
EFFECTS: dict[str, set[str]] = {
    "amounts": {"amounts", "expected amounts"},
    "capacity": {"refused", "waits"},
    "competitors": {"hazards", "mass"},
    "complaints": {"complaint", "events"},
    "cross_sell": {"hazards", "mass"},
    "delay": {"due"},
    "drift": {"hazards", "mass"},
    "events": {"events", "hazards", "mass", "timing"},
    "fatigue": {"engaged", "opt_out", "complaint", "moves"},
    "follow_up": {"mass"},
    "habituation": {"mass"},
    "halo": {"due"},
    "hand_off": {"mass"},
    # Tastes are drawn anew; of those that stand, only what they are worth is gone.
    "heterogeneity": {"people", "hazards", "mass", "opt_out", "complaint"},
    "holidays": {"hazards", "mass", "engaged", "timing"},
    "life_cycle": {"moves"},
    "opt_out": {"opt_out"},
    "organic": {"hazards"},
    "payday": {"hazards", "mass"},
    "platform_limits": {"refused"},
    "recency": {"hazards", "mass"},
    "receptivity": {"engaged"},
    "referral": {"invited"},
    "regime_breaks": {"hazards", "mass"},
    "return_flow": {"engaged"},
    "seasons": {"hazards", "mass", "engaged"},
}
# What may come out otherwise because something else does, and never by itself.
FOLLOWS = {
    "answers": {"engaged", "refused"},
    "due": {"mass", "engaged", "refused"},
    "opted_out": {"opt_out", "refused"},
    "complained": {"complaint", "refused"},
}


@cache
def full() -> World:
    """A small bank in a hurry, with everything on and strong."""
    config = busy_bank().config
    answer, kinds, holidays = config.response, config.behaviour.events, config.calendar.holidays
    return edited(
        busy_bank(),
        start="2026-11-05",  # day 20 is a holiday, and a pay day of many
        response={
            "recency_days": (30,),
            "recency": (3.0, 0.0),
            "follow_up": 0.7,
            "return_flow": 3.0,
            "long_fatigue": 0.5,
            "habituation": (-0.5,) * 7,
            "lift": tuple(10 * size for size in answer.lift),
            "weekday": (0.4,) * 7,
            "month": (0.4,) * 12,
            "opt_out": structs.replace(answer.opt_out, base=(0.4,) * 7),
            "complaint": structs.replace(answer.complaint, base=(0.4,) * 7),
            "platform_limits": (PlatformLimit(channel="sms", contacts=1, days=30),),
        },
        behaviour={
            "events": tuple(
                structs.replace(kind, per_day=0.05) if kind.name == "complaint" else kind for kind in kinds
            )
        },
        population={"branch_customers": 100},
        calendar={"holidays": tuple(structs.replace(day, engagement=2.0) for day in holidays)},
        market={"competitor_shocks_per_year": 50.0, "regime_breaks_per_year": 12, "drift_sd_weekly": 0.1},
    )


@cache
def past() -> WorldState:
    """Customers who have lived for some weeks with everything on."""
    *_, last = days_of(full(), full().reset(8, np.arange(N)), DAY, any_action)
    return last.after


@cache
def seen_with(*off: str) -> dict[str, Any]:
    """Everything that a mechanism might touch, by name: each as if nothing else had happened that day."""
    world, rows, state = without(full(), *off), np.arange(N), past()
    if "capacity" in off:  # nobody keeps a book
        state = state._replace(book=state.book[:, :0], queue=state.queue[:, :0])
    laws, now = world.laws, world.today(state)
    uniforms = Uniforms.of(laws.engine.words, state, rows)
    answers = world.respond(state, rows, 1 + (rows * 37) % 840)
    odds, first = all_odds(world, state, rows[:60]), world.reset(8, rows)
    memory = remembered(state, rows, state.day + 1, laws.kernel, laws.spill)
    buyers, products = rows[::2], rows[::2] % 20
    amounts = laws.amounts.drawn(state.seed, state.day, state.people, buyers, products)
    sold = Conversions(buyers, products, np.zeros(N // 2, dtype=np.bool_), amounts)
    return {
        "hazards": organic_hazards(laws.hazards, now, state, rows),
        "engaged": odds.engaged,
        "mass": odds.mass,
        "opt_out": odds.opt_out,
        "complaint": odds.complaint,
        "refused": answers.refused,
        "waits": answers.waits,
        "answers": np.stack([answers.delivered, answers.seen, answers.engaged]),
        "opted_out": answers.opted_out,
        "complained": answers.complained,
        "due": answers.due,
        "moves": moved(laws.life, state, rows, memory, uniforms.moves / 20),
        "events": _kinds(events_of(laws, now, state, rows, uniforms.happens / 3)),
        "amounts": amounts,
        "expected amounts": laws.amounts.expected(state.people, rows),
        "invited": _kinds(bought(laws, state, sold)[1]),
        "timing": world.timing_types(state, rows),
        "logins": flags_numpy(state, Bounds.of(now, laws.life, laws.behaviour)) & LOGS_IN,
        "people": np.frombuffer(b"".join(part.tobytes() for part in first.people), dtype=np.uint8),
        "first": np.concatenate([first.stage, first.joined, first.consents, first.owned]),
    }


def _kinds(what: Happening) -> Any:
    """(N,) events of customers; what they are about is of hazards."""
    kinds = np.zeros(N, dtype=np.int64)
    kinds[what.rows] = what.kinds
    return kinds


def test_every_mechanism_can_be_switched_off() -> None:
    assert EFFECTS.keys() == set(MECHANISMS) and len(set(MECHANISMS)) == len(MECHANISMS)
    with pytest.raises(msgspec.ValidationError, match=r"Invalid enum value 'gravity' - at `\$.off\[0\]`"):
        msgspec.convert({"off": ["gravity"]}, MechanismsConfig)


@pytest.mark.parametrize("name", MECHANISMS)
def test_what_is_off_takes_its_effect_out_and_nothing_else(name: str) -> None:
    on, off = seen_with(), seen_with(name)
    changes = {part for part in on if not np.array_equal(on[part], off[part])}
    follows = {part for part, causes in FOLLOWS.items() if causes & changes}
    assert changes - follows == EFFECTS[name]


# The fields of the configuration that each switch may set to nothing.
FIELDS: dict[str, set[str]] = {
    "amounts": {"amounts.sd", "amounts.wealth"},
    "capacity": {"capacity.pool_of", "capacity.daily_minutes", "capacity.works_weekends"},
    "competitors": {"market.competitor_shocks_per_year"},
    "complaints": {"response.complaint", "behaviour.events"},
    "cross_sell": {"cross_sell"},
    "delay": {"catalogue.products"},
    "drift": {"market.drift_sd_weekly"},
    "events": {"behaviour.events"},
    "fatigue": {
        *(f"response.{name}" for name in ("short_fatigue", "long_fatigue", "cross_fatigue")),
        *("response.opt_out", "response.complaint", "life_cycle.transitions"),
    },
    "follow_up": {"response.follow_up"},
    "habituation": {"response.habituation"},
    "halo": {"response.halo"},
    "hand_off": {"response.hand_off"},
    "heterogeneity": {
        f"population.{name}" for name in ("preference_sd", "responsiveness_sd", "effect_sd", "affinity_scale")
    },
    "holidays": {"calendar.holidays"},
    "life_cycle": {"life_cycle.transitions"},
    "opt_out": {"response.opt_out"},
    "organic": {"response.organic"},
    "payday": {"calendar.payday"},
    "platform_limits": {"response.platform_limits"},
    "recency": {"response.recency_days", "response.recency"},
    "receptivity": {"response.receptivity", "response.week_class"},
    "referral": {"referral.per_conversion"},
    "regime_breaks": {"market.regime_breaks_per_year"},
    "return_flow": {"response.return_flow"},
    "seasons": {
        *("response.weekday", "response.month"),
        *("calendar.organic_month", "calendar.organic_weekday"),
    },
}


def fields_of(config: WorldConfig) -> dict[str, Any]:
    """Fields of sections by name, as section.field."""
    found: dict[str, Any] = {}
    for name, part in structs.asdict(config).items():
        inside = structs.asdict(part) if isinstance(part, Struct) else {"": part}
        found |= {f"{name}.{key}".rstrip("."): value for key, value in inside.items()}
    return found


@pytest.mark.parametrize("name", MECHANISMS)
def test_a_switch_touches_its_own_fields_alone(name: str) -> None:
    on, off = (fields_of(switched(world.config)) for world in (full(), without(full(), name)))
    assert {field for field in on if on[field] != off[field]} - {"mechanisms.off"} == FIELDS[name]


def test_switches_do_not_hang_together() -> None:
    """In any order, and twice is once."""
    config, rng = full().config, np.random.default_rng(0)
    for _ in range(6):
        some = [str(one) for one in rng.permutation(MECHANISMS)[:6]]
        one, other, twice = (
            switched(structs.replace(config, mechanisms=MechanismsConfig(off=tuple(off))))
            for off in (some, some[::-1], some * 2)
        )
        plain = MechanismsConfig()
        assert structs.replace(one, mechanisms=plain) == structs.replace(other, mechanisms=plain)
        assert structs.replace(one, mechanisms=plain) == structs.replace(twice, mechanisms=plain)


@pytest.mark.parametrize("world", [bank(), full()], ids=["shipped", "busy"])
def test_a_world_with_everything_off_stands_still(world: World) -> None:
    """No noise is left in who customers are to the market; contacts are delivered and worth their lift."""
    still = without(world, *MECHANISMS)
    state = still.reset(3, np.arange(300))
    days = list(days_of(still, state, 10, any_action))
    after = days[-1].after
    np.testing.assert_array_equal(after.stage[state.stage > 0], state.stage[state.stage > 0])
    assert (after.event_day < 0).all() or (after.event[after.event_day > 0] == 1).all()
    assert all(day.sold.caused.all() for day in days), "nobody buys without a contact"
    margins = still.config.catalogue.margins
    assert all((day.sold.amounts == margins[day.sold.products]).all() for day in days)
    assert not any(day.responses.opted_out.any() or day.responses.complained.any() for day in days)
    sent = [day for day in days if day.actions.any()]
    assert sent and all((day.responses.due <= day.before.day + day.responses.waits).all() for day in sent)
    # Whoever has the same digital index and stage cannot be told apart.
    alike = changed(still, state, stage=3, digital=128, owned=0, human=LONG_AGO)
    odds = all_odds(still, alike, np.arange(300))
    for part in (odds.engaged, odds.mass, odds.opt_out):
        assert np.ptp(part[:, :, :4], axis=0).max() < 1e-12  # timings of today
