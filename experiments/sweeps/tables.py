"""The tables of a compared sweep, long and numeric: for MLflow, CSV, pandas, and the pages that show them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np

from experiments.report_series import column, net_value
from experiments.sweeps.compared import Compared, Line, interval_of
from experiments.sweeps.plan import Row
from experiments.sweeps.played import Played
from nba.arrays import FloatArray

Record: TypeAlias = dict[str, Any]
FACTORS = ("channel", "product", "timing")
_TENTHS = 10


def figures(compared: Compared) -> Iterator[Record]:
    """One row per strategy, world and metric: mean, interval, and the paired difference to the baseline."""
    for line in compared.lines:
        for name, figure in line.figures.items():
            gap = figure.difference
            yield _of(line) | {
                "seeds": line.seeds,
                "stopped_by": line.stopped_by or "",
                "metric": name,
                "unit": compared.metrics[name].unit,
                "mean": figure.mean,
                "low": figure.low,
                "high": figure.high,
                "difference": gap.mean,
                "difference_low": gap.low,
                "difference_high": gap.high,
            }


def gates(compared: Compared) -> Iterator[Record]:
    """One row per strategy, world and gate."""
    for line in compared.lines:
        for gate in line.gates:
            yield _of(line) | {
                "metric": gate.metric,
                "bound": gate.bound,
                "end": gate.end,
                "passed": gate.passed,
            }


def segments(compared: Compared) -> Iterator[Record]:
    """One row per strategy, world and segment: who is contacted, who gains, and who leaves."""
    for line in compared.lines:
        runs, base = compared.runs[line.row], compared.runs[Row(compared.baseline, line.world)]
        for number, name in enumerate(_any(runs).segments.tolist()):
            mine = {seed: run.of(number) for seed, run in runs.items()}
            mine = {seed: run for seed, run in mine.items() if run.n_customers}
            if not mine:
                continue
            gaps = [run.net - base[seed].of(number).net for seed, run in mine.items() if seed in base]
            gain = interval_of(gaps, line.stopped_by is not None)
            yield _of(line) | {
                "segment": name,
                "customers": sum(run.n_customers for run in mine.values()),
                "contacts": _mean(mine, lambda run: run.contacts),
                "opt_outs": _mean(mine, lambda run: run.opt_outs),
                "complaints_per_1k": 1000.0 * _mean(mine, lambda run: run.complaints),
                "net_value": _mean(mine, lambda run: run.net),
                "difference": gain.mean,
                "difference_low": gain.low,
                "difference_high": gain.high,
            }


def mixes(compared: Compared) -> Iterator[Record]:
    """One row per strategy, world, factor and level: its share of decisions (channels) or of contacts."""
    for line in compared.lines:
        runs = compared.runs[line.row]
        for factor in FACTORS:
            counts = np.sum([getattr(run, f"{factor}_counts") for run in runs.values()], axis=0)
            names = getattr(_any(runs), f"{factor}s").tolist()
            names = [*names, "no contact"] if factor == "channel" else names
            for name, count in zip(names, counts, strict=True):
                share = float(count) / max(float(counts.sum()), 1.0)
                yield _of(line) | {"factor": factor, "level": name, "share": share}


def learning(compared: Compared) -> Iterator[Record]:
    """One row per strategy that learns, world and training day: what learning earns while it goes on."""
    for line in compared.lines:
        runs = compared.runs[line.row]
        if not _any(runs).training_daily.shape[0]:
            continue
        values = _daily(runs, net_value)
        contacts = _daily(runs, lambda daily: column(daily, "contacts"))
        for day, (value, made) in enumerate(zip(values, contacts, strict=True), start=1):
            yield _of(line) | {
                "day": day,
                "cumulative_net_value": float(value),
                "cumulative_contacts": float(made),
            }


def calibrations(compared: Compared) -> Iterator[Record]:
    """One row per strategy, world and tenth of customers by what was expected of them: expected and true."""
    for line in compared.lines:
        runs = compared.runs[line.row].values()
        believed = np.concatenate([run.believed for run in runs])
        truth = np.concatenate([run.expected for run in runs])
        if np.isnan(truth).any() or not believed.any():
            continue  # without the oracle nobody knows; who never speaks expects nothing
        order = np.argsort(believed, kind="stable")
        for tenth, rows in enumerate(np.array_split(order, _TENTHS), start=1):
            if rows.size:
                yield _of(line) | {
                    "tenth": tenth,
                    "believed": float(believed[rows].mean()),
                    "true": float(truth[rows].mean()),
                }


def failures(compared: Compared) -> Iterator[Record]:
    """One row per cell that could not be run."""
    for one in compared.failures:
        yield {
            "strategy": one.row.strategy,
            "world": one.row.world,
            "seeds": list(one.seeds),
            "error": one.failure.error,
            "traceback": one.failure.traceback,
        }


TABLES: Mapping[str, Callable[[Compared], Iterator[Record]]] = {
    "figures": figures,
    "gates": gates,
    "segments": segments,
    "mixes": mixes,
    "learning": learning,
    "calibration": calibrations,
    "failures": failures,
}


def _of(line: Line) -> Record:
    return {"world": line.world, "strategy": line.strategy}


def _any(runs: Mapping[int, Played]) -> Played:
    return next(iter(runs.values()))


def _mean(runs: Mapping[int, Played], of: Callable[[Played], FloatArray]) -> float:
    return float(np.mean([of(run).mean() for run in runs.values()]))


def _daily(runs: Mapping[int, Played], of: Callable[[FloatArray], FloatArray]) -> FloatArray:
    """(D,) cumulative per customer, mean over seeds."""
    sums = [np.cumsum(of(run.training_daily)) / float(run.customers_trained) for run in runs.values()]
    mean: FloatArray = np.mean(sums, axis=0)
    return mean
