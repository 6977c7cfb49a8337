"""Everything that may be offered: channels, timings, products, and the actions they make."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from msgspec import Struct, structs

from nba.arrays import BoolArray, FloatArray, IntArray
from nba.errors import InvalidConfig, UnknownAction

NO_ACTION = 0
NO_ACTION_ID = "no-contact"
WEEKEND = "weekend"
MIN_WINDOW_DAYS = 4


class Channel(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A way to reach a customer; `cost` is account currency per contact."""

    name: str
    family: str  # digital | remote | human
    cost: float


class Timing(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A moment at which a contact may be made.

    `waits_for` says when that is: nothing (on the day of the decision), "weekend" (the next Saturday, or
    today if it is a weekend), or the name of the attribute that counts the days to it.
    """

    name: str
    waits_for: str | None = None


class Product(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something to offer.

    `value` is the margin of one conversion in account currency, `forecast_rate` the business
    forecast of extra conversions per contact (with 1 a linear model is plain ridge regression),
    `risk_class` runs from 1 (safe) to 5, the attribution window and the mean decision delay are in days.
    `completion` says how contact-caused conversions fill the window, as points (day, share of them that have
    come by then) with straight lines between; `nba delays` estimates it. Without it learning takes delays for
    gamma-distributed with shape 2 and the mean decision delay, which simulated worlds draw from in any case.
    `group` is one of the catalogue's groups, `tags` are free words, both for rules and levers to speak of;
    `instalment` is what the customer would pay a month, in account currency.
    Contacts about a `service` are counted by contact limits and not held up by them.
    """

    name: str
    family: str
    value: float
    forecast_rate: float
    risk_class: int
    attribution_window_days: int
    decision_delay_days: float
    repeatable: bool = False
    completion: tuple[tuple[float, float], ...] = ()
    group: str | None = None
    tags: tuple[str, ...] = ()
    instalment: float = 0.0
    service: bool = False


class Group(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Products that belong together, and the goal that they serve."""

    name: str
    goal: str | None = None


class Combination(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Actions ruled out for everybody; a missing factor stands for all its values."""

    channel: str | None = None
    timing: str | None = None
    product: str | None = None


class Catalogue(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """The action table: row 0 is no-contact, row 1 + (c T + t) P + p is (channel, timing, product)."""

    channels: tuple[Channel, ...]
    timings: tuple[Timing, ...]
    products: tuple[Product, ...]
    excluded: tuple[Combination, ...] = ()
    groups: tuple[Group, ...] = ()

    def __post_init__(self) -> None:
        """Check names and numbers once, so that everything inside may trust them."""
        for kind in ("channels", "timings", "products", "groups"):
            names = [row.name for row in getattr(self, kind)]
            if (not names and kind != "groups") or len(set(names)) != len(names):
                raise InvalidConfig("catalogue", kind, f"names must be present and unique, got {names}")
            bad = [name for name in names if not name or "/" in name]
            if bad:
                raise InvalidConfig("catalogue", kind, f"a name must not be empty or hold '/': {bad}")
        for index, channel in enumerate(self.channels):
            if not 0 <= channel.cost < np.inf:
                raise InvalidConfig("catalogue", f"channels[{index}].cost", "must be finite and >= 0")
        for index, product in enumerate(self.products):
            _check_product(product, f"products[{index}]")
            if product.group is not None and product.group not in self._levels["group"]:
                known = ", ".join(self._levels["group"]) or "none"
                rule = f"{product.group!r} is not one of the catalogue's groups, which are: {known}"
                raise InvalidConfig("catalogue", f"products[{index}].group", rule)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Numbers of channels, timings and products (C, T, P)."""
        return len(self.channels), len(self.timings), len(self.products)

    @cached_property
    def n_actions(self) -> int:
        """A, the number of rows including no-contact."""
        return 1 + int(np.prod(self.shape))

    @cached_property
    def _factors(self) -> tuple[IntArray, IntArray, IntArray]:
        levels = np.unravel_index(np.arange(self.n_actions - 1), self.shape)
        return tuple(np.concatenate([[-1], level]).astype(np.int64) for level in levels)  # type: ignore[return-value]

    @property
    def channel_of(self) -> IntArray:
        """(A,) channel index of each action, -1 for no-contact."""
        return self._factors[0]

    @property
    def timing_of(self) -> IntArray:
        """(A,) timing index of each action, -1 for no-contact."""
        return self._factors[1]

    @property
    def product_of(self) -> IntArray:
        """(A,) product index of each action, -1 for no-contact."""
        return self._factors[2]

    @cached_property
    def costs(self) -> FloatArray:
        """(A,) account currency per contact, 0 for no-contact."""
        return np.array([0.0] + [self.channels[c].cost for c in self.channel_of[1:]])

    @cached_property
    def values(self) -> FloatArray:
        """(A,) account currency per conversion, 0 for no-contact."""
        return np.concatenate([[0.0], self.margins[self.product_of[1:]]])

    @cached_property
    def forecast_rates(self) -> FloatArray:
        """(P,) business forecast of extra conversions per contact."""
        return np.array([product.forecast_rate for product in self.products])

    @cached_property
    def margins(self) -> FloatArray:
        """(P,) account currency per conversion."""
        return np.array([product.value for product in self.products])

    @cached_property
    def repeatable(self) -> BoolArray:
        """(P,) products that can be bought again."""
        return np.array([product.repeatable for product in self.products])

    @cached_property
    def is_service(self) -> BoolArray:
        """(P,) products whose contacts are service messages."""
        return np.array([product.service for product in self.products])

    @cached_property
    def has_service(self) -> bool:
        """Whether there are service messages at all."""
        return bool(self.is_service.any())

    @cached_property
    def risk_classes(self) -> IntArray:
        """(P,) from 1 (safe) to 5."""
        return np.array([product.risk_class for product in self.products])

    @cached_property
    def resource_use(self) -> FloatArray:
        """(A, J) units of each shared resource per contact; resource j is the capacity of channel j."""
        use = np.zeros((self.n_actions, len(self.channels)))
        use[np.arange(1, self.n_actions), self.channel_of[1:]] = 1.0
        return use

    @cached_property
    def allowed(self) -> BoolArray:
        """(A,) actions that no excluded combination rules out."""
        allowed = np.ones(self.n_actions, dtype=np.bool_)
        for gone in self.excluded:
            allowed &= ~self.matching(gone)
        return allowed

    def matching(self, combination: Combination) -> BoolArray:
        """(A,) actions that a combination names; never no-contact."""
        hit = np.ones(self.n_actions, dtype=np.bool_)
        for factor in ("channel", "timing", "product"):
            name = getattr(combination, factor)
            if name is not None:
                hit &= getattr(self, f"{factor}_of") == self.level(factor, name)
        hit[NO_ACTION] = False
        return hit

    @cached_property
    def action_ids(self) -> tuple[str, ...]:
        """(A,) readable ids: "no-contact", then "channel/timing/product"."""
        rows = zip(*(factor[1:] for factor in self._factors), strict=True)
        named = (
            f"{self.channels[c].name}/{self.timings[t].name}/{self.products[p].name}" for c, t, p in rows
        )
        return (NO_ACTION_ID, *named)

    @cached_property
    def _levels(self) -> dict[str, dict[str, int]]:
        tables = {
            "channel": [row.name for row in self.channels],
            "timing": [row.name for row in self.timings],
            "product": [row.name for row in self.products],
            "group": [row.name for row in self.groups],
            "goal": [row.goal for row in self.groups if row.goal is not None],
            "tag": [tag for row in self.products for tag in row.tags],
        }
        return {
            kind: {name: number for number, name in enumerate(dict.fromkeys(names))}
            for kind, names in tables.items()
        }

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {action_id: row for row, action_id in enumerate(self.action_ids)}

    def names(self, factor: str) -> tuple[str, ...]:
        """All names of channels, timings, products, groups, goals or tags (`factor` says which)."""
        return tuple(self._levels[factor])

    def level(self, factor: str, name: str) -> int:
        """Index of a named channel, timing, product, group, goal or tag (`factor` says which)."""
        try:
            return self._levels[factor][name]
        except KeyError:
            known = ", ".join(self._levels[factor]) or "(there is none)"
            raise UnknownAction(f"{factor} {name!r} is not in the catalogue; use one of: {known}.") from None

    def index(self, channel: str, timing: str, product: str) -> int:
        """Row of the action made of three names."""
        return self.row_of(f"{channel}/{timing}/{product}")

    def row_of(self, action_id: str) -> int:
        """Row of an action id."""
        try:
            return self._rows[action_id]
        except KeyError:
            raise UnknownAction(
                f"Action {action_id!r} is not in the catalogue; an id reads channel/timing/product "
                f"or {NO_ACTION_ID!r}."
            ) from None

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        """Pickle the fields only: the cached tables are rebuilt where they are needed."""
        return _catalogue, structs.astuple(self)


def _catalogue(*fields: object) -> Catalogue:
    return Catalogue(**dict(zip(Catalogue.__struct_fields__, fields, strict=True)))  # type: ignore[arg-type]


def _check_product(product: Product, pointer: str) -> None:
    if not 0 <= product.value < np.inf:
        raise InvalidConfig("catalogue", f"{pointer}.value", f"must be finite and >= 0, got {product.value}")
    if not 0 < product.forecast_rate <= 1:
        raise InvalidConfig("catalogue", f"{pointer}.forecast_rate", "must be above 0 and at most 1")
    if not 1 <= product.risk_class <= 5:
        raise InvalidConfig("catalogue", f"{pointer}.risk_class", f"must be 1..5, got {product.risk_class}")
    if product.attribution_window_days < MIN_WINDOW_DAYS:
        rule = f"must be at least {MIN_WINDOW_DAYS} days, one for each interval of the exposure schedule"
        raise InvalidConfig("catalogue", f"{pointer}.attribution_window_days", rule)
    if not 0 < product.decision_delay_days < np.inf:
        raise InvalidConfig("catalogue", f"{pointer}.decision_delay_days", "must be finite and > 0")
    if not 0 <= product.instalment < np.inf:
        rule = f"must be finite and >= 0, got {product.instalment}"
        raise InvalidConfig("catalogue", f"{pointer}.instalment", rule)
    if product.completion:
        _check_completion(product, f"{pointer}.completion")


def _check_completion(product: Product, pointer: str) -> None:
    days, shares = np.array(product.completion).T
    end = (product.attribution_window_days, 1)
    rules = {
        "days must rise and be above 0": bool((np.diff([0.0, *days]) > 0).all()),
        "shares must not fall, nor be below 0": bool((np.diff([0.0, *shares]) >= 0).all()),
        f"must end with the window, at {list(end)}": tuple(product.completion[-1]) == end,
    }
    for rule, holds in rules.items():
        if not holds:
            points = [list(point) for point in product.completion]
            raise InvalidConfig("catalogue", pointer, f"{rule}, got {points}")
