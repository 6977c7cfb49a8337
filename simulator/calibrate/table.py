"""A campaign table: one row per client as it was published, one row per contact as it happened.

Shape letters: N clients, R contacts, G groups of contacts that no covariate tells apart.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nba.arrays import BoolArray, FloatArray, IntArray
from nba.errors import InvalidConfig, require
from simulator.calibrate.columns import CALENDAR, DATA, ColumnMap, Levels, load_map

SHIPPED = DATA / "bank-additional-full.csv.gz"
SEPARATORS = {";": "';'", ",": "','", "\t": "tabs", "|": "'|'"}
MOST_CONTACTS = 999


class Column(NamedTuple):
    """A column of the file as its distinct texts and where they stand."""

    name: str
    texts: tuple[str, ...]  # D distinct
    codes: IntArray  # (N,) positions in texts


class Factor(NamedTuple):
    """What labels say of each client."""

    labels: tuple[str, ...]
    codes: IntArray  # (N,) positions in labels


class Campaign(NamedTuple):
    """The contact history of N clients; covariates were known before the last contact."""

    source: str
    n_calls: IntArray  # (N,) contacts of this campaign, the last included
    sold: BoolArray  # (N,) whether the last one sold
    weight: FloatArray  # (N,) clients that a row stands for
    period: IntArray  # (N,) from 0, in the order of the rows
    factors: dict[str, Factor]  # month, weekday and contact if the table has them, then the map's own
    indicators: dict[str, FloatArray]  # name -> (N,), mean 0 and standard deviation 1 over clients


class CallRows(NamedTuple):
    """One row per contact, or per group of contacts that no covariate of a model tells apart."""

    client: IntArray  # (R,) row of a client with these covariates
    call_number: IntArray  # (R,) from 1
    calls: FloatArray  # (R,) how many contacts the row stands for
    sales: FloatArray  # (R,) how many of them sold


def load(path: str | Path | None = None, columns: ColumnMap | None = None) -> Campaign:
    """Read a table by its column map, the shipped UCI calls by default.

    Raises InvalidConfig for a file that is missing, damaged or separated differently, for a column that
    is not there, and for the first cell that breaks the rule of its column.
    """
    place, columns = Path(path or SHIPPED), columns or load_map()
    source = place.name if path is None else str(path)
    raw = _read(place, columns, source)
    campaign = _campaign(raw, columns, source)
    _check_size(campaign, columns)
    return campaign


def expand(campaign: Campaign) -> CallRows:
    """One row per contact: a client contacted k times gives k rows, and only the last can be a sale.

    The data of a discrete-time hazard model: Allison (1982), Sociological Methodology 13.
    """
    n_calls, weight = campaign.n_calls, campaign.weight
    client = np.repeat(np.arange(n_calls.size), n_calls)
    first_row = np.cumsum(n_calls) - n_calls
    call_number = np.arange(client.size) - first_row[client] + 1
    sales = weight[client] * (campaign.sold[client] & (call_number == n_calls[client]))
    return CallRows(client, call_number, weight[client], sales)


def cells(campaign: Campaign) -> tuple[IntArray, IntArray]:
    """Groups of clients that no covariate tells apart: (G,) one client of each, (N,) the group of each."""
    keys = np.zeros(campaign.sold.size, np.int64)
    values = [np.unique(column, return_inverse=True)[1].ravel() for column in campaign.indicators.values()]
    for codes in (campaign.period, *(factor.codes for factor in campaign.factors.values()), *values):
        # Renumbered at every step: a product of many column sizes would not fit an integer.
        keys = np.unique(keys * (int(codes.max()) + 1) + codes, return_inverse=True)[1].ravel()
    _, first, member = np.unique(keys, return_index=True, return_inverse=True)
    return first.astype(np.int64), member.ravel().astype(np.int64)


def group(campaign: Campaign, rows: CallRows) -> CallRows:
    """Merge contacts that no covariate of a model tells apart, so that a fit is fast: (R,) to (G,)."""
    first, member = cells(campaign)
    n_numbers = int(rows.call_number.max()) + 1
    keys, place = np.unique(member[rows.client] * n_numbers + rows.call_number, return_inverse=True)
    return CallRows(
        first[keys // n_numbers],
        keys % n_numbers,
        np.bincount(place.ravel(), rows.calls).astype(np.float64),
        np.bincount(place.ravel(), rows.sales).astype(np.float64),
    )


def _read(path: Path, columns: ColumnMap, source: str) -> dict[str, Column]:
    """The wanted columns as text; every way in which reading can fail becomes InvalidConfig."""
    import pandas as pd

    wanted = [column for _, column in columns.places()]
    try:
        header = list(pd.read_csv(path, sep=columns.separator, nrows=0).columns)
        _check_header(header, columns, source)
        # As categories, texts are compared once per distinct value and not once per row.
        kinds = {name: "category" for name in wanted}
        frame = pd.read_csv(path, sep=columns.separator, usecols=wanted, dtype=kinds, keep_default_na=False)
    except FileNotFoundError:
        raise InvalidConfig(source, "", "no such file") from None
    except pd.errors.EmptyDataError:
        raise InvalidConfig(source, "", "has no rows") from None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, pd.errors.ParserError) as error:
        raise InvalidConfig(source, "", f"cannot be read to its end ({error})") from None
    require(len(frame) > 0, source, "", "has no rows")
    return {
        name: Column(name, tuple(map(str, frame[name].cat.categories)), _codes_of(frame[name].cat.codes))
        for name in wanted
    }


def _codes_of(codes: object) -> IntArray:
    return np.asarray(codes, np.int64)


def _check_header(header: list[str], columns: ColumnMap, source: str) -> None:
    if len(header) == 1:
        counts = {mark: header[0].count(mark) for mark in SEPARATORS if mark != columns.separator}
        mark = max(counts, key=lambda one: counts[one])
        seems = f"; it seems to be separated by {SEPARATORS[mark]}" if counts[mark] else ""
        wanted = SEPARATORS.get(columns.separator, repr(columns.separator))
        raise InvalidConfig(source, "", f"fields must be separated by {wanted}, as the map says{seems}")
    missing = [name for _, name in columns.places() if name not in header]
    rule = f"column missing (the map {columns.name!r} names it); the file has {', '.join(header)}"
    require(not missing, source, ", ".join(missing), rule)


def _campaign(raw: dict[str, Column], columns: ColumnMap, source: str) -> Campaign:
    factors = {name: _factor(raw[one.column], name, one, source) for name, one in columns.levels.items()}
    answer = columns.sold
    sold = _factor(raw[answer.column], "sold", Levels(answer.column, (answer.no, answer.yes)), source)
    n_clients = sold.codes.size
    weight = np.ones(n_clients)
    if columns.weight:
        weight = _numbers(raw[columns.weight], source)
        _check(raw[columns.weight], weight >= 0, "must be a weight of 0 or more", source)
        require(weight.sum() > 0, source, columns.weight, "the weights must not all be 0")
    return Campaign(
        source=source,
        n_calls=_counts(raw[columns.contacts], source),
        sold=sold.codes == 1,
        weight=weight,
        period=_periods(raw, columns, factors, n_clients),
        factors=factors,
        indicators={name: _scaled(raw[name], source) for name in columns.indicators},
    )


def _check_size(campaign: Campaign, columns: ColumnMap) -> None:
    clients, sales = campaign.sold.size, int(campaign.sold.sum())
    found = f"has {clients:,} rows with {sales:,} sales"
    require(sales > 0, campaign.source, columns.sold.column, f"{found}; none is {columns.sold.yes!r}")
    require(sales < clients, campaign.source, columns.sold.column, f"{found}; all are {columns.sold.yes!r}")
    twice = bool((campaign.n_calls > 1).any())
    require(
        twice, campaign.source, columns.contacts, "nobody was contacted twice, so nothing tells of fatigue"
    )
    wanted = (columns.n_clients or clients, columns.n_sales or sales)
    rule = (
        f"{found}, expected {wanted[0]:,} with {wanted[1]:,}: not the whole file of the map {columns.name!r}"
    )
    require((clients, sales) == wanted, campaign.source, "", rule)


def _periods(
    raw: dict[str, Column], columns: ColumnMap, factors: dict[str, Factor], n_clients: int
) -> IntArray:
    if columns.period:
        return np.unique(raw[columns.period].codes, return_inverse=True)[1].ravel().astype(np.int64)
    if "month" not in factors:
        return np.zeros(n_clients, np.int64)
    # Rows are in order of date, so a change of month starts the next period.
    month = factors["month"].codes
    return np.cumsum(np.diff(month, prepend=month[0]) != 0)


def _factor(column: Column, name: str, levels: Levels, source: str) -> Factor:
    labels = levels.labels or tuple(sorted(column.texts))
    texts = [_calendar(text, labels) if name in CALENDAR else text for text in column.texts]
    numbered = f", or 1 to {len(labels)}" if name in CALENDAR else ""
    rule = f"unknown label; it must be one of {', '.join(labels)}{numbered}"
    _check(column, np.array([text in labels for text in texts])[column.codes], rule, source)
    return Factor(labels, np.array([labels.index(text) for text in texts])[column.codes])


def _calendar(text: str, labels: tuple[str, ...]) -> str:
    """A month or a weekday in the map's short form: March, mar and 3 are one month."""
    if text.isdigit() and 1 <= int(text) <= len(labels):
        return labels[int(text) - 1]
    return text.strip().lower()[:3] if len(text) >= 3 else text


def _scaled(column: Column, source: str) -> FloatArray:
    numbers = _numbers(column, source)
    spread = numbers.std()
    require(spread > 0, source, column.name, "all values are the same, so nothing can be held fixed by it")
    scaled: FloatArray = (numbers - numbers.mean()) / spread
    return scaled


def _numbers(column: Column, source: str) -> FloatArray:
    numbers = np.array([_number(text) for text in column.texts])[column.codes]
    _check(column, np.isfinite(numbers), "must be a finite number", source)
    return numbers


def _counts(column: Column, source: str) -> IntArray:
    numbers = np.array([_number(text) for text in column.texts])[column.codes]
    whole = (numbers >= 1) & (numbers <= MOST_CONTACTS) & (numbers == np.floor(numbers))
    _check(column, whole, f"must be a whole number from 1 to {MOST_CONTACTS}", source)
    return numbers.astype(np.int64)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan


def _check(column: Column, valid: BoolArray, rule: str, source: str) -> None:
    """Raise for the first invalid text, at the line where an editor shows it."""
    bad_rows = np.flatnonzero(~valid)
    if bad_rows.size:
        row = int(bad_rows[0])
        cell = f"column {column.name}, line {row + 2}: {column.texts[column.codes[row]]!r}"
        raise InvalidConfig(source, cell, rule)
