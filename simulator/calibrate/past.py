"""What the bank of a table met and did: its clients' background, and whom it called again.

Both are logits of calls by client and period: of a sale, and of one more call after none. Estimated from
the table they are direct moments. A simulation that is fed with them does not give them back exactly (a
sale is no logit of engagement, and hidden promise blurs what was seen), so they are corrected until the
simulated campaign has the table's own coefficients: indirect inference, Gourieroux, Monfort and Renault
(1993), Journal of Applied Econometrics 8.
Shape letters: K calls, N clients, G groups of clients, Q columns of the controls.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nba.arrays import BoolArray, FloatArray, IntArray
from nba.errors import InvalidConfig
from simulator.calibrate.design import centred, controls, levels
from simulator.calibrate.logit import Design, fit_logit
from simulator.calibrate.models import MAX_CALL
from simulator.calibrate.table import Campaign, cells

_SLIGHT = 0.5  # precision of a prior on log-odds: holds a period in which nobody bought or was called twice


class Calls(NamedTuple):
    """Expected (or real) calls and sales, by call number and client."""

    trials: FloatArray  # (K, N)
    sales: FloatArray  # (K, N)


class Logits(NamedTuple):
    """Log-odds of a sale, and of one more call after an unsuccessful one."""

    sale: FloatArray  # (Q,) by control
    again: FloatArray  # (Q,) by control
    again_by_call: FloatArray  # (K - 1,) against the first call

    def moved(self, to: Logits, away: Logits) -> Logits:
        """These, moved by the difference of two others."""
        return Logits(*(mine + one - other for mine, one, other in zip(self, to, away, strict=True)))


class Records(NamedTuple):
    """The covariates of a table in the form that the logits need."""

    campaign: Campaign
    controls: Design  # (N, Q) with a level for every period
    first: IntArray  # (G,) one client of each group
    member: IntArray  # (N,) group of each client
    month_effects: tuple[float, ...]  # which the world has itself


class Past(NamedTuple):
    """What a campaign is told again with."""

    weight: FloatArray  # (N,)
    background: FloatArray  # (N,) log factor on the lift by client, period and economy; mean 0
    weekday: IntArray  # (N,)
    month: IntArray  # (N,)
    other: BoolArray  # (N,) reached by the second kind of contact
    again: FloatArray  # (N,) log-odds of one more call after an unsuccessful first one
    again_by_call: FloatArray  # (K - 1,) further log-odds by call
    reached: FloatArray  # (K,) clients called at least k times


def observed(campaign: Campaign) -> Calls:
    """The table's own calls up to MAX_CALL."""
    number = np.arange(1, min(MAX_CALL, int(campaign.n_calls.max())) + 1)[:, None]
    trials = campaign.weight * (campaign.n_calls >= number)
    return Calls(trials, campaign.weight * (campaign.sold & (campaign.n_calls == number)))


def records(campaign: Campaign, month_effects: tuple[float, ...]) -> Records:
    """Group the clients of a table."""
    return Records(campaign, controls(campaign, by_period=True), *cells(campaign), month_effects)


def logits(of: Records, calls: Calls) -> Logits:
    """Fit both logits to real or expected calls; raises InvalidConfig where a table is too small."""
    n_calls, design = len(calls.trials), of.controls.rows(of.first)
    trials, sales = (
        np.stack([np.bincount(of.member, row, minlength=of.first.size) for row in part]) for part in calls
    )
    number = np.arange(n_calls)
    by_sale = _fit(of, design, np.log(number + 1.0)[:, None], sales, trials)
    steps = levels("after", number[:-1], None).values
    by_again = _fit(of, design, steps, trials[1:], trials[:-1] - sales[:-1])
    n_controls = len(design.names)
    return Logits(by_sale[:n_controls], by_again[:n_controls], np.append(0.0, by_again[n_controls:]))


def past(of: Records, has: Logits) -> Past:
    """The conditions of a campaign in which sales and further calls follow the given logits."""
    campaign = of.campaign
    nobody = np.zeros(campaign.sold.size, np.int64)
    code = {name: factor.codes for name, factor in campaign.factors.items()}
    # Weekday and kind of contact have parameters of their own; months are part of the periods.
    kept = [not name.startswith(("weekday=", "contact=")) for name in of.controls.names]
    background = of.controls.values @ (has.sale * kept)
    background -= np.array(of.month_effects)[code["month"]] if "month" in code else 0.0
    return Past(
        weight=campaign.weight,
        background=centred(background, campaign.weight),
        weekday=code.get("weekday", nobody),
        month=code.get("month", nobody),
        other=code.get("contact", nobody) == 1,
        again=of.controls.values @ has.again,
        again_by_call=has.again_by_call,
        reached=observed(campaign).trials.sum(axis=1),
    )


def _fit(
    of: Records, design: Design, by_call: FloatArray, successes: FloatArray, trials: FloatArray
) -> FloatArray:
    """Coefficients of the controls of the groups, then of the columns by call (K, k)."""
    n_calls, n_groups = trials.shape
    some = np.flatnonzero(trials.ravel() > 0.0)
    group, call = some % n_groups, some // n_groups
    names = tuple(f"by call {column}" for column in range(by_call.shape[1]))
    rows = design.rows(group).extended(names, by_call[call])
    try:
        fit = fit_logit(rows, successes.ravel()[some], trials.ravel()[some], ridge=_SLIGHT)
    except InvalidConfig as error:
        raise InvalidConfig(of.campaign.source, "factors and periods", error.rule) from None
    return fit.coefficients
