"""What is known of a candidate against a baseline, wherever it comes from: a world or a log."""

from __future__ import annotations

from math import inf, log, sqrt
from typing import Literal, TypeAlias

import numpy as np
from msgspec import Struct

from nba.arrays import FloatArray
from nba.errors import require

VALUE = "value"
GUARDS = ("cost", "opt_outs", "complaints", "elderly_gap")
METRICS = (VALUE, *GUARDS)
LATENCY = "latency_ms"
UNITS = {
    VALUE: "net value per customer and 30 days",
    "cost": "cost per customer and 30 days",
    "opt_outs": "opt-outs per 1,000 customers and 30 days",
    "complaints": "complaints per 1,000 customers and 30 days",
    "elderly_gap": "both per 1,000 elderly less per 1,000 others, in 30 days",
    LATENCY: "ms, 99th percentile of single decisions",
}
Kind: TypeAlias = Literal["world", "log"]


class Measured(Struct, frozen=True, kw_only=True):
    """A figure with the ends of its interval; `stderr` is None where the interval is not made of one."""

    value: float
    low: float
    high: float
    stderr: float | None = None


class Evidence(Struct, frozen=True, kw_only=True):
    """Differences candidate less baseline by METRICS, and what they rest on.

    None stands for what the source does not tell; `missing` then says why, by name.
    """

    kind: Kind
    source: str
    method: str  # of the intervals
    confidence: float  # of the intervals
    units: int  # independent pairs behind the intervals: seeds of a world, rounds of a log
    differences: dict[str, Measured | None]
    latency_ms: Measured | None
    days: float
    rounds: int
    missing: dict[str, str] = {}
    support: tuple[str, ...] = ()  # why the support is not sufficient; empty if it is
    audit: tuple[str, ...] = ()  # what speaks against the propensities; empty if nothing
    broken_limits: int = 0  # contacts of the candidate that broke a limit or an opt-out
    notes: tuple[str, ...] = ()  # what weakens the evidence without refusing it


def paired(differences: FloatArray, confidence: float, unseen: float = 0.0) -> Measured:
    """Mean of independent paired differences (S,), S >= 2, with Student's interval.

    The ends lie at least `unseen` from the mean: rare events that happened to nobody leave no spread, and
    are possible all the same.
    """
    from scipy.special import stdtrit

    n = differences.size
    require(n >= 2, "promotion", "seeds", f"must be at least 2 to know an error, got {n}")
    mean, stderr = float(differences.mean()), float(differences.std(ddof=1)) / sqrt(n)
    reach = max(float(stdtrit(n - 1, 0.5 + confidence / 2.0)) * stderr, unseen)
    return Measured(value=mean, low=mean - reach, high=mean + reach, stderr=stderr)


def unseen_rate(n: int, confidence: float) -> float:
    """The largest rate of an event that n people may all be spared with probability (1 - confidence) / 2.

    The rule of three at 90 %: -log(0.05) / n (Hanley and Lippman-Hand 1983).
    """
    return -log((1.0 - confidence) / 2.0) / n


def percentile_99(values: FloatArray, confidence: float) -> Measured:
    """The 99th percentile of independent values (n,), with an interval of order statistics.

    Exact for any distribution: of n values a binomial number lies below the percentile. The upper end is
    infinite where n is too small for one.
    """
    from scipy.special import bdtr

    require(values.size > 0, "promotion", "latency", "must be measured at least once")
    n, alpha, ordered = values.size, 1.0 - confidence, np.sort(values)
    below = np.asarray(bdtr(np.arange(n), n, 0.99))  # chance that at most k values lie below it
    high = int(np.searchsorted(below, 1.0 - alpha / 2.0))
    low = int(np.searchsorted(below, alpha / 2.0, side="right")) - 1
    return Measured(
        value=float(np.quantile(values, 0.99)),
        low=float(ordered[low]) if low >= 0 else -inf,
        high=float(ordered[high]) if high < n else inf,
    )
