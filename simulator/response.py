"""How customers respond to contacts: delivery, engagement, lifted hazards, opt-outs and complaints.

A contact multiplies the customer's organic conversion hazard for a while (methods F2): the extra
conversions it is expected to bring are a mass m = lift x affinity x channel fit x responsiveness,
spread over time by the product's decision delay. Everything here is a table over (channel, timing)
or (channel, product), so that the response to one action and the oracle's view of all actions are
the same numbers.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit

from nba.arrays import FloatArray, IntArray, TimeArray
from nba.errors import InvalidConfig
from nba.timing import weekdays
from simulator.calibrate import Calibration
from simulator.config import WorldConfig
from simulator.population import Population

_ELDERLY_AGE = 65
_LARGEST_MASS = 50.0  # a conversion is certain long before
_DEPOSIT = 0  # row of the product that the UCI campaign sold: the first one


class Situation(NamedTuple):
    """The changing part of a customer that a response depends on."""

    stage: IntArray  # (B,)
    fatigue: FloatArray  # (B, C, 2)


class ResponseTables(NamedTuple):
    """Probabilities and masses of every possible contact of some customers."""

    delivered: FloatArray  # (C,) probability
    engaged: FloatArray  # (B, C, T) probability, given delivery
    mass: FloatArray  # (B, C, P) expected extra conversions if engaged, before anything else competes
    opt_out: FloatArray  # (B, C, P) probability, given delivery
    complaint: FloatArray  # (B, C) probability, given delivery


class Coefficients(NamedTuple):
    """Arrays of the configuration, joined with what the UCI calls fix."""

    delivery: FloatArray  # (C,)
    openness: FloatArray  # (C,)
    receptivity: FloatArray  # (classes, T)
    weekday: FloatArray  # (7,) logit, Monday first; no calls were made at weekends
    month: FloatArray  # (12,) logit
    long_fatigue: float  # logit per unit of the channel's own long counter
    lift: FloatArray  # (P,)
    channel_fit: FloatArray  # (C, P) log factor

    @staticmethod
    def of(config: WorldConfig, calibration: Calibration) -> Coefficients:
        """Read a configuration and scale the deposit lift to the success of a first call."""
        answer = config.response
        fit = np.array([answer.channel_fit[product.family] for product in config.catalogue.products]).T
        lift = np.array(answer.lift)
        lift[_DEPOSIT] = _deposit_lift(config, calibration, fit)
        return Coefficients(
            delivery=np.array(answer.delivery),
            openness=np.array(answer.openness),
            receptivity=np.array(answer.receptivity),
            weekday=np.array([*calibration.weekday_effects, 0.0, 0.0]),
            month=np.array(calibration.month_effects),
            long_fatigue=-calibration.per_contact_slope.value,
            lift=lift,
            channel_fit=fit,
        )


def _deposit_lift(config: WorldConfig, calibration: Calibration, fit: FloatArray) -> float:
    """The lift with which an average first call about the first product sells as often as in the file."""
    names = [channel.name for channel in config.catalogue.channels]
    if "call" not in names:
        return config.response.lift[_DEPOSIT]
    call, answer = names.index("call"), config.response
    noticed = float(expit(answer.openness[call]))
    wanted = calibration.base_rate_first_call / answer.delivery[call]
    if wanted >= noticed:
        rule = f"a first call cannot sell to {wanted:.3f} of those reached when only {noticed:.3f} notice it"
        raise InvalidConfig(config.name, "response.openness", rule)

    def excess(mass: float) -> float:
        """Success of a call above the wanted one, unnoticed calls with their halo included."""
        return float(-noticed * np.expm1(-mass) - (1.0 - noticed) * np.expm1(-answer.halo * mass) - wanted)

    return float(brentq(excess, 0.0, _LARGEST_MASS)) / float(np.exp(fit[call, _DEPOSIT]))


def response_tables(
    config: WorldConfig,
    coefficients: Coefficients,
    people: Population,
    rows: IntArray,
    now: Situation,
    at: TimeArray,
) -> ResponseTables:
    """The tables of customers `rows` (B,) at times `at` (B, T): when a contact would be made."""
    answer = config.response
    affinity = people.affinity[rows]
    lift = coefficients.lift * np.exp(affinity + people.responsiveness[rows][:, None])
    return ResponseTables(
        delivered=coefficients.delivery,
        engaged=expit(_engagement(config, coefficients, people, rows, now, at)),
        mass=lift[:, None, :] * np.exp(coefficients.channel_fit),
        opt_out=-np.expm1(
            -np.array(answer.opt_out.base)[None, :, None]
            * np.exp(
                answer.opt_out.fatigue * now.fatigue[:, :, 1, None]
                + answer.opt_out.irrelevance * np.maximum(-affinity, 0.0)[:, None, :]
            )
        ),
        complaint=-np.expm1(
            -np.array(answer.complaint.base)
            * np.exp(
                answer.complaint.fatigue * now.fatigue[:, :, 1]
                + answer.complaint.elderly * (people.age[rows] >= _ELDERLY_AGE)[:, None]
            )
        ),
    )


def _engagement(
    config: WorldConfig,
    fixed: Coefficients,
    people: Population,
    rows: IntArray,
    now: Situation,
    at: TimeArray,
) -> FloatArray:
    """(B, C, T) logit of noticing a delivered contact."""
    answer = config.response
    own_long, total_long = now.fatigue[:, :, 1], now.fatigue[:, :, 1].sum(axis=1, keepdims=True)
    per_channel = (
        fixed.openness
        + people.preference[rows]
        + np.array(answer.digital_loading) * (people.digital[rows] - 0.5)[:, None]
        + np.array(config.life_cycle.engagement)[now.stage][:, None]
        - answer.short_fatigue * now.fatigue[:, :, 0]
        - fixed.long_fatigue * own_long
        - answer.cross_fatigue * (total_long - own_long)
    )
    month = at.astype("datetime64[M]").astype(np.int64) % 12
    per_timing = (
        fixed.receptivity[people.receptivity[rows]] + fixed.weekday[weekdays(at)] + fixed.month[month]
    )
    logit: FloatArray = per_channel[:, :, None] + per_timing[:, None, :]
    return logit


def conversion_probability(tables: ResponseTables, halo: float) -> FloatArray:
    """(B, C, T, P) probability that a contact causes a conversion, if the product is still to be had."""
    noticed = tables.engaged[:, :, :, None]
    if_noticed = -np.expm1(-tables.mass)[:, :, None, :]
    if_not = -np.expm1(-halo * tables.mass)[:, :, None, :]
    either: FloatArray = noticed * if_noticed + (1.0 - noticed) * if_not
    either *= tables.delivered[:, None, None]
    return either
