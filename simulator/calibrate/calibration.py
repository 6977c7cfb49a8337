"""The constants that the simulator takes from the UCI calls.

Nothing in the file was randomised. The controlled numbers still hold what the bank knew when it
chose whom to call, when, and how often; take them as plausible sizes, not as causal effects.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from msgspec import Struct

from nba.arrays import FloatArray, IntArray
from simulator.calibrate.design import SENIOR, centred, effects
from simulator.calibrate.logit import LogitFit
from simulator.calibrate.models import CALL, LOG_CALL, MAX_CALL, CallFits, fit_calls, fit_months
from simulator.calibrate.uci import (
    LABELS,
    NEVER,
    SENIOR_AGE,
    SHIPPED,
    HazardTable,
    UciCalls,
    expand,
    group,
    hazard_table,
    load,
)

RECENCY_DAYS = (3, 6, 10, 30)  # upper ends of the bands of days since an earlier campaign's contact


class Slope(Struct, frozen=True):
    """A coefficient in log-odds and its standard error."""

    value: float
    stderr: float


class Calibration(Struct, frozen=True, kw_only=True):
    """What the calls tell: effects are log-odds of a sale at one call, rates are shares.

    Unless marked raw, effects hold month, three indicators, job, weekday, previous outcome, contact
    type and log call number fixed. Add them to the log-odds of an average client's first call.
    """

    source: str
    n_clients: int
    n_calls: int
    n_sales: int
    base_rate_first_call: float
    base_rate_cellular: float
    base_rate_telephone: float
    reached: tuple[int, ...]  # clients called at least 1, 2, ..., MAX_CALL times
    hazard: tuple[float, ...]  # sales at call k per client reached, k = 1 .. MAX_CALL
    hazard_cellular: tuple[float, ...]
    hazard_telephone: tuple[float, ...]
    log_call_slope_raw: Slope  # per unit of log(call number)
    log_call_slope: Slope
    log_call_slope_within: Slope  # with a level for every campaign month: no selection between months
    per_contact_slope_raw: Slope  # per further call, calls 1 .. MAX_CALL
    per_contact_slope: Slope
    call_odds: tuple[float, ...]  # against call 1, for calls 1, 2, ..., 9 and more
    telephone_effect: Slope  # against cellular; early 2008 had telephone calls only
    weekday_effects: tuple[float, ...]  # Monday to Friday, centred
    month_effects: tuple[float, ...]  # January to December, shrunk (see seasons), centred over months seen
    month_effects_adjusted: tuple[float, ...]  # the same from the controlled logit, not shrunk
    month_effects_raw: tuple[float, ...]  # log-odds of the month's calls alone
    month_sd: float  # between calendar months
    campaign_month_sd: float  # between campaign months of the same season and economy: drift
    job_effects: dict[str, float]  # centred over clients; at equal age group, so add age_60_effect
    age_60_effect: Slope  # 60 and older against younger, at equal job
    memory_effects: dict[str, float]  # outcome of an earlier campaign, against none
    client_rates: dict[str, float]  # final conversion of the clients in a cut, raw


def calibrate(path: str | Path | None = None) -> Calibration:
    """Fit every constant to UCI's file, the shipped one by default; raises InvalidConfig as load does."""
    calls = load(path)
    cells = group(calls, expand(calls))
    return _collect(SHIPPED.name if path is None else Path(path).name, calls, fit_calls(calls, cells))


def _collect(source: str, calls: UciCalls, fits: CallFits) -> Calibration:
    every, cellular, telephone = (hazard_table(calls, kind) for kind in (None, *LABELS["contact"]))
    months = fit_months(calls, fits.within)
    return Calibration(
        source=source,
        n_clients=len(calls.sold),
        n_calls=int(calls.n_calls.sum()),
        n_sales=int(calls.sold.sum()),
        base_rate_first_call=float(every.rate[0]),
        base_rate_cellular=float(cellular.rate[0]),
        base_rate_telephone=float(telephone.rate[0]),
        reached=tuple(every.reached[:MAX_CALL].tolist()),
        hazard=_head(every),
        hazard_cellular=_head(cellular),
        hazard_telephone=_head(telephone),
        log_call_slope_raw=_slope(fits.raw_log, LOG_CALL),
        log_call_slope=_slope(fits.log, LOG_CALL),
        log_call_slope_within=_slope(fits.within, LOG_CALL),
        per_contact_slope_raw=_slope(fits.raw_linear, CALL),
        per_contact_slope=_slope(fits.linear, CALL),
        call_odds=_odds(fits.steps),
        telephone_effect=_slope(fits.log, "contact=telephone"),
        weekday_effects=_tuple(centred(effects(fits.log, "weekday", LABELS["day_of_week"]), np.ones(5))),
        month_effects=_tuple(months.effects),
        month_effects_adjusted=_tuple(_month_effects(calls, effects(fits.log, "month", LABELS["month"]))),
        month_effects_raw=_tuple(_month_effects(calls, _month_log_odds(calls))),
        month_sd=months.month_sd,
        campaign_month_sd=months.campaign_month_sd,
        job_effects=_job_effects(calls, fits.people),
        age_60_effect=_slope(fits.people, SENIOR),
        memory_effects=_memory_effects(fits.people),
        client_rates=_client_rates(calls),
    )


def _head(table: HazardTable) -> tuple[float, ...]:
    return _tuple(table.rate[:MAX_CALL])


def _tuple(values: FloatArray) -> tuple[float, ...]:
    return tuple(values.tolist())


def _slope(fit: LogitFit, name: str) -> Slope:
    return Slope(*fit.of(name))


def _odds(fit: LogitFit) -> tuple[float, ...]:
    later = [fit.of(name)[0] for name in fit.names if name.startswith("call=")]
    return _tuple(np.exp([0.0, *later]))


def _month_log_odds(calls: UciCalls) -> FloatArray:
    """Log-odds of a sale per call of each month, 0 for a month without calls: (12,)."""
    n_calls = np.bincount(calls.month, calls.n_calls, minlength=12)
    sales = np.bincount(calls.month, calls.sold, minlength=12)
    # At least half a sale and half a refusal, so that the logarithm is finite.
    return np.where(n_calls > 0, np.log(np.maximum(sales, 0.5) / np.maximum(n_calls - sales, 0.5)), 0.0)


def _month_effects(calls: UciCalls, values: FloatArray) -> FloatArray:
    seen = np.bincount(calls.month, minlength=12) > 0
    return centred(values, seen.astype(np.float64))


def _job_effects(calls: UciCalls, fit: LogitFit) -> dict[str, float]:
    labels = LABELS["job"]
    clients = np.bincount(calls.job, minlength=len(labels)).astype(np.float64)
    return dict(zip(labels, centred(effects(fit, "job", labels), clients).tolist(), strict=True))


def _memory_effects(fit: LogitFit) -> dict[str, float]:
    labels = LABELS["poutcome"][1:]
    return dict(zip(labels, effects(fit, "previous", labels).tolist(), strict=True))


def _client_rates(calls: UciCalls) -> dict[str, float]:
    """Share of the clients in each cut who bought in the end, as `cut=label`."""
    first_days = (0, *(day + 1 for day in RECENCY_DAYS[:-1]))
    bands = tuple(f"{first}-{last}" for first, last in zip(first_days, RECENCY_DAYS, strict=True))
    band = np.searchsorted(RECENCY_DAYS, calls.days_since)
    cuts: dict[str, tuple[IntArray, tuple[str, ...]]] = {
        "contact": (calls.contact, LABELS["contact"]),
        "previous": (calls.previous_outcome, LABELS["poutcome"]),
        "month": (calls.month, LABELS["month"]),
        "weekday": (calls.weekday, LABELS["day_of_week"]),
        "job": (calls.job, LABELS["job"]),
        "age": (np.searchsorted([SENIOR_AGE], calls.age, side="right"), ("<60", "60+")),
        "days_since": (np.where(calls.days_since == NEVER, len(bands), band), (*bands, "never")),
    }
    rates = {}
    for cut, (codes, labels) in cuts.items():
        for code in np.unique(codes).tolist():
            rates[f"{cut}={labels[code]}"] = float(calls.sold[codes == code].mean())
    return rates
