"""Worlds as TOML and as structs: what is broken is named by file, field and rule."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from copy import deepcopy
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from msgspec import structs
from small import bank

from nba.errors import InvalidConfig
from simulator.config import (
    CrossSell,
    EventKind,
    MechanismsConfig,
    PlatformLimit,
    ReferralConfig,
    Transition,
    WorldConfig,
)
from simulator.world import World, load_world

TEXT = (resources.files("simulator") / "worlds" / "retail-bank.toml").read_text()
NAN, INF = float("nan"), float("inf")
GONE = object()  # a key that is taken out

# Place in the file, what is written there, and what the message must name besides the file.
BROKEN: dict[str, tuple[str, Any, list[str]]] = {
    "unknown field": ("response.glow", 1, ["glow", "response"]),
    "unknown top field": ("colour", "red", ["colour"]),
    "missing field": ("decide_every_days", GONE, ["decide_every_days"]),
    "wrong type": ("response.halo", "much", ["response.halo", "float"]),
    "text for a list": ("response.lift", "high", ["response.lift", "array"]),
    "wrong length": ("response.lift", [0.2] * 19, ["response.lift", "20", "19"]),
    "row too long": ("response.receptivity.1", [0.0] * 7, ["response.receptivity[1]", "6", "7"]),
    "row too short": ("response.week_class.2", [0.0] * 6, ["response.week_class[2]", "7", "6"]),
    "probability": ("population.share_60_plus", 1.3, ["population.share_60_plus", "<= 1.0"]),
    "delivery": ("response.delivery.0", 9.0, ["response.delivery[0]", "<= 1.0"]),
    "below zero": ("response.seen.6", -0.1, ["response.seen[6]", ">= 0.0"]),
    "negative rate": ("response.organic.4", -1e-9, ["response.organic[4]", ">= 0.0"]),
    "negative lift": ("response.lift.0", -0.2, ["response.lift[0]", ">= 0.0"]),
    "infinite": ("response.lift.3", INF, ["response.lift", "finite"]),
    "no number": ("response.channel_fit.card.2", NAN, ["response.channel_fit.card[2]", "finite"]),
    "no logit": ("response.openness.5", NAN, ["response.openness[5]", "finite"]),
    "segment shares": ("population.segment_shares.0", 0.18, ["population.segment_shares", "sum to 1", "1.1"]),
    "wealth shares": ("population.wealth_shares", [0.5, 0.5], ["population.wealth_shares", "4", "2"]),
    "stage shares": ("life_cycle.shares.3", 0.5, ["life_cycle.shares", "sum to 1"]),
    "cost": ("catalogue.channels.3.cost", -1, ["channels[3].cost", ">= 0"]),
    "value": ("catalogue.products.2.value", NAN, ["products[2].value"]),
    "no wait": ("catalogue.timings.4.waits_for", "age", ["timings[4].waits_for", "weekend", "age"]),
    "rule type": ("contact.rules.1.type", "not_known", ["not_known", "rules[1]"]),
    "flag of a rule": ("contact.rules.3.flag", "has_fax", ["has_fax", "rules[3]"]),
    "timing of a rule": ("contact.rules.5.timing", "noon", ["noon"]),
    "channel of a limit": ("contact.policy.limits.4.channel", "fax", ["fax"]),
    "long limit": ("contact.policy.limits.1.days", 60, ["limits[1].days", "32", "60"]),
    "long rest": ("contact.policy.product_rest_days", 200, ["product_rest_days", "180", "200"]),
    "cap of no channel": ("response.platform_limits.0.channel", "fax", ["platform_limits[0]", "fax"]),
    "long cap": ("response.platform_limits.0.days", 40, ["response.platform_limits[0].days", "32", "40"]),
    "family missing": ("population.loadings.service", GONE, ["population.loadings", "service", "missing"]),
    "family unknown": ("response.channel_fit.pets", [0.0] * 7, ["response.channel_fit", "pets"]),
    "loadings": ("population.loadings.card", [0.1], ["population.loadings.card", "4", "1"]),
    "every": ("decide_every_days", 0, ["decide_every_days", ">= 1"]),
    "seldom": ("decide_every_days", 300, ["decide_every_days", "<= 256"]),
    "no date": ("start", "next spring", ["start", "date like 2026-03-02", "next spring"]),
    "odd date": ("start", "20260302", ["start", "20260302"]),
    "no such date": ("start", "2026-02-30", ["start", "2026-02-30"]),
    "unseen column": ("schema.columns.4.name", "shoe_size", ["shoe_size", "schema.columns", "age"]),
    "levels": ("schema.columns.6.levels", ["new", "old"], ["schema.columns", "acquisition", "stage"]),
    "short half-life": ("fatigue.short_half_life_days", 0.0, ["short_half_life_days", "above 0"]),
    "branches": ("population.branch_customers", 0, ["population.branch_customers", ">= 1"]),
    "stage of a move": ("life_cycle.transitions.0.to", "gone", ["gone", "life_cycle.transitions[0].to"]),
    "move of no number": ("life_cycle.transitions.2.fatigue", INF, ["transitions[2].fatigue", "finite"]),
    "move to itself": ("life_cycle.transitions.0.to", "onboarding", ["life_cycle.transitions", "onboarding"]),
    "entry": ("life_cycle.entry_products", ["gold"], ["life_cycle.entry_products", "gold"]),
    "long welcome": ("life_cycle.onboarding_days", 50_000, ["life_cycle.onboarding_days", "10000"]),
    "stages": ("life_cycle.organic", [1.0] * 7, ["life_cycle.organic", "8", "7"]),
    "event": ("behaviour.events.1.name", "sneeze", ["sneeze", "behaviour.events[1].name"]),
    "event twice": ("behaviour.events.1.name", "large_inflow", ["behaviour.events", "large_inflow", "once"]),
    "boost": ("behaviour.events.4.boosts.pets", 1.0, ["behaviour.events[4].boosts", "pets"]),
    "owner": ("behaviour.events.6.owns", "pets", ["behaviour.events[6].owns", "pets"]),
    "too eventful": ("behaviour.events.4.per_day", 0.99, ["behaviour.events", "sum to at most 1 a day"]),
    "too digital": ("behaviour.events.1.digital", 9.0, ["behaviour.events", "sum to at most 1 a day"]),
    "timing type": ("behaviour.events.4.timing", "soon", ["behaviour.events[4].timing", "soon"]),
    "log in": ("behaviour.login", 1.5, ["behaviour.login", "<= 1.0"]),
    "month": ("calendar.organic_month", [0.0] * 11, ["calendar.organic_month", "12", "11"]),
    "holiday": ("calendar.holidays.0.start", "02-30", ["holidays", "02-30"]),
    "holiday of pets": ("calendar.holidays.1.organic", {"pets": 1.0}, ["holidays", "pets"]),
    "pay day": ("calendar.payday.pets", 1.0, ["calendar.payday", "pets"]),
    "drift": ("market.drift_sd_weekly", -0.1, ["market.drift_sd_weekly", "-0.1"]),
    "capacity below zero": ("capacity.daily_minutes.managers", -1, ["capacity.daily_minutes.managers", "-1"]),
    "minutes below zero": ("capacity.minutes.5", -12, ["capacity.minutes[5]", "-12"]),
    "short of rows": ("capacity.minutes", [0] * 6, ["capacity.minutes", "7", "6"]),
    "no pool": ("capacity.pool_of.5", "robots", ["capacity.pool_of[5]", "robots"]),
    "long queue": ("capacity.longest_queue_days", 33, ["capacity.longest_queue_days", "32", "33"]),
    "referral": ("referral.per_conversion", 2.0, ["referral.per_conversion", "<= 1.0"]),
    "amounts": ("amounts.sd", -0.5, ["amounts.sd", ">= 0.0"]),
    "wild amounts": ("amounts.sd", 4.0, ["amounts.sd", "<= 3.0"]),
    "amounts of nan": ("amounts.wealth.2", NAN, ["amounts.wealth[2]", ">= -9.0"]),
    "amounts by tier": ("amounts.wealth", [0.0, 0.2], ["amounts.wealth", "4", "2"]),
    "rich beyond measure": ("amounts.wealth.3", 800.0, ["amounts.wealth[3]", "<= 9.0"]),
    "cross-sell": ("cross_sell.0.owns", "gold", ["cross_sell[0].owns", "gold"]),
    "cross-sell of nan": ("cross_sell.2.log_factor", NAN, ["cross_sell[2].log_factor", "finite"]),
    "mechanism": ("mechanisms.off", ["gravity"], ["mechanisms.off[0]", "gravity"]),
    "bands": ("response.recency_days", [9, 3], ["response.recency_days", "rise"]),
    "bands of nothing": ("response.recency_days", list(range(1, 9)), ["response.recency", "9"]),
    "delay": ("response.delay_shape", 0.0, ["response.delay_shape", "> 0.0"]),
    "opt-outs": ("response.opt_out.base", [0.1] * 8, ["response.opt_out.base", "7", "8"]),
    "complaints": ("response.complaint.cost", -1.0, ["response.complaint.cost", ">= 0.0"]),
}  # fmt: skip


def edited_file(place: str, value: Any) -> str:
    """The shipped world with one thing in it changed."""
    whole: Any = deepcopy(tomllib.loads(TEXT))
    at, (*way, last) = whole, [int(key) if key.isdigit() else key for key in place.split(".")]
    for key in way:
        at = at[key]
    if value is GONE:
        del at[last]
    else:
        at[last] = value
    return "\n".join(f"{key} = {toml(part)}" for key, part in whole.items())


def toml(value: Any) -> str:
    """A value as TOML, in one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return repr(value) if isinstance(value, float) else json.dumps(value)


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_world_names_file_field_and_rule(case: str, tmp_path: Path) -> None:
    place, value, named = BROKEN[case]
    path = tmp_path / "my-bank.toml"
    path.write_text(edited_file(place, value))
    with pytest.raises(InvalidConfig) as caught:
        load_world(str(path))
    message = str(caught.value)
    assert "my-bank.toml" in message and "\n" not in message
    for part in named:
        assert part in message, message


def test_the_file_that_is_edited_is_the_shipped_world(tmp_path: Path) -> None:
    (tmp_path / "same.toml").write_text(edited_file("name", "retail-bank"))
    assert load_world(str(tmp_path / "same.toml")).config == bank().config


MALFORMED = {
    "no TOML": (TEXT.replace("[population]", "[population"), "line"),
    "a key twice": ("name = 'a'\nname = 'b'\n", "line"),
    "empty": ("", "name"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_what_is_no_world_at_all_is_named(case: str, tmp_path: Path) -> None:
    text, part = MALFORMED[case]
    (tmp_path / "my-bank.toml").write_text(text)
    with pytest.raises(InvalidConfig, match=rf"my-bank\.toml: .*{part}"):
        load_world(str(tmp_path / "my-bank.toml"))


def write_bytes(path: Path) -> None:
    path.write_bytes(b'name = "\xff\xfe"')


@pytest.mark.parametrize(
    "prepare",
    [lambda path: None, lambda path: path.mkdir(), write_bytes],
    ids=["missing", "folder", "bytes"],
)
def test_a_file_that_cannot_be_read_is_named(prepare: Callable[[Path], None], tmp_path: Path) -> None:
    prepare(tmp_path / "odd.toml")
    with pytest.raises(InvalidConfig, match=r"odd\.toml"):
        load_world(str(tmp_path / "odd.toml"))


def test_an_unknown_world_lists_the_known_ones() -> None:
    with pytest.raises(InvalidConfig, match="retail-bank"):
        load_world("village-bank")


def test_the_shipped_world_loads_by_path_as_by_name(tmp_path: Path) -> None:
    (tmp_path / "copy.toml").write_text(TEXT)
    assert load_world(str(tmp_path / "copy.toml")).config == bank().config


def test_the_bank_has_the_documented_actions() -> None:
    catalogue = bank().config.catalogue
    assert catalogue.shape == (7, 6, 20) and catalogue.n_actions == 841


# --- Structs ------------------------------------------------------------------------------------------


class Case(NamedTuple):
    """A change to a struct that was built in Python, and where the error must point."""

    pointer: str
    change: Callable[[WorldConfig], dict[str, Any]]
    rule: str


def within(section: str, **changes: Any) -> Callable[[WorldConfig], dict[str, Any]]:
    return lambda config: {section: structs.replace(getattr(config, section), **changes)}


def all_of(**changes: Any) -> Callable[[WorldConfig], dict[str, Any]]:
    return lambda config: changes


def many(kind: str, n: int) -> Callable[[WorldConfig], dict[str, Any]]:
    """A catalogue with n channels or products."""

    def change(config: WorldConfig) -> dict[str, Any]:
        first = getattr(config.catalogue, kind)[0]
        named = tuple(structs.replace(first, name=f"{kind} {number}") for number in range(n))
        return {"catalogue": structs.replace(config.catalogue, **{kind: named})}

    return change


BROWSE = EventKind(name="browse", per_day=0.4, digital=3.0)
STRUCTS = (
    Case("catalogue.channels", many("channels", 17), "at most 16, got 17"),
    Case("catalogue.products", many("products", 33), "at most 32, got 33"),
    Case("response.halo", within("response", halo=NAN), "must be finite, got nan"),
    Case("response.delivery[6]", within("response", delivery=(1.0,) * 6 + (1.01,)), "<= 1.0"),
    Case(
        "response.lift",
        within("response", lift=(0.1,) * 19),
        "needs 20 numbers, one for each of the products",
    ),
    Case("population.effect_sd", within("population", effect_sd=-0.5), ">= 0.0"),
    Case(
        "population.segment_shares", within("population", segment_shares=(0.5,) * 6), "must sum to 1, got 3"
    ),
    Case("life_cycle.drop_out[1]", within("life_cycle", drop_out=(1.0, 0.0)), "> 0.0"),
    Case("life_cycle.index_limit", within("life_cycle", index_limit=INF), "must be finite, got inf"),
    Case("behaviour.events", within("behaviour", events=(BROWSE,)), "must sum to at most 1 a day, got 1.79"),
    Case("behaviour.boost_half_life_days", within("behaviour", boost_half_life_days=0.0), "> 0.0"),
    Case("referral.per_conversion", all_of(referral=ReferralConfig(per_conversion=-1.0)), ">= 0.0"),
    Case(
        "cross_sell[0].log_factor",
        all_of(cross_sell=(CrossSell(owns="coupon", lifts="mortgage", log_factor=-INF),)),
        "must be finite, got -inf",
    ),
    Case(
        "life_cycle.transitions[0].intercept",
        within("life_cycle", transitions=(Transition(source="mature", to="growth", intercept=NAN),)),
        "must be finite, got nan",
    ),
    Case(
        "response.platform_limits[0].contacts",
        within("response", platform_limits=(PlatformLimit(channel="sms", contacts=0, days=7),)),
        ">= 1",
    ),
    Case("amounts.sd", within("amounts", sd=-0.5), ">= 0.0"),
    Case("decide_every_days", all_of(decide_every_days=0), "1"),
    Case("start", all_of(start="2026-W10-1"), "must be a date like 2026-03-02"),
    Case("mechanisms.off", all_of(mechanisms=MechanismsConfig(off=("gravity",))), "gravity"),  # type: ignore[arg-type]
)


@pytest.mark.parametrize("case", STRUCTS, ids=[case.pointer for case in STRUCTS])
def test_a_struct_built_in_python_is_held_to_the_same_rules(case: Case) -> None:
    with pytest.raises(InvalidConfig) as caught:
        structs.replace(bank().config, **case.change(bank().config))
    assert (caught.value.source, caught.value.pointer) == ("retail-bank", case.pointer)
    assert case.rule in caught.value.rule


def test_an_engine_must_exist() -> None:
    with pytest.raises(InvalidConfig, match="engine"):
        World(bank().config, "fortran")  # type: ignore[arg-type]
