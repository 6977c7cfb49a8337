"""The statistics that a simulated campaign must share with the table, and how sure the table is of them.

Every statistic is a function of calls and sales by call number and client, computed by the same code from
the table's calls and from expected ones. Its influence function says how much each client moves it, so the
covariance of all statistics over resampled clients follows by the delta method without a bootstrap
(Hampel 1974, Journal of the American Statistical Association 69), calls of a client kept together.
Shape letters: K calls, N clients, G groups of clients, S statistics, Q columns of the controls.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import sparse

from nba.arrays import FloatArray, IntArray
from simulator.calibrate.design import controls
from simulator.calibrate.logit import Solution, solve
from simulator.calibrate.past import Calls
from simulator.calibrate.table import Campaign, Factor, cells

HAZARDS = 8  # call numbers whose hazard is a statistic
RAW, ADJUSTED = "log odds per call, raw", "log odds per call, adjusted"
PULL = "weekday effect, sales over calls"
_FITTED = ("contact", "background")
_FEWEST_SALES = 20.0  # a rate from fewer sales is not near enough to normal
_BANDS = (0.2, 0.4, 0.6, 0.8, 0.95)  # quantiles of clients by background


class Statistic(NamedTuple):
    """One number; `fitted` ones enter the distance, the others are only shown."""

    name: str
    fitted: bool


class Summary(NamedTuple):
    """Everything that is fixed while a table is compared with simulations of it."""

    statistics: tuple[Statistic, ...]  # S
    n_hazards: int
    factors: tuple[
        tuple[IntArray, IntArray], ...
    ]  # per factor: (N,) codes, and the codes that are statistics
    member: IntArray  # (N,) group of each client
    pull: FloatArray  # (N,) effect of each client's weekday
    design: FloatArray  # (G, Q) controls of the groups
    rows: sparse.csr_array  # (K G, Q + 1) controls and call number, call by call
    start: FloatArray  # (Q + 1,) coefficients near which the logit is solved


def bands(background: FloatArray, weight: FloatArray) -> Factor:
    """Clients in bands of their background, lowest first."""
    order = np.argsort(background, kind="stable")
    share = np.cumsum(weight[order]) / weight.sum()
    edges = np.unique(background[order][np.searchsorted(share, _BANDS)])
    names = tuple(f"band {i + 1}" for i in range(edges.size + 1))
    return Factor(names, np.searchsorted(edges, background, side="right").astype(np.int64))


def summary(
    campaign: Campaign, calls: Calls, background: FloatArray, weekday_effects: tuple[float, ...]
) -> Summary:
    """Choose the statistics that a table has enough sales for, `background` (N,) one of its factors.

    Rates by month, weekday and factor are shown and not fitted: the background and the calendar are
    direct moments of the same sales, so that a world meets these rates whatever its parameters, and they
    would make the distance look better than it is.
    """
    sales = calls.sales.sum(axis=1)
    n_hazards = int(np.argmin(np.append(sales[:HAZARDS] >= _FEWEST_SALES / 2, False)))
    statistics = [Statistic(f"sales at call {k + 1}", True) for k in range(n_hazards)]
    statistics += [Statistic(name, True) for name in (RAW, ADJUSTED, PULL)]
    by_client, chosen = calls.sales.sum(axis=0), []
    for name, factor in {**campaign.factors, "background": bands(background, campaign.weight)}.items():
        n_sales = np.bincount(factor.codes, by_client, minlength=len(factor.labels))
        enough = np.flatnonzero(n_sales >= _FEWEST_SALES)
        chosen.append((factor.codes, enough))
        # Given the hazards and its other labels, the most frequent one is nearly known.
        fitted = enough[enough != n_sales.argmax()] if name in _FITTED else enough[:0]
        statistics += [Statistic(f"{name}={factor.labels[code]}", code in fitted) for code in enough.tolist()]
    weekday, (first, member) = campaign.factors.get("weekday"), cells(campaign)
    design = controls(campaign).rows(first).values
    n_calls = len(calls.trials)
    block = sparse.kron(np.ones((n_calls, 1)), sparse.csr_array(design))
    number = np.repeat(np.arange(1.0, n_calls + 1), first.size)
    rows = sparse.csr_array(sparse.hstack([block, number[:, None]]))
    one = Summary(
        statistics=tuple(statistics),
        n_hazards=n_hazards,
        factors=tuple(chosen),
        member=member,
        pull=np.array(weekday_effects)[weekday.codes] if weekday else np.zeros(member.size),
        design=design,
        rows=rows,
        start=np.zeros(rows.shape[1]),
    )
    return one._replace(start=_adjusted(one, calls).coefficients)


def values(one: Summary, calls: Calls) -> FloatArray:
    """(S,) the statistics of some calls."""
    by_call = [part.sum(axis=1) for part in calls]
    hazards = (by_call[1] / by_call[0])[: one.n_hazards]
    trials, sales = (part.sum(axis=0) for part in calls)
    rates = [_sums(codes, sales, chosen) / _sums(codes, trials, chosen) for codes, chosen in one.factors]
    slopes = [_raw(calls).coefficients[-1], _adjusted(one, calls).coefficients[-1]]
    pull = one.pull @ sales / sales.sum() - one.pull @ trials / trials.sum()
    return np.concatenate([hazards, slopes, [pull], *rates])


def covariance(one: Summary, calls: Calls, weight: FloatArray) -> FloatArray:
    """(S, S) of the statistics of real calls, over clients drawn anew.

    `weight` (N,) are the clients that each row stands for: a row of weight w counts as w clients with the
    same calls, each with a share 1 / w of the row's influence.
    """
    trials, sales = (part.sum(axis=0) for part in calls)
    by_call = [part.sum(axis=1) for part in calls]
    hazard = (by_call[1] / by_call[0])[:, None]
    parts = [((calls.sales - hazard * calls.trials) / by_call[0][:, None])[: one.n_hazards].T]
    parts += [_raw_influence(calls)[:, None], _adjusted_influence(one, calls)[:, None]]
    means = [(one.pull @ amounts) / amounts.sum() for amounts in (sales, trials)]
    pull = sales * (one.pull - means[0]) / sales.sum() - trials * (one.pull - means[1]) / trials.sum()
    parts.append(pull[:, None])
    for codes, chosen in one.factors:
        total = _sums(codes, trials, chosen)
        rate = _sums(codes, sales, chosen) / total
        inside = codes[:, None] == chosen
        parts.append(inside * (sales[:, None] - trials[:, None] * rate) / total)
    influence = np.hstack(parts) / np.sqrt(np.maximum(weight, 1.0))[:, None]
    spread: FloatArray = influence.T @ influence
    return spread


def _sums(codes: IntArray, amounts: FloatArray, chosen: IntArray) -> FloatArray:
    return np.bincount(codes, amounts, minlength=int(codes.max()) + 1)[chosen].astype(np.float64)


def _raw(calls: Calls) -> Solution:
    trials, sales = (part.sum(axis=1) for part in calls)
    number = np.arange(1.0, trials.size + 1)
    rows = sparse.csr_array(np.column_stack([np.ones(trials.size), number]))
    rate = sales.sum() / trials.sum()
    return solve(rows, sales, trials, np.array([np.log(rate / (1.0 - rate)), 0.0]))


def _adjusted(one: Summary, calls: Calls) -> Solution:
    n_groups = len(one.design)
    trials, sales = (
        np.concatenate([np.bincount(one.member, row, minlength=n_groups) for row in part]) for part in calls
    )
    return solve(one.rows, sales, trials, one.start)


def _raw_influence(calls: Calls) -> FloatArray:
    fit = _raw(calls)
    error = calls.sales - calls.trials * fit.chances[:, None]
    number = np.arange(1.0, len(error) + 1)
    score = np.stack([error.sum(axis=0), number @ error])
    influence: FloatArray = fit.covariance[-1] @ score
    return influence


def _adjusted_influence(one: Summary, calls: Calls) -> FloatArray:
    fit = _adjusted(one, calls)
    chances = fit.chances.reshape(len(calls.trials), -1)[:, one.member]
    error = calls.sales - calls.trials * chances
    number = np.arange(1.0, len(error) + 1)
    # The last row of the inverse information, applied to each client's score.
    by_controls = (one.design @ fit.covariance[-1, :-1])[one.member]
    influence: FloatArray = by_controls * error.sum(axis=0) + fit.covariance[-1, -1] * (number @ error)
    return influence
