"""Fields of a world that no table of calls can tell: taken from other open data, with their errors.

A mailing stands for an e-mail and a visit at the door for a talk in the branch: assumed. A phone call had
no effect on turnout (-1.35 points, standard error 0.61); a bank that calls its own clients is not a phone
bank that calls voters, so calls keep the level that the table gives them and only the order of visit and
mail is taken over.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nba.arrays import FloatArray
from simulator.calibrate import sources
from simulator.calibrate.history import Cast
from simulator.calibrate.parameters import Vector
from simulator.calibrate.sources import Estimate
from simulator.config import WorldConfig
from simulator.response import ContactLaw, Contacts, odds

VISIT, MAIL = "branch", "email"


class Borrowed(NamedTuple):
    """Estimates of other studies; None where a world has nothing to put it to."""

    habituation: Estimate | None
    delay_shape: Estimate
    visit_against_mail: Estimate | None


def borrowed(
    config: WorldConfig,
    habituation: Estimate = sources.HABITUATION,
    delay_shape: Estimate = sources.DELAY_SHAPE,
    visit_against_mail: Estimate = sources.VISIT_AGAINST_MAIL,
) -> Borrowed:
    """The estimates that this world has channels for."""
    names = [channel.name for channel in config.catalogue.channels]
    both = VISIT in names and MAIL in names
    return Borrowed(
        habituation if _digital(config).any() else None, delay_shape, visit_against_mail if both else None
    )


def borrowed_vector(of: Borrowed, one: Cast, noise: FloatArray) -> Vector:
    """The fields that the estimates set, each moved by its `noise` (3,) in standard errors.

    Habituation stays at or below zero: being pushed does not make pushes work better.
    """
    config, vector = one.config, Vector()
    if of.habituation is not None:
        rate = min(of.habituation.value + noise[0] * of.habituation.stderr, 0.0)
        known = zip(_digital(config), config.response.habituation, strict=True)
        vector["response.habituation"] = tuple(rate if digital else kept for digital, kept in known)
    # On the log scale, so that a shape stays above zero.
    shape = of.delay_shape
    vector["response.delay_shape"] = float(shape.value * np.exp(noise[1] * shape.stderr / shape.value))
    if of.visit_against_mail is not None:
        ratio = of.visit_against_mail.value + noise[2] * of.visit_against_mail.stderr
        half = 0.5 * (ratio - _ratio_at_equal_strength(one))
        vector[f"response.channel_strength.{VISIT}"] = half
        vector[f"response.channel_strength.{MAIL}"] = -half
    return vector


def _digital(config: WorldConfig) -> np.ndarray:
    return np.array([channel.family == "digital" for channel in config.catalogue.channels])


def _ratio_at_equal_strength(one: Cast) -> float:
    """Log of what a visit brings over what an e-mail brings, per attempt, were the two equally strong.

    Over all customers and product families, nobody tired: delivery, attention and fit as in the world.
    """
    config = one.config
    channels = np.array([config.catalogue.level("channel", name) for name in (VISIT, MAIL)])
    nothing, calm = np.zeros((1, 1), np.int64), np.zeros((1, 1))
    rows = np.arange(one.luck.size)[:, None]
    contacts = Contacts(rows, channels[None, :], nothing, nothing + one.product, nothing, calm, calm, calm)
    made = odds(ContactLaw.of(config), one.hazards, one.now, one.state, contacts)
    noticed = made.engaged + (1.0 - made.engaged) * config.response.halo
    brings = (made.delivered * made.seen * noticed).mean(axis=0)
    fit = np.mean([np.array(row)[channels] for row in config.response.channel_fit.values()], axis=0)
    visit, mail = np.log(brings) + fit
    return float(visit - mail)
