"""Logins and key events: what customers do between contacts, and what it makes likely."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nba.arrays import BoolArray, FloatArray, IntArray
from nba.randomness import Purpose, words_to_uniforms
from simulator.config import EVENTS, TIMING_TYPES, EventKind, WorldConfig
from simulator.hazards import ACQUISITION, HazardLaw, organic_hazards, product_mask
from simulator.life_cycle import CHURNED, balance_trend
from simulator.population import DIGITAL_LEVELS, Bytes
from simulator.state import WorldState
from simulator.today import Today

if TYPE_CHECKING:
    from simulator.laws import Laws

ACCOUNT_OPENED, COMPLAINT, INVITED = (
    EVENTS.index(name) for name in ("account_opened", "complaint", "invited")
)
_ABOUT_A_PRODUCT = np.isin(EVENTS, ("browse", "application_started", "application_abandoned"))  # (K,)
_LEAP_DAY = 60  # of the year
_ANY = 1e-30  # who is not likely to buy anything looks at anything
_MOST_LOGINS = 0.95  # per day
SPECIAL, KEY_DAY = TIMING_TYPES.index("special"), TIMING_TYPES.index("key_day")


class BehaviourLaw(NamedTuple):
    """The coefficients as arrays; K event kinds, the first of them none."""

    login: FloatArray  # (8, 256) probability by stage and digital index
    rate: FloatArray  # (256, K) per day by digital index
    owners: IntArray  # (K,) mask of products of which one must be held, 0 if none
    bound: float  # most likely that a customer has any event on a day
    balance: FloatArray  # (K,)
    timing: IntArray  # (K,) index in TIMING_TYPES
    decides: BoolArray  # (K,)

    @staticmethod
    def of(config: WorldConfig) -> BehaviourLaw:
        """Read a configuration."""
        kinds: dict[str, EventKind] = {kind.name: kind for kind in config.behaviour.events}
        known = [kinds.get(name) for name in EVENTS]
        index = np.arange(DIGITAL_LEVELS + 1) / DIGITAL_LEVELS - 0.5
        stage = np.array(config.life_cycle.login)
        login = config.behaviour.login * np.exp(config.behaviour.login_digital * index)
        rate = np.array([kind.per_day if kind else 0.0 for kind in known])
        digital = np.array([kind.digital if kind else 0.0 for kind in known])
        families = np.array(config.families)
        return BehaviourLaw(
            login=np.minimum(stage[:, None] * login, _MOST_LOGINS),
            rate=rate * np.exp(digital * index[:, None]),
            owners=np.array(
                [product_mask(families == kind.owns) if kind else 0 for kind in known], dtype=np.int64
            ),
            bound=float((rate * np.exp(0.5 * np.abs(digital))).sum()),
            balance=np.array([kind.balance if kind else 0.0 for kind in known]),
            timing=np.array([TIMING_TYPES.index(kind.timing) if kind else 0 for kind in known]),
            decides=np.array([bool(kind and kind.decides) for kind in known]),
        )


class Happening(NamedTuple):
    """Key events of one day, at most one per customer."""

    rows: IntArray  # (n,)
    kinds: Bytes  # (n,) index in EVENTS
    products: Bytes  # (n,) what they are about


def events_of(laws: Laws, now: Today, state: WorldState, rows: IntArray, uniforms: FloatArray) -> Happening:
    """Which of customers `rows` (n,) have an event by their uniform, and which."""
    law, stage = laws.behaviour, state.stage[rows]
    here = (stage != ACQUISITION) & (stage != CHURNED)
    rows, uniforms = rows[here], uniforms[here]
    holds = (law.owners == 0) | ((state.owned[rows].astype(np.int64)[:, None] & law.owners) != 0)
    cumulative = np.cumsum(law.rate.take(state.people.digital[rows], axis=0) * holds, axis=1)
    hit = uniforms < cumulative[:, -1]
    rows, cumulative, uniforms = rows[hit], cumulative[hit], uniforms[hit]
    kinds = (cumulative <= uniforms[:, None]).sum(axis=1)
    products = np.zeros(rows.size, dtype=np.int64)
    about = _ABOUT_A_PRODUCT[kinds]
    products[about] = _wanted(laws, now, state, rows[about])
    return Happening(rows, kinds.astype(np.uint8), products.astype(np.uint8))


def _wanted(laws: Laws, now: Today, state: WorldState, rows: IntArray) -> IntArray:
    """(n,) a product that each customer looks at, as likely as they are to buy it."""
    hazards = organic_hazards(laws.hazards, now, state, rows, laws.engine.organic_logs)
    cumulative = np.cumsum(hazards + _ANY, axis=1)
    words = laws.engine.words(state.seed, Purpose.EVENT, state.people.ids[rows], state.day)
    place = words_to_uniforms(words) * cumulative[:, -1]
    products: IntArray = (cumulative <= place[:, None]).sum(axis=1)
    wanted: IntArray = np.minimum(products, cumulative.shape[1] - 1)
    return wanted


def happened(
    law: BehaviourLaw, hazards: HazardLaw, state: WorldState, what: Happening, day: int
) -> WorldState:
    """The state with events that are seen on the morning of `day`."""
    rows, kinds, products = what
    event, event_day = state.event.copy(), state.event_day.copy()
    about, balance, login = state.event_product.copy(), state.balance.copy(), state.login.copy()
    balance[rows] = balance_trend(state, rows, day) + law.balance[kinds]
    event[rows], event_day[rows], about[rows] = kinds, day, products
    complaint = state.complaint.copy()
    complaint[rows[kinds == COMPLAINT]] = day
    lead, lead_day = state.lead.copy(), state.lead_day.copy()
    looked = _ABOUT_A_PRODUCT[kinds]
    lead[rows[looked]] = hazards.family[products[looked]] + 1
    lead_day[rows[looked]] = day
    login[rows[looked]] = day  # nobody browses without having logged in
    return state._replace(
        event=event,
        event_day=event_day,
        event_product=about,
        balance=balance,
        login=login,
        lead=lead,
        lead_day=lead_day,
        complaint=complaint,
    )


def timing_types(law: BehaviourLaw, now: Today, state: WorldState, rows: IntArray) -> IntArray:
    """(n,) what brings each customer up today, index in TIMING_TYPES: an event before a day of their own
    (pay day, birthday) before a campaign time before routine.
    """
    people = state.people
    own_day = (now.since_payday[people.payday[rows], 0] == 0) | (until_birthday(state, rows, now) == 0)
    routine = np.where(own_day, KEY_DAY, SPECIAL if now.special else 0)
    of_event = law.timing[state.event[rows]]
    fresh = (state.event_day[rows] == state.day) & (of_event > 0)
    return np.where(fresh, of_event, routine)


def until_birthday(state: WorldState, rows: IntArray, now: Today) -> IntArray:
    """(n,) days until each customer's birthday; nobody is born on 29 February."""
    birthday, year = state.people.birthday[rows].astype(np.int64), now.date.astype("datetime64[Y]")
    this, following = (_days_to(birthday, year + shift, now.date) for shift in (0, 1))
    return np.where(this >= 0, this, following)


def _days_to(day_of_year: IntArray, year: np.datetime64, date: np.datetime64) -> IntArray:
    """(n,) days from a date to days (1 to 365) of a year, in a leap year counted as if it were none."""
    start, end = year.astype("datetime64[D]"), (year + 1).astype("datetime64[D]")
    is_leap = int((end - start).astype(np.int64)) > 365
    after_leap_day = (day_of_year >= _LEAP_DAY) & is_leap
    ahead: IntArray = int((start - date).astype(np.int64)) + day_of_year - 1 + after_leap_day
    return ahead
