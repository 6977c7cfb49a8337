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


def kinds(law: BehaviourLaw, state: WorldState, rows: IntArray, uniforms: FloatArray) -> IntArray:
    """(n,) the event that each of customers `rows` (n,) has by their uniform, index in EVENTS, 0 if none."""
    stage = state.stage.take(rows)
    holds = (law.owners == 0) | ((state.owned.take(rows).astype(np.int64)[:, None] & law.owners) != 0)
    cumulative = np.cumsum(law.rate.take(state.people.digital.take(rows), axis=0) * holds, axis=1)
    here = (stage != ACQUISITION) & (stage != CHURNED)
    hit, found = np.flatnonzero(here & (uniforms < cumulative[:, -1])), np.zeros(rows.size, dtype=np.int64)
    found[hit] = (cumulative[hit] <= uniforms[hit, None]).sum(axis=1)
    return found


def events_of(laws: Laws, now: Today, state: WorldState, rows: IntArray, uniforms: FloatArray) -> Happening:
    """Which of customers `rows` (n,) have an event by their uniform, and which."""
    kinds = laws.engine.kinds(laws.behaviour, state, rows, uniforms)
    some = np.flatnonzero(kinds)
    rows, kinds = rows.take(some), kinds.take(some)
    products, about = np.zeros(some.size, dtype=np.uint8), np.flatnonzero(_ABOUT_A_PRODUCT.take(kinds))
    products[about] = _wanted(laws, now, state, rows.take(about))
    return Happening(rows, kinds.astype(np.uint8), products)


def _wanted(laws: Laws, now: Today, state: WorldState, rows: IntArray) -> IntArray:
    """(n,) a product that each customer looks at, as likely as they are to buy it."""
    hazards = organic_hazards(laws.hazards, now, state, rows, laws.engine.organic_logs)
    words = laws.engine.words(state.seed, Purpose.EVENT, state.people.ids[rows], state.day)
    picked = laws.engine.picked(hazards + _ANY, words_to_uniforms(words), of_total=True)
    wanted: IntArray = np.minimum(picked, hazards.shape[1] - 1)
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
    return now.until_birthday.take(state.people.birthday.take(rows))
