"""Design matrices for the calls: the controls, the call number, and effects read back from a fit.

Shape letters: N clients, G grouped calls, K columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nba.arrays import FloatArray, IntArray
from simulator.calibrate.logit import Design, LogitFit
from simulator.calibrate.uci import INDICATORS, LABELS, UciCalls, is_senior

# Three of the five: employment, confidence, interest. The five are nearly collinear (employment,
# Euribor and head count correlate above 0.9) and these give the values of the data's README.
CONTROL_INDICATORS = ("emp.var.rate", "cons.conf.idx", "euribor3m")
SENIOR = "age=60+"
LAST_CALL = 9  # call numbers from here on share one odds ratio


def controls(
    calls: UciCalls,
    *,
    by_campaign_month: bool = False,
    with_age: bool = False,
    indicators: Sequence[str] = CONTROL_INDICATORS,
) -> Design:
    """Intercept, month, indicators, job, weekday, previous outcome and contact type: (N, K).

    With `by_campaign_month` each of the 26 campaign months has a level of its own, which takes the
    place of the intercept, of the month and of the indicators.
    """
    parts = [_background(calls)]
    if by_campaign_month:
        parts.append(_levels("campaign_month", calls.campaign_month, None, keep_first=True))
    else:
        parts.append(Design(("intercept",), np.ones((len(calls.job), 1))))
        parts.append(_levels("month", calls.month, LABELS["month"]))
        parts.append(Design(tuple(indicators), standardised(calls, indicators)))
    if with_age:
        parts.append(Design((SENIOR,), is_senior(calls)[:, None].astype(np.float64)))
    names = tuple(name for part in parts for name in part.names)
    return Design(names, np.hstack([part.values for part in parts]))


def standardised(calls: UciCalls, indicators: Sequence[str] = CONTROL_INDICATORS) -> FloatArray:
    """The chosen indicators with mean 0 and standard deviation 1 over clients: (N, k)."""
    columns = calls.indicators[:, [INDICATORS.index(name) for name in indicators]]
    scaled: FloatArray = (columns - columns.mean(axis=0)) / columns.std(axis=0)
    return scaled


def call_steps(call_number: IntArray) -> Design:
    """One column per call number 2, 3, ..., LAST_CALL and more: (G, LAST_CALL - 1)."""
    return _levels("call", np.minimum(call_number, LAST_CALL) - 1, tuple(map(str, range(1, LAST_CALL + 1))))


def effects(fit: LogitFit, column: str, labels: Sequence[str]) -> FloatArray:
    """Log-odds of each label against the reference, which gets 0 as does a label never seen."""
    values = dict(zip(fit.names, fit.coefficients.tolist(), strict=True))
    return np.array([values.get(f"{column}={label}", 0.0) for label in labels])


def centred(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Subtract the weighted mean; entries of weight 0 were never seen and become 0."""
    shifted: FloatArray = values - np.average(values, weights=weights)
    return np.where(weights > 0, shifted, 0.0)


def _background(calls: UciCalls) -> Design:
    parts = (
        _levels("job", calls.job, LABELS["job"]),
        _levels("weekday", calls.weekday, LABELS["day_of_week"]),
        _levels("previous", calls.previous_outcome, LABELS["poutcome"]),
        _levels("contact", calls.contact, LABELS["contact"]),
    )
    names = tuple(name for part in parts for name in part.names)
    return Design(names, np.hstack([part.values for part in parts]))


def _levels(name: str, codes: IntArray, labels: Sequence[str] | None, *, keep_first: bool = False) -> Design:
    """0/1 columns of the codes that occur; without `keep_first` the least one is the reference."""
    present = np.unique(codes)[0 if keep_first else 1 :]
    names = tuple(f"{name}={labels[code] if labels else code}" for code in present.tolist())
    return Design(names, (codes[:, None] == present).astype(np.float64))
