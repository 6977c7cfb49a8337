"""What a table says was done and what came of it: actions, rewards and propensities.

Shape letter: N rows.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from experiments.tables.read import Table, coded, is_missing, is_numeric, numbers, told_rows
from nba.arrays import BoolArray, FloatArray, IntArray
from nba.catalogue import NO_ACTION, Catalogue, Channel, Product, Timing
from nba.errors import InvalidConfig, require

ANY = "any"  # the one channel and the one timing of actions that are plain labels
FACTORS = ("channel", "timing", "product")
_SLASH = "|"  # stands for the "/" that parts an action id


class Names(NamedTuple):
    """The columns that hold the outcome, as the options name them."""

    reward: str
    action: str | None = None
    channel: str | None = None
    timing: str | None = None
    product: str | None = None
    propensity: str | None = None  # a column or a number
    no_contact: str | None = None  # a label

    @property
    def factors(self) -> dict[str, str]:
        """Factor -> the column that names its level; a plain label is a product."""
        given = {factor: getattr(self, factor) for factor in FACTORS}
        named = {factor: column for factor, column in given.items() if column is not None}
        return named or {"product": self.action or ""}

    @property
    def texts(self) -> tuple[str, ...]:
        """Columns that are labels even if they look like numbers."""
        return tuple(dict.fromkeys([*self.factors.values(), *([self.action] if self.action else [])]))


class Logged(NamedTuple):
    """The actions of a table."""

    catalogue: Catalogue
    actions: IntArray  # (N,)


def check_names(names: Names) -> None:
    """Raise InvalidConfig unless there is an action, in one of the two ways to name it."""
    parted = any(getattr(names, factor) for factor in FACTORS)
    rule = "name the column of actions, or --product (with --channel and --timing) for actions in parts"
    require(bool(names.action or parted), "nba learn", "--action", rule)
    plain = names.action is not None and parted and names.no_contact is None
    rule = "goes with --channel, --timing, --product only to say by --no-contact where there was none"
    require(not plain, "nba learn", "--action", rule)


def complete_rows(table: Table, names: Names) -> BoolArray:
    """(N,) rows with an action, a reward and a propensity."""
    complete = ~is_missing(table.column(names.reward, "--reward"))
    if names.propensity in table.columns:
        complete &= ~is_missing(table.columns[names.propensity])
    silent = silent_rows(table, names)
    for column in names.texts:
        complete &= silent | ~is_missing(table.columns[column])
    return complete


def silent_rows(table: Table, names: Names) -> BoolArray:
    """(N,) rows in which nobody was contacted."""
    silent = np.zeros(table.n_rows, dtype=np.bool_)
    for column in names.texts:
        option = "--action" if column == names.action else _option_of(names, column)
        codes, texts = coded(table.column(column, option))
        silent |= np.array([text == names.no_contact for text in texts] + [False])[codes]
    if names.no_contact is not None:
        rule = f"no row is labelled {names.no_contact!r} in {', '.join(names.texts)}"
        require(bool(silent.any()), table.source, "--no-contact", rule)
        require(not silent.all(), table.source, "--no-contact", "all rows are: there is nothing to learn")
    return silent


def check_complete(table: Table, complete: BoolArray, names: Names) -> None:
    """Raise InvalidConfig for rows without an action, a reward or a propensity."""
    wanted = ", ".join(filter(None, [*names.texts, names.reward, names.propensity]))
    rule = f"{told_rows(~complete)} lack one of {wanted}; fill them in, or leave them out: --drop-incomplete"
    require(bool(complete.all()), table.source, "", rule)


def read_actions(table: Table, names: Names, scale: float, known: Catalogue | None = None) -> Logged:
    """The catalogue of a table's labels, or the `known` one that goes on, and the actions by it.

    A reward of `scale` is worth as much money: it is the value of every product.
    """
    silent = silent_rows(table, names)
    levels, places = {}, {}
    for factor, column in names.factors.items():
        codes, texts = coded(table.columns[column])
        used = [texts[code] for code in np.unique(codes[~silent])]
        levels[factor] = tuple(sorted(used, key=_by_number))
        places[factor] = (codes, texts, column)
    catalogue = known or _catalogue(table, levels, scale)
    row = np.zeros(table.n_rows, dtype=np.int64)
    for factor, size in zip(FACTORS, catalogue.shape, strict=True):
        row = row * size
        if factor in places:
            row += _positions(table, catalogue, factor, *places[factor], silent)
    return Logged(catalogue, np.where(silent, NO_ACTION, 1 + row))


def read_rewards(table: Table, name: str) -> FloatArray:
    """(N,) rewards; texts, infinite ones and rewards that are all the same are refused with their rows."""
    rewards = _finite(table, name, "--reward")
    rule = f"all rewards are {rewards[0]:g}: nothing tells actions apart"
    require(bool((rewards != rewards[0]).any()), table.source, name, rule)
    return rewards


def read_propensities(table: Table, propensity: str | None) -> FloatArray | None:
    """(N,) probabilities with which the logged actions were chosen: a column, one number for all, or None."""
    if propensity is None:
        return None
    if propensity in table.columns:
        chances = _finite(table, propensity, "--propensity")
        bad = ~((chances > 0) & (chances <= 1))
        rule = f"a propensity must lie in (0, 1]; {told_rows(bad)} do not"
        require(not bad.any(), table.source, propensity, rule)
        return chances
    try:
        chance = float(propensity)
    except ValueError:
        table.column(propensity, "--propensity")  # raises
        raise
    rule = f"must lie in (0, 1], or name a column; got {propensity}"
    require(0 < chance <= 1, table.source, "--propensity", rule)
    return np.full(table.n_rows, chance)


def scale_of(rewards: FloatArray) -> float:
    """What rewards are divided by: 1 if all lie in [0, 1], else the largest in size."""
    within = bool(((rewards >= 0) & (rewards <= 1)).all())
    return 1.0 if within else float(np.abs(rewards).max())


def _finite(table: Table, name: str, option: str) -> FloatArray:
    column = table.column(name, option)
    if not is_numeric(column):
        codes, texts = coded(column)
        strange = np.array([not _is_number(text) for text in texts] + [False])[codes]
        example = texts[codes[np.flatnonzero(strange)[0]]]
        rule = f"must be a number; {told_rows(strange)} are not, the first is {example!r}"
        raise InvalidConfig(table.source, name, rule)
    values = numbers(column)
    bad = ~np.isfinite(values)
    require(not bad.any(), table.source, name, f"must be a finite number; {told_rows(bad)} are not")
    return values


def _catalogue(table: Table, levels: dict[str, tuple[str, ...]], scale: float) -> Catalogue:
    """Free contacts; forecast rate 1 makes of the linear models plain ridge regressions."""
    named = {factor: _written(table, texts) for factor, texts in levels.items()}
    products = tuple(
        Product(
            name=name,
            family="table",
            value=scale,
            forecast_rate=1.0,
            risk_class=1,
            attribution_window_days=4,
            decision_delay_days=1.0,
        )
        for name in named.get("product", (ANY,))
    )
    channels = (Channel(name=name, family="table", cost=0.0) for name in named.get("channel", (ANY,)))
    timings = (Timing(name=name) for name in named.get("timing", (ANY,)))
    return Catalogue(channels=tuple(channels), timings=tuple(timings), products=products)


def _written(table: Table, texts: tuple[str, ...]) -> list[str]:
    """Labels as names of the catalogue, in which "/" parts an action id."""
    names = [text.replace("/", _SLASH) for text in texts]
    twice = sorted({name for name in names if names.count(name) > 1})
    rule = f"labels that differ only by / and {_SLASH} cannot be told apart; rename them"
    require(not twice, table.source, ", ".join(twice), rule)
    return names


def _positions(
    table: Table,
    catalogue: Catalogue,
    factor: str,
    codes: IntArray,
    texts: tuple[str, ...],
    column: str,
    silent: BoolArray,
) -> IntArray:
    """(N,) levels of a factor in the catalogue; 0 where nobody was contacted."""
    rows: Any = {"channel": catalogue.channels, "timing": catalogue.timings, "product": catalogue.products}
    place = {row.name: number for number, row in enumerate(rows[factor])}
    found = np.array([place.get(text.replace("/", _SLASH), -1) for text in texts] + [-1])[codes]
    strange = (found < 0) & ~silent
    known = ", ".join(list(place)[:12])
    rule = f"{told_rows(strange)} hold a {factor} that the policy does not know; it knows {known}"
    require(not strange.any(), table.source, column, rule)
    positions: IntArray = np.maximum(found, 0)
    return positions


def _option_of(names: Names, column: str) -> str:
    return next((f"--{factor}" for factor in FACTORS if getattr(names, factor) == column), "--action")


def _by_number(text: str) -> tuple[float, str]:
    """Labels that are numbers in their order, before all others."""
    return (float(text), text) if _is_number(text) else (np.inf, text)


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False
