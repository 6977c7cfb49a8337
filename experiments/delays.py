"""How long conversions take: from a log of contacts to the completion curve of every product.

A log is a table with one row per contact (and per customer left in silence, if there are any), or the folder
of `nba simulate`. Shape letters: n contacts, P products, N intervals.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct

from experiments.dataset import Settings, read_json
from experiments.tables.read import Table, coded, is_numeric, numbers, read_table, told_rows
from nba.arrays import AnyArray, FloatArray, IntArray
from nba.errors import InvalidConfig, require
from nba.posteriors.glm_delay import PooledDelays
from simulator.world import load_world

POINTS_DAYS = (1, 2, 4, 7, 11, 16, 22, 28, 36, 45, 60, 75, 90, 120, 150, 180)
_LEAST_WATCHED = 10  # contacts that must have been watched over the whole last interval, in sum
_DAY_SECONDS = 86_400.0


class Columns(NamedTuple):
    """Which columns of a table say what; times are numbers of days, or dates."""

    product: str
    contact: str  # when the contact was made, or would have been
    conversion: str  # empty where none came
    until: str | None = None  # watched to that time; without it to the last time in the table
    silent: str | None = None  # 1 where nobody was contacted: these tell the organic rate


class Contacts(NamedTuple):
    """Contacts about P products, and what those bought who were left in silence."""

    names: tuple[str, ...]
    windows: FloatArray  # (P,) days
    product: IntArray  # (n,)
    ages: FloatArray  # (n,) days watched
    delays: FloatArray  # (n,) days from contact to conversion, inf without one
    organic: FloatArray  # (P,) conversions in silence
    silent_days: FloatArray  # (P,) person-days in which these came


class Curve(Struct, frozen=True, kw_only=True):
    """The completion of a product: share of contact-caused conversions by the end of each day named."""

    product: str
    contacts: int
    conversions: int
    days: list[float]
    shares: list[float]
    lowest: list[float]  # 95 % interval of each share
    highest: list[float]

    def toml(self) -> str:
        """The field of the product, as it stands in a world or an experiment."""
        rounded = [round(share, 4) for share in self.shares[:-1]]
        points = [f"[{day:g}, {share:g}]" for day, share in zip(self.days, [*rounded, 1], strict=True)]
        return f"completion = [{', '.join(points)}]  # {self.product}"


def read_contacts(path: Path, columns: Columns, window_days: float) -> Contacts:
    """A table as contacts; raises InvalidConfig for times that cannot be."""
    table = read_table(path, texts=(columns.product,))
    codes, names = coded(table.column(columns.product, "--product"))
    rule = f"{told_rows(codes < 0)} have no product"
    require(not (codes < 0).any(), table.source, columns.product, rule)
    begun, day = _times(table, columns.contact, "--contact")
    came, part = _times(table, columns.conversion, "--conversion")
    rule = f"{told_rows(np.isnan(begun))} have no time of the contact"
    require(not np.isnan(begun).any(), table.source, columns.contact, rule)
    until = np.full(begun.size, np.nanmax(np.append(came + part, begun + day)))
    if columns.until is not None:
        last, whole = _times(table, columns.until, "--until")
        until = last + whole
    # A conversion known by the day is counted from the day of its contact, at the middle of its own.
    started = np.floor(begun) if part else begun
    delays = np.where(np.isnan(came), np.inf, came - started + part / 2.0)
    for column, bad, what in (
        (columns.conversion, delays < 0.0, "convert before their contact"),
        (columns.conversion, np.isfinite(delays) & ~(came <= until), "convert after they were watched"),
        (columns.until or columns.contact, ~(until >= begun), "are watched to a time before their contact"),
    ):
        require(not bad.any(), table.source, column, f"{told_rows(bad)} {what}")
    silent = np.zeros(begun.size, dtype=np.bool_)
    if columns.silent is not None:
        silent = numbers(table.column(columns.silent, "--silent")) > 0
    ages, n = until - begun, len(names)
    return Contacts(
        names,
        np.full(n, window_days),
        codes[~silent],
        ages[~silent],
        delays[~silent],
        _by_product(codes[silent], np.isfinite(delays[silent]), n),
        _by_product(codes[silent], ages[silent], n),
    )


def _times(table: Table, name: str, option: str) -> tuple[FloatArray, float]:
    """(n,) days, NaN where missing, and how much a time leaves open: a day if all are whole days."""
    column = table.column(name, option)
    if is_numeric(column):
        days = numbers(column)
    else:
        texts = np.array(column.to_pylist(), dtype=object)
        try:
            found = np.array([text or "NaT" for text in texts], dtype="datetime64[s]")
        except ValueError as error:
            rule = f"must hold numbers of days or dates such as 2026-01-31 or 2026-01-31T09:30:00: {error}"
            raise InvalidConfig(table.source, name, rule) from None
        days = np.where(np.isnat(found), np.nan, found.astype(np.int64) / _DAY_SECONDS)
    whole = bool((days[~np.isnan(days)] % 1.0 == 0.0).all())
    return days, float(whole)


def simulated_contacts(folder: Path) -> Contacts:
    """The log of `nba simulate`: credited conversions of contacts, each closed by the next about its product.

    Days of customers that no open contact about a product watches are its silence; there conversions are
    organic, at the rate of people whom nobody chose to contact. Raises InvalidConfig without a finished run.
    """
    settings = read_json(folder / "run.json", Settings)
    catalogue = load_world(settings.world).config.catalogue
    decisions, outcomes = (_parts(folder / name) for name in ("decisions", "outcomes"))
    last = decisions["date"].max()
    is_made = decisions["product"].notna() & ~decisions["refused"] & (decisions["contact_date"] <= last)
    made = decisions[is_made].sort_values(["customer", "product", "contact_date"], kind="stable")
    credited = outcomes[outcomes["decision_id"].notna()].drop_duplicates("decision_id")
    came = made["decision_id"].map(credited.set_index("decision_id")["date"])
    follows = made.groupby(["customer", "product"], observed=True)["contact_date"].shift(-1)
    day = np.timedelta64(1, "D")
    ages = ((follows.fillna(last + day) - made["contact_date"]) / day).to_numpy(dtype=np.float64)
    delays = ((came - made["contact_date"]) / day + 0.5).fillna(np.inf).to_numpy(dtype=np.float64)
    levels, n = {product.name: row for row, product in enumerate(catalogue.products)}, len(catalogue.products)
    product = made["product"].astype(str).map(levels).to_numpy(dtype=np.int64)
    organic = outcomes[outcomes["decision_id"].isna()]["product"].astype(str).map(levels)
    windows = np.array([product.attribution_window_days for product in catalogue.products], dtype=np.float64)
    watched = _by_product(product, np.minimum(ages, windows[product]), n)
    return Contacts(
        tuple(levels),
        windows,
        product,
        ages,
        delays,
        _by_product(organic.to_numpy(dtype=np.int64), np.ones(organic.size), n),
        settings.phase.customers * settings.phase.days - watched,
    )


def _by_product(product: IntArray, values: AnyArray, n_products: int) -> FloatArray:
    """(P,) sums of values (n,)."""
    return np.bincount(product, values, minlength=n_products).astype(np.float64)


def _parts(folder: Path) -> Any:
    import pandas as pd

    parts = sorted(folder.glob("part-*.parquet"))
    rule = "holds no parts; name the --out of a finished `nba simulate`, or a table"
    require(bool(parts), str(folder), "--log", rule)
    return pd.concat([pd.read_parquet(part) for part in parts], ignore_index=True)


def curves(contacts: Contacts, least: int, seed: int) -> list[Curve]:
    """The curve of every product with at least so many conversions in the window.

    Raises InvalidConfig if there is none, or if the end of a window was hardly watched.
    """
    came = contacts.delays <= np.minimum(contacts.ages, contacts.windows[contacts.product])
    counts = np.bincount(contacts.product[came], minlength=len(contacts.names))
    rule = f"{least} conversions of a product are asked for, the most are {counts.max(initial=0)}"
    require(bool((counts >= least).any()), "delays", "--least", rule)
    return [_curve(number, contacts, seed) for number in np.flatnonzero(counts >= least).tolist()]


def _curve(product: int, contacts: Contacts, seed: int) -> Curve:
    rows, window = contacts.product == product, float(contacts.windows[product])
    cuts = np.array([0.0, *(day for day in POINTS_DAYS if day < window), window])
    ages, delays = contacts.ages[rows], contacts.delays[rows]
    exposed = np.clip((ages[:, None] - cuts[:-1]) / np.diff(cuts), 0.0, 1.0).sum(axis=0)
    rule = (
        f"is {window:g} days, and the time after day {cuts[-2]:g} was watched of {exposed[-1]:.2g} contacts "
        f"only, {_LEAST_WATCHED} are needed; watch longer, or name a window of {ages.max():.0f} days"
    )
    require(bool(exposed[-1] >= _LEAST_WATCHED), f"product {contacts.names[product]}", "--window", rule)
    found = PooledDelays(
        conversions=np.histogram(delays[delays <= np.minimum(ages, window)], bins=cuts)[0].astype(np.float64),
        exposed=exposed,
        widths_days=np.diff(cuts),
        organic_conversions=float(contacts.organic[product]),
        organic_days=max(float(contacts.silent_days[product]), 1.0),
    )
    shares, (low, high) = found.shares(), found.interval(np.random.default_rng(seed))
    return Curve(
        product=contacts.names[product],
        contacts=int(rows.sum()),
        conversions=int(found.conversions.sum()),
        days=cuts[1:].tolist(),
        shares=np.cumsum(shares).tolist(),
        lowest=low.tolist(),
        highest=high.tolist(),
    )


def table_of(found: Sequence[Curve]) -> Iterator[str]:
    """Lines for people."""
    for curve in found:
        yield f"{curve.product}: {curve.conversions:,} conversions of {curve.contacts:,} contacts"
        for row in zip(curve.days, curve.shares, curve.lowest, curve.highest, strict=True):
            yield "  by day {:>5g}  {:.3f}  ({:.3f} to {:.3f})".format(*row)
