"""The hazards of a world written down a second time, from its TOML fields, without the simulator's code.

What the simulator computes fast, bounded and factor by factor stands here as in methods F2:

    organic hazard = organic_p exp(affinity + effect + stage + calendar + market + pay day + event
                                   + recency + cross-sell), 0 for what cannot be bought
    lifted mass    = lift_p exp(responsiveness + the same sum + strength + fit + habituation f + lead
                                + follow-up)
    amount         = margin_p exp(wealth + sd z), over the mean of that exponential

Only the draws are taken over: the customers' traits, their states, the market's walk of the day, and z.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import NamedTuple

import numpy as np
from scipy.stats import norm

from nba.arrays import AnyArray, BoolArray, FloatArray, IntArray
from nba.randomness import Purpose, keyed_uniforms
from simulator.config import EVENTS, HISTORY_DAYS, STAGES, WorldConfig
from simulator.market import market_factor
from simulator.mechanisms import switched
from simulator.population import Bytes
from simulator.state import WorldState
from simulator.world import World

_MOST_LOG_MASS = 4.0  # as the world bounds it: a conversion is certain long before
_EVERY_FAMILY, _SAME_FAMILY = "*", "@"
_FIRST_DAY = date.fromisoformat
_MOST_DAYS = 255  # after which the boost of an event is as good as gone


class Masses(NamedTuple):
    """Contacts that were seen, and the conversions that they are expected to cause before anything else."""

    customer: IntArray  # (m,)
    product: IntArray  # (m,)
    contact_day: IntArray  # (m,)
    mass: FloatArray  # (m,)


def families_of(config: WorldConfig) -> tuple[list[str], IntArray]:
    """Product families in order of appearance, and (P,) the place of each product's."""
    names = list(dict.fromkeys(config.families))
    return names, np.array([names.index(family) for family in config.families])


def amounts(
    config: WorldConfig, seed: int, wealth: AnyArray, customer: IntArray, day: IntArray, product: IntArray
) -> FloatArray:
    """(n,) what conversions by customers of tiers `wealth` (n,) bring, account currency."""
    law, shares = config.amounts, np.array(config.population.wealth_shares)
    noise = norm.ppf(keyed_uniforms(seed, Purpose.AMOUNT, customer, day, product))
    tiers = np.exp(np.array(law.wealth))
    mean = (shares @ tiers) / shares.sum() * np.exp(law.sd**2 / 2)
    margins = np.array([one.value for one in config.catalogue.products])
    brought: FloatArray = margins[product] * tiers[wealth] * np.exp(law.sd * noise) / mean
    return brought


def organic_chances(world: World, state: WorldState, served: IntArray) -> FloatArray:
    """(2, families) organic conversions of a day that are expected, and the variance of their number.

    `served` rows convert for another reason today, and nobody converts twice on a day.
    """
    config = switched(world.config)
    rows = np.setdiff1d(np.arange(state.people.n_customers), served)
    log = log_pressure(config, state, rows, 0)
    hazards = np.array(config.response.organic) * np.exp(log) * can_buy(config, state, rows)
    total = hazards.sum(axis=1, keepdims=True)
    chance = -np.expm1(-total) * np.divide(hazards, total, out=np.zeros_like(hazards), where=total > 0)
    names, place = families_of(config)
    by_family = chance @ (place[:, None] == np.arange(len(names)))
    return np.stack([by_family.sum(axis=0), (by_family * (1.0 - by_family)).sum(axis=0)])


def lifted_masses(
    world: World,
    state: WorldState,
    rows: IntArray,
    actions: IntArray,
    *,
    waits: IntArray,
    long: FloatArray,
    engaged: BoolArray,
    late: BoolArray,
) -> Masses:
    """The lift of contacts (m,) that were seen, with the long counters and the answers they met."""
    config = switched(world.config)
    answer, catalogue = config.response, config.catalogue
    channel, product = catalogue.channel_of[actions], catalogue.product_of[actions]
    every = np.arange(rows.size)
    total = np.full(rows.size, -np.inf)
    for wait in np.unique(waits).tolist():
        some = np.flatnonzero(waits == wait)
        total[some] = log_pressure(config, state, rows[some], wait)[np.arange(some.size), product[some]]
    fit = np.array([answer.channel_fit[family] for family in config.families])
    total += state.people.responsiveness[rows] + np.array(answer.channel_strength)[channel]
    total += fit[product, channel] + np.array(answer.habituation)[channel] * long
    total += answer.hand_off * _has_lead(config, state, rows, product, waits) * _by_a_person(config)[channel]
    total += answer.follow_up * _takes_up(config, state, rows, channel, waits)
    here = state.stage[rows] != STAGES.index("churned")  # who has left is won back first
    lift = np.array(answer.lift)[product] * (can_buy(config, state, rows)[every, product] & here)
    mass = np.minimum(lift * np.exp(total), np.exp(_MOST_LOG_MASS))
    mass = (
        mass * np.where(engaged, 1.0, answer.halo) * np.where(late, config.capacity.waiting_conversion, 1.0)
    )
    return Masses(state.people.ids[rows], product, state.day + waits, mass)


def log_pressure(config: WorldConfig, state: WorldState, rows: IntArray, ahead: int) -> FloatArray:
    """(n, P) log factor on the hazards of customers `rows`, `ahead` days from the state's day."""
    people, (names, place) = state.people, families_of(config)
    when = _FIRST_DAY(config.start) + timedelta(days=state.day + ahead)
    loadings = config.population.affinity_scale * np.array(
        [config.population.loadings[name] for name in names]
    )
    tastes = people.interests[rows].astype(np.float64) @ loadings.T - 0.5 * (loadings**2).sum(axis=1)
    with np.errstate(divide="ignore"):
        stage = np.log(np.array(config.life_cycle.organic))[state.stage[rows]]
    common = people.effect[rows].astype(np.float64) + stage
    by_family = tastes + _calendar(config, names, when) + _payday(config, state, rows, names, when)
    by_family += _event(config, state, rows, names, ahead) + _recency(config, state, rows, names, ahead)
    market = market_factor(config.market, config.families, state.seed, state.day)
    total: FloatArray = common[:, None] + by_family[:, place] + market
    for link in config.cross_sell:
        owns, lifts = (config.catalogue.level("product", name) for name in (link.owns, link.lifts))
        total[:, lifts] += link.log_factor * _holds(config, state, rows)[:, owns]
    return total


def can_buy(config: WorldConfig, state: WorldState, rows: IntArray) -> BoolArray:
    """(n, P) not held, or bought again and again; only entry products by people who are no customers."""
    entry = np.array([one.name in config.life_cycle.entry_products for one in config.catalogue.products])
    repeatable = np.array([one.repeatable for one in config.catalogue.products])
    outside = state.stage[rows] == STAGES.index("acquisition")
    possible: BoolArray = (~_holds(config, state, rows) | repeatable) & (entry | ~outside[:, None])
    return possible


def _holds(config: WorldConfig, state: WorldState, rows: IntArray) -> BoolArray:
    """(n, P) products held."""
    places = np.arange(len(config.families), dtype=np.uint32)
    holds: BoolArray = (state.owned[rows, None] >> places) % 2 == 1
    return holds


def _calendar(config: WorldConfig, names: list[str], when: date) -> FloatArray:
    """(F,) month, weekday and holidays."""
    season = config.calendar.organic_month[when.month - 1] + config.calendar.organic_weekday[when.weekday()]
    total = np.full(len(names), season)
    for holiday in config.calendar.holidays:
        month, day = map(int, holiday.start.split("-"))
        begins = [date(year, month, day) for year in (when.year - 1, when.year)]
        if any(begin <= when < begin + timedelta(days=holiday.days) for begin in begins):
            rest = holiday.organic.get(_EVERY_FAMILY, 0.0)
            total += np.array([holiday.organic.get(name, rest) for name in names])
    return total


def _payday(
    config: WorldConfig, state: WorldState, rows: IntArray, names: list[str], when: date
) -> FloatArray:
    """(n, F) what is left of the last pay day."""
    paydays = state.people.payday[rows]
    since = np.zeros(rows.size)
    for day_of_month in np.unique(paydays).tolist():
        day = when
        while day.day != day_of_month:
            day -= timedelta(days=1)
        since[paydays == day_of_month] = (when - day).days
    rest = config.calendar.payday.get(_EVERY_FAMILY, 0.0)
    strength = np.array([config.calendar.payday.get(name, rest) for name in names])
    left: FloatArray = 0.5 ** (since / config.calendar.payday_half_life_days)
    return np.outer(left, strength)


def _event(
    config: WorldConfig, state: WorldState, rows: IntArray, names: list[str], ahead: int
) -> FloatArray:
    """(n, F) what is left of the last key event's boost."""
    kinds: dict[str, dict[str, float]] = {kind.name: kind.boosts for kind in config.behaviour.events}
    table = np.array([[kinds.get(event, {}).get(name, 0.0) for name in names] for event in EVENTS])
    own = np.array([kinds.get(event, {}).get(_SAME_FAMILY, 0.0) for event in EVENTS])
    place = families_of(config)[1]
    same = place[state.event_product[rows]][:, None] == np.arange(len(names))
    kind, age = state.event[rows], state.day + ahead - state.event_day[rows].astype(np.int64)
    left = 0.5 ** (np.clip(age, 0, _MOST_DAYS) / config.behaviour.boost_half_life_days)
    boost: FloatArray = (table[kind] + own[kind][:, None] * same) * left[:, None]
    return boost


def _recency(
    config: WorldConfig, state: WorldState, rows: IntArray, names: list[str], ahead: int
) -> FloatArray:
    """(n, F) the family last bought is bought less for a while."""
    since = state.day + ahead - state.bought_day[rows].astype(np.int64)
    band = (since[:, None] > np.array(config.response.recency_days, dtype=np.int64)).sum(axis=1)
    same = _numbered(config, state.bought[rows])[:, None] == np.arange(len(names))
    effect: FloatArray = np.array(config.response.recency)[band][:, None] * same
    return effect


def _has_lead(
    config: WorldConfig, state: WorldState, rows: IntArray, product: IntArray, waits: IntArray
) -> BoolArray:
    """(m,) the customer has lately looked online for what the contact is about."""
    fresh = state.day + waits - state.lead_day[rows].astype(np.int64) < config.response.hand_off_days
    lead: BoolArray = fresh & (_numbered(config, state.lead[rows]) == families_of(config)[1][product])
    return lead


def _numbered(config: WorldConfig, codes: Bytes) -> IntArray:
    """Families that the state keeps as a place in alphabetical order plus 1, as places here; -1 for none."""
    names, _ = families_of(config)
    by_code = np.array([-1, *(names.index(name) for name in sorted(names))])
    return by_code[codes]


def _by_a_person(config: WorldConfig) -> BoolArray:
    """(C,) somebody of the human family speaks, or somebody's minutes are needed."""
    human = [channel.family == "human" for channel in config.catalogue.channels]
    minutes = config.capacity.minutes or (0.0,) * len(human)
    return np.array([one or time > 0 for one, time in zip(human, minutes, strict=True)])


def _takes_up(
    config: WorldConfig, state: WorldState, rows: IntArray, channel: IntArray, waits: IntArray
) -> BoolArray:
    """(m,) the last digital contact brought no interest some days ago, and the channel was not used since."""
    days, kept_since = state.day - np.arange(1, HISTORY_DAYS + 1), state.touched[rows] - HISTORY_DAYS
    made = (state.contacts[rows][:, :, None] >> (days % 64).astype(np.uint64)) & np.uint64(1) > 0
    made &= (days >= kept_since[:, None])[:, None]
    last = np.where(made.any(axis=2), days[made.argmax(axis=2)], -np.inf)
    digital = np.array([one.family == "digital" for one in config.catalogue.channels])
    message = last[:, digital].max(axis=1, initial=-np.inf)
    first, until = config.response.follow_up_days
    since = np.where(state.lead_day[rows] < message, state.day + waits - message, np.inf)
    used = last[np.arange(rows.size), channel] >= message
    takes: BoolArray = (since >= first) & (since <= until) & ~used
    return takes
