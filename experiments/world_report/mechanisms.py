"""Each mechanism of a world at work, asked of the world's own functions, and where its numbers come from."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import gamma

from nba.arrays import FloatArray, IntArray
from simulator.config import STAGES
from simulator.market import market_factor
from simulator.response import Contacts, Odds, odds
from simulator.state import WorldState
from simulator.world import World

CALLS = 8  # contacts in a row
GAP_DAYS = 3  # between two of them
FLOW_DAYS = 180
YEAR = 365
_LONGEST_DELAY = 60  # days shown
_DELAYS = 5  # lines shown
_MOST_FATIGUE = 6.0
_ACTIVITY = ("morning people", "midday people", "evening people", "weekend people")


class Curves(NamedTuple):
    """Lines over one axis, for one plot."""

    key: str
    title: str
    caption: str
    fields: tuple[str, ...]  # of the world's file, whose comments name the source
    x: tuple[float | str, ...]
    x_label: str
    y_label: str
    lines: dict[str, FloatArray]
    bars: bool = False


class Crowd(NamedTuple):
    """A world on its first day, and customers who can be contacted about a product."""

    world: World
    state: WorldState
    rows: IntArray  # (n,)
    product: int


def crowd(world: World, seed: int, customers: int) -> Crowd:
    """Customers (not newcomers, nor gone) who do not hold the first product."""
    state = world.reset(seed, np.arange(customers))
    away = [STAGES.index("acquisition"), STAGES.index("churned")]
    rows = np.flatnonzero(~np.isin(state.stage, away) & (state.owned % 2 == 0))
    return Crowd(world, state, rows, 0)


def by_call(of: Crowd) -> Curves:
    """What one more contact brings: the hazard by contact number, fatigue at work."""
    kernel, catalogue = of.world.config.fatigue, of.world.config.catalogue
    spill, lines = kernel.spill(catalogue), {}
    for c, channel in enumerate(catalogue.channels):
        rates = []
        for call in range(CALLS):
            ages = GAP_DAYS * np.arange(1.0, call + 1)
            counters = kernel.of_contacts(np.full(call, c), ages, spill)
            rates.append(_converts(of, _asked(of, c, counters)))
        lines[channel.name] = 100 * np.array(rates)
    name = catalogue.products[of.product].name
    return Curves(
        "by-call",
        "One contact after the other",
        f"Probability that a contact about {name} causes a conversion, by its number in a row of contacts "
        f"{GAP_DAYS} days apart, mean over customers. Who converts or opts out drops out of a real row; here "
        "nobody does, so this is fatigue alone.",
        ("response.long_fatigue", "response.short_fatigue", "response.lift", "response.habituation"),
        tuple(range(1, CALLS + 1)),
        "contact number",
        "% that convert",
        lines,
    )


def by_fatigue(of: Crowd) -> Curves:
    """Engagement against the long counter."""
    levels, lines = np.linspace(0.0, _MOST_FATIGUE, 13), {}
    catalogue = of.world.config.catalogue
    for c, channel in enumerate(catalogue.channels):
        rates = []
        for level in levels:
            counters = np.zeros((len(catalogue.channels), 2))
            counters[c] = level
            rates.append(float(_asked(of, c, counters).engaged.mean()))
        lines[channel.name] = 100 * np.array(rates)
    return Curves(
        "by-fatigue",
        "Engagement and fatigue",
        "Customers who engage with a contact that they have seen, by the channel's fatigue (both counters at "
        "this level, other channels at rest). The counters halve in "
        f"{of.world.config.fatigue.short_half_life_days:g} and "
        f"{of.world.config.fatigue.long_half_life_days:g} days.",
        ("response.openness", "response.long_fatigue", "fatigue.long_half_life_days"),
        tuple(levels.tolist()),
        "contacts still felt",
        "% engaged",
        lines,
    )


def by_timing(of: Crowd) -> Curves:
    """Engagement by activity class and timing."""
    catalogue, people = of.world.config.catalogue, of.state.people
    counters, lines = np.zeros((len(catalogue.channels), 2)), {}
    for number, name in enumerate(_ACTIVITY):
        some = of._replace(rows=of.rows[people.receptivity[of.rows] == number])
        if some.rows.size:
            rates = [_asked(some, 0, counters, t).engaged.mean() for t in range(len(catalogue.timings))]
            lines[name] = 100 * np.array(rates)
    return Curves(
        "by-timing",
        "When people listen",
        f"Customers who engage with a message on {catalogue.channels[0].name} that they have seen, by their "
        "true activity class. The bank sees the class of some customers wrongly.",
        ("response.receptivity", "population.receptivity_error"),
        tuple(timing.name for timing in catalogue.timings),
        "",
        "% engaged",
        lines,
        bars=True,
    )


def by_delay(of: Crowd) -> Curves:
    """How long decisions take."""
    config, days = of.world.laws.config, np.arange(_LONGEST_DELAY + 1.0)
    shape, lines = config.response.delay_shape, {}
    of_delay = {product.decision_delay_days: product for product in config.catalogue.products}
    products = [of_delay[delay] for delay in sorted(of_delay)]
    for product in products[:: -(-len(products) // _DELAYS)]:
        lines[product.name] = 100 * gamma.cdf(days, shape, scale=product.decision_delay_days / shape)
    return Curves(
        "by-delay",
        "From contact to conversion",
        "Share of the conversions that a contact causes by days after it, for products from the quickest to "
        "the slowest decision. A conversion after the attribution window is not credited to anything.",
        ("response.delay_shape",),
        tuple(days.tolist()),
        "days after the contact",
        "% converted",
        lines,
    )


def stage_flow(of: Crowd) -> Curves:
    """Where customers go if nobody contacts them."""
    world, state, shares = of.world, of.state, []
    nobody = np.zeros(0, dtype=np.int64)
    for _ in range(FLOW_DAYS):
        shares.append(np.bincount(state.stage, minlength=len(STAGES)) / state.stage.size)
        state, _ = world.advance(state, nobody, nobody, world.respond(state, nobody, nobody))
    table = 100 * np.array(shares)
    return Curves(
        "stage-flow",
        "Stages of the life cycle",
        f"Customers in each stage over {FLOW_DAYS} days without any contact. The shares of the first day are "
        "assumed and drift towards what the transitions imply: where lines bend much, a run starts far from "
        "the world's own balance.",
        ("life_cycle.shares", "life_cycle.transitions"),
        tuple(range(FLOW_DAYS)),
        "day",
        "% of customers",
        {name: table[:, number] for number, name in enumerate(STAGES)},
    )


def season(of: Crowd) -> Curves:
    """What the date does to hazards in a year."""
    world, config = of.world, of.world.laws.config
    first: dict[str, int] = {}
    for place, family in enumerate(config.families):
        first.setdefault(family, place)
    days = np.arange(YEAR)
    calendar = np.array([world.today(of.state._replace(day=int(day))).organic[0] for day in days])
    market = [market_factor(config.market, config.families, of.state.seed, int(day)) for day in days]
    factors, week = np.exp(calendar), np.ones(7) / 7
    smooth = [np.convolve(factors[:, place], week, "valid") for place in first.values()]
    moved = np.exp(np.array(market)).mean(axis=1)
    return Curves(
        "season",
        "A year of the market",
        "Factor on the organic hazard of each product family by date, mean of a week: seasons, holidays, "
        "drift, breaks and competitors of one seed. Another seed has another market; this one ends at "
        f"{moved[-1]:.2f} times its start.",
        ("calendar.organic_month", "calendar.payday", "market.drift_sd_weekly", "market.regime_sd"),
        tuple(days[3:-3].tolist()),
        f"days from {config.start}",
        "factor",
        dict(zip(first, smooth, strict=True)),
    )


MECHANISMS = (by_call, by_fatigue, by_timing, by_delay, stage_flow, season)


def _asked(of: Crowd, channel: int, counters: FloatArray, timing: int = 0) -> Odds:
    """The odds of one contact with everybody, who all carry the counters (C, 2); made today."""
    calm = np.zeros_like(of.rows)
    own = counters[channel]
    contacts = Contacts(
        rows=of.rows,
        channels=calm + channel,
        timings=calm + timing,
        products=calm + of.product,
        waits=calm,
        short=calm + own[0],
        long=calm + own[1],
        other=calm + counters[:, 1].sum() - own[1],
    )
    laws = of.world.laws
    return odds(laws.contact, laws.hazards, of.world.today(of.state), of.state, contacts)


def _converts(of: Crowd, chances: Odds) -> float:
    return float(chances.converts(of.world.laws.config.response.halo).mean())
