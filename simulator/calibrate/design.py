"""Design matrices for the calls: the controls, the call number, and effects read back from a fit.

Shape letters: N clients, G grouped calls, K columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nba.arrays import FloatArray, IntArray
from simulator.calibrate.logit import Design, LogitFit
from simulator.calibrate.table import Campaign

LAST_CALL = 9  # call numbers from here on share one odds ratio
PERIOD, CALL_STEP = "period", "call"


def controls(campaign: Campaign, *, by_period: bool = False) -> Design:
    """Intercept, all factors and the indicators: (N, K).

    With `by_period` every period has a level of its own, which takes the place of the intercept, of the
    month and of the indicators.
    """
    names = [name for name in campaign.factors if not (by_period and name == "month")]
    parts = [levels(name, campaign.factors[name].codes, campaign.factors[name].labels) for name in names]
    if by_period:
        parts.append(levels(PERIOD, campaign.period, None, keep_first=True))
    else:
        n_clients = campaign.sold.size
        numbers = [np.ones(n_clients), *campaign.indicators.values()]
        parts.append(Design(("intercept", *campaign.indicators), np.column_stack(numbers)))
    return Design(
        tuple(name for part in parts for name in part.names), np.hstack([part.values for part in parts])
    )


def call_steps(call_number: IntArray) -> Design:
    """One column per call number 2, 3, ..., LAST_CALL and more: (G, LAST_CALL - 1)."""
    names = tuple(map(str, range(1, LAST_CALL + 1)))
    return levels(CALL_STEP, np.minimum(call_number, LAST_CALL) - 1, names)


def levels(name: str, codes: IntArray, labels: Sequence[str] | None, *, keep_first: bool = False) -> Design:
    """0/1 columns of the codes that occur; without `keep_first` the least one is the reference."""
    present = np.unique(codes)[0 if keep_first else 1 :]
    names = tuple(f"{name}={labels[code] if labels else code}" for code in present.tolist())
    return Design(names, (codes[:, None] == present).astype(np.float64))


def effects(fit: LogitFit, column: str, labels: Sequence[str]) -> FloatArray:
    """Log-odds of each label against the reference, which gets 0 as does a label never seen."""
    values = dict(zip(fit.names, fit.coefficients.tolist(), strict=True))
    return np.array([values.get(f"{column}={label}", 0.0) for label in labels])


def centred(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Subtract the weighted mean; entries of weight 0 were never seen and become 0."""
    shifted: FloatArray = values - np.average(values, weights=weights)
    return np.where(weights > 0, shifted, 0.0)
