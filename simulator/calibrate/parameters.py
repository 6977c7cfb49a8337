"""The free parameters of the simulated moments, each with what is believed of it before the data.

A positive parameter is fitted on its logarithm. The priors are weak and assumed; they hold what a table
of calls tells little about (the days between two calls, which no public file has) and keep the fit from
running off where two parameters do the same to the moments. `nba calibrate` prints the prior and the
fitted spread side by side, so that one sees which numbers are data and which are belief.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np

from nba.arrays import FloatArray

Vector: TypeAlias = dict[str, float | tuple[float, ...]]  # dotted path of a world's field -> value


class Parameter(NamedTuple):
    """One free number; the prior is normal on the fitted scale."""

    name: str
    middle: float  # prior median
    spread: float  # prior standard deviation: a log factor if positive, else in the parameter's unit
    positive: bool
    meaning: str

    def fitted_scale(self, value: float) -> float:
        """The value on the scale of the fit."""
        return float(np.log(value)) if self.positive else value

    def natural(self, fitted: float) -> float:
        """The value in its own unit."""
        return float(np.exp(fitted)) if self.positive else float(fitted)


PARAMETERS = (
    Parameter("lift", 0.05, 2.0, True, "extra sales of an engaged average contact"),
    Parameter("long_fatigue", 0.1, 1.0, True, "logit of engagement per unit of the long counter"),
    Parameter("short_fatigue", 0.03, 1.0, True, "logit of engagement per unit of the short counter"),
    Parameter("responsiveness_sd", 0.5, 0.5, True, "log factor on the lift, between clients"),
    Parameter("calendar", 2.0, 0.5, True, "logit of engagement per logit of a sale: weekdays and months"),
    Parameter("first_selection", 0.0, 1.0, False, "log-odds of contacts 2 and 3 per sd of responsiveness"),
    Parameter("later_selection", 0.0, 1.0, False, "log-odds of later contacts per sd of responsiveness"),
    Parameter("other_contact", 0.0, 2.0, False, "logit of engagement by the second kind of contact"),
    Parameter("background_lift", 0.7, 0.5, False, "log lift per logit of a sale: client, period, economy"),
    Parameter("background_engagement", 0.5, 0.5, False, "logit of engagement per logit of a sale"),
    Parameter("gap_days", 3.0, 0.5, True, "days between two contacts of a campaign"),
)
NAMES = tuple(parameter.name for parameter in PARAMETERS)
MIDDLES = np.array([one.fitted_scale(one.middle) for one in PARAMETERS])
SPREADS = np.array([one.spread for one in PARAMETERS])


def natural(theta: FloatArray) -> dict[str, float]:
    """Values by name of a parameter vector (Q,) on the fitted scale."""
    return {one.name: one.natural(value) for one, value in zip(PARAMETERS, theta.tolist(), strict=True)}


def world_vector(
    values: dict[str, float], product: str, weekdays: tuple[float, ...], months: tuple[float, ...]
) -> Vector:
    """The fields of a world that parameter values set.

    `weekdays` and `months` are effects on the log-odds of a sale. A world moves engagement instead, and a
    sale answers to engagement less than one for one: `calendar` says by how much.
    """
    scale = values["calendar"]
    return {
        f"response.lift.{product}": values["lift"],
        "response.long_fatigue": values["long_fatigue"],
        "response.short_fatigue": values["short_fatigue"],
        "response.weekday": tuple(scale * effect for effect in weekdays),
        "response.month": tuple(scale * effect for effect in months),
        "population.responsiveness_sd": values["responsiveness_sd"],
    }
