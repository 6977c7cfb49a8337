"""What a campaign table tells without a simulator: hazards, slopes, calendar effects, rates.

Nothing in UCI's file was randomised. The controlled numbers still hold what the bank knew when it chose
whom to call, when, and how often; take them as plausible sizes, not as causal effects.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from msgspec import Struct

from nba.arrays import BoolArray, FloatArray
from simulator.calibrate.columns import WEEKDAYS
from simulator.calibrate.design import CALL_STEP, centred, effects
from simulator.calibrate.logit import LogitFit
from simulator.calibrate.models import CALL, LOG_CALL, MAX_CALL, CallFits, fit_calls, fit_months
from simulator.calibrate.table import Campaign, expand, group


class Slope(Struct, frozen=True):
    """A coefficient in log-odds and its standard error."""

    value: float
    stderr: float


class HazardTable(NamedTuple):
    """Success by call number; row 0 is the first call."""

    reached: FloatArray  # (K,) clients called at least k times
    sales: FloatArray  # (K,) sales made by call k

    @property
    def rate(self) -> FloatArray:
        """Sales at call k per client reached k times: (K,)."""
        rates: FloatArray = self.sales / self.reached
        return rates


class DirectMoments(Struct, frozen=True, kw_only=True):
    """Effects are log-odds of a sale at one call, rates are shares.

    Unless marked raw, effects hold the factors, the indicators and log call number fixed. Add them to the
    log-odds of an average client's first call.
    """

    source: str
    n_clients: int
    n_calls: int
    n_sales: int
    reached: tuple[float, ...]  # clients called at least 1, 2, ..., MAX_CALL times
    hazard: tuple[float, ...]  # sales at call k per client reached, k = 1 .. MAX_CALL
    hazard_by_contact: dict[str, tuple[float, ...]]
    log_call_slope_raw: Slope  # per unit of log(call number)
    log_call_slope: Slope
    log_call_slope_within: Slope  # with a level for every period: no selection between them
    per_contact_slope_raw: Slope  # per further call, calls 1 .. MAX_CALL
    per_contact_slope: Slope
    call_odds: tuple[float, ...]  # against call 1, for calls 1, 2, ..., 9 and more
    contact_effect: Slope | None  # of the second kind of contact; UCI's early 2008 had telephone calls only
    weekday_effects: tuple[float, ...]  # (7,) Monday first, centred over the days seen, 0 for the others
    month_effects: tuple[float, ...]  # (12,) January first, shrunk (see seasons), centred over months seen
    month_sd: float  # between calendar months
    period_sd: float  # between periods of the same season and economy: drift
    client_rates: dict[str, float]  # final conversion of the clients in a cut, raw


def direct_moments(campaign: Campaign, fits: CallFits | None = None) -> DirectMoments:
    """Fit every direct moment to a table; raises InvalidConfig where the table is too small for one."""
    fits = fits or fit_calls(campaign, group(campaign, expand(campaign)))
    table, months = hazard_table(campaign), fit_months(campaign, fits.within)
    return DirectMoments(
        source=campaign.source,
        n_clients=campaign.sold.size,
        n_calls=int(campaign.n_calls.sum()),
        n_sales=int(campaign.sold.sum()),
        reached=tuple(table.reached[:MAX_CALL].tolist()),
        hazard=tuple(table.rate[:MAX_CALL].tolist()),
        hazard_by_contact=_by_contact(campaign),
        log_call_slope_raw=_slope(fits.raw_log, LOG_CALL),
        log_call_slope=_slope(fits.log, LOG_CALL),
        log_call_slope_within=_slope(fits.within, LOG_CALL),
        per_contact_slope_raw=_slope(fits.raw_linear, CALL),
        per_contact_slope=_slope(fits.linear, CALL),
        call_odds=_odds(fits.steps),
        contact_effect=_contact_effect(campaign, fits.log),
        weekday_effects=_weekdays(campaign, fits.log),
        month_effects=tuple(months.effects.tolist()),
        month_sd=months.month_sd,
        period_sd=months.campaign_month_sd,
        client_rates=_client_rates(campaign),
    )


def hazard_table(campaign: Campaign, among: BoolArray | None = None) -> HazardTable:
    """Count clients reached and sales made by call number, for all clients or for some (N,)."""
    weight = campaign.weight if among is None else campaign.weight * among
    ended = np.bincount(campaign.n_calls, weight)[1:]
    sales = np.bincount(campaign.n_calls, weight * campaign.sold)[1:].astype(np.float64)
    called = np.flatnonzero(ended)
    last = int(called.max()) + 1 if called.size else 1
    return HazardTable(ended[:last][::-1].cumsum()[::-1], sales[:last])


def _by_contact(campaign: Campaign) -> dict[str, tuple[float, ...]]:
    contact = campaign.factors.get("contact")
    if contact is None:
        return {}
    tables = {
        label: hazard_table(campaign, contact.codes == code) for code, label in enumerate(contact.labels)
    }
    return {label: tuple(table.rate[:MAX_CALL].tolist()) for label, table in tables.items()}


def _slope(fit: LogitFit, name: str) -> Slope:
    return Slope(*fit.of(name))


def _odds(fit: LogitFit) -> tuple[float, ...]:
    later = [fit.of(name)[0] for name in fit.names if name.startswith(f"{CALL_STEP}=")]
    return tuple(np.exp([0.0, *later]).tolist())


def _contact_effect(campaign: Campaign, fit: LogitFit) -> Slope | None:
    if "contact" not in campaign.factors:
        return None
    name = f"contact={campaign.factors['contact'].labels[1]}"
    return _slope(fit, name) if name in fit.names else None


def _weekdays(campaign: Campaign, fit: LogitFit) -> tuple[float, ...]:
    if "weekday" not in campaign.factors:
        return (0.0,) * len(WEEKDAYS)
    seen = np.bincount(campaign.factors["weekday"].codes, minlength=len(WEEKDAYS)) > 0
    return tuple(centred(effects(fit, "weekday", WEEKDAYS), seen.astype(np.float64)).tolist())


def _client_rates(campaign: Campaign) -> dict[str, float]:
    """Share of the clients of each label who bought in the end, as `factor=label`."""
    rates = {}
    for name, factor in campaign.factors.items():
        clients = np.bincount(factor.codes, campaign.weight, minlength=len(factor.labels))
        buyers = np.bincount(factor.codes, campaign.weight * campaign.sold, minlength=len(factor.labels))
        for code in np.flatnonzero(clients).tolist():
            rates[f"{name}={factor.labels[code]}"] = float(buyers[code] / clients[code])
    return rates
