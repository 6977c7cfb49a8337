"""Series over days that the report draws and MLflow stores, per customer."""

from __future__ import annotations

import numpy as np

from experiments.results import StrategyResult
from experiments.tallies import DAILY
from nba.arrays import FloatArray

MAX_STEPS = 120
_WINDOW_DAYS = 7


def column(daily: FloatArray, name: str) -> FloatArray:
    """(days,) one of the DAILY sums."""
    return daily[:, DAILY.index(name)]


def net_value(daily: FloatArray) -> FloatArray:
    """(days,) value minus contact cost minus modelled losses."""
    return column(daily, "value") - column(daily, "cost") - column(daily, "loss")


def regret_share(daily: FloatArray) -> FloatArray:
    """(days,) share of the myopic oracle's value missed in the last seven days, nan without decisions."""
    best, got = (np.cumsum(column(daily, name)) for name in ("oracle_value", "expected_value"))
    days = np.arange(best.size)

    def in_window(total: FloatArray) -> FloatArray:
        return total - np.where(days >= _WINDOW_DAYS, np.roll(total, _WINDOW_DAYS), 0.0)

    possible, lost = in_window(best), in_window(best - got)
    shares: FloatArray = np.divide(lost, possible, out=np.full(best.size, np.nan), where=possible > 1e-9)
    return shares


def training_series(one: StrategyResult) -> dict[str, FloatArray]:
    """(days,) each; none for a strategy that does not learn."""
    if one.customers_trained == 0 or one.training_daily.shape[0] == 0:
        return {}
    daily, n = one.training_daily, one.customers_trained
    return {
        "online/cumulative_net_value": np.cumsum(net_value(daily)) / n,
        "online/regret_share": regret_share(daily),
        "online/contacts_per_customer": np.cumsum(column(daily, "contacts")) / n,
        "online/opt_out_rate": np.cumsum(column(daily, "opt_outs")) / n,
        "online/conversions_per_customer": np.cumsum(column(daily, "conversions")) / n,
    }


def evaluation_series(one: StrategyResult, control: StrategyResult) -> dict[str, FloatArray]:
    """(days,) incremental value so far, on the evaluation customers."""
    gain = net_value(one.evaluation_daily) / one.customers_evaluated
    gain = gain - net_value(control.evaluation_daily) / control.customers_evaluated
    return {"evaluation/incremental_value": np.cumsum(gain)}


def thinned(values: FloatArray) -> list[tuple[int, float]]:
    """(day, value) of at most MAX_STEPS finite points, the last one always; days count from 1."""
    days = np.unique(np.linspace(0, values.size - 1, min(values.size, MAX_STEPS)).round().astype(np.int64))
    return [(int(day) + 1, float(values[day])) for day in days if np.isfinite(values[day])]
