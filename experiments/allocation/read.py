"""Candidates of an allocation from a table, read in pieces: CSV or Parquet, plain or gzip.

Only codes and values stay in memory: of a candidate its customer, its action, its value and its kind, which
is the combination of all columns that resources and caps ask for.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from experiments.allocation.coding import Candidates, Coding, Names, Needed
from experiments.executor import Report
from experiments.tables.read import SEPARATORS
from nba.errors import InvalidConfig, require

_ROWS = 1 << 18  # of a Parquet piece
_BYTES = 1 << 24  # of a CSV piece, into which a row must fit


def read_candidates(path: Path, names: Names, needed: Needed, report: Report) -> Candidates:
    """Read a table of candidates; `report` hears of the rows read.

    Raises InvalidConfig, which names the file, the column, rows and the rule, for a table that cannot be
    read, has no such column, misses or doubles something, or holds a value that is not a number.
    """
    import pyarrow as pa

    coded = Coding(str(path), names, needed)
    try:
        for batch in _batches(path, [*names, *needed.texts, *needed.amounts], names, needed):
            coded.add(batch)
            report(batch.num_rows)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidConfig(str(path), "", f"cannot be read: {reason}") from None
    except pa.ArrowException as error:
        raise InvalidConfig(str(path), "", f"cannot be read to its end: {error}") from None
    require(coded.n_rows > 0, str(path), "", "has no rows below its header")
    return coded.ordered()


def n_rows_of(path: Path) -> int:
    """Rows of a Parquet file; of anything else a guess from its size, for a progress bar."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return int(pq.read_metadata(path).num_rows)
    except (OSError, pa.ArrowException):
        return path.stat().st_size // 40 + 1 if path.exists() else 1


def _batches(path: Path, columns: list[str], names: Names, needed: Needed) -> Iterator[Any]:
    """Pieces of the table with the needed columns only."""
    import pyarrow.parquet as pq

    with path.open("rb") as file:
        is_zipped = file.read(2) == b"\x1f\x8b"
    with gzip.open(path) if is_zipped else path.open("rb") as file:
        head = file.read(1 << 16)
        require(bool(head), str(path), "", "is empty")
        file.seek(0)
        if head.startswith(b"PAR1"):
            parquet = pq.ParquetFile(file)
            _check_names(path, parquet.schema_arrow.names, names, needed)
            yield from parquet.iter_batches(_ROWS, columns=list(dict.fromkeys(columns)))
        else:
            yield from _csv_batches(path, file, head, columns, names, needed)


def _csv_batches(
    path: Path, file: Any, head: bytes, columns: list[str], names: Names, needed: Needed
) -> Iterator[Any]:
    import pyarrow as pa
    from pyarrow import csv

    first = head.decode("utf-8-sig", errors="replace").partition("\n")[0]
    parse = csv.ParseOptions(delimiter=max(SEPARATORS, key=first.count))
    header = csv.read_csv(pa.BufferReader(first.encode() + b"\n"), parse_options=parse).column_names
    _check_names(path, header, names, needed)
    wanted = list(dict.fromkeys(columns))
    convert = csv.ConvertOptions(
        include_columns=wanted, column_types=dict.fromkeys(wanted, pa.large_string())
    )
    # One thread names the row that is wrong.
    read = csv.ReadOptions(use_threads=False, block_size=_BYTES)
    yield from csv.open_csv(pa.PythonFile(file, mode="r"), read, parse, convert)


def _check_names(path: Path, header: list[str], names: Names, needed: Needed) -> None:
    twice = sorted({name for name in header if header.count(name) > 1})
    require(not twice, str(path), ", ".join(map(repr, twice)), "names of columns must be unique")
    asked = {name: f"--{field}" for field, name in names._asdict().items()}
    for name, who in {**needed.texts, **needed.amounts, **asked}.items():
        near = get_close_matches(name, header, n=3, cutoff=0.5) or header[:12]
        rule = f"no such column (named by {who}); did you mean {', '.join(map(repr, near))}?"
        require(name in header, str(path), name, rule)
