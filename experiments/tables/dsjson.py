"""DSJSON, the decision log of Vowpal Wabbit and Azure Personalizer, as a table that `nba evaluate` reads.

Columns of the table: action, reward (minus `_label_cost`), propensity (`_label_probability`), eligible (the
actions of `_multi`), event, at, and a column for each shared feature of `c`, by the path of its names.
An action is named by its `_tag`, or else by its features.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from nba.errors import InvalidConfig

OWN = ("event", "customer", "at", "action", "reward", "propensity", "eligible")
_CLOSE = 1e-6  # of sums of probabilities that were rounded


class Line(Struct, kw_only=True):
    """What is read of a line; VW writes more."""

    label_cost: float = field(name="_label_cost")
    label_probability: float = field(name="_label_probability")
    a: list[int]
    p: list[float]
    c: dict[str, Any]
    event: str = field(name="EventId", default="")
    at: str = field(name="Timestamp", default="")
    customer: str | None = None
    dropped: float = field(name="pdrop", default=0.0)


def rows_of(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a log, in its order; InvalidConfig names the line that cannot be right."""
    decoder = msgspec.json.Decoder(Line)
    try:
        with path.open("rb") as file:
            for number, text in enumerate(file, start=1):
                where = f"{path}:{number}"
                if not text.strip():
                    continue
                try:
                    line = decoder.decode(text)
                except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                    raise InvalidConfig(where, "", f"is no decision in DSJSON: {error}") from None
                yield _row(line, where)
    except OSError as error:
        raise InvalidConfig(str(path), "", f"cannot be read: {error.strerror}") from None


def write_table(path: Path, out: Path) -> int:
    """Write the table of a log, Parquet or (by the name of `out`) CSV; gives its number of rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyarrow import csv

    rows = list(rows_of(path))
    if not rows:
        raise InvalidConfig(str(path), "", "holds no decision")
    names = dict.fromkeys([*OWN, *(name for row in rows for name in row)])
    table = pa.table({name: _column([row.get(name) for row in rows]) for name in names})
    if out.suffix == ".csv":
        csv.write_csv(table, out)
    else:
        pq.write_table(table, out)
    return len(rows)


def _row(line: Line, where: str) -> dict[str, Any]:
    multi = line.c.get("_multi")
    if not isinstance(multi, list) or not all(isinstance(one, dict) for one in multi):
        raise InvalidConfig(where, "c/_multi", "must list the actions that could be chosen")
    _check(line, len(multi), where)
    labels = [_label(one, place) for place, one in enumerate(multi, start=1)]
    if len(set(labels)) < len(labels):
        twice = next(one for one in labels if labels.count(one) > 1)
        raise InvalidConfig(where, "c/_multi", f"names {twice!r} twice; give actions a _tag of their own")
    shared = {name: value for name, value in line.c.items() if name not in ("_multi", "_slots")}
    return {
        **{name: value for name, value in _flat(shared, "") if name not in OWN},
        "event": line.event,
        "customer": line.customer,
        "at": line.at,
        "action": labels[line.a[0] - 1],
        "reward": -line.label_cost,
        "propensity": line.label_probability,
        "eligible": "|".join(labels),
    }


def _check(line: Line, n_actions: int, where: str) -> None:
    """Refuse what no log of decisions says."""
    if "_slots" in line.c:
        raise InvalidConfig(where, "c/_slots", "is a decision over slots; a table has an action a row")
    if sorted(line.a) != list(range(1, n_actions + 1)) or len(line.p) != n_actions:
        rule = f"must name each of the {n_actions} actions of _multi once, counted from 1, with its p"
        raise InvalidConfig(where, "a", rule)
    if abs(sum(line.p) - 1.0) > _CLOSE or min(line.p) < 0.0:
        raise InvalidConfig(where, "p", f"must be probabilities that sum to 1, got {sum(line.p):g}")
    if not 0.0 < line.label_probability <= 1.0 or abs(line.p[0] - line.label_probability) > _CLOSE:
        rule = f"must be the probability of the chosen action, {line.p[0]:g}, got {line.label_probability:g}"
        raise InvalidConfig(where, "_label_probability", rule)
    if line.dropped:
        rule = f"is {line.dropped:g}: lines were dropped at random, and rewards would have to be weighed up"
        raise InvalidConfig(where, "pdrop", rule)


def _label(action: dict[str, Any], place: int) -> str:
    """What an action is called."""
    tag = action.get("_tag")
    if isinstance(tag, str):
        return tag
    features = list(_flat(action, ""))
    return "&".join(f"{name}={value}" for name, value in features) or f"action-{place}"


def _flat(value: Any, path: str) -> Iterator[tuple[str, float | str | bool]]:
    """Features by the path of their names."""
    if isinstance(value, dict):
        for name, child in value.items():
            yield from _flat(child, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for place, child in enumerate(value):
            yield from _flat(child, f"{path}.{place}")
    elif value is not None:
        yield path, value


def _column(cells: list[Any]) -> list[Any]:
    """Cells of one kind: texts where any is a text, else numbers."""
    if any(isinstance(cell, str) for cell in cells):
        return [None if cell is None else str(cell) for cell in cells]
    return [None if cell is None else float(cell) for cell in cells]
