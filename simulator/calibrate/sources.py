"""What other open data say where a table of calls is silent: habituation, delay, and channels compared.

The numbers shipped here were derived from the named files, which are not: see simulator/data/README.md.
Each function computes its number again from the file.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.stats import gamma

from nba.arrays import FloatArray, IntArray
from nba.errors import InvalidConfig, require
from nba.fatigue import FatigueKernel


class Estimate(NamedTuple):
    """A number, its standard error and where it comes from."""

    value: float
    stderr: float
    source: str


HABITUATION = Estimate(-0.0770, 0.0331, "HeartSteps V1, CC BY 4.0, doi 10.1093/abm/kay067")
DELAY_SHAPE = Estimate(1.405, 0.077, "Complete Journey 2.0, CC0, 84.51")
VISIT_AGAINST_MAIL = Estimate(1.397, 0.403, "Gerber and Green 2000, APSR 94(3)")
SENT = 0.6  # share of the available moments at which HeartSteps sent a message, by design
SLOTS = 5  # moments a day
_STEPS, _CLOSE = 100, 1e-10
_DIFFERENCE = 1e-3


class Regression(NamedTuple):
    """Least squares with standard errors that hold for any variance, within clusters if there are some."""

    coefficients: FloatArray
    stderrs: FloatArray
    covariance: FloatArray


def habituation(path: str | Path) -> Estimate:
    """HeartSteps: log factor on a push's effect per unit of the long counter of pushes sent before.

    log steps = a + b before + c f + effect exp(h f) (sent - 0.6), f the counter of the default kernel.
    Sending was randomised, so that centring makes the effect causal; errors are clustered by person.
    """
    columns = ("user", "study.day.nogap", "sugg.select.slot", "avail", "send")
    frame = _frame(path, (*columns, "jbsteps30pre.log", "jbsteps30.log"))
    person, sent = _array(frame["user"]).astype(np.int64), _array(frame["send"])
    day = _array(frame["study.day.nogap"]) + (_array(frame["sugg.select.slot"]) - 1.0) / SLOTS
    counter = _long_counters(person, day, sent)
    open_ = _array(frame["avail"]) > 0
    person, counter, centred = person[open_], counter[open_], sent[open_] - SENT
    before, steps = (_array(frame[name])[open_] for name in ("jbsteps30pre.log", "jbsteps30.log"))
    base = np.column_stack([np.ones(steps.size), before, counter])
    rate = 0.0
    for _ in range(_STEPS):
        fading = centred * np.exp(rate * counter)
        fit = regression(np.column_stack([base, fading]), steps, person)
        # Gauss-Newton: the model's derivative in the rate joins the columns.
        slope = fit.coefficients[-1] * counter * fading
        fit = regression(np.column_stack([base, fading, slope]), steps, person)
        rate += float(fit.coefficients[-1])
        if abs(fit.coefficients[-1]) < _CLOSE:
            break
    return Estimate(rate, float(fit.stderrs[-1]), HABITUATION.source)


def push_effects(path: str | Path) -> dict[str, tuple[float, float]]:
    """HeartSteps as published: effect of a push on log steps on average, on day 0, and its change per day."""
    frame = _frame(path, ("user", "study.day.nogap", "avail", "send", "jbsteps30pre.log", "jbsteps30.log"))
    frame = frame[_array(frame["avail"]) > 0]
    day, centred = _array(frame["study.day.nogap"]), _array(frame["send"]) - SENT
    before, steps = _array(frame["jbsteps30pre.log"]), _array(frame["jbsteps30.log"])
    person, one = _array(frame["user"]).astype(np.int64), np.ones(steps.size)
    plain = regression(np.column_stack([one, before, centred]), steps, person)
    daily = regression(np.column_stack([one, before, day, centred, centred * day]), steps, person)
    places = {"average": (plain, 2), "day 0": (daily, 3), "per day": (daily, 4)}
    return {name: (float(fit.coefficients[at]), float(fit.stderrs[at])) for name, (fit, at) in places.items()}


def delay_shape(folder: str | Path) -> Estimate:
    """Complete Journey: gamma shape of the days from a campaign's start to a household's first redemption.

    A redemption is seen only before its campaign ends, so the likelihood is truncated there. The mean is
    the groceries' own and is not carried over.
    """
    delay, length = redemption_delays(folder)

    def loss(logs: FloatArray) -> float:
        shape, scale = np.exp(logs[0]), np.exp(logs[1] - logs[0])
        ends = [gamma.cdf(days, shape, scale=scale) for days in (delay, delay + 1.0, length + 1.0)]
        return -float(np.log(np.maximum((ends[1] - ends[0]) / ends[2], 1e-300)).sum())

    found = minimize(loss, np.array([0.0, 3.0]), method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-9})
    error = np.sqrt(np.linalg.inv(_curvature(loss, found.x))[0, 0])
    shape = float(np.exp(found.x[0]))
    return Estimate(shape, shape * float(error), DELAY_SHAPE.source)


def redemption_delays(folder: str | Path) -> tuple[FloatArray, FloatArray]:
    """Days to the first redemption of each household and campaign, and days that the campaign lasted."""
    place = Path(folder)
    days = ("start_date", "end_date")
    frame = _frame(place / "coupon_redemptions.csv.gz", ("household_id", "campaign_id", "redemption_date"))
    frame = frame.merge(
        _frame(place / "campaign_descriptions.csv.gz", ("campaign_id", *days)), on="campaign_id"
    )
    start, end, day = (frame[name].astype("datetime64[s]") for name in (*days, "redemption_date"))
    frame = frame.assign(delay=(day - start).dt.days, length=(end - start).dt.days)
    first = frame.groupby(["household_id", "campaign_id"])[["delay", "length"]].min()
    return _array(first["delay"]), _array(first["length"])


def visit_against_mail(path: str | Path) -> Estimate:
    """Gerber and Green: log of a visit's effect over a mailing's, per attempt, by intention to treat."""
    fit = turnout_effects(path)
    visit, _, mail = fit.coefficients
    gradient = np.array([1.0 / visit, 0.0, -1.0 / mail])
    error = float(np.sqrt(gradient @ fit.covariance @ gradient))
    return Estimate(float(np.log(visit / mail)), error, VISIT_AGAINST_MAIL.source)


def turnout_effects(path: str | Path) -> Regression:
    """Gerber and Green: effect on turnout of a visit, a phone call and a mailing (3,), all randomised."""
    names = ("persngrp", "phonegrp", "mailcall", "mailings")
    people = ("ward", "persons", "age", "majorpty", "vote96.0", "vote96.1")
    frame = _frame(path, (*names, *people, "voted98"))
    visit, first_batch, second_batch, mail = (_array(frame[name]) for name in names)
    ward = _array(frame["ward"])
    controls = [_array(frame[name]) for name in people[1:]]
    columns = [visit, np.maximum(first_batch, second_batch), mail, np.ones(ward.size), *controls]
    columns += [_array(frame["age"]) ** 2, *(1.0 * (ward == one) for one in np.unique(ward)[1:])]
    fit = regression(np.column_stack(columns), _array(frame["voted98"]), np.arange(ward.size))
    return Regression(fit.coefficients[:3], fit.stderrs[:3], fit.covariance[:3, :3])


def regression(columns: FloatArray, outcome: FloatArray, cluster: IntArray) -> Regression:
    """Least squares of `outcome` (n,) on `columns` (n, k), errors clustered: Liang and Zeger (1986)."""
    inverse = np.linalg.inv(columns.T @ columns)
    coefficients = inverse @ (columns.T @ outcome)
    member = np.unique(cluster, return_inverse=True)[1].ravel()
    scores = columns * (outcome - columns @ coefficients)[:, None]
    sums = np.stack([np.bincount(member, column) for column in scores.T])
    covariance = inverse @ (sums @ sums.T) @ inverse
    return Regression(coefficients, np.sqrt(np.diag(covariance)), covariance)


def _long_counters(person: IntArray, day: FloatArray, sent: FloatArray) -> FloatArray:
    """Each person's long counter just before each moment; rows of a person are in order of time."""
    kernel, counters = FatigueKernel(), np.zeros(day.size)
    for at in range(1, day.size):
        if person[at] == person[at - 1]:
            left = kernel.recovery(max(float(day[at] - day[at - 1]), 0.0))[1]
            counters[at] = (counters[at - 1] + sent[at - 1]) * left
    return counters


def _curvature(loss: Any, at: FloatArray) -> FloatArray:
    """Second differences of a function of two numbers."""
    steps = _DIFFERENCE * np.eye(at.size)
    return np.array(
        [
            [loss(at + h + k) - loss(at + h - k) - loss(at - h + k) + loss(at - h - k) for k in steps]
            for h in steps
        ]
    ) / (4.0 * _DIFFERENCE**2)


def _frame(path: str | Path, columns: tuple[str, ...]) -> Any:
    """The wanted columns of a CSV file; every way in which reading can fail becomes InvalidConfig."""
    import pandas as pd

    source = str(path)
    try:
        frame = pd.read_csv(path)
    except OSError as error:
        raise InvalidConfig(source, "", f"cannot be read: {error.strerror or error}") from None
    except (EOFError, zlib.error, UnicodeDecodeError, ValueError) as error:
        raise InvalidConfig(source, "", f"cannot be read to its end ({error})") from None
    missing = [name for name in columns if name not in frame.columns]
    require(not missing, source, ", ".join(missing), "column missing")
    require(len(frame) > 0, source, "", "has no rows")
    return frame[list(columns)]


def _array(column: Any) -> FloatArray:
    return np.asarray(column, np.float64)
