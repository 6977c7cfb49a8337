"""What the bank of a table met and did: its clients' background, and whom it called again.

Both are logits of calls by client and period, estimated directly from the table: of a sale, and of one
more call after an unsuccessful one. The second is estimated anew for every band of call numbers, because
the bank was not equally patient in all months: whoever was called for the eighth time was hardly called
in a good one. With one policy for all calls the eighth call would sell a third more than it did.
Shape letters: K calls, N clients.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nba.arrays import BoolArray, FloatArray, IntArray
from nba.errors import InvalidConfig
from simulator.calibrate.design import centred, controls, levels
from simulator.calibrate.logit import LogitFit, fit_logit
from simulator.calibrate.models import MAX_CALL
from simulator.calibrate.table import Campaign, expand

_BANDS = (1, 2, 3, 4, 6, MAX_CALL)  # last call number of each band of the policy
_SLIGHT = 0.5  # precision of a prior on log-odds: holds a period in which nobody was called twice


class Calls(NamedTuple):
    """Expected (or real) calls and sales, by call number and client."""

    trials: FloatArray  # (K, N)
    sales: FloatArray  # (K, N)


class Past(NamedTuple):
    """What a campaign is told again with."""

    weight: FloatArray  # (N,)
    background: FloatArray  # (N,) log-odds of a sale by client, period and economy; mean 0
    weekday: IntArray  # (N,)
    month: IntArray  # (N,)
    other: BoolArray  # (N,) reached by the second kind of contact
    again: FloatArray  # (K - 1, N) log-odds of one more call after an unsuccessful call k
    reached: FloatArray  # (K,) clients called at least k times


def observed(campaign: Campaign) -> Calls:
    """The table's own calls up to MAX_CALL."""
    number = np.arange(1, min(MAX_CALL, int(campaign.n_calls.max())) + 1)[:, None]
    trials = campaign.weight * (campaign.n_calls >= number)
    return Calls(trials, campaign.weight * (campaign.sold & (campaign.n_calls == number)))


def past(campaign: Campaign, within: LogitFit, month_effects: tuple[float, ...]) -> Past:
    """What the bank met and did; `within` is the logit of sales with a level for every period."""
    nobody, calls = np.zeros(campaign.sold.size, np.int64), observed(campaign)
    code = {name: factor.codes for name, factor in campaign.factors.items()}
    design = controls(campaign, by_period=True)
    # Weekday and kind of contact have parameters of their own; months are part of the periods.
    kept = [not name.startswith(("weekday=", "contact=")) for name in design.names]
    known = dict(zip(within.names, within.coefficients.tolist(), strict=True))
    background = design.values @ (np.array([known[name] for name in design.names]) * kept)
    background -= np.array(month_effects)[code["month"]] if "month" in code else 0.0
    return Past(
        weight=campaign.weight,
        background=centred(background, campaign.weight),
        weekday=code.get("weekday", nobody),
        month=code.get("month", nobody),
        other=code.get("contact", nobody) == 1,
        again=_policy(campaign, len(calls.trials)),
        reached=calls.trials.sum(axis=1),
    )


def _policy(campaign: Campaign, n_calls: int) -> FloatArray:
    """(K - 1, N) log-odds of one more call after an unsuccessful call k."""
    rows, design = expand(campaign), controls(campaign, by_period=True)
    again, first = np.empty((n_calls - 1, campaign.sold.size)), 1
    for last in _BANDS:
        numbers = np.arange(first, min(last, n_calls - 1) + 1)
        band = (rows.sales == 0) & np.isin(rows.call_number, numbers)
        client, number = rows.client[band], rows.call_number[band]
        steps = levels("after", number, None)
        made = rows.calls[band] * (campaign.n_calls[client] > number)
        if numbers.size and not band.any():
            raise InvalidConfig(campaign.source, "", f"no unsuccessful call {first} to learn a policy from")
        if numbers.size:
            fit = fit_logit(
                design.rows(client).extended(steps.names, steps.values), made, rows.calls[band], ridge=_SLIGHT
            )
            found = dict(zip(fit.names, fit.coefficients.tolist(), strict=True))
            by_client = design.values @ fit.coefficients[: len(design.names)]
            by_call = np.array([found.get(f"after={one}", 0.0) for one in numbers])
            again[numbers - 1] = by_client + by_call[:, None]
        first = last + 1
    return again
