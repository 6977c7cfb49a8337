"""Worlds as TOML and as structs: what is broken is named by file, field and rule, and what is right is documented."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator
from copy import deepcopy
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import tomlkit
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
EXTRA = object()  # a list with one more entry at its end

# Place in the file, what is written there, and what the message must name besides the file.
BROKEN: dict[str, tuple[tuple[str | int, ...], Any, list[str]]] = {
    "unknown field": (("response", "glow"), 1, ["glow", "response"]),
    "unknown top field": (("colour",), "red", ["colour"]),
    "missing field": (("decide_every_days",), GONE, ["decide_every_days"]),
    "wrong type": (("response", "halo"), "much", ["response.halo", "float"]),
    "text for a list": (("response", "lift"), "high", ["response.lift", "array"]),
    "wrong length": (("response", "lift"), [0.2] * 19, ["response.lift", "20", "19"]),
    "row too long": (("response", "receptivity", 1), [0.0] * 7, ["response.receptivity[1]", "6", "7"]),
    "row too short": (("response", "week_class", 2), [0.0] * 6, ["response.week_class[2]", "7", "6"]),
    "probability": (("population", "share_60_plus"), 1.3, ["population.share_60_plus", "<= 1.0"]),
    "delivery": (("response", "delivery", 0), 9.0, ["response.delivery[0]", "<= 1.0"]),
    "below zero": (("response", "seen", 6), -0.1, ["response.seen[6]", ">= 0.0"]),
    "negative rate": (("response", "organic", 4), -1e-9, ["response.organic[4]", ">= 0.0"]),
    "negative lift": (("response", "lift", 0), -0.2, ["response.lift[0]", ">= 0.0"]),
    "infinite": (("response", "lift", 3), INF, ["response.lift", "finite"]),
    "no number": (("response", "channel_fit", "card", 2), NAN, ["response.channel_fit.card[2]", "finite"]),
    "no logit": (("response", "openness", 5), NAN, ["response.openness[5]", "finite"]),
    "segment shares": (("population", "segment_shares", 0), 0.18, ["population.segment_shares", "sum to 1", "1.1"]),
    "wealth shares": (("population", "wealth_shares"), [0.5, 0.5], ["population.wealth_shares", "4", "2"]),
    "stage shares": (("life_cycle", "shares", 3), 0.5, ["life_cycle.shares", "sum to 1"]),
    "cost": (("catalogue", "channels", 3, "cost"), -1, ["channels[3].cost", ">= 0"]),
    "value": (("catalogue", "products", 2, "value"), NAN, ["products[2].value"]),
    "no wait": (("catalogue", "timings", 4, "waits_for"), "age", ["timings[4].waits_for", "weekend", "age"]),
    "rule type": (("contact", "rules", 1, "type"), "not_known", ["not_known", "rules[1]"]),
    "flag of a rule": (("contact", "rules", 3, "flag"), "has_fax", ["has_fax", "rules[3]"]),
    "timing of a rule": (("contact", "rules", 5, "timing"), "noon", ["noon"]),
    "channel of a limit": (("contact", "policy", "limits", 4, "channel"), "fax", ["fax"]),
    "long limit": (("contact", "policy", "limits", 1, "days"), 60, ["limits[1].days", "32", "60"]),
    "long rest": (("contact", "policy", "product_rest_days"), 200, ["product_rest_days", "180", "200"]),
    "cap of no channel": (("response", "platform_limits", 0, "channel"), "fax", ["platform_limits[0]", "fax"]),
    "long cap": (("response", "platform_limits", 0, "days"), 40, ["response.platform_limits[0].days", "32", "40"]),
    "family missing": (("population", "loadings", "service"), GONE, ["population.loadings", "service", "missing"]),
    "family unknown": (("response", "channel_fit", "pets"), [0.0] * 7, ["response.channel_fit", "pets"]),
    "loadings": (("population", "loadings", "card"), [0.1], ["population.loadings.card", "4", "1"]),
    "every": (("decide_every_days",), 0, ["decide_every_days", ">= 1"]),
    "seldom": (("decide_every_days",), 300, ["decide_every_days", "<= 256"]),
    "no date": (("start",), "next spring", ["start", "date like 2026-03-02", "next spring"]),
    "odd date": (("start",), "20260302", ["start", "20260302"]),
    "no such date": (("start",), "2026-02-30", ["start", "2026-02-30"]),
    "unseen column": (("schema", "columns", 4, "name"), "shoe_size", ["shoe_size", "schema.columns", "age"]),
    "levels": (("schema", "columns", 6, "levels"), ["new", "old"], ["schema.columns", "acquisition", "stage"]),
    "short half-life": (("fatigue", "short_half_life_days"), 0.0, ["short_half_life_days", "above 0"]),
    "branches": (("population", "branch_customers"), 0, ["population.branch_customers", ">= 1"]),
    "stage of a move": (("life_cycle", "transitions", 0, "to"), "gone", ["gone", "life_cycle.transitions[0].to"]),
    "move of no number": (("life_cycle", "transitions", 2, "fatigue"), INF, ["transitions[2].fatigue", "finite"]),
    "move to itself": (("life_cycle", "transitions", 0, "to"), "onboarding", ["life_cycle.transitions", "onboarding"]),
    "entry": (("life_cycle", "entry_products"), ["gold"], ["life_cycle.entry_products", "gold"]),
    "long welcome": (("life_cycle", "onboarding_days"), 50_000, ["life_cycle.onboarding_days", "10000"]),
    "stages": (("life_cycle", "organic"), [1.0] * 7, ["life_cycle.organic", "8", "7"]),
    "event": (("behaviour", "events", 1, "name"), "sneeze", ["sneeze", "behaviour.events[1].name"]),
    "event twice": (("behaviour", "events", 1, "name"), "large_inflow", ["behaviour.events", "large_inflow", "once"]),
    "boost": (("behaviour", "events", 4, "boosts", "pets"), 1.0, ["behaviour.events[4].boosts", "pets"]),
    "owner": (("behaviour", "events", 6, "owns"), "pets", ["behaviour.events[6].owns", "pets"]),
    "too eventful": (("behaviour", "events", 4, "per_day"), 0.99, ["behaviour.events", "sum to at most 1 a day"]),
    "too digital": (("behaviour", "events", 1, "digital"), 9.0, ["behaviour.events", "sum to at most 1 a day"]),
    "timing type": (("behaviour", "events", 4, "timing"), "soon", ["behaviour.events[4].timing", "soon"]),
    "log in": (("behaviour", "login"), 1.5, ["behaviour.login", "<= 1.0"]),
    "month": (("calendar", "organic_month"), [0.0] * 11, ["calendar.organic_month", "12", "11"]),
    "holiday": (("calendar", "holidays", 0, "start"), "02-30", ["holidays", "02-30"]),
    "holiday of pets": (("calendar", "holidays", 1, "organic"), {"pets": 1.0}, ["holidays", "pets"]),
    "pay day": (("calendar", "payday", "pets"), 1.0, ["calendar.payday", "pets"]),
    "drift": (("market", "drift_sd_weekly"), -0.1, ["market.drift_sd_weekly", "-0.1"]),
    "capacity below zero": (("capacity", "daily_minutes", "managers"), -1, ["capacity.daily_minutes.managers", "-1"]),
    "minutes below zero": (("capacity", "minutes", 5), -12, ["capacity.minutes[5]", "-12"]),
    "short of rows": (("capacity", "minutes"), [0] * 6, ["capacity.minutes", "7", "6"]),
    "no pool": (("capacity", "pool_of", 5), "robots", ["capacity.pool_of[5]", "robots"]),
    "long queue": (("capacity", "longest_queue_days"), 33, ["capacity.longest_queue_days", "32", "33"]),
    "referral": (("referral", "per_conversion"), 2.0, ["referral.per_conversion", "<= 1.0"]),
    "cross-sell": (("cross_sell", 0, "owns"), "gold", ["cross_sell[0].owns", "gold"]),
    "cross-sell of nan": (("cross_sell", 2, "log_factor"), NAN, ["cross_sell[2].log_factor", "finite"]),
    "mechanism": (("mechanisms", "off"), ["gravity"], ["mechanisms.off[0]", "gravity"]),
    "bands": (("response", "recency_days"), [9, 3], ["response.recency_days", "rise"]),
    "band of nothing": (("response", "recency_days"), [3, 9], ["response.recency", "3", "1"]),
    "delay": (("response", "delay_shape"), 0.0, ["response.delay_shape", "> 0.0"]),
    "opt-outs": (("response", "opt_out", "base"), [0.1] * 8, ["response.opt_out.base", "7", "8"]),
    "complaints": (("response", "complaint", "cost"), -1.0, ["response.complaint.cost", ">= 0.0"]),
}  # fmt: skip


def edited_file(place: tuple[str | int, ...], value: Any) -> str:
    """The shipped world with one thing in it changed."""
    whole: Any = deepcopy(tomllib.loads(TEXT))
    at = whole
    for key in place[:-1]:
        at = at[key]
    if value is GONE:
        del at[place[-1]]
    else:
        at[place[-1]] = value
    return tomlkit.dumps(whole)


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
