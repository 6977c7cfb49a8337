"""Rules about what has happened: rest after outcomes, and products that are not to be offered together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from nba.arrays import BoolArray, FloatArray, IntArray
from nba.catalogue import Catalogue
from nba.conditions import Vocabulary
from nba.constraints.base import Allows, Layer, RuleBase
from nba.context import OUTCOMES, Context, ContextBatch
from nba.errors import BadContext, UnknownAction, require
from nba.scope import EVERYTHING, Scope, names_of

Happening: TypeAlias = Literal[
    "contacted", "delivered", "seen", "engaged", "converted", "rejected", "opted_out", "complained", "ignored"
]
Unit: TypeAlias = Literal["product", "group", "goal", "channel", "treatment", "everything"]
CONTACTED = "contacted"
CODES = {name: code for code, name in enumerate((CONTACTED, *OUTCOMES))}
_REACTIONS = (CODES["engaged"], CODES["converted"])
_DAY_SECONDS = 86_400.0


class Happened(NamedTuple):
    """What has happened to some customers, in any order."""

    customers: IntArray  # (n,) row of the context
    codes: IntArray  # (n,) place in ("contacted", *OUTCOMES)
    channels: IntArray  # (n,) -1 where it is not known
    products: IntArray  # (n,) -1 where it is none of the catalogue
    ages_days: FloatArray  # (n,) before the context's moment; what is still to come counts for nothing


class Counting(NamedTuple):
    """A rule about outcomes with the levels of a catalogue in the place of names.

    The last row stands for a channel that is not known, the last column for no product of the catalogue.
    """

    counts: BoolArray  # (C + 1, P + 1) outcomes that count
    units: IntArray  # (C + 1, P + 1) number of what an outcome is counted with, n_units for nothing
    n_units: int


class Rest(RuleBase, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="rest"):
    """After `times` outcomes within `within_days`, what they were about rests for `days` from the last one.

    Outcomes are counted by `each` (every product, group, goal, channel or treatment, a treatment being a
    product on a channel, by itself; or everything together), and that is what rests, as far as it is in
    scope; only outcomes of what is in scope count, and with `through` only those on that channel. Contacts of
    others, about nothing in the catalogue, count where no product is asked for. Of several rules the longest
    rest holds, because each of them removes (behaviours 1.4). A contact was ignored if the customer has
    neither engaged with its product nor bought it since; that is known `ignored_after_days` later.
    """

    layer: Layer = "contact_policy"
    outcome: Happening
    days: float
    within_days: float
    times: int = 1
    each: Unit = "product"
    through: str | None = None
    ignored_after_days: float = 3.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in ("days", "within_days", "ignored_after_days"):
            value = getattr(self, name)
            rule = f"must be finite and above 0, got {value}"
            require(0 < value < np.inf, "rule rest", name, rule)
        require(self.times >= 1, "rule rest", "times", f"must be at least 1, got {self.times}")
        rule = "a rest is from outcomes, which have no timing; name goals, groups, products or channels"
        require(self.scope.timing is None, "rule rest", "scope.timing", rule)

    @property
    def memory_days(self) -> float:
        """How far back outcomes matter."""
        return self.days + self.within_days + self.ignored_after_days * (self.outcome == "ignored")

    def bound(self, known: Vocabulary) -> Allows:
        """Contacts that do not rest; BadContext for contexts that were made without asking this rule."""
        if self.through is not None:
            known.catalogue.level("channel", self.through)

        def allows(contexts: ContextBatch) -> BoolArray:
            if self not in contexts.rests:
                rule = f"a {self.kind} rule about {self.outcome!r} needs the outcomes of each customer"
                raise BadContext("/outcomes", f"{rule}; contexts made without them cannot be decided")
            return ~contexts.rests[self][:, :, None, :]

        return allows

    def needs(self, known: Vocabulary) -> str:
        """What must be so, in words."""
        on = "" if self.through is None else f" on {self.through}"
        counted = f"{self.times} x {self.outcome}{on} in {self.within_days:g} days for one {self.each}"
        return f"no rest of {self.days:g} days after {counted}"

    def asked(self, known: Vocabulary) -> tuple[str, ...]:
        """No attribute."""
        return ()

    def counting(self, catalogue: Catalogue) -> Counting:
        """The rule for the levels of a catalogue; an unknown name is an UnknownAction."""
        n_channels, _, n_products = catalogue.shape
        mask = self.scope.mask(catalogue)[:, 0]
        counts = np.zeros((n_channels + 1, n_products + 1), dtype=np.bool_)
        counts[:-1, :-1] = mask
        if mask.shape[1] == 1 and self.outcome == CONTACTED:  # what is about nothing has no other outcome
            counts[:-1, -1] = mask[:, 0]
        # An outcome on a channel that is not known counts unless the rule asks for channels.
        if self.through is None and self.scope.channel is None:
            counts[-1] = np.logical_or.reduce(counts, axis=0)
        if self.through is not None:
            counts[np.arange(n_channels + 1) != catalogue.level("channel", self.through)] = False
        return Counting(counts, *self._units(catalogue))

    def resting(self, happened: Happened, n_contexts: int, counting: Counting) -> BoolArray:
        """(B, C, P) contacts that rest now."""
        counts, units, n_units = counting
        mine = self._counted(happened, n_contexts, counts)
        if mine.ages_days.size < self.times:
            return np.zeros((n_contexts, *(size - 1 for size in counts.shape)), dtype=np.bool_)
        unit = units[mine.channels, mine.products]
        order = np.lexsort((-mine.ages_days, unit, mine.customers))
        customers, unit, ages = mine.customers[order], unit[order], mine.ages_days[order]
        # The outcome that fills a window, and the first one inside it: `times` - 1 places before.
        last, first = slice(self.times - 1, None), slice(0, max(ages.size - self.times + 1, 0))
        same = (customers[last] == customers[first]) & (unit[last] == unit[first])
        fills = same & (ages[first] - ages[last] < self.within_days) & (ages[last] < self.days)
        rests = np.zeros((n_contexts, n_units + 1), dtype=np.bool_)  # the last is of what has no unit
        rests[customers[last][fills], unit[last][fills]] = True
        rests[:, n_units] = False
        found: BoolArray = rests[:, units[:-1, :-1]]
        return found

    def _counted(self, happened: Happened, n_contexts: int, counts: BoolArray) -> Happened:
        """The outcomes that count; an ignored contact happens when it is known to be ignored."""
        is_one = happened.codes == CODES[CONTACTED if self.outcome == "ignored" else self.outcome]
        is_one &= counts[happened.channels, happened.products]
        if self.outcome == "ignored" and is_one.any():
            ages = _last_reaction(happened, n_contexts, counts.shape[1])
            is_one &= happened.ages_days < ages[happened.customers, happened.products]
            happened = happened._replace(ages_days=happened.ages_days - self.ignored_after_days)
        elif self.outcome == CONTACTED:  # as for limits, a planned contact counts as made now
            happened = happened._replace(ages_days=np.maximum(happened.ages_days, 0.0))
        is_one &= happened.ages_days >= 0.0
        return Happened(*(column[is_one] for column in happened))

    def _units(self, catalogue: Catalogue) -> tuple[IntArray, int]:
        """(C + 1, P + 1) number of what an outcome is counted with, and how many there are."""
        n_channels, _, n_products = catalogue.shape
        units = np.zeros((n_channels + 1, n_products + 1), dtype=np.int64)
        if self.each == "everything":
            return units, 1
        if self.each == "channel":
            units[:] = np.arange(n_channels + 1)[:, None]
            return units, n_channels
        if self.each == "treatment":
            units[:] = n_channels * n_products
            units[:-1, :-1] = np.arange(n_channels * n_products).reshape(n_channels, n_products)
            return units, n_channels * n_products
        names = catalogue.names(self.each)
        of = [names_of(catalogue, product, self.each) for product in catalogue.products]
        units[:] = [*(names.index(one[0]) if one else len(names) for one in of), len(names)]
        return units, len(names)


class NotTogether(RuleBase, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="not_together"):
    """`these` are not offered within `days` of `those`, nor those within `days` of these; never without days.

    It holds against contacts made and planned and inside one ranked list. A planned contact counts as made
    now until it is made. Where channels matter or the very moments of contacts, see `apart` of the contact
    policy (`nba.constraints.limits.Apart`).
    """

    layer: Layer = "contact_policy"
    these: Scope
    those: Scope
    days: float | None = None

    def __post_init__(self) -> None:
        """Check the days, and that only products are named."""
        rule = f"must be finite and above 0, got {self.days}; leave it out for never"
        require(self.days is None or 0 < self.days < np.inf, "rule not_together", "days", rule)
        says = "is said by these and those"
        require(self.scope == EVERYTHING, "rule not_together", "scope", says)
        for side in ("these", "those"):
            scope: Scope = getattr(self, side)
            rule = "names products, groups, goals or tags"
            require(0 < scope.depth and scope.depth % 2 == 0, "rule not_together", side, rule)

    @property
    def memory_days(self) -> float:
        """How far back offers matter; without end for products that never meet."""
        return np.inf if self.days is None else self.days

    def bound(self, known: Vocabulary) -> Allows:
        """Products whose counterparts rest since long enough."""
        clash, days = self.clashes(known.catalogue), self.memory_days

        def allows(contexts: ContextBatch) -> BoolArray:
            is_near = contexts.offer_age_days < days
            barred: BoolArray = np.logical_or.reduce(is_near[:, :, None] & clash, axis=1)
            return ~barred[:, None, None, :]

        return allows

    def needs(self, known: Vocabulary) -> str:
        """What must be so, in words."""
        apart = "never together" if self.days is None else f"{self.days:g} days apart"
        return f"{self.these.text} and {self.those.text} {apart}"

    def asked(self, known: Vocabulary) -> tuple[str, ...]:
        """No attribute."""
        return ()

    def clashes(self, catalogue: Catalogue) -> BoolArray:
        """(P, P) products that do not go together."""
        these, those = self.these.products(catalogue), self.those.products(catalogue)
        clash: BoolArray = these[:, None] & those
        return clash | clash.T


def happened_to(contexts: Sequence[Context], catalogue: Catalogue) -> Happened:
    """What the records of customers say has happened; BadContext for what nobody knows."""
    rows: list[tuple[float, ...]] = []
    for row, context in enumerate(contexts):
        for contact in context.contacts:
            if contact.refused:
                continue  # never made
            rows.append((row, *_cell(context, CONTACTED, contact, catalogue, "/contacts")))
        for number, one in enumerate(context.outcomes):
            cell = _cell(context, one.outcome, one, catalogue, f"/outcomes/{number}")
            # What is told has happened; where another clock runs ahead of ours it happens now.
            rows.append((row, *cell[:-1], max(cell[-1], 0.0)))
    table = np.array(rows, dtype=np.float64).reshape(len(rows), 5).T
    customers, codes, channels, products = (column.astype(np.int64) for column in table[:4])
    return Happened(customers, codes, channels, products, table[4])


def rests_of(rules: Mapping[Rest, Counting], happened: Happened, n_contexts: int) -> dict[Rest, BoolArray]:
    """(B, C, P) contacts that rest, by rule: what contexts carry of all outcomes."""
    return {rule: rule.resting(happened, n_contexts, counting) for rule, counting in rules.items()}


def _cell(
    context: Context, outcome: str, one: Any, catalogue: Catalogue, pointer: str
) -> tuple[float, float, float, float]:
    """Code, channel, product and age in days of a contact or outcome."""
    if outcome not in CODES:
        raise BadContext(pointer, f"outcome must be one of {', '.join(OUTCOMES)}; got {outcome!r}")
    try:
        channel = -1 if one.channel is None else catalogue.level("channel", one.channel)
        product = -1 if one.product is None else catalogue.level("product", one.product)
    except UnknownAction as error:
        raise BadContext(pointer, str(error)) from None
    age = (context.at - one.at).total_seconds() / _DAY_SECONDS
    return CODES[outcome], channel, product, age


def _last_reaction(happened: Happened, n_contexts: int, n_products: int) -> FloatArray:
    """(B, n_products) age of the last engagement with each product or sale of it, inf if there was none."""
    ages = np.full((n_contexts, n_products), np.inf)
    mine = np.isin(happened.codes, _REACTIONS) & (happened.ages_days >= 0.0)
    np.minimum.at(ages, (happened.customers[mine], happened.products[mine]), happened.ages_days[mine])
    return ages
