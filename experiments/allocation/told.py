"""What `nba allocate` tells: a certificate as JSON and as lines, and the plan as a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.allocation.coding import Candidates, Names
from nba.allocation.allocate import Certificate
from nba.allocation.choices import kind_prices
from nba.allocation.frame import Entry
from nba.allocation.problem import Problem
from nba.allocation.rule_prices import RulePrice
from nba.arrays import BoolArray, FloatArray
from nba.errors import InvalidConfig


def told_json(
    certificate: Certificate, problem: Problem, entries: Sequence[Entry], seconds: float
) -> dict[str, Any]:
    """The certificate by names; prices in account currency per unit, usage in units or as a share of 1."""
    usage = {entry.name: entry.used(certificate.usage) for entry in entries}
    over = problem.rows.excess(certificate.usage)
    return {
        "objective": certificate.objective,
        "value": certificate.value,
        "upper_bound": certificate.upper_bound,
        "gap": certificate.gap if np.isfinite(certificate.gap) else None,  # JSON knows no infinity
        "gap_of_value": certificate.gap_of_value if np.isfinite(certificate.gap_of_value) else None,
        "prices": {entry.name: float(certificate.prices[entry.row]) for entry in entries},
        "usage": usage,
        "limits": {entry.name: entry.limit for entry in entries},
        "infeasible": [_missing(entry, usage[entry.name], over) for entry in entries if _fails(entry, over)],
        "exceeded": [entry.name for entry in entries if over[entry.row] > 0.0 and entry.report_only],
        "repaired": certificate.repaired,
        "customers": problem.n_customers,
        "candidates": int(problem.values.size),
        "seconds": seconds,
        "iterations": round(certificate.iterations, 2),
    }  # fmt: skip


def _fails(entry: Entry, over: FloatArray) -> bool:
    return bool(over[entry.row] > 0.0) and not entry.report_only


def _missing(entry: Entry, used: float, over: FloatArray) -> dict[str, Any]:
    return {"name": entry.name, "limit": entry.limit, "usage": used, "missing": float(over[entry.row])}


def rules_json(prices: Sequence[RulePrice]) -> dict[str, dict[str, float]]:
    """The prices of rules by name, account currency."""
    return {
        one.name: {"given_up": one.given_up, "at_least": one.at_least, "at_most": one.at_most}
        for one in prices
    }


def told_lines(told: dict[str, Any]) -> list[str]:
    """The same for people."""
    lines = [
        f"value {told['value']:,.2f}, objective {told['objective']:,.2f}, at most {told['upper_bound']:,.2f}",
        "gap unknown: the upper bound is 0" if told["gap"] is None else f"gap {100 * told['gap']:.4f} %",
        f"{told['customers']:,} customers, {told['candidates']:,} candidates, {told['chosen']:,} chosen, "
        f"{told['repaired']:,} customers repaired, {told['iterations']:g} passes, {told['seconds']:.1f} s",
        f"{'resource':40s} {'usage':>14s} {'limit':>14s} {'price of a unit':>16s}",
    ]
    lines += [
        f"{name:40s} {told['usage'][name]:14,.4g} {told['limits'][name]:14,.4g} {told['prices'][name]:16,.4g}"
        for name in told["usage"]
    ]
    lines += [f"infeasible: {one['name']} misses {one['missing']:,.4g} units" for one in told["infeasible"]]
    lines += [f"exceeded, report only: {name}" for name in told["exceeded"]]
    lines += [
        f"rule {name}: {one['given_up']:,.2f} given up ({one['at_least']:,.2f} to {one['at_most']:,.2f})"
        for name, one in told.get("rules", {}).items()
    ]
    return lines


def write_plan(
    path: Path, names: Names, candidates: Candidates, problem: Problem, chosen: BoolArray, prices: Any
) -> None:
    """Write the chosen candidates (n,), by customers' names: Parquet, or CSV if the file's name says so.

    The column `price` is what the candidate is charged for its uses at the shadow prices. By value minus
    price everybody but the repaired customers has the best of its own candidates.
    """
    import pyarrow as pa

    places = np.flatnonzero(chosen)
    customers = candidates.customers[np.searchsorted(problem.starts, places, side="right") - 1]
    places, customers = places[(order := np.argsort(customers, kind="stable"))], customers[order]
    charged = kind_prices(problem, prices)[problem.kind_of[places]]
    table = pa.table(
        {
            names.customer: pa.array(customers, pa.large_string()),
            names.action: pa.array(candidates.actions[candidates.action_of[places]], pa.large_string()),
            names.value: candidates.values[places],
            "price": charged,
        }
    )
    try:
        _write(path, table)
    except OSError as error:
        raise InvalidConfig(str(path), "", f"cannot be written: {error.strerror or error}") from None


def _write(path: Path, table: Any) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyarrow import csv

    name = path.name.lower()
    if name.endswith(".csv"):
        csv.write_csv(table, path)
    elif name.endswith(".csv.gz"):
        with pa.output_stream(path, compression="gzip") as file:
            csv.write_csv(table, file)
    else:
        pq.write_table(table, path)
