"""Customer-weeks: what a bank's log, real or simulated, says of one customer in one week.

A row counts what happened in the seven days, and the contacts of the four weeks before. Nothing in it
needs a simulator, so a bank can make the same table from its own log.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.logs import DecisionLog, OutcomeLog
from nba.arrays import FloatArray, IntArray
from nba.catalogue import Catalogue
from nba.errors import InvalidConfig, require

DAYS = 7
WEEKS_BEFORE = 4
KEYS = ("customer", "week")


class Weeks(NamedTuple):
    """Customer-weeks as a table; G counts."""

    names: tuple[str, ...]  # G
    customer: IntArray  # (n,)
    week: IntArray  # (n,) from 0
    counts: FloatArray  # (n, G)

    def columns(self, names: tuple[str, ...]) -> FloatArray:
        """(n, k) the named counts."""
        return self.counts[:, [self.names.index(name) for name in names]]


def count_names(catalogue: Catalogue) -> tuple[str, ...]:
    """What is counted in a bank with these channels and product families."""
    channels = [channel.name for channel in catalogue.channels]
    families = dict.fromkeys(product.family for product in catalogue.products)
    return (
        *(f"contacts_{name}" for name in channels),
        *(f"engaged_{name}" for name in channels),
        *("opt_outs", "complaints"),
        *(f"sales_{family}" for family in families),
        *("contacts_before", "engaged_before", "sales_before"),
    )


def is_given(name: str) -> bool:
    """Tell what the bank decides (contacts, also earlier ones) from what the customer answers."""
    return name.startswith("contacts_")


def customer_weeks(
    decisions: DecisionLog, outcomes: OutcomeLog, catalogue: Catalogue, customers: IntArray, days: int
) -> Weeks:
    """The whole weeks of a simulated log, of customers (N,) in rising order, quiet ones included."""
    n_weeks, made = days // DAYS, np.flatnonzero((decisions.action > 0) & ~decisions.refused)
    require(n_weeks > 0, "customer weeks", "days", f"must be at least {DAYS}, got {days}")
    row = np.searchsorted(customers, decisions.customer[made])
    day, channel = decisions.contact_day[made], catalogue.channel_of[decisions.action[made]]
    families = list(dict.fromkeys(product.family for product in catalogue.products))
    family = np.array([families.index(product.family) for product in catalogue.products])

    def counted(rows: IntArray, days: IntArray, kinds: IntArray, n_kinds: int) -> FloatArray:
        table = np.zeros((customers.size, n_weeks, n_kinds))
        inside = days < n_weeks * DAYS  # what is planned beyond the log's end is not made in it
        np.add.at(table, (rows[inside], days[inside] // DAYS, kinds[inside]), 1.0)
        return table

    def answered(happened: np.ndarray, kinds: IntArray, n_kinds: int) -> FloatArray:
        some = happened[made]
        return counted(row[some], day[some], kinds[some], n_kinds)

    n_channels, nothing = len(catalogue.channels), np.zeros(made.size, dtype=np.int64)
    contacts = counted(row, day, channel, n_channels)
    engaged = answered(decisions.engaged, channel, n_channels)
    bought = np.searchsorted(customers, outcomes.customer)
    sales = counted(bought, outcomes.day, family[outcomes.product], len(families))
    harm = [answered(column, nothing, 1) for column in (decisions.opted_out, decisions.complained)]
    before = [_before(part.sum(axis=2))[:, :, None] for part in (contacts, engaged, sales)]
    counts = np.concatenate([contacts, engaged, *harm, sales, *before], axis=2)
    week = np.tile(np.arange(n_weeks), customers.size)
    flat = counts.reshape(-1, counts.shape[2])
    return Weeks(count_names(catalogue), np.repeat(customers, n_weeks), week, flat)


def _before(totals: FloatArray) -> FloatArray:
    """(N, weeks) sums over the WEEKS_BEFORE weeks before each."""
    sums = np.concatenate([np.zeros((len(totals), 1)), np.cumsum(totals, axis=1)], axis=1)
    first = np.maximum(np.arange(totals.shape[1]) - WEEKS_BEFORE, 0)
    before: FloatArray = sums[:, :-1] - sums[:, first]
    return before


def one_week_each(weeks: Weeks, rng: np.random.Generator) -> Weeks:
    """One random week of every customer, so that rows are as good as independent."""
    order = rng.permutation(weeks.customer.size)
    _, first = np.unique(weeks.customer[order], return_index=True)
    rows = order[first]
    return Weeks(weeks.names, weeks.customer[rows], weeks.week[rows], weeks.counts[rows])


def read_weeks(path: Path, catalogue: Catalogue) -> Weeks:
    """A bank's own customer-weeks from Parquet; InvalidConfig names file, column and rule."""
    import pyarrow
    import pyarrow.parquet as parquet

    source, known = str(path), count_names(catalogue)
    require(path.is_file(), source, "", "no such file")
    try:
        table = parquet.read_table(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise InvalidConfig(source, "", f"cannot be read as Parquet ({error})") from None
    missing = [name for name in KEYS if name not in table.column_names]
    require(not missing, source, ", ".join(missing), "column missing: a row is a customer in a week")
    names = tuple(name for name in table.column_names if name not in KEYS)
    unknown = [name for name in names if name not in known]
    require(not unknown, source, ", ".join(unknown), f"no count of this world; use {', '.join(known)}")
    require(bool(names), source, "", f"has no counts; use some of {', '.join(known)}")
    require(table.num_rows > 0, source, "", "has no rows")
    numbers = {name: _numbers(table[name], source, name) for name in (*KEYS, *names)}
    counts = np.stack([numbers[name] for name in names], axis=1)
    customer, week = (numbers[name].astype(np.int64) for name in KEYS)
    weeks = Weeks(names, customer, week, counts)
    pairs = np.unique(np.stack([weeks.customer, weeks.week]), axis=1).shape[1]
    require(pairs == table.num_rows, source, "customer, week", "a customer must have a week only once")
    return weeks


def _numbers(column: object, source: str, name: str) -> FloatArray:
    """A column of whole numbers, 0 or more."""
    try:
        values = np.asarray(column, dtype=np.float64)
    except (TypeError, ValueError):
        raise InvalidConfig(source, name, "must be numbers") from None
    wrong = np.flatnonzero(~(np.isfinite(values) & (values >= 0) & (values == np.floor(values))))
    first = f", got {values[wrong[0]]:g} in row {wrong[0] + 1}" if wrong.size else ""
    require(wrong.size == 0, source, name, f"must be whole numbers of 0 or more{first}")
    return values


def write_weeks(weeks: Weeks, path: Path) -> None:
    """Write customer-weeks as `read_weeks` reads them."""
    import pyarrow
    import pyarrow.parquet as parquet

    columns = {"customer": weeks.customer, "week": weeks.week}
    columns |= {name: weeks.counts[:, place].astype(np.int64) for place, name in enumerate(weeks.names)}
    try:
        parquet.write_table(pyarrow.table(columns), path)
    except OSError as error:
        raise InvalidConfig(str(path), "", f"cannot be written: {error.strerror}") from None
