"""The contacts that a log says were made, and what must hold of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from experiments.world_report.check import Check
from experiments.world_report.formulas import amounts
from experiments.world_report.trace import Trace
from nba.arrays import BoolArray, FloatArray, IntArray
from nba.constraints import Consent
from simulator.mechanisms import switched

_HALF = 2.0**-11  # relative rounding of a 16-bit number
_HALF_LEAST = 2.0**-24
_WORKDAYS = 5


class Made(NamedTuple):
    """Contacts by customer and day of the contact."""

    entry: IntArray  # (k,) place in the log of decisions
    customer: IntArray  # (k,)
    decided: IntArray  # (k,) day
    day: IntArray  # (k,) of the contact
    channel: IntArray  # (k,)
    product: IntArray  # (k,)


def made(run: Trace) -> Made:
    """Everything that was decided and not refused."""
    log, catalogue = run.decisions, run.world.config.catalogue
    index = np.flatnonzero((log.action > 0) & ~log.refused)
    index = index[np.lexsort((log.contact_day[index], log.customer[index]))]
    action = log.action[index]
    return Made(
        index,
        log.customer[index],
        log.day[index],
        log.contact_day[index],
        catalogue.channel_of[action],
        catalogue.product_of[action],
    )


def funnel(run: Trace) -> Check:
    """Nothing without what comes before it."""
    log = run.decisions
    chain = (log.action > 0, ~log.refused, log.delivered, log.seen, log.engaged)
    broken = sum(int((later & ~earlier).sum()) for earlier, later in zip(chain[1:], chain[2:], strict=False))
    broken += int(((log.opted_out | log.complained) & ~log.delivered).sum())
    broken += int((log.delivered & ~chain[0]).sum())
    return Check(
        name="funnel",
        what="only what was made is delivered, only that is seen, only that is engaged with; opt-outs and "
        "complaints need a delivered contact",
        cases=log.action.size,
        violations=broken,
    )


def consent(run: Trace) -> Check:
    """Contacts on channels that the customer had left, or never agreed to."""
    one, log = made(run), run.decisions
    what = "nobody is contacted on a channel without consent, or on a later day than the opt-out from it"
    if not any(isinstance(rule, Consent) for rule in run.world.config.contact.rules):
        detail = "this bank has no rule of consent"
        return Check(name="consent", what=what, cases=0, violations=0, detail=detail)
    row = np.searchsorted(run.ids, one.customer)
    agreed = (run.consents[0][row] >> one.channel.astype(np.uint16)) % 2 == 1
    left = np.full((run.ids.size, len(run.world.config.catalogue.channels)), np.iinfo(np.int64).max)
    gone = log.opted_out[one.entry]
    np.minimum.at(left, (row[gone], one.channel[gone]), one.day[gone])
    after = one.day > left[row, one.channel]
    planned = after & (one.decided <= left[row, one.channel])
    return Check(
        name="consent",
        what=what,
        cases=one.day.size,
        violations=int((after | ~agreed).sum()),
        detail=f"{int(gone.sum())} opt-outs; {int(planned.sum())} contacts after one were planned before",
    )


def platform_limits(run: Trace) -> Check:
    """More contacts than the channel lets through, or two on one channel and day."""
    one, config = made(run), switched(run.world.config)
    n_channels = len(config.catalogue.channels)
    lines = one.customer * n_channels + one.channel
    broken, cases = _too_close(lines, one.day, 1, 1), one.day.size
    for limit in config.response.platform_limits:
        some = one.channel == config.catalogue.level("channel", limit.channel)
        broken += _too_close(one.customer[some], one.day[some], limit.contacts, limit.days)
        cases += int(some.sum())
    return Check(
        name="platform limits",
        what="no window of days holds more contacts than the channel's own cap; one a channel and day",
        cases=cases,
        violations=broken,
        detail=f"{int(run.decisions.refused.sum())} contacts were refused",
    )


def _too_close(subject: IntArray, day: IntArray, contacts: int, days: int) -> int:
    """How often a subject has more than `contacts` contacts in less than `days` days."""
    order = np.lexsort((day, subject))
    subject, day = subject[order], day[order]
    near = day[contacts:] - day[: day.size - contacts] < days
    return int((near & (subject[contacts:] == subject[: day.size - contacts])).sum())


def capacity(run: Trace) -> Check:
    """People's minutes, added up from the log, against the book and the working day."""
    config = switched(run.world.config)
    people, (n_days, n_branches, n_pools) = config.capacity, run.minutes.shape
    if people.is_off:
        return Check(name="capacity", what="nobody's time is needed in this world", cases=0, violations=0)
    one = made(run)
    pool = np.array([people.pools.index(name) if name else -1 for name in people.pool_of])[one.channel]
    answered = run.decisions.delivered[one.entry]
    minutes = np.where(
        answered, np.array(people.minutes)[one.channel], np.array(people.unanswered_minutes)[one.channel]
    )
    branch = one.customer // config.population.branch_customers
    branch = branch - run.ids[0] // config.population.branch_customers
    used = np.zeros(run.minutes.shape)
    some = (pool >= 0) & (one.day < n_days)
    np.add.at(used, (one.day[some], branch[some], pool[some]), minutes[some])
    weekday = [int(run.world.date(day).astype(np.int64) + 3) % 7 for day in range(n_days)]
    most = np.array([_open(people.works_weekends, people.daily_minutes, day) for day in weekday])[:, None, :]
    wrong = (used != run.minutes) | (run.minutes < 0.0) | (run.minutes > most) | (used > most)
    return Check(
        name="capacity",
        what="minutes of people, added up from the log, are those of the appointment book; never below 0, "
        "never above a working day",
        cases=n_days * n_branches * n_pools,
        violations=int(wrong.sum()),
        detail=f"{used.sum():,.0f} minutes served, fullest day {(used / np.maximum(most, 1)).max():.0%}",
    )


def _open(works_weekends: dict[str, bool], daily_minutes: dict[str, float], weekday: int) -> list[float]:
    """Minutes of each pool on a day of the week, Monday 0."""
    return [
        minutes if weekday < _WORKDAYS or works_weekends.get(pool, False) else 0.0
        for pool, minutes in daily_minutes.items()
    ]


def fatigue(run: Trace) -> Check:
    """The counters that decisions met, computed again from the contacts before them."""
    wanted, touches = counters(run)
    room = (touches[:, None, None] + 2) * (_HALF * wanted + _HALF_LEAST)
    wrong = np.abs(run.fatigue - wanted) > room
    worst = float((np.abs(run.fatigue - wanted) / np.maximum(wanted, 1.0)).max(initial=0.0))
    return Check(
        name="fatigue",
        what="short and long counters of every channel at every decision follow from the log of contacts, "
        "within the rounding of 16-bit numbers",
        cases=wrong.size,
        violations=int(wrong.sum()),
        detail=f"largest difference {worst:.1e}",
    )


def counters(run: Trace) -> tuple[FloatArray, IntArray]:
    """(n, C, 2) counters before each decision, and (n,) by how many contacts they were touched."""
    one, log, config = made(run), run.decisions, switched(run.world.config)
    spill = _spill(config.catalogue.channels, config.fatigue.within_family, config.fatigue.across_families)
    halves = np.array([config.fatigue.short_half_life_days, config.fatigue.long_half_life_days])
    total, touches = np.zeros(run.fatigue.shape), np.zeros(log.day.size, dtype=np.int64)
    ends = np.searchsorted(one.customer, log.customer, side="right")
    starts = np.searchsorted(one.customer, log.customer, side="left")
    for place in range(int((ends - starts).max(initial=0))):  # the customer's first contact, then the second
        some = np.flatnonzero(starts + place < ends)
        contact = starts[some] + place
        before = one.day[contact] < log.day[some]
        some, contact = some[before], contact[before]
        left = 0.5 ** ((log.day[some] - one.day[contact])[:, None] / halves)
        total[some] += spill[one.channel[contact]][:, :, None] * left[:, None, :]
        touches[some] += 1
    return total, touches


def _spill(channels: tuple[object, ...], within: float, across: float) -> FloatArray:
    """(C, C) what a contact in the row's channel adds to the column's counters."""
    families = [getattr(channel, "family", "") for channel in channels]
    rows = [
        [1.0 if i == j else within if families[i] == families[j] else across for j in range(len(families))]
        for i in range(len(families))
    ]
    return np.array(rows)


def money(run: Trace) -> Check:
    """Costs and losses, from the prices of the file, and amounts from its margins."""
    log, config = run.decisions, switched(run.world.config)
    channel = config.catalogue.channel_of[log.action]
    reached = (log.action > 0) & ~log.refused
    price = np.array([one.cost for one in config.catalogue.channels])
    left, loud = np.array(config.response.opt_out.cost), config.response.complaint.cost
    cost = np.where(reached, price[channel], 0.0)
    loss = np.where(log.opted_out, left[channel], 0.0) + loud * log.complained
    wrong: BoolArray = ~np.isclose(log.cost, cost) | ~np.isclose(log.loss, loss)
    sold = run.sales
    wealth = run.wealth[np.searchsorted(run.ids, sold.customer)]
    amount = amounts(config, run.seed, wealth, sold.customer, sold.day, sold.product)
    return Check(
        name="money",
        what="costs and losses are the prices of the world's file, for what was made and no more, and "
        "amounts are its margins times the factors of wealth and chance",
        cases=log.action.size + amount.size,
        violations=int(wrong.sum()) + int((~np.isclose(sold.amount, amount)).sum()),
    )
