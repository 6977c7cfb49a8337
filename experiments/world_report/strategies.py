"""Cheap strategies of different pressure and channels, made for whatever channels a world has.

None of them learns, so they are judged by what they do and not by what they have had time to find out.
"""

from __future__ import annotations

from typing import Any

from experiments.spec import BUSINESS_AS_USUAL, CONTROL, RANDOM, load_experiment
from nba.constraints import ContactLimit, ContactPolicy, HouseChannels
from nba.errors import InvalidConfig
from nba.policies import Greedy, NoContact, RandomEligible
from nba.posteriors import SegmentRatesModel
from nba.strategy import Strategy
from simulator.world import World

_SCHEDULED = ("digital", "human")  # families whose first channel gets a schedule of its own


def strategies(world: World, seed: int) -> dict[str, Strategy]:
    """Strategies by name, all within the bank's rules; the descriptions are in DESCRIPTIONS."""
    found = {
        CONTROL: _strategy(world, seed, CONTROL, policy=NoContact()),
        RANDOM: _strategy(world, seed, RANDOM, policy=RandomEligible()),
        "forecasts": _strategy(world, seed, "forecasts", policy=Greedy()),
    }
    bank = world.config.contact.policy
    if bank.windows_days:
        # A world counts contacts in the windows of its own limits and in no others.
        rarely = ContactLimit(contacts=1, days=bank.windows_days[-1])
        limits = ContactPolicy(limits=(*bank.limits, rarely), product_rest_days=bank.product_rest_days)
        found["gentle"] = _strategy(world, seed, "gentle", policy=Greedy(), contact_policy=limits)
    for family in _SCHEDULED:
        channels = [channel.name for channel in world.config.catalogue.channels if channel.family == family]
        for channel in channels[:1]:
            timing = next(one.name for one in world.config.catalogue.timings if one.waits_for is None)
            only = HouseChannels(channels={}, timing=timing, otherwise=channel)
            rules = (*world.config.contact.rules, only)
            name = f"{channel} only"
            found[name] = _strategy(world, seed, name, policy=RandomEligible(), rules=rules)
    try:
        found[BUSINESS_AS_USUAL] = load_experiment("demo").spec(BUSINESS_AS_USUAL).strategy(world, seed)
    except InvalidConfig:
        pass  # the rules name channels or segments that this world does not have
    return found


def describe(name: str) -> str:
    """What a strategy does."""
    return _DESCRIPTIONS.get(name, "any eligible product on this channel, at random")


_DESCRIPTIONS = {
    CONTROL: "never contacts anybody",
    RANDOM: "any eligible action with the same probability, silence among them",
    "forecasts": "the best business forecast times margin less cost, on the cheapest channel",
    "gentle": "as forecasts, at most one contact in the longest window of the bank's limits",
    BUSINESS_AS_USUAL: "as forecasts, on one house channel per segment",
}


def _strategy(world: World, seed: int, name: str, **changes: Any) -> Strategy:
    parts: dict[str, Any] = {
        "name": name,
        "catalogue": world.config.catalogue,
        "schema": world.config.schema,
        "model": SegmentRatesModel(),
        "tags": world.config.contact.tags,
        "rules": world.config.contact.rules,
        "contact_policy": world.config.contact.policy,
        "fatigue": world.kernel,
        "seed": seed,
    }
    return Strategy(**(parts | changes))
