"""The logits behind the calibration: one call is one trial, a sale is a success."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nba.arrays import BoolArray
from simulator.calibrate.design import call_steps, controls, standardised
from simulator.calibrate.logit import Design, LogitFit, fit_logit
from simulator.calibrate.seasons import MonthEffects, shrunk_months
from simulator.calibrate.uci import CallRows, UciCalls

MAX_CALL = 12  # later calls are few and odd: the slopes per call and the tables stop here
LOG_CALL, CALL, LEVEL = "log_call", "call", "campaign_month="


class CallFits(NamedTuple):
    """One fit per question; `raw` fits have an intercept and the call number only."""

    raw_log: LogitFit
    raw_linear: LogitFit
    log: LogitFit  # controls and log(call number): the reference model
    linear: LogitFit  # controls and call number, calls 1 .. MAX_CALL
    steps: LogitFit  # controls and one level per call number
    people: LogitFit  # the reference model with the age group
    within: LogitFit  # the reference model with a level per campaign month


def fit_calls(calls: UciCalls, cells: CallRows) -> CallFits:
    """Fit all models to the grouped calls; raises InvalidConfig where a sample is too small for one."""
    call = cells.call_number.astype(np.float64)
    log_call, early = np.log(call), call <= MAX_CALL
    base = controls(calls).rows(cells.client)
    raw = Design(("intercept",), np.ones((len(call), 1)))
    steps = call_steps(cells.call_number)
    people = controls(calls, with_age=True).rows(cells.client)
    within = controls(calls, by_campaign_month=True).rows(cells.client)
    return CallFits(
        raw_log=_fit(raw.extended([LOG_CALL], log_call), cells),
        raw_linear=_fit(raw.extended([CALL], call), cells, early),
        log=_fit(base.extended([LOG_CALL], log_call), cells),
        linear=_fit(base.extended([CALL], call), cells, early),
        steps=_fit(base.extended(steps.names, steps.values), cells),
        people=_fit(people.extended([LOG_CALL], log_call), cells),
        within=_fit(within.extended([LOG_CALL], log_call), cells),
    )


def fit_months(calls: UciCalls, within: LogitFit) -> MonthEffects:
    """Shrink the campaign-month levels of the `within` fit to calendar effects."""
    places = [at for at, name in enumerate(within.names) if name.startswith(LEVEL)]
    _, first, member = np.unique(calls.campaign_month, return_index=True, return_inverse=True)
    scaled = standardised(calls)
    # The Euribor moves from day to day, so a campaign month gets the mean over its clients.
    sums = np.stack([np.bincount(member, column) for column in scaled.T], axis=1)
    return shrunk_months(
        within.coefficients[places],
        within.covariance[np.ix_(places, places)],
        calls.month[first],
        sums / np.bincount(member)[:, None],
    )


def _fit(design: Design, cells: CallRows, among: BoolArray | None = None) -> LogitFit:
    if among is None:
        return fit_logit(design, cells.sales, cells.calls)
    return fit_logit(design.rows(among), cells.sales[among], cells.calls[among])
