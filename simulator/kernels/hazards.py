"""The sums behind hazards and odds, cell by cell (see simulator.hazards and simulator.response).

Kernels unpack their tuples of arrays before their loops: Numba counts references at every access to one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nba.arrays import FloatArray, IntArray
from simulator.config import N_INTERESTS
from simulator.hazards import ACQUISITION, LONGEST_BOOST, NOTHING, HazardLaw
from simulator.kernels.jit import from_half, halves, jit
from simulator.population import DIGITAL_LEVELS, STEPS
from simulator.response import ELDERLY_AGE, ContactLaw, Contacts, Logs
from simulator.state import WorldState
from simulator.today import Today


def organic_logs(law: HazardLaw, now: Today, state: WorldState, rows: IntArray) -> FloatArray:
    """(n, P) the log factors of hazards.organic_logs."""
    logs, season = np.empty((rows.size, law.organic.size)), now.calendar[:, 0].copy()
    _tables(_law(law), law.recency, _who(state, rows), state.day, season, -np.inf, logs)
    return logs


def ceiling_logs(law: HazardLaw, state: WorldState, rows: IntArray) -> FloatArray:
    """(n, P) the log factors of hazards.ceiling_logs: no season, and no boost below 0."""
    logs, season = np.empty((rows.size, law.organic.size)), np.zeros((256, law.organic.size))
    _tables(_law(law), law.recency_ahead, _who(state, rows), state.day, season, 0.0, logs)
    return logs


def logs(law: ContactLaw, hazards: HazardLaw, now: Today, state: WorldState, one: Contacts) -> Logs:
    """The sums of response.logs, of one contact each."""
    found, tastes, people = np.empty((4, one.rows.size)), np.empty(one.rows.size), state.people
    met = one[:8]  # what a contact takes up is no part of the sums
    where = (one.products, one.waits)
    _pressures(
        _law(hazards),
        hazards.recency,
        _who(state, one.rows),
        where,
        state.day,
        now.calendar,
        tastes,
        found[1],
    )
    logit = (law.openness, law.digital_loading, law.stage, law.receptivity, law.week_class, law.is_digital)
    listens = (state.stage, people.preference, people.digital, people.receptivity, people.week_class)
    slopes = (*law.fatigue, *law.return_flow)
    days = (state.day, now.weekday, now.engagement)
    _engagements(logit, slopes, (*listens, state.human), met, days, found[0])
    lift = (law.log_lift, law.fit, law.habituation, hazards.family, law.is_personal)
    wants = (halves(people.responsiveness), state.lead, state.lead_day)
    _lifts(lift, law.hand_off, wants, met, state.day, found[1])
    loud = (law.complaint_elderly, law.risk, people.age, people.risk)
    _troubles(loud, (*law.opt_out_slopes, *law.complaint_slopes), met, tastes, found[2:])
    return Logs(*found)


def picked(weights: FloatArray, levels: FloatArray, of_total: bool = False) -> IntArray:
    """(n,) the columns of hazards.picked."""
    found = np.empty(levels.size, dtype=np.int64)
    _picked(weights, levels, of_total, found)
    return found


def _law(law: HazardLaw) -> tuple[Any, ...]:
    """What all hazards are made of."""
    masks = (np.int64(law.repeatable_mask), np.int64(law.entry_mask))
    boosts = (law.boost, law.boost_left, law.recency_days)
    return law.level, law.loadings, law.stage, law.cross_places, law.cross, *boosts, *masks


def _who(state: WorldState, rows: IntArray) -> tuple[Any, ...]:
    """What the hazards of customers `rows` depend on, gathered by NumPy (see remembered)."""
    people = state.people
    traits = (halves(people.interests), halves(people.effect), people.payday)
    event = (state.event, state.event_product, state.event_day)
    parts = (*traits, state.stage, state.owned, *event, state.bought, state.bought_day)
    return tuple(part.take(rows, axis=0) for part in parts)


@jit
def _picked(weights: Any, levels: Any, of_total: Any, found: Any) -> None:
    for n in range(levels.size):
        level, total, column = levels[n], 0.0, 0
        if of_total:
            for weight in weights[n]:
                total += weight
            level, total = level * total, 0.0
        for weight in weights[n]:
            total += weight
            column += total <= level
        found[n] = column


@jit
def _tastes(all_interests: Any, i: Any, interests: Any) -> None:
    for interest in range(N_INTERESTS):
        interests[interest] = from_half(all_interests[i, interest])


@jit
def _affinity(level: Any, loadings: Any, interests: Any, p: Any) -> Any:
    total = level[p]
    for interest in range(N_INTERESTS):
        total += interests[interest] * loadings[p, interest]
    return total


@jit
def _crossed(total: Any, places: Any, cross: Any, owned: Any, p: Any) -> Any:
    """The sum with what comes of the products held."""
    for byte in range(places.size):
        total += cross[byte, (owned >> places[byte]) & np.uint32(255), p]
    return total


@jit
def _left(boost_left: Any, age: Any) -> Any:
    return boost_left[min(max(age, 0), LONGEST_BOOST - 1)]


@jit
def _band(recency_days: Any, since: Any) -> Any:
    band = 0
    while band < recency_days.size and recency_days[band] < since:
        band += 1
    return band


@jit
def _can(owned: Any, stage: Any, repeatable: Any, entry: Any) -> Any:
    """Bits of what can be bought."""
    mask = ~np.int64(owned) | repeatable
    return mask & entry if stage == ACQUISITION else mask


@jit
def _tables(law: Any, recency: Any, who: Any, day: Any, calendar: Any, floor: Any, logs: Any) -> None:
    level, loadings, stage_log, places, cross, boost, boost_left, recency_days, repeatable, entry = law
    all_interests, effect, payday, stage, owned, event, about, event_day, bought, bought_day = who
    loadings = loadings.T.copy()  # products next to each other, so that the processor takes some at once
    tastes, products = np.empty(N_INTERESTS), range(logs.shape[1])
    for n in range(stage.size):
        _tastes(all_interests, n, tastes)
        base = from_half(effect[n]) + stage_log[stage[n]]
        for p in products:
            total = level[p]
            for interest in range(N_INTERESTS):
                total += tastes[interest] * loadings[interest, p]
            logs[n, p] = total + base
        for byte in range(places.size):
            held = (owned[n] >> places[byte]) & np.uint32(255)
            for p in products:
                logs[n, p] += cross[byte, held, p]
        left, season, kind, one = _left(boost_left, day - event_day[n]), payday[n], event[n], about[n]
        last, band = bought[n], _band(recency_days, day - bought_day[n])
        can = _can(owned[n], stage[n], repeatable, entry)
        for p in products:
            total = logs[n, p] + calendar[season, p] + max(boost[kind, one, p] * left, floor)
            logs[n, p] = total + recency[last, band, p] if (can >> p) & 1 else NOTHING


@jit
def _pressures(
    law: Any, recency: Any, who: Any, where: Any, day: Any, calendar: Any, tastes: Any, logs: Any
) -> None:
    level, loadings, stage_log, places, cross, boost, boost_left, recency_days, repeatable, entry = law
    all_interests, effect, payday, stage, owned, event, about, event_day, bought, bought_day = who
    products, waits = where
    interests = np.empty(N_INTERESTS)
    for n in range(stage.size):
        p, then = products[n], day + waits[n]
        _tastes(all_interests, n, interests)
        tastes[n] = _affinity(level, loadings, interests, p)
        total = tastes[n] + (from_half(effect[n]) + stage_log[stage[n]])
        total = _crossed(total, places, cross, owned[n], p) + calendar[payday[n], waits[n], p]
        total += boost[event[n], about[n], p] * _left(boost_left, then - event_day[n])
        total += recency[bought[n], _band(recency_days, then - bought_day[n]), p]
        can = _can(owned[n], stage[n], repeatable, entry)
        logs[n] = total if (can >> p) & 1 else NOTHING


@jit
def _engagements(law: Any, slopes: Any, who: Any, one: Any, days: Any, logits: Any) -> None:
    openness, digital_loading, of_stage, of_timing, of_week, is_digital = law
    stage, preference, digital, receptivity, week_class, human = who
    rows, channels, timings, _, waits, shorts, longs, others = one
    short, long, cross, return_flow, return_days = slopes
    day, weekday, season = days
    for n in range(rows.size):
        i, c, wait = rows[n], channels[n], waits[n]
        by_channel = openness[c] + preference[i, c] / STEPS
        by_channel += digital_loading[c] * (digital[i] / DIGITAL_LEVELS - 0.5)
        by_channel += of_stage[stage[i]]
        by_channel -= short * shorts[n]
        by_channel -= long * longs[n]
        by_channel -= cross * others[n]
        by_timing = of_timing[receptivity[i], timings[n]] + of_week[week_class[i], weekday[wait]]
        by_timing += season[wait]
        if is_digital[c] and 0 <= day + wait - human[i] < return_days:
            by_timing += return_flow
        logits[n] = by_channel + by_timing


@jit
def _lifts(law: Any, hand_off: Any, who: Any, one: Any, day: Any, logs: Any) -> None:
    """From the pressure of the hazards to the log of the extra conversions."""
    log_lift, fit, habituation, family, is_personal = law
    responsiveness, lead, lead_day = who
    rows, channels, _, products, waits, _, longs, _ = one
    log_factor, days = hand_off
    for n in range(rows.size):
        i, c, p = rows[n], channels[n], products[n]
        by_channel = fit[c, p] + habituation[c] * longs[n]
        is_lead = lead[i] == family[p] + 1 and 0 <= day + waits[n] - lead_day[i] < days
        if is_lead and is_personal[c]:
            by_channel += log_factor
        logs[n] = log_lift[p] + from_half(responsiveness[i]) + logs[n] + by_channel


@jit
def _troubles(law: Any, slopes: Any, one: Any, tastes: Any, logs: Any) -> None:
    """Log factors on the hazards of opting out and of complaining."""
    elderly, product_risk, age, risk = law
    rows, channels, _, products, _, _, longs, _ = one
    by_fatigue, by_irrelevance, loud_fatigue, loud_irrelevance, if_unsuitable = slopes
    for n in range(rows.size):
        i, dislike = rows[n], max(-tastes[n], 0.0)
        logs[0, n] = by_fatigue * longs[n] + by_irrelevance * dislike
        loud = loud_fatigue * longs[n] + loud_irrelevance * dislike
        loud += elderly[channels[n]] * (age[i] >= ELDERLY_AGE)
        logs[1, n] = loud + if_unsuitable * (product_risk[products[n]] > risk[i])
