"""Reading an ordinary table: CSV or Parquet, plain or gzip, told apart by content and not by name.

A CSV is read as text and each column is taken for numbers if all of its cells are; Parquet keeps its own
types. Shape letter: N rows.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Collection, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nba.arrays import BoolArray, FloatArray, IntArray
from nba.errors import InvalidConfig, require

MISSING = ("", "?", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "None")
SEPARATORS = (",", ";", "\t", "|")
_HEAD = 1 << 16  # bytes in which the header must end
_SHOWN = 5


class Format(NamedTuple):
    """How a CSV was written; a Parquet file knows by itself, but for texts that mean a missing value."""

    separator: str | None = None  # the most frequent of SEPARATORS in the header without it
    encoding: str = "utf-8"
    missing: tuple[str, ...] = MISSING


class Table(NamedTuple):
    """The columns of a file by name, as Arrow arrays (N,) of float64 or of text."""

    source: str
    columns: dict[str, Any]
    n_rows: int
    passed_over: tuple[str, ...] = ()  # columns of lists or records

    def column(self, name: str, option: str) -> Any:
        """A column that `option` names; one that is not there is told with the nearest names."""
        if name not in self.columns:
            near = get_close_matches(name, self.columns, n=3, cutoff=0.5) or list(self.columns)[:12]
            rule = f"no such column (named by {option}); did you mean {', '.join(map(repr, near))}?"
            raise InvalidConfig(self.source, name, rule)
        return self.columns[name]

    def keep(self, rows: BoolArray) -> Table:
        """The rows (N,) that are marked."""
        import pyarrow as pa

        mask = pa.array(rows)
        columns = {name: column.filter(mask) for name, column in self.columns.items()}
        return self._replace(columns=columns, n_rows=int(rows.sum()))


def read_table(path: Path, texts: Collection[str], form: Format = Format()) -> Table:  # noqa: B008 - frozen
    """Read a file; columns named in `texts` stay text although they look like numbers.

    Raises InvalidConfig for a file that is missing, damaged, of another format or without rows.
    """
    import pyarrow as pa

    try:
        head = head_of(path)
        if head.startswith(b"PAR1"):
            table = _read_parquet(path)
        else:
            form = form._replace(separator=form.separator or separator_of(head, form.encoding))
            table = _read_csv(path, head, form)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidConfig(str(path), "", f"cannot be read: {reason}") from None
    except pa.ArrowException as error:
        raise InvalidConfig(str(path), "", f"cannot be read to its end: {error}") from None
    table = table.rename_columns([name.strip() for name in table.column_names])
    check_names(path, table.column_names)
    require(table.num_rows > 0, str(path), "", "has no rows below its header")
    is_csv = not head.startswith(b"PAR1")
    columns = {name: typed(table[name], name in texts, is_csv, form) for name in table.column_names}
    left = tuple(name for name, column in columns.items() if column is None)
    kept = {name: column for name, column in columns.items() if column is not None}
    return Table(str(path), kept, table.num_rows, left)


def numbers(column: Any) -> FloatArray:
    """(N,) floats of a column of numbers, NaN where missing."""
    values: FloatArray = column.to_numpy(zero_copy_only=False).astype(np.float64)
    return values


def coded(column: Any) -> tuple[IntArray, tuple[str, ...]]:
    """(N,) positions in the distinct texts of a column, -1 where missing; numbers are written out."""
    import pyarrow as pa

    dictionary = (column if _is_text(column) else column.cast(pa.large_string())).dictionary_encode()
    codes = dictionary.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return codes, tuple(dictionary.dictionary.to_pylist())


def is_missing(column: Any) -> BoolArray:
    """(N,) cells that hold nothing."""
    missing: BoolArray = column.is_null(nan_is_null=True).to_numpy(zero_copy_only=False)
    return missing


def is_numeric(column: Any) -> bool:
    """Whether a column holds numbers."""
    return not _is_text(column)


def told_rows(bad: BoolArray) -> str:
    """The first few rows that are marked, and how many there are: "rows 2, 7 (2 of 90, ...)"."""
    rows = np.flatnonzero(bad)
    shown = ", ".join(str(row + 1) for row in rows[:_SHOWN])
    more = " ..." if rows.size > _SHOWN else ""
    return f"rows {shown}{more} ({rows.size:,} of {bad.size:,}; row 1 is the first below the header)"


def head_of(path: Path) -> bytes:
    """The first bytes of a file's content, unzipped."""
    with path.open("rb") as file:
        magic = file.read(4)
    rule = "is a ZIP archive or an Excel workbook; save the table as CSV or Parquet"
    require(not magic.startswith(b"PK"), str(path), "", rule)
    with opened_file(path, magic) as file:
        return bytes(file.read(_HEAD))


def opened_file(path: Path, magic: bytes) -> Any:
    """A file open for reading, unzipped if it begins like one that is zipped."""
    return gzip.open(path) if magic.startswith(b"\x1f\x8b") else path.open("rb")


def separator_of(head: bytes, encoding: str) -> str:
    """The separator that comes up most in the header."""
    header = head.decode(encoding, errors="replace").partition("\n")[0]
    return max(SEPARATORS, key=header.count)  # of equals the first: a single column has commas


def _read_parquet(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    return pq.read_table(pa.BufferReader(gzip.decompress(path.read_bytes())) if zipped else path)


def _read_csv(path: Path, head: bytes, form: Format) -> Any:
    import pyarrow as pa
    from pyarrow import csv as arrow

    with path.open("rb") as file:
        magic = file.read(4)
    names = header_of(path, head, form)
    with opened_file(path, magic) as file:
        return arrow.read_csv(
            pa.PythonFile(file, mode="r"),
            # One thread names the row that is wrong; blocks are large because a row must fit into one.
            arrow.ReadOptions(use_threads=False, encoding=form.encoding, block_size=1 << 24),
            arrow.ParseOptions(delimiter=form.separator, newlines_in_values=True),
            arrow.ConvertOptions(column_types=dict.fromkeys(names, pa.large_string())),
        )


def header_of(path: Path, head: bytes, form: Format) -> list[str]:
    """The header's names as they are written, which must be there and unique."""
    try:
        text = head.decode(form.encoding, errors="strict" if len(head) < _HEAD else "ignore")
    except UnicodeDecodeError as error:
        rule = f"is not {form.encoding} at byte {error.start}; name its encoding: --encoding latin-1"
        raise InvalidConfig(str(path), "", rule) from None
    except LookupError:
        raise InvalidConfig(str(path), "--encoding", f"{form.encoding!r} is not known") from None
    names = next(csv.reader(io.StringIO(text.lstrip("\ufeff")), delimiter=form.separator or ","), [])
    require(bool(names), str(path), "", "is empty")
    check_names(path, names)
    no_header = all(_is_number(name) for name in names)
    require(not no_header, str(path), "", "the first line must name the columns; it holds numbers only")
    return names


def check_names(path: Path, names: list[str]) -> None:
    """Raise InvalidConfig for a name that comes up twice."""
    twice = sorted({name for name in names if names.count(name) > 1})
    require(not twice, str(path), ", ".join(map(repr, twice)), "names of columns must be unique")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def typed(column: Any, as_text: bool, is_csv: bool, form: Format) -> Any:
    """One column as float64 or as text, None if it is neither."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if pa.types.is_nested(kind) or pa.types.is_binary(kind):
        return None
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    if is_number and not as_text:
        return joined(column.cast(pa.float64(), safe=False))
    text = joined(pc.utf8_trim_whitespace(column.cast(pa.large_string())))
    # A label may well be named None or NA; only nothing at all is missing there.
    nothing: Sequence[str] = ("",) if as_text else ("", *form.missing)
    text = pc.if_else(pc.is_in(text, value_set=pa.array(nothing, pa.large_string())), None, text)
    found = None if as_text or not is_csv else as_numbers(text, form.separator == ";")
    return text if found is None else found


def as_numbers(text: Any, may_have_commas: bool) -> Any:
    """Texts as float64, None if one of them is no number; files with semicolons may have decimal commas."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if text.null_count == len(text):
        return None
    for found in (text, pc.replace_substring(text, ",", ".")) if may_have_commas else (text,):
        try:
            return found.cast(pa.float64())
        except pa.ArrowInvalid:
            continue
    return None


def joined(column: Any) -> Any:
    """A column of chunks as one array."""
    import pyarrow as pa

    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return pa.concat_arrays(whole.chunks) if isinstance(whole, pa.ChunkedArray) else whole


def _is_text(column: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_large_string(column.type))
