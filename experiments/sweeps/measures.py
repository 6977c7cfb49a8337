"""What is measured of a run: each metric is a function of it, with its unit and its trap (methods G).

A metric gives a number per customer (N,), whose mean counts, or a single number. Those with a number per
customer have an interval even under one seed. A user's own metric is a function of the same kind.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np

from experiments.sweeps.played import Played
from nba.arrays import FloatArray
from nba.errors import InvalidConfig, require

Measure: TypeAlias = Callable[[Played], FloatArray | float]


class Metric(NamedTuple):
    """A metric as people read it."""

    name: str
    measure: Measure
    unit: str
    meaning: str
    more_is_better: bool | None = None  # None: neither
    trap: str = ""


def regret(run: Played) -> float:
    """Share of the myopic oracle's value that was missed; NaN without the oracle."""
    best = float(run.possible.sum())
    return (best - float(run.expected.sum())) / best if best > 0 else float("nan")


def calibration(run: Played) -> float:
    """Net value that the strategy expected of its decisions, in parts of the true one; 1 is calibrated."""
    truth = float(run.expected.sum())
    return float(run.believed.sum()) / truth if truth > 0 else float("nan")


def fairness(run: Played) -> float:
    """Contacts per customer of the segment with the fewest, in parts of the segment with the most."""
    rates = [run.contacts[run.segment == one].mean() for one in range(run.segments.size) if _some(run, one)]
    return float(min(rates) / max(rates)) if rates and max(rates) > 0 else float("nan")


def _some(run: Played, segment: int) -> bool:
    return bool((run.segment == segment).any())


def silent(run: Played) -> FloatArray:
    """(N,) 1 for customers whom nobody contacted."""
    return np.where(run.contacts == 0, 1.0, 0.0)


def channels_left(run: Played) -> float:
    """Share of the channels open at the start that are open at the end."""
    at_start = float(run.reach.sum())
    return 1.0 - float(run.opt_outs.sum()) / at_start if at_start > 0 else float("nan")


METRICS = {
    metric.name: metric
    for metric in (
        Metric(
            "net_value",
            lambda run: run.net,
            "account currency per customer",
            "What conversions bring in, minus contact costs and modelled losses by opt-outs and complaints.",
            True,
            "Losses are modelled: see value_before_losses.",
        ),
        Metric(
            "value_before_losses",
            lambda run: run.value - run.cost,
            "account currency per customer",
            "Net value, if opt-outs and complaints cost nothing.",
            True,
            "Rewards whoever burns customers before the horizon ends.",
        ),
        Metric(
            "contacts",
            lambda run: run.contacts,
            "per customer",
            "Contacts that were made.",
            None,
            "A mean hides the tail: see contacts_p90 and silent.",
        ),
        Metric(
            "contacts_p90",
            lambda run: float(np.percentile(run.contacts, 90)),
            "per customer",
            "Contacts of the customer whom nine of ten do not exceed.",
            None,
        ),
        Metric(
            "silent",
            silent,
            "share",
            "Customers never contacted.",
        ),
        Metric("cost", lambda run: run.cost, "account currency per customer", "Costs of contacts.", False),
        Metric(
            "conversions",
            lambda run: run.conversions,
            "per customer",
            "Conversions, organic ones too.",
            True,
            "Most need no contact: only the difference to no contact was caused.",
        ),
        Metric(
            "opt_outs",
            lambda run: run.opt_outs,
            "per customer",
            "Consents for a channel withdrawn after a contact.",
            False,
            "The rate per contact falls while reach collapses: see channels_left.",
        ),
        Metric(
            "channels_left", channels_left, "share", "Open channels that are still open at the end.", True
        ),
        Metric(
            "complaints", lambda run: 1000.0 * run.complaints, "per 1,000 customers", "Complaints.", False
        ),
        Metric(
            "fatigue",
            lambda run: run.fatigue,
            "counters",
            "Short and long fatigue counters of all channels, on the last day with decisions.",
            False,
            "Compare at an equal number of contacts.",
        ),
        Metric(
            "fatigue_p90",
            lambda run: float(np.percentile(run.fatigue, 90)),
            "counters",
            "The fatigue that nine of ten customers do not exceed.",
            False,
        ),
        Metric(
            "regret",
            regret,
            "share",
            "Value of the best allowed action at each decision that was missed.",
            False,
            "The oracle is myopic: it knows responses and does not plan ahead, so waiting counts as regret.",
        ),
        Metric(
            "calibration",
            calibration,
            "ratio",
            "Net value that the strategy expected of its decisions, in parts of the true one.",
            None,
            "Includes its prices, of fatigue for one: a cautious price shows as a ratio below 1.",
        ),
        Metric(
            "fairness",
            fairness,
            "ratio",
            "Contacts per customer: segment with the fewest in parts of the segment with the most.",
            None,
            "Parity of contact is not parity of benefit: read the table by segment.",
        ),
    )
}
USUAL = (
    "net_value",
    "contacts",
    "cost",
    "opt_outs",
    "complaints",
    "fatigue",
    "regret",
    "calibration",
    "fairness",
)


def own_metric(name: str, measure: Measure) -> Metric:
    """A user's metric, by its dotted name; the first line of its docstring is what it means."""
    meaning = (measure.__doc__ or "").strip().partition("\n")[0]

    def checked(run: Played) -> FloatArray:
        try:
            found = np.asarray(measure(run), dtype=np.float64)
        except Exception as error:
            rule = f"failed on a run of {run.n_customers} customers: {type(error).__name__}: {error}"
            raise InvalidConfig("metrics", name, rule) from error
        rule = f"must give one number, or one for each of {run.n_customers} customers, got {found.shape}"
        require(found.shape in ((), run.net.shape), "metrics", name, rule)
        return found

    return Metric(name, checked, str(getattr(measure, "unit", "")), meaning or "A metric of your own.")
