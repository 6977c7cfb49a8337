"""A log of any size as parts that are read on their own: ranges of row groups of Parquet files.

A CSV, or a Parquet file that is zipped, is one stream and cannot be cut; it is written to a scratch folder
as Parquet once. What a column of a CSV holds is known only when all of it was read: there, too.
"""

from __future__ import annotations

import gzip
import shutil
import zlib
from collections.abc import Collection, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from experiments.executor import Report
from experiments.tables.read import (
    Format,
    Table,
    as_numbers,
    check_names,
    head_of,
    header_of,
    joined,
    opened_file,
    separator_of,
    typed,
)
from nba.errors import InvalidConfig, require

_PART_ROWS = 262_144  # at least, unless the file has fewer; the work of one task
_GROUP_ROWS = 65_536  # of scratch files
_BLOCK_BYTES = 1 << 24  # of a CSV; a row must fit into one
LIST_SEPARATOR = "\x1f"  # between the entries of a Parquet list, once it is a text


class Part(NamedTuple):
    """Consecutive row groups of one file."""

    path: Path
    row_groups: tuple[int, ...]
    first_row: int  # of the log, counted from 1
    n_rows: int


class Stored(NamedTuple):
    """Where the parts of a log are, and how its columns are read."""

    source: str
    columns: tuple[str, ...]
    parts: tuple[Part, ...]
    form: Format
    numbers: frozenset[str] | None = None  # columns of a CSV that hold nothing but numbers
    is_own: bool = False  # made of one of our own logs
    bundle: str = ""  # digest of the bundle that a ledger was begun with

    @property
    def n_rows(self) -> int:
        """N, the number of rows."""
        return sum(part.n_rows for part in self.parts)

    def need(self, name: str, option: str) -> str:
        """A column that `option` names; one that is not there is told with the nearest names."""
        near = get_close_matches(name, self.columns, n=3, cutoff=0.5) or self.columns[:12]
        rule = f"no such column (named by {option}); did you mean {', '.join(map(repr, near))}?"
        require(name in self.columns, self.source, name, rule)
        return name

    def read(
        self, part: Part, names: Collection[str], texts: Collection[str], rows: int
    ) -> Iterator[tuple[int, Table]]:
        """Some columns of a part, at most `rows` at a time, each with its first row of the log."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        first = part.first_row
        try:
            with pq.ParquetFile(part.path) as file:
                there = {name.strip(): name for name in file.schema_arrow.names}
                wanted = [there[name] for name in dict.fromkeys(names)]
                # Without a column Arrow counts rows wrongly; some column is always there.
                for batch in file.iter_batches(rows, row_groups=list(part.row_groups), columns=wanted):
                    columns = {name: self._typed(batch[there[name]], name, texts) for name in names}
                    yield first, Table(self.source, columns, batch.num_rows)
                    first += batch.num_rows
        except (OSError, pa.ArrowException) as error:
            raise InvalidConfig(self.source, "", f"cannot be read to its end: {error}") from None

    def _typed(self, column: Any, name: str, texts: Collection[str]) -> Any:
        """One column as float64 or as text; lists are texts with a separator of their own."""
        import pyarrow as pa
        import pyarrow.compute as pc

        kind = column.type
        if pa.types.is_list(kind) or pa.types.is_large_list(kind):
            names = column.cast(pa.list_(pa.string()))
            return pc.binary_join(names, LIST_SEPARATOR).cast(pa.large_string())
        if self.numbers is None:
            found = typed(column, name in texts, False, self.form)
            require(found is not None, self.source, name, "holds records or bytes; name a plain column")
            return found
        text = typed(column, True, True, self.form) if name in texts else _nulled(column, self.form)
        if name in texts or name not in self.numbers:
            return text
        found = as_numbers(text, self.form.separator == ";")
        return pa.nulls(len(text), pa.float64()) if found is None else found


def stored(path: Path, form: Format, scratch: Path, report: Report) -> Stored:
    """A file or a folder of Parquet files, ready to be read in parts; `report` hears of rows of a CSV.

    Raises InvalidConfig for what is missing, damaged, of another format or without rows.
    """
    import pyarrow as pa

    files = sorted(one for one in path.glob("*.parquet") if not one.name.startswith(".")) or [path]
    try:
        heads = [head_of(one) for one in files]
        if all(head.startswith(b"PAR1") for head in heads):
            plain = [_unzipped(one, scratch) for one in files]
            found = _of_parquet(path, plain, form)
        else:
            rule = "holds no .parquet file" if path.is_dir() else "is not Parquet, though others are"
            require(len(files) == 1 and not path.is_dir(), str(path), "", rule)
            found = _of_csv(path, heads[0], form, scratch, report)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidConfig(str(path), "", f"cannot be read: {reason}") from None
    except pa.ArrowException as error:
        raise InvalidConfig(str(path), "", f"cannot be read to its end: {error}") from None
    require(found.n_rows > 0, str(path), "", "has no rows below its header")
    return found


def of_files(source: str, files: Sequence[Path], form: Format) -> Stored:
    """Parquet files of one schema, one after the other."""
    return _of_parquet(Path(source), files, form)


def _of_parquet(path: Path, files: Sequence[Path], form: Format) -> Stored:
    import pyarrow.parquet as pq

    parts: list[Part] = []
    first, names = 1, None
    for file in files:
        read = pq.ParquetFile(file)
        mine = [name.strip() for name in read.schema_arrow.names]
        check_names(path, mine)
        names = names or mine
        require(set(mine) == set(names), str(file), "", f"has other columns than {files[0].name}")
        sizes = [read.metadata.row_group(group).num_rows for group in range(read.num_row_groups)]
        for groups in _ranges(sizes):
            n_rows = sum(sizes[group] for group in groups)
            parts.append(Part(file, groups, first, n_rows))
            first += n_rows
    return Stored(str(path), tuple(names or ()), tuple(parts), form)


def _ranges(sizes: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Row groups by the rows they have, in ranges of about _PART_ROWS."""
    groups: list[int] = []
    for group, size in enumerate(sizes):
        if size:
            groups.append(group)
        if groups and sum(sizes[one] for one in groups) >= _PART_ROWS:
            yield tuple(groups)
            groups = []
    if groups:
        yield tuple(groups)


def _unzipped(path: Path, scratch: Path) -> Path:
    """A file as it is, or its content in the scratch folder."""
    with path.open("rb") as file:
        if file.read(2) != b"\x1f\x8b":
            return path
    plain = scratch / f"{path.name}.plain"
    with gzip.open(path) as source, plain.open("wb") as out:
        shutil.copyfileobj(source, out, 1 << 20)
    return plain


def _of_csv(path: Path, head: bytes, form: Format, scratch: Path, report: Report) -> Stored:
    """A CSV written to scratch as texts, and which of its columns hold numbers only."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyarrow import csv

    form = form._replace(separator=form.separator or separator_of(head, form.encoding))
    names = header_of(path, head, form)
    with path.open("rb") as file:
        magic = file.read(4)
    place, no_numbers, any_number = scratch / "log.parquet", set[str](), set[str]()
    with opened_file(path, magic) as file:
        stream = csv.open_csv(
            pa.PythonFile(file, mode="r"),
            # One thread names the row that is wrong.
            csv.ReadOptions(use_threads=False, encoding=form.encoding, block_size=_BLOCK_BYTES),
            csv.ParseOptions(delimiter=form.separator, newlines_in_values=True),
            csv.ConvertOptions(column_types=dict.fromkeys(names, pa.large_string())),
        )
        with pq.ParquetWriter(place, stream.schema, compression="zstd") as writer:
            for batch in stream:
                for name in set(names) - no_numbers:
                    text = _nulled(batch[name], form)
                    if text.null_count < len(text):
                        is_number = as_numbers(text, form.separator == ";") is not None
                        (any_number if is_number else no_numbers).add(name)
                writer.write_batch(batch, row_group_size=_GROUP_ROWS)
                report(batch.num_rows)
    numbers = frozenset(name.strip() for name in any_number - no_numbers)
    return _of_parquet(path, [place], form)._replace(numbers=numbers)


def _nulled(column: Any, form: Format) -> Any:
    """Texts of a CSV, trimmed, null where they mean a missing value."""
    import pyarrow as pa
    import pyarrow.compute as pc

    text = joined(pc.utf8_trim_whitespace(column.cast(pa.large_string())))
    nothing = pa.array(("", *form.missing), pa.large_string())
    return pc.if_else(pc.is_in(text, value_set=nothing), None, text)
