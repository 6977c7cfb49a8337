"""The UCI bank calls: one row per client as published, one row per call as they happened.

Moro, Cortez and Rita (2014), doi:10.1016/j.dss.2014.03.001. The column `duration` is known only
after the call, so it is never read. Shape letters: N clients, R calls, G groups of equal calls.
"""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nba.arrays import BoolArray, FloatArray, IntArray
from nba.errors import InvalidConfig

SHIPPED = Path(__file__).resolve().parents[1] / "data" / "bank-additional-full.csv.gz"
SHIPPED_SHA256 = "25ef5a7f820659c9010405d079b068761b9e4a75c232a6271ee6a77fc3de52ae"
N_CLIENTS, N_SALES = 41_188, 4_640

# The first label of a column is the reference of its effects.
LABELS: dict[str, tuple[str, ...]] = {
    "job": (
        *("admin.", "blue-collar", "entrepreneur", "housemaid", "management", "retired", "self-employed"),
        *("services", "student", "technician", "unemployed", "unknown"),
    ),
    "contact": ("cellular", "telephone"),
    "month": ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
    "day_of_week": ("mon", "tue", "wed", "thu", "fri"),
    "poutcome": ("nonexistent", "failure", "success"),
    "y": ("no", "yes"),
}
INDICATORS = ("emp.var.rate", "cons.price.idx", "cons.conf.idx", "euribor3m", "nr.employed")
COUNTS = {"age": 1, "campaign": 1, "pdays": 0}  # column and its least value
COLUMNS = (*LABELS, *COUNTS, *INDICATORS)
SENIOR_AGE = 60  # years
NEVER = 999  # the file's code in `pdays` for "no earlier contact on record"


class Column(NamedTuple):
    """A column of the file as its distinct texts and where they stand."""

    name: str
    texts: tuple[str, ...]  # D distinct
    codes: IntArray  # (N,) positions in texts


class UciCalls(NamedTuple):
    """The campaign history of N clients; codes are positions in LABELS."""

    age: IntArray  # (N,) years
    job: IntArray  # (N,)
    contact: IntArray  # (N,) of the last call, as are the four below
    month: IntArray  # (N,) 0 is January
    campaign_month: IntArray  # (N,) months with calls since the start of the file, from 0
    weekday: IntArray  # (N,) 0 is Monday
    indicators: FloatArray  # (N, 5) in the order of INDICATORS, in the file's units
    previous_outcome: IntArray  # (N,)
    days_since: IntArray  # (N,) days since an earlier campaign's last contact, or NEVER
    n_calls: IntArray  # (N,) calls in this campaign, the last included
    sold: BoolArray  # (N,) whether the last call sold the deposit


class CallRows(NamedTuple):
    """One row per call, or per group of calls that no covariate tells apart."""

    client: IntArray  # (R,) row of a client in UciCalls with these covariates
    call_number: IntArray  # (R,) from 1
    calls: FloatArray  # (R,) how many calls the row stands for
    sales: FloatArray  # (R,) how many of them sold


class HazardTable(NamedTuple):
    """Success by call number; row 0 is the first call."""

    reached: IntArray  # (K,) clients called at least k times
    sales: IntArray  # (K,) sales made by call k

    @property
    def rate(self) -> FloatArray:
        """Sales at call k per client reached k times: (K,)."""
        rates: FloatArray = self.sales / self.reached
        return rates


def load(path: str | Path | None = None, *, complete: bool = True) -> UciCalls:
    """Read the file, the shipped one by default, without ever touching `duration`.

    Raises InvalidConfig for a file that is missing, damaged, differently separated, or that holds a
    label, a number or (unless `complete` is false, for a sample) a row count that UCI's file does not.
    """
    if path is None and hashlib.sha256(SHIPPED.read_bytes()).hexdigest() != SHIPPED_SHA256:
        raise InvalidConfig(SHIPPED.name, "", f"its sha256 must be {SHIPPED_SHA256}; check it out again")
    source = str(SHIPPED.name if path is None else path)
    calls = _calls(_read(SHIPPED if path is None else Path(path), source), source)
    if complete and (len(calls.sold), calls.sold.sum()) != (N_CLIENTS, N_SALES):
        raise InvalidConfig(
            source,
            "",
            f"has {len(calls.sold):,} rows with {calls.sold.sum():,} sales, expected {N_CLIENTS:,} with "
            f"{N_SALES:,}; take bank-additional-full.csv from UCI, or pass complete=False for a sample",
        )
    return calls


def expand(calls: UciCalls) -> CallRows:
    """One row per call: a client called k times gives k rows, and only the last can be a sale.

    The data of a discrete-time hazard model: Allison (1982), Sociological Methodology 13.
    """
    client = np.repeat(np.arange(len(calls.n_calls)), calls.n_calls)
    first_row = np.cumsum(calls.n_calls) - calls.n_calls
    call_number = np.arange(len(client)) - first_row[client] + 1
    sales = (calls.sold[client] & (call_number == calls.n_calls[client])).astype(np.float64)
    return CallRows(client, call_number, np.ones(len(client)), sales)


def group(calls: UciCalls, rows: CallRows) -> CallRows:
    """Merge rows that no covariate of a model can tell apart, so that a fit is fast: (R,) to (G,)."""
    economy = np.unique(calls.indicators, axis=0, return_inverse=True)[1].ravel()
    keys = np.zeros(len(calls.job), np.int64)
    for codes in (
        *(calls.job, calls.contact, calls.campaign_month, calls.weekday, calls.previous_outcome),
        *(economy, is_senior(calls)),
    ):
        keys = keys * (int(codes.max()) + 1) + codes
    keys = keys[rows.client] * (int(rows.call_number.max()) + 1) + rows.call_number
    _, first, member = np.unique(keys, return_index=True, return_inverse=True)
    n_calls: FloatArray = np.bincount(member, rows.calls).astype(np.float64)
    n_sales: FloatArray = np.bincount(member, rows.sales).astype(np.float64)
    return CallRows(rows.client[first], rows.call_number[first], n_calls, n_sales)


def is_senior(calls: UciCalls) -> BoolArray:
    """Whether a client is at least SENIOR_AGE years old: (N,)."""
    return calls.age >= SENIOR_AGE


def hazard_table(calls: UciCalls, contact: str | None = None) -> HazardTable:
    """Count clients reached and sales made by call number, for one contact type or for both."""
    if contact is not None and contact not in LABELS["contact"]:
        raise InvalidConfig("hazard_table", "contact", f"{contact!r} must be one of {LABELS['contact']}")
    of_type = np.ones(len(calls.sold), bool)
    if contact is not None:
        of_type = calls.contact == LABELS["contact"].index(contact)
    ended = np.bincount(calls.n_calls[of_type])[1:]
    sales = np.bincount(calls.n_calls[of_type & calls.sold], minlength=len(ended) + 1)[1:]
    return HazardTable(ended[::-1].cumsum()[::-1], sales)


def _read(path: Path, source: str) -> dict[str, Column]:
    """The wanted columns as text; every way in which reading can fail becomes InvalidConfig."""
    import pandas as pd

    try:
        header = pd.read_csv(path, sep=";", nrows=0).columns
        _check_header(list(header), source)
        # As categories, texts are compared once per distinct value and not once per row.
        wanted = {name: "category" for name in COLUMNS}
        frame = pd.read_csv(path, sep=";", usecols=list(wanted), dtype=wanted, keep_default_na=False)
    except FileNotFoundError as error:
        rule = "no such file; call load() without a path for the shipped copy"
        raise InvalidConfig(source, "", rule) from error
    except pd.errors.EmptyDataError as error:
        raise InvalidConfig(source, "", "has no rows; take bank-additional-full.csv from UCI") from error
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, pd.errors.ParserError) as error:
        rule = f"cannot be read to its end ({error}); fetch it again from UCI"
        raise InvalidConfig(source, "", rule) from error
    columns = {name: frame[name].cat for name in COLUMNS}
    return {
        name: Column(name, tuple(map(str, column.categories)), np.asarray(column.codes, np.int64))
        for name, column in columns.items()
    }


def _check_header(header: list[str], source: str) -> None:
    if len(header) == 1:
        raise InvalidConfig(
            source, "", "has one column only; fields must be separated by ';', as in UCI's own file"
        )
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        rule = "column missing; take bank-additional-full.csv from UCI, bank-full.csv has other columns"
        raise InvalidConfig(source, ", ".join(missing), rule)


def _calls(columns: dict[str, Column], source: str) -> UciCalls:
    if not len(columns["y"].codes):
        raise InvalidConfig(source, "", "has no rows; take bank-additional-full.csv from UCI")
    codes = {name: _codes(columns[name], source) for name in LABELS}
    counts = {name: _counts(columns[name], source) for name in COUNTS}
    # Rows are in order of date, so a change of month starts the next campaign month.
    starts = np.diff(codes["month"], prepend=codes["month"][0]) != 0
    return UciCalls(
        age=counts["age"],
        job=codes["job"],
        contact=codes["contact"],
        month=codes["month"],
        campaign_month=np.cumsum(starts),
        weekday=codes["day_of_week"],
        indicators=np.column_stack([_numbers(columns[name], source) for name in INDICATORS]),
        previous_outcome=codes["poutcome"],
        days_since=counts["pdays"],
        n_calls=counts["campaign"],
        sold=codes["y"] == 1,
    )


def _codes(column: Column, source: str) -> IntArray:
    labels = LABELS[column.name]
    rule = f"unknown label; it must be one of {', '.join(labels)}"
    _check(column, [text in labels for text in column.texts], rule, source)
    return np.array([labels.index(text) for text in column.texts])[column.codes]


def _numbers(column: Column, source: str) -> FloatArray:
    numbers = np.array([_number(text) for text in column.texts])
    _check(column, np.isfinite(numbers).tolist(), "must be a finite number", source)
    return numbers[column.codes]


def _counts(column: Column, source: str) -> IntArray:
    least = COUNTS[column.name]
    numbers = np.array([_number(text) for text in column.texts])
    whole = (numbers >= least) & (numbers <= NEVER) & (numbers == np.floor(numbers))
    _check(column, whole.tolist(), f"must be a whole number from {least} to {NEVER}", source)
    return numbers.astype(np.int64)[column.codes]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan


def _check(column: Column, valid: list[bool], rule: str, source: str) -> None:
    """Raise for the first invalid text, at the line where an editor shows it."""
    bad_rows = np.flatnonzero(~np.array(valid)[column.codes])
    if len(bad_rows):
        row = int(bad_rows[0])
        cell = f"column {column.name}, line {row + 2}: {column.texts[column.codes[row]]!r}"
        raise InvalidConfig(source, cell, rule)
