"""A log with the columns that gates ask for: net value, cost, opt-outs, complaints, and the elderly gap.

Added once, in parts, beside the log's own columns. A gap is a sum over elderly customers less one over the
others, each per customer of its group, so that a round carries a weight with a sign.
"""

from __future__ import annotations

from datetime import UTC, datetime
from math import nan
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.evaluation.stored import Part, Stored, of_files
from experiments.evaluation.survey import floats_of
from experiments.promotion.evidence import METRICS, VALUE
from experiments.tables.read import Table, coded
from nba.arrays import FloatArray
from nba.errors import InvalidConfig, require

_PREFIX = "nba_gate_"
_ROWS = 65_536
_HARMS = {"opt_outs": "opted_out", "complaints": "complained"}
_DAY_SECONDS = 86_400.0


class Wanted(NamedTuple):
    """Which columns hold what, and what contacts cost where the log does not say."""

    reward: str
    action: str
    customer: str
    at: str
    elderly_age: float
    costs: dict[str, float]  # by action, of the candidate's catalogue; for our own ledgers


class Seen(NamedTuple):
    """What the first look at a log tells."""

    customers: int
    elderly: int  # customers with a round at which they were
    others: int
    days: float


class Extended(NamedTuple):
    """A log with columns for the gates."""

    log: Stored
    seen: Seen
    columns: dict[str, str]  # metric -> column; those that there are
    missing: dict[str, str]  # metric -> why there is none


def extended(log: Stored, wanted: Wanted, scratch: Path) -> Extended:
    """The log with its gates' columns, written to scratch; InvalidConfig for what has to be there."""
    for name, option in ((wanted.customer, "--cluster"), (wanted.at, "--at"), (wanted.action, "--action")):
        log.need(name, option)
    log.need(wanted.reward, "--reward")
    seen, missing = _seen(log, wanted), _missing(log, wanted)
    if "elderly_gap" not in missing and not (seen.elderly and seen.others):
        missing["elderly_gap"] = f"all customers of the log are on one side of {wanted.elderly_age:g} years"
    names = [name for name in METRICS if name not in missing]
    files = [
        _written(log, part, wanted, seen, names, scratch / f"gates-{n}.parquet")
        for n, part in enumerate(log.parts)
    ]
    added = {name: f"{_PREFIX}{name}" for name in names}
    found = of_files(log.source, files, log.form)
    numbers = None if log.numbers is None else log.numbers | {*added.values()}
    return Extended(
        found._replace(numbers=numbers, is_own=log.is_own, bundle=log.bundle), seen, added, missing
    )


def _missing(log: Stored, wanted: Wanted) -> dict[str, str]:
    """The metrics that the log cannot tell, with the reason."""
    told = {
        name: f"the log has no column {column!r}"
        for name, column in _HARMS.items()
        if column not in log.columns
    }
    if "cost" not in log.columns and not log.is_own:
        told["cost"] = "the log has no column 'cost'"
    lacks = [one for one in ("age", *_HARMS.values()) if one not in log.columns]
    if lacks:
        told["elderly_gap"] = f"the log has no column {lacks[0]!r}"
    return told


def _seen(log: Stored, wanted: Wanted) -> Seen:
    """Customers, how many of them are elderly, and the days from the first round to the last."""
    names = [wanted.customer, wanted.at] + (["age"] if "age" in log.columns else [])
    everybody, groups, times = set[str](), (set[str](), set[str]()), set[str]()
    for part in log.parts:
        for _, table in log.read(part, names, (wanted.customer, wanted.at), _ROWS):
            codes, texts = coded(table.columns[wanted.customer])
            everybody |= set(texts)
            ages = floats_of(table.columns["age"]) if "age" in log.columns else np.full(codes.size, nan)
            for group, mine in zip(
                groups, (ages >= wanted.elderly_age, ages < wanted.elderly_age), strict=True
            ):
                group |= {texts[code] for code in np.unique(codes[mine & (codes >= 0)])}
            times |= _ends(table, wanted.at)
    return Seen(len(everybody), len(groups[0]), len(groups[1]), _days(times, log.source, wanted.at))


def _ends(table: Table, name: str) -> set[str]:
    """The first and the last of some times as texts."""
    _, texts = coded(table.columns[name])
    return {min(texts), max(texts)} if texts else set()


def _days(times: set[str], source: str, name: str) -> float:
    """Days between the first time and the last."""
    found = []
    for text in times:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            rule = f"must be times as in ISO 8601, got {text!r}; name their column: --at"
            raise InvalidConfig(source, name, rule) from None
        found.append((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    require(bool(found), source, name, "holds no time in any row")
    return (max(found) - min(found)) / _DAY_SECONDS


def _written(log: Stored, part: Part, wanted: Wanted, seen: Seen, names: list[str], out: Path) -> Path:
    """One part with its gates' columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    asked = [wanted.reward, wanted.action]
    asked += [one for one in ("cost", "age", *_HARMS.values()) if one in log.columns]
    writer = None
    with pq.ParquetFile(part.path) as file:
        plain = file.iter_batches(_ROWS, row_groups=list(part.row_groups))
        typed = log.read(part, asked, (wanted.action,), _ROWS)
        for batch, (_, table) in zip(plain, typed, strict=True):
            whole = pa.Table.from_batches([batch])
            for name in names:
                whole = whole.append_column(
                    f"{_PREFIX}{name}", pa.array(_metric(name, table, wanted, seen, log))
                )
            writer = writer or pq.ParquetWriter(out, whole.schema)
            writer.write_table(whole)
    assert writer is not None  # a part has rows
    writer.close()
    return out


def _metric(name: str, table: Table, wanted: Wanted, seen: Seen, log: Stored) -> FloatArray:
    """(n,) a metric by round; NaN where the log has no number, which is told as a fault."""
    if name == "cost":
        return _costs(table, wanted)
    if name == VALUE:
        # A service hears what conversions bring, not what contacts cost; a table's reward is as it is.
        reward = floats_of(table.columns[wanted.reward])
        return reward - _costs(table, wanted) if log.is_own and wanted.reward == "reward" else reward
    if name in _HARMS:
        return floats_of(table.columns[_HARMS[name]])
    harms = floats_of(table.columns["opted_out"]) + floats_of(table.columns["complained"])
    elderly = floats_of(table.columns["age"]) >= wanted.elderly_age
    weights: FloatArray = np.where(elderly, seen.customers / seen.elderly, -seen.customers / seen.others)
    return harms * weights


def _costs(table: Table, wanted: Wanted) -> FloatArray:
    """(n,) what the contact cost, by the log or by the catalogue."""
    if "cost" in table.columns:
        return floats_of(table.columns["cost"])
    codes, labels = coded(table.columns[wanted.action])
    return np.array([wanted.costs.get(label, nan) for label in labels] + [nan])[codes]


def first_rows(log: Stored, names: list[str], texts: tuple[str, ...], n: int) -> Any:
    """The first rows of a log, at most n."""
    return next(log.read(log.parts[0], names, texts, n))[1]
