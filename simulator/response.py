"""How customers respond to contacts: delivered, seen, engaged, lifted hazards, opt-outs and complaints.

One formula for everything: index arrays of customer, channel, timing and product broadcast, so the
response to one action per customer and the oracle's view of all actions are the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from nba.arrays import BoolArray, FloatArray, IntArray
from simulator.config import WorldConfig
from simulator.hazards import HazardLaw, affinity, pressure
from simulator.life_cycle import CHURNED
from simulator.population import DIGITAL_LEVELS, STEPS
from simulator.state import WorldState
from simulator.today import Today

ELDERLY_AGE = 65
_LARGEST_LOG_MASS = 4.0  # a conversion is certain long before


class ContactLaw(NamedTuple):
    """The coefficients as arrays."""

    delivery: FloatArray  # (C,)
    seen: FloatArray  # (C,)
    openness: FloatArray  # (C,)
    digital_loading: FloatArray  # (C,)
    receptivity: FloatArray  # (classes, T)
    week_class: FloatArray  # (classes, 7)
    stage: FloatArray  # (8,) logit
    fatigue: tuple[float, float, float]  # logit per unit of short, long, other channels' long
    habituation: FloatArray  # (C,)
    log_lift: FloatArray  # (P,)
    fit: FloatArray  # (C, P) log factor on the lift, strength of the channel included
    is_digital: BoolArray  # (C,)
    is_personal: BoolArray  # (C,)
    hand_off: tuple[float, int]  # log factor, days
    follow_up: tuple[float, int, int]  # log factor, first and last day
    return_flow: tuple[float, int]  # logit, days
    opt_out: FloatArray  # (C,)
    opt_out_slopes: tuple[float, float]  # fatigue, irrelevance
    complaint: FloatArray  # (C,)
    complaint_slopes: tuple[float, float, float]  # fatigue, irrelevance, unsuitable
    complaint_elderly: FloatArray  # (C,)
    risk: IntArray  # (P,) class of each product

    @staticmethod
    def of(config: WorldConfig) -> ContactLaw:
        """Read a configuration."""
        answer, channels = config.response, config.catalogue.channels
        strength = np.array(answer.channel_strength)
        fit = np.array([answer.channel_fit[family] for family in config.families]).T
        left, loud = answer.opt_out, answer.complaint
        return ContactLaw(
            delivery=np.array(answer.delivery),
            seen=np.array(answer.seen),
            openness=np.array(answer.openness),
            digital_loading=np.array(answer.digital_loading),
            receptivity=np.array(answer.receptivity),
            week_class=np.array(answer.week_class),
            stage=np.array(config.life_cycle.engagement),
            fatigue=(answer.short_fatigue, answer.long_fatigue, answer.cross_fatigue),
            habituation=np.array(answer.habituation),
            log_lift=np.log(np.maximum(answer.lift, 1e-26)),
            fit=fit + strength[:, None],
            is_digital=np.array([channel.family == "digital" for channel in channels]),
            is_personal=personal(config),
            hand_off=(answer.hand_off, answer.hand_off_days),
            follow_up=(answer.follow_up, *answer.follow_up_days),
            return_flow=(answer.return_flow, answer.return_days),
            opt_out=np.array(left.base),
            opt_out_slopes=(left.fatigue, left.irrelevance),
            complaint=np.array(loud.base),
            complaint_slopes=(loud.fatigue, loud.irrelevance, loud.unsuitable),
            complaint_elderly=np.array(loud.elderly),
            risk=np.array([product.risk_class for product in config.catalogue.products]),
        )


def personal(config: WorldConfig) -> BoolArray:
    """(C,) channels on which a person speaks: of the human family, or taking somebody's time."""
    human = np.array([channel.family == "human" for channel in config.catalogue.channels])
    minutes = np.array(config.capacity.minutes or (0.0,))  # also when there is no end to people's time
    return human | (minutes > 0.0)


class Contacts(NamedTuple):
    """Possible contacts: index arrays that broadcast to one shape, and the fatigue they meet."""

    rows: IntArray  # customer
    channels: IntArray
    timings: IntArray
    products: IntArray
    waits: IntArray  # days until the contact
    short: FloatArray  # counter of the channel
    long: FloatArray
    other: FloatArray  # sum of the other channels' long counters
    takes_up: BoolArray = np.zeros(1, dtype=np.bool_)  # another channel's silence, see simulator.follow_up


class Odds(NamedTuple):
    """What may come of contacts; every part has the shape that its own arguments broadcast to."""

    delivered: FloatArray  # probability
    seen: FloatArray  # probability, given delivery
    engaged: FloatArray  # probability, given that it was seen
    mass: FloatArray  # expected extra conversions if engaged, before anything else competes
    opt_out: FloatArray  # hazard, given delivery
    complaint: FloatArray  # hazard, given delivery

    def converts(self, halo: float) -> FloatArray:
        """Probability that the contact causes a conversion, if nothing comes before it."""
        if_engaged, if_seen = -np.expm1(-self.mass), -np.expm1(-halo * self.mass)
        either: FloatArray = self.engaged * if_engaged + (1.0 - self.engaged) * if_seen
        return self.delivered * self.seen * either


class Logs(NamedTuple):
    """The sums behind the odds; every part has the shape that its own arguments broadcast to."""

    engagement: FloatArray  # logit
    mass: FloatArray  # log
    opt_out: FloatArray  # log factor on the channel's hazard
    complaint: FloatArray  # log factor on the channel's hazard


def logs(law: ContactLaw, hazards: HazardLaw, now: Today, state: WorldState, one: Contacts) -> Logs:
    """What adds up for and against contacts."""
    tastes = affinity(hazards, state.people, one.rows, one.products)
    return Logs(
        engagement=_engagement(law, now, state, one),
        mass=_mass(law, hazards, now, state, tastes, one),
        opt_out=_opt_out(law, tastes, one),
        complaint=_complaint(law, tastes, state, one),
    )


def odds(
    law: ContactLaw,
    hazards: HazardLaw,
    now: Today,
    state: WorldState,
    one: Contacts,
    logs: Callable[[ContactLaw, HazardLaw, Today, WorldState, Contacts], Logs] = logs,
) -> Odds:
    """The odds of contacts on the day they are made, as far as it is known today.

    Who has churned can be won back by a contact, but buys nothing because of one until then.
    """
    found, log_factor = logs(law, hazards, now, state, one), law.follow_up[0]
    mass = found.mass + log_factor * one.takes_up if log_factor else found.mass
    is_here = state.stage[one.rows] != CHURNED
    return Odds(
        delivered=law.delivery[one.channels],
        seen=law.seen[one.channels],
        engaged=expit(found.engagement),
        mass=is_here * np.exp(np.minimum(mass, _LARGEST_LOG_MASS)),
        opt_out=law.opt_out[one.channels] * np.exp(found.opt_out),
        complaint=law.complaint[one.channels] * np.exp(found.complaint),
    )


def _engagement(law: ContactLaw, now: Today, state: WorldState, one: Contacts) -> FloatArray:
    """Logit of engaging with a contact that was seen."""
    people, c = state.people, one.channels
    short, long, cross = law.fatigue
    by_channel = (
        law.openness[c]
        + people.preference[one.rows, c] / STEPS
        + law.digital_loading[c] * (people.digital[one.rows] / DIGITAL_LEVELS - 0.5)
        + law.stage[state.stage[one.rows]]
        - short * one.short
        - long * one.long
        - cross * one.other
    )
    by_timing = (
        law.receptivity[people.receptivity[one.rows], one.timings]
        + law.week_class[people.week_class[one.rows], now.weekday[one.waits]]
        + now.engagement[one.waits]
    )
    logit, days = law.return_flow
    if logit:
        since = state.day + one.waits - state.human[one.rows].astype(np.int64)
        by_timing = by_timing + logit * (law.is_digital[c] & (since >= 0) & (since < days))
    total: FloatArray = by_channel + by_timing
    return total


def _mass(
    law: ContactLaw, hazards: HazardLaw, now: Today, state: WorldState, tastes: FloatArray, one: Contacts
) -> FloatArray:
    """Log of the extra conversions that an engaged contact is expected to bring."""
    p, c = one.products, one.channels
    by_channel = law.fit[c, p] + law.habituation[c] * one.long
    log_factor, days = law.hand_off
    if log_factor:
        wanted = state.lead[one.rows] == hazards.family[p] + 1
        since = state.day + one.waits - state.lead_day[one.rows].astype(np.int64)
        is_lead = wanted & (since >= 0) & (since < days)
        by_channel = by_channel + log_factor * (is_lead & law.is_personal[c])
    by_customer = law.log_lift[p] + state.people.responsiveness[one.rows]
    return by_customer + pressure(hazards, now, state, tastes, one.rows, p, one.waits) + by_channel


def _opt_out(law: ContactLaw, tastes: FloatArray, one: Contacts) -> FloatArray:
    by_fatigue, by_irrelevance = law.opt_out_slopes
    log_factor: FloatArray = by_fatigue * one.long + by_irrelevance * np.maximum(-tastes, 0.0)
    return log_factor


def _complaint(law: ContactLaw, tastes: FloatArray, state: WorldState, one: Contacts) -> FloatArray:
    by_fatigue, by_irrelevance, if_unsuitable = law.complaint_slopes
    elderly = state.people.age[one.rows] >= ELDERLY_AGE
    unsuitable = law.risk[one.products] > state.people.risk[one.rows]
    log_factor: FloatArray = (
        by_fatigue * one.long
        + by_irrelevance * np.maximum(-tastes, 0.0)
        + law.complaint_elderly[one.channels] * elderly
        + if_unsuitable * unsuitable
    )
    return log_factor
