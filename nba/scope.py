"""Which actions a rule or a lever speaks of: from everything down to one treatment.

The hierarchy reads goal > group > product > treatment (a channel or a timing of the product). What is said
of a level holds for all below it; where the same is said again further down, the nearest wins.
"""

from __future__ import annotations

from functools import reduce
from typing import TypeAlias

import numpy as np
from msgspec import Struct, structs

from nba.arrays import BoolArray
from nba.catalogue import Catalogue, Product
from nba.errors import UnknownAction, require

Names: TypeAlias = str | tuple[str, ...]

_PRODUCT_LEVELS = ("goal", "group", "tag", "product")  # the later, the nearer
NAMED = ("product", "group", "tag")  # a product goes before a group of its name, and so on
_LEVELS = (*_PRODUCT_LEVELS, "channel", "timing")


class Scope(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Actions that have one of the names at every level that is given; without any level all of them."""

    goal: Names | None = None
    group: Names | None = None
    tag: Names | None = None  # of products
    product: Names | None = None
    channel: Names | None = None
    timing: Names | None = None

    def __post_init__(self) -> None:
        """A level that is given names something."""
        for level in _LEVELS:
            given = getattr(self, level)
            require(given not in ("", ()), "scope", level, "must name something, or be left out")

    @property
    def is_everything(self) -> bool:
        """Whether no level is given."""
        return not self.levels

    @property
    def levels(self) -> tuple[str, ...]:
        """The levels that are given."""
        return tuple(level for level in _LEVELS if getattr(self, level) is not None)

    @property
    def depth(self) -> int:
        """How near to a single treatment: first by goal, group, tag or product, then by channel or timing."""
        near = [1 + _PRODUCT_LEVELS.index(level) for level in self.levels if level in _PRODUCT_LEVELS]
        return 2 * max(near, default=0) + any(level in ("channel", "timing") for level in self.levels)

    @property
    def text(self) -> str:
        """The scope in words, such as "lending, call"; "everything" without any level."""
        return ", ".join("|".join(self.names(level)) for level in self.levels) or "everything"

    def names(self, level: str) -> tuple[str, ...]:
        """The names at a level."""
        given = getattr(self, level)
        return (given,) if isinstance(given, str) else given or ()

    def products(self, catalogue: Catalogue) -> BoolArray:
        """(P,) products in scope, whatever the channel and the timing; UnknownAction for unknown names."""
        hit = np.ones(len(catalogue.products), dtype=np.bool_)
        for level in self.levels:
            if level in _PRODUCT_LEVELS:
                named = [products_of(catalogue, level, name) for name in self.names(level)]
                hit &= reduce(np.logical_or, named)
        return hit

    def mask(self, catalogue: Catalogue) -> BoolArray:
        """(C | 1, T | 1, P | 1) contacts in scope, of length 1 along a factor that it does not ask about."""
        parts = [np.ones(1, dtype=np.bool_)] * 3
        for place, level in enumerate(("channel", "timing")):
            if getattr(self, level) is not None:
                parts[place] = np.zeros(catalogue.shape[place], dtype=np.bool_)
                parts[place][[catalogue.level(level, name) for name in self.names(level)]] = True
        if set(self.levels) & set(_PRODUCT_LEVELS):
            parts[2] = self.products(catalogue)
        channels, timings, products = parts
        whole: BoolArray = channels[:, None, None] & timings[:, None] & products
        return whole

    def rows(self, catalogue: Catalogue) -> BoolArray:
        """(A,) actions in scope; never no-contact."""
        contacts = np.broadcast_to(self.mask(catalogue), catalogue.shape)
        return np.concatenate([[False], contacts.ravel()])

    def within(self, catalogue: Catalogue) -> Scope | None:
        """The scope in a catalogue that may lack some of the names; None where nothing is left of it."""
        left = {level: _known(catalogue, level, self.names(level)) for level in self.levels}
        return None if () in left.values() else structs.replace(self, **left)


EVERYTHING = Scope()


def products_of(catalogue: Catalogue, level: str, name: str) -> BoolArray:
    """(P,) the product, or the products of a goal, group or tag (`level` says which), of a name."""
    catalogue.level(level, name)
    return np.array([name in names_of(catalogue, product, level) for product in catalogue.products])


def products_named(catalogue: Catalogue, name: str) -> BoolArray:
    """(P,) the product of a name, or else the products of a group or a tag of it; UnknownAction for none."""
    for level in NAMED:
        if name in catalogue.names(level):
            return products_of(catalogue, level, name)
    known = ", ".join(dict.fromkeys(name for level in NAMED for name in catalogue.names(level)))
    raise UnknownAction(f"{name!r} is no product, group or tag of products; use one of: {known}.")


def names_of(catalogue: Catalogue, product: Product, level: str) -> tuple[str, ...]:
    """What a product goes by at a level: its own name, its group, the group's goal, or its tags."""
    if level == "tag":
        return product.tags
    if level == "goal":
        goals = {group.name: group.goal for group in catalogue.groups}
        name = goals.get(product.group or "")
    else:
        name = product.name if level == "product" else product.group
    return () if name is None else (name,)


def _known(catalogue: Catalogue, level: str, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if name in catalogue.names(level))
