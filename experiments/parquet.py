"""Logs as Parquet files: names instead of rows, compact types, written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.logs import DecisionLog, OutcomeLog
from experiments.spec import DAY_BITS
from nba.arrays import AnyArray, BoolArray, IntArray
from nba.errors import NBAError
from simulator.config import TIMING_TYPES
from simulator.world import World

ROWS_PER_GROUP = 131_072
_COMPRESSION = "zstd"
# Ids of neighbouring rows share their beginning: stored as differences they take a byte or two.
_DIFFERENCES = ("decision_id",)
_TYPES = {"customer": np.int32, "n_eligible": np.int32, "queued_days": np.int16, "expected_value": np.float32}


class UnwritableFolderError(NBAError, OSError):
    """The folder for the results, or a file in it, cannot be written."""


class LogTables(NamedTuple):
    """Turns logs of one run into Arrow tables."""

    world: World
    seed: int

    def decisions(self, log: DecisionLog) -> Any:
        """The decision log with names instead of rows."""
        import pyarrow as pa

        catalogue = self.world.config.catalogue
        columns = log._asdict()
        number, action = columns.pop("number"), columns.pop("action")
        factors = {
            factor: _named(getattr(catalogue, f"{factor}_of")[action], getattr(catalogue, f"{factor}s"))
            for factor in ("channel", "timing", "product")
        }
        return pa.table(
            {
                "decision_id": self._ids(number),
                "date": self._dates(columns.pop("day")),
                "contact_date": self._dates(columns.pop("contact_day")),
                "action_id": _dictionary(action, catalogue.action_ids),
                **factors,
                "timing_type": _dictionary(columns.pop("timing_type"), TIMING_TYPES),
                **_compact(columns),
            }
        )

    def outcomes(self, log: OutcomeLog) -> Any:
        """The outcome log with names instead of rows; decision_id is null for organic conversions."""
        import pyarrow as pa

        columns = log._asdict()
        return pa.table(
            {
                "date": self._dates(columns.pop("day")),
                "product": _named(columns.pop("product"), self.world.config.catalogue.products),
                "decision_id": self._ids(decision := columns.pop("decision"), absent=decision < 0),
                **_compact(columns),
            }
        )

    def _dates(self, days: IntArray) -> AnyArray:
        """(n,) dates at midnight: pandas would read Parquet's own dates as one Python object each."""
        return (self.world.date(0) + days.astype("timedelta64[D]")).astype("datetime64[ms]")

    def _ids(self, numbers: IntArray, absent: BoolArray | None = None) -> Any:
        """(n,) what `experiments.rollout.decision_id` says of every number."""
        import pyarrow as pa
        import pyarrow.compute as pc

        customers, days = numbers >> DAY_BITS, numbers & ((1 << DAY_BITS) - 1)
        parts = (pa.array(part, mask=absent).cast(pa.string()) for part in (customers, days))
        return pc.binary_join_element_wise(f"sim-{self.seed}", *parts, "-")


def write_table(table: Any, path: Path) -> None:
    """Write an Arrow table in row groups."""
    import pyarrow.parquet as pq

    plain = [name for name in table.column_names if name in _DIFFERENCES]
    settings: dict[str, Any] = {
        "row_group_size": ROWS_PER_GROUP,
        "compression": _COMPRESSION,
        "use_dictionary": [name for name in table.column_names if name not in plain],
        "column_encoding": dict.fromkeys(plain, "DELTA_BYTE_ARRAY"),
    }
    write_whole(path, lambda draft: pq.write_table(table, draft, **settings))


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a hidden draft and rename it when it is safe on the disk: a crash leaves no half file.

    Readers of a folder pass over names that begin with a dot.
    """
    draft = path.with_name(f".{path.name}.draft")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(draft)
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        with suppress(OSError):
            draft.unlink()
        raise UnwritableFolderError(f"{path} cannot be written: {error.strerror or error}") from None


def _compact(columns: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
    """Integers in the fewest bytes that hold what they may become; the rest as it is."""
    return {name: column.astype(_TYPES.get(name, column.dtype)) for name, column in columns.items()}


def _named(levels: IntArray, rows: Sequence[Any]) -> Any:
    """(n,) names of the levels of a factor, null for -1."""
    return _dictionary(levels, [row.name for row in rows])


def _dictionary(codes: IntArray, names: Sequence[str]) -> Any:
    import pyarrow as pa

    indices = pa.array(codes.astype(np.int32), mask=codes < 0)
    return pa.DictionaryArray.from_arrays(indices, pa.array(names))
