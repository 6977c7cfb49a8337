"""What becomes of the contacts of a day, and what customers remember of them."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv

from nba.arrays import BoolArray, FloatArray, IntArray, join_rows, take_rows
from nba.randomness import Purpose
from simulator.capacity import appoint, given_back, minutes_used
from simulator.config import LONGEST_WAIT_DAYS
from simulator.follow_up import taken_up
from simulator.laws import Laws
from simulator.memory import Booking, contacts_in_window, days_ahead
from simulator.observation import chosen_waits
from simulator.response import Contacts, odds
from simulator.screen import uniform
from simulator.state import Memory, Pending, Responses, WorldState
from simulator.today import Today

Words: TypeAlias = NDArray[np.uint32]
_DELIVERY, _SEEN, _ENGAGED, _OPT_OUT = range(4)  # words of the first block of a contact
_LOW = 2**31 - 1
_CLOCK_HIGH, _CLOCK_LOW, _COMPLAINT, _ORDER = range(4)  # words of the second
_SLACK = 1.0 + 1e-9  # a bound that is looked behind must not be rounded below what it bounds


class Chosen(NamedTuple):
    """The contacts that were decided, as index arrays (k,)."""

    decisions: IntArray  # row of the decision
    rows: IntArray  # of the customer
    channels: IntArray
    timings: IntArray
    products: IntArray

    @staticmethod
    def of(laws: Laws, rows: IntArray, actions: IntArray) -> Chosen:
        """The contacts among the decisions `actions` (B,) of customers `rows` (B,)."""
        index = np.flatnonzero(actions > 0)
        channel_of, timing_of, product_of = laws.factors
        acts = actions[index]
        return Chosen(index, rows[index], channel_of.take(acts), timing_of.take(acts), product_of.take(acts))


class _Time(NamedTuple):
    """When contacts are made, if they are."""

    waits: IntArray  # (k,)
    queued: IntArray  # (k,)
    refused: BoolArray  # (k,)
    book: NDArray[np.float32]


def respond(laws: Laws, now: Today, state: WorldState, rows: IntArray, actions: IntArray) -> Responses:
    """How customers `rows` (B,) answer `actions` (B,)."""
    one = Chosen.of(laws, rows, actions)
    ids = state.people.ids[one.rows]
    first = laws.engine.words(state.seed, Purpose.CONTACT, ids, state.day, 0)
    second = laws.engine.words(state.seed, Purpose.CONTACT, ids, state.day, 1)
    answered = uniform(first[:, _DELIVERY]) < laws.contact.delivery[one.channels]
    memory = laws.engine.remembered(state, one.rows, state.day, laws.kernel, laws.spill)
    wanted = chosen_waits(laws, now, state, one.rows, one.timings)
    time = _timed(laws, now, state, one, memory, wanted, answered, second[:, _ORDER])
    met = np.flatnonzero(answered & ~time.refused)
    _, who, channels, timings, products = take_rows(one, met)
    fatigue = laws.engine.met(memory, met, channels)
    meeting = Contacts(who, channels, timings, products, time.waits.take(met), *fatigue)
    if laws.contact.follow_up[0]:
        asked = (memory.contacts, met, channels, meeting.waits)
        meeting = meeting._replace(takes_up=taken_up(laws.contact, state, one.rows, *asked))
    first, second = first.T.take(met, axis=1), second.T.take(met, axis=1)
    answers = _answers(laws, now, state, meeting, time.queued[met] > 0, first, second)

    def spread(part: NDArray[Any], index: IntArray, fill: float = 0) -> NDArray[Any]:
        whole = np.full(rows.size, fill, dtype=part.dtype)
        whole[index] = part
        return whole

    decided, reached = one.decisions, one.decisions[met]
    return Responses(
        contacted=spread(~time.refused, decided),
        refused=spread(time.refused, decided),
        delivered=spread(np.ones(met.size, dtype=np.bool_), reached),
        seen=spread(answers.seen, reached),
        engaged=spread(answers.engaged, reached),
        opted_out=spread(answers.opted_out, reached),
        complained=spread(answers.complained, reached),
        waits=spread(time.waits, decided),
        queued=spread(time.queued, decided),
        due=spread(answers.due, reached, -1),
        costs=spread(laws.costs[one.channels] * ~time.refused, decided),
        losses=spread(answers.losses, reached),
        book=time.book,
        memory=memory,
    )


class _Answers(NamedTuple):
    """What customers whom a contact has reached do about it."""

    seen: BoolArray  # (m,)
    engaged: BoolArray  # (m,)
    opted_out: BoolArray  # (m,)
    complained: BoolArray  # (m,)
    due: IntArray  # (m,)
    losses: FloatArray  # (m,)


def _answers(
    laws: Laws, now: Today, state: WorldState, one: Contacts, late: BoolArray, first: Words, second: Words
) -> _Answers:
    """The answers to contacts that were delivered, `late` (m,) or not, by their words (4, m)."""
    config = laws.config.response
    chances = odds(laws.contact, laws.hazards, now, state, one, laws.engine.logs)
    seen = uniform(first[_SEEN]) < chances.seen
    engaged = seen & (uniform(first[_ENGAGED]) < chances.engaged)
    complaint = chances.complaint * np.where(late, laws.capacity.waiting_complaint, 1.0)
    opted_out = _rings(uniform(first[_OPT_OUT]), chances.opt_out)
    complained = _rings(uniform(second[_COMPLAINT]), complaint)
    mass = chances.mass * seen * np.where(engaged, 1.0, config.halo)
    mass = mass * np.where(late, laws.capacity.waiting_conversion, 1.0)
    due = _due_days(laws, state.day + one.waits, one.products, mass, second)
    losses = laws.opt_out_cost[one.channels] * opted_out + config.complaint.cost * complained
    return _Answers(seen, engaged, opted_out, complained, due, losses)


def _timed(
    laws: Laws,
    now: Today,
    state: WorldState,
    one: Chosen,
    memory: Memory,
    wanted: IntArray,
    answered: BoolArray,
    order: NDArray[np.uint32],
) -> _Time:
    """When each contact is made: as wanted, or when somebody has time; refused by caps and full books."""
    # A channel takes no further contact with a customer while one is planned on it: so there is one a day
    # at most, and none after an opt-out.
    ahead = memory.contacts[np.arange(one.rows.size), one.channels] & days_ahead(state.day)
    refused = ahead != 0
    for channel, most, within in laws.limits:
        index = np.flatnonzero(one.channels == channel)
        refused[index] |= contacts_in_window(memory.contacts[index, channel], state.day, within) >= most
    if laws.capacity.is_off:
        return _Time(wanted, np.zeros_like(wanted), refused, state.book)
    minutes = minutes_used(laws.capacity, one.channels, answered)
    size, ids = laws.config.population.branch_customers, state.people.ids[one.rows]
    branches = ids // size - state.people.ids[0] // size
    weekday = int(now.weekday[0])
    booked = appoint(
        laws.capacity,
        state.book,
        state.day,
        weekday,
        branches,
        one.channels,
        wanted,
        np.where(refused, 0, minutes),
        (order.astype(np.uint64) << np.uint64(31)) | (ids & _LOW).astype(np.uint64),
        laws.engine.served,
    )
    too_late = booked.waits > LONGEST_WAIT_DAYS  # nobody makes appointments beyond the days that are kept
    undone = too_late & ~refused & ~booked.refused
    days = state.day + booked.waits
    book = booked.book
    if undone.any():
        book = given_back(
            laws.capacity, book, days[undone], branches[undone], one.channels[undone], minutes[undone]
        )
    refused |= booked.refused | too_late
    waits = np.where(refused, wanted, booked.waits)
    return _Time(waits, waits - wanted, refused, book)


def _rings(uniforms: FloatArray, hazard: FloatArray) -> BoolArray:
    """Tell whose clock rings in a unit of time, at a rate (k,); a hazard bounds its probability."""
    rings = uniforms < hazard * _SLACK
    close = np.flatnonzero(rings)
    rings[close] = uniforms[close] < -np.expm1(-hazard[close])
    return rings


def _due_days(laws: Laws, day: IntArray, products: IntArray, mass: FloatArray, words: Words) -> IntArray:
    """(k,) day on which a contact's own hazard clock rings, -1 if never.

    The cumulative hazard of a contact rises to `mass` along the completion curve of its product, a gamma
    distribution, so it rings at the curve's quantile E / mass for an exponential E (competing hazards
    have independent clocks; the first one counts).
    """
    high, low = (words[word].astype(np.float64) for word in (_CLOCK_HIGH, _CLOCK_LOW))
    uniforms = (high + low / 2.0**32) / 2.0**32
    close = np.flatnonzero(uniforms < mass * _SLACK)  # no clock is below its uniform
    clock = -np.log1p(-uniforms[close])
    some = clock < mass[close]
    rings, clock = close[some], clock[some]
    shape = laws.config.response.delay_shape
    share = np.minimum(clock / mass[rings], 1 - 1e-12)
    delay = gammaincinv(shape, share) * laws.delays[products[rings]] / shape
    due = np.full(mass.size, -1, dtype=np.int64)
    due[rings] = day[rings] + np.floor(delay).astype(np.int64)
    return due


def contacted(
    laws: Laws, state: WorldState, rows: IntArray, actions: IntArray, seen: Responses
) -> WorldState:
    """Book the day's contacts: history, fatigue, offers, consents, engagement, leads, pending conversions."""
    every, state = Chosen.of(laws, rows, actions), state._replace(book=seen.book)
    among = np.flatnonzero(seen.contacted[every.decisions])
    one = take_rows(every, among)
    if one.rows.size == 0:
        return state
    day, wait, engaged = state.day, seen.waits.take(one.decisions), seen.engaged.take(one.decisions)
    new = Booking(among, one.rows, one.channels, one.products, wait, engaged)
    state = laws.engine.booked(state, seen.memory, new, laws.kernel, laws.spill)
    consents, human, complaint = state.consents.copy(), state.human.copy(), state.complaint.copy()
    gone, loud = (np.flatnonzero(part.take(one.decisions)) for part in (seen.opted_out, seen.complained))
    consents[one.rows[gone]] &= ~(np.uint16(1) << one.channels[gone].astype(np.uint16))
    spoke = np.flatnonzero(seen.delivered.take(one.decisions) & laws.contact.is_personal.take(one.channels))
    human[one.rows[spoke]] = day + wait[spoke]
    complaint[one.rows[loud]] = day + wait[loud]
    lead, lead_day = state.lead.copy(), state.lead_day.copy()
    online = np.flatnonzero(engaged & laws.contact.is_digital.take(one.channels))
    lead[one.rows[online]] = laws.hazards.family[one.products[online]] + 1
    lead_day[one.rows[online]] = day + wait[online]
    due = seen.due.take(one.decisions)
    coming = np.flatnonzero(due >= 0)
    later = Pending(one.rows[coming], one.products[coming], due[coming])
    return state._replace(
        consents=consents,
        human=human,
        complaint=complaint,
        lead=lead,
        lead_day=lead_day,
        pending=join_rows([state.pending, later]),
    )
