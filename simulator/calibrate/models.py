"""The logits behind the calibration: one call is one trial, a sale is a success."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nba.arrays import BoolArray, FloatArray
from nba.errors import InvalidConfig
from simulator.calibrate.design import PERIOD, call_steps, controls
from simulator.calibrate.logit import Design, LogitFit, fit_logit
from simulator.calibrate.seasons import MonthEffects, shrunk_months
from simulator.calibrate.table import CallRows, Campaign

MAX_CALL = 12  # later calls are few and odd: the slopes per call and the tables stop here
LOG_CALL, CALL = "log_call", "call"
_SLIGHT = 0.1  # precision of a prior on log-odds: holds the level of a period or call at which nobody bought


class CallFits(NamedTuple):
    """One fit per question; `raw` fits have an intercept and the call number only."""

    raw_log: LogitFit
    raw_linear: LogitFit
    log: LogitFit  # controls and log(call number): the reference model
    linear: LogitFit  # controls and call number, calls 1 .. MAX_CALL
    steps: LogitFit  # controls and one level per call number
    within: LogitFit  # the reference model with a level per period instead of month and indicators


def fit_calls(campaign: Campaign, cells: CallRows) -> CallFits:
    """Fit all models to the grouped calls; raises InvalidConfig where a table is too small for one."""
    call = cells.call_number.astype(np.float64)
    log_call, early = np.log(call), call <= MAX_CALL
    base = controls(campaign).rows(cells.client)
    raw = Design(("intercept",), np.ones((len(call), 1)))
    steps = call_steps(cells.call_number)
    within = controls(campaign, by_period=True).rows(cells.client)
    everywhere = np.ones(len(call), np.bool_)
    try:
        return CallFits(
            raw_log=_fit(raw.extended([LOG_CALL], log_call), cells, everywhere),
            raw_linear=_fit(raw.extended([CALL], call), cells, early),
            log=_fit(base.extended([LOG_CALL], log_call), cells, everywhere),
            linear=_fit(base.extended([CALL], call), cells, early),
            steps=_fit(base.extended(steps.names, steps.values), cells, everywhere, ridge=_SLIGHT),
            within=_fit(within.extended([LOG_CALL], log_call), cells, everywhere, ridge=_SLIGHT),
        )
    except InvalidConfig as error:
        raise InvalidConfig(campaign.source, "factors and indicators", error.rule) from None


def fit_months(campaign: Campaign, within: LogitFit) -> MonthEffects:
    """Shrink the period levels of the `within` fit to calendar effects; without months there are none."""
    if "month" not in campaign.factors:
        return MonthEffects(np.zeros(12), 0.0, 0.0)
    places = [at for at, name in enumerate(within.names) if name.startswith(f"{PERIOD}=")]
    _, first, member = np.unique(campaign.period, return_index=True, return_inverse=True)
    # Indicators may move from day to day, so a period gets the mean over its clients.
    sums = [np.bincount(member.ravel(), column) for column in campaign.indicators.values()]
    means = np.array(sums).reshape(len(sums), first.size).T / np.bincount(member.ravel())[:, None]
    return shrunk_months(
        within.coefficients[places],
        within.covariance[np.ix_(places, places)],
        campaign.factors["month"].codes[first],
        _independent(means),
    )


def _independent(columns: FloatArray) -> FloatArray:
    """Leading columns (L, k) that leave the periods at least two degrees of freedom."""
    n_periods = columns.shape[0]
    return columns[:, : max(0, n_periods - 3)]


def _fit(design: Design, cells: CallRows, among: BoolArray, ridge: float = 0.0) -> LogitFit:
    return fit_logit(design.rows(among), cells.sales[among], cells.calls[among], ridge=ridge)
