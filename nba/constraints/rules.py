"""Rules that remove actions before anything is drawn: one struct per rule, one mask per call.

A mask is over the table of contacts (B, C, T, P) and has length 1 along a factor that the rule does not
ask about, so that nobody spells it out action by action. Staying silent breaks no rule.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from nba.arrays import BoolArray, IntArray
from nba.conditions import Condition, Vocabulary
from nba.constraints.base import Allows, Layer, RuleBase
from nba.context import ContextBatch
from nba.errors import InvalidConfig, UnknownAction, require
from nba.features import Category, Flag, Numeric

_SAFEST = 1.0


class Consent(RuleBase, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="consent"):
    """Only channels that the customer agreed to; no recorded consent means no contact."""

    def bound(self, known: Vocabulary) -> Allows:
        """Channels with consent."""
        return lambda contexts: contexts.consents[:, :, None, None]

    def needs(self, known: Vocabulary) -> str:
        """What must be so, in words."""
        return "consent to the channel, and no opt-out from it"

    def asked(self, known: Vocabulary) -> tuple[str, ...]:
        """The consents."""
        return ("consents",)


class NotOwned(RuleBase, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="not_owned"):
    """Nothing that the customer holds already, unless it can be bought again."""

    def bound(self, known: Vocabulary) -> Allows:
        """Products that are not held, or repeatable."""
        once = ~known.catalogue.repeatable
        return lambda contexts: ~(contexts.owned & once)[:, None, None, :]

    def needs(self, known: Vocabulary) -> str:
        """What must be so, in words."""
        return "a product that is not held already, or can be bought again"

    def asked(self, known: Vocabulary) -> tuple[str, ...]:
        """The products held."""
        return ("owned",)


class Suitability(RuleBase, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="suitability"):
    """No product riskier than the customer's risk class (attribute `attribute`, 1 to 5).

    A customer whose class is not known is offered the safest class only.
    """

    layer: Layer = "suitable"
    attribute: str = "risk_class"

    def bound(self, known: Vocabulary) -> Allows:
        """Products that are no riskier than the customer bears."""
        name, risks = _declared(known, self.attribute, Numeric), known.catalogue.risk_classes

        def allows(contexts: ContextBatch) -> BoolArray:
            bears = contexts.attributes[name]
            bears = np.where(np.isnan(bears), _SAFEST, bears)
            bearable: BoolArray = bears[:, None] >= risks
            return bearable[:, None, None, :]

        return allows

    def needs(self, known: Vocabulary) -> str:
        """What must be so, in words."""
        return f"{self.attribute} >= the product's risk class; {_SAFEST:g} where it is not known"

    def asked(self, known: Vocabulary) -> tuple[str, ...]:
        """The risk class."""
        return (self.attribute,)


class Requires(RuleBase, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="requires"):
    """A channel that needs a flag of the customer, such as an installed app."""

    channel: str
    flag: str

    def bound(self, known: Vocabulary) -> Allows:
        """All other channels, and this one with the flag."""
        catalogue, name = known.catalogue, _declared(known, self.flag, Flag, Numeric)
        is_other = np.arange(len(catalogue.channels)) != catalogue.level("channel", self.channel)

        def allows(contexts: ContextBatch) -> BoolArray:
            has_flag: BoolArray = contexts.attributes[name] > 0
            channels: BoolArray = has_flag[:, None] | is_other
            return channels[:, :, None, None]

        return allows

    def needs(self, known: Vocabulary) -> str:
        """What must be so, in words."""
        return f"{self.flag} on channel {self.channel}"

    def asked(self, known: Vocabulary) -> tuple[str, ...]:
        """The flag."""
        return (self.flag,)


class Near(RuleBase, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="near"):
    """A timing that applies only when a day counted by an attribute is at most `within_days` off."""

    layer: Layer = "applicable"
    timing: str
    attribute: str
    within_days: float

    def bound(self, known: Vocabulary) -> Allows:
        """All other timings, and this one near the day."""
        catalogue, name = known.catalogue, _declared(known, self.attribute, Numeric)
        is_other = np.arange(len(catalogue.timings)) != catalogue.level("timing", self.timing)

        def allows(contexts: ContextBatch) -> BoolArray:
            is_near: BoolArray = np.abs(contexts.attributes[name]) <= self.within_days
            timings: BoolArray = is_near[:, None] | is_other
            return timings[:, None, :, None]

        return allows

    def needs(self, known: Vocabulary) -> str:
        """What must be so, in words."""
        return f"{self.attribute} at most {self.within_days:g} off zero for timing {self.timing}"

    def asked(self, known: Vocabulary) -> tuple[str, ...]:
        """The days to it."""
        return (self.attribute,)


class HouseChannels(RuleBase, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="house_channels"):
    """Business as usual: one fixed channel per segment and one fixed timing for everybody."""

    layer: Layer = "applicable"
    channels: dict[str, str]  # segment -> channel
    timing: str
    otherwise: str  # channel of segments not named and of customers without one

    def bound(self, known: Vocabulary) -> Allows:
        """The segment's channel at the one timing."""
        catalogue, schema = known.catalogue, known.schema
        segment = schema.segment
        if segment is None:
            raise UnknownAction("house_channels needs a schema with a segment.")
        unknown = self.channels.keys() - set(schema.segments)
        if unknown:
            raise UnknownAction(f"segments {sorted(unknown)} do not exist; use {', '.join(schema.segments)}.")
        house = [self.channels.get(one, self.otherwise) for one in (*schema.segments, "")]
        levels = np.array([catalogue.level("channel", name) for name in house])
        on_time = np.arange(len(catalogue.timings)) == catalogue.level("timing", self.timing)
        places = np.arange(len(catalogue.channels))

        def allows(contexts: ContextBatch) -> BoolArray:
            # Segment code -1 (missing) reads the last entry, which is the channel for everybody else.
            channel: IntArray = levels[contexts.attributes[segment].astype(np.int64)]
            of_house: BoolArray = places == channel[:, None]
            house_actions: BoolArray = of_house[:, :, None, None] & on_time[:, None]
            return house_actions

        return allows

    def needs(self, known: Vocabulary) -> str:
        """What must be so, in words."""
        return f"the segment's channel (otherwise {self.otherwise}), timing {self.timing}"

    def asked(self, known: Vocabulary) -> tuple[str, ...]:
        """The segment."""
        return (str(known.schema.segment),)


class OnlyIf(RuleBase, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="only_if"):
    """Contacts in scope only with customers of whom a condition holds.

    Where it is not known whether it holds, `unknown` says whether the contacts are removed or kept.
    """

    when: Condition
    unknown: Literal["remove", "keep"] = "remove"

    def bound(self, known: Vocabulary) -> Allows:
        """Everything, or nothing."""
        try:
            ask = self.when.bound(known)
        except InvalidConfig as error:
            raise InvalidConfig(error.source, f"when.{error.pointer}", error.rule) from None

        def allows(contexts: ContextBatch) -> BoolArray:
            found = ask(contexts)
            kept = found.holds if self.unknown == "remove" else ~found.fails
            return kept[:, None, None, None]

        return allows

    def needs(self, known: Vocabulary) -> str:
        """The condition in words."""
        return self.when.text + ("" if self.unknown == "remove" else ", or that not known")

    def asked(self, known: Vocabulary) -> tuple[str, ...]:
        """The condition's attributes."""
        return self.when.asked(known)


class Affordable(RuleBase, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="affordable"):
    """A product's instalment, with what is committed already, stays within a share of the income.

    Attributes `income` and `committed` (none by default) are account currency a month. A customer of whom
    one of them is not known is offered only what costs nothing a month.
    """

    layer: Layer = "suitable"
    income: str
    share: float
    committed: str | None = None

    def __post_init__(self) -> None:
        """Check the share."""
        rule = f"must be above 0 and at most 1, got {self.share}"
        require(0 < self.share <= 1, "rule affordable", "share", rule)

    def bound(self, known: Vocabulary) -> Allows:
        """Products without instalment, and those that the customer can pay."""
        names = [_declared(known, name, Numeric) for name in self.asked(known)]
        instalments = np.array([product.instalment for product in known.catalogue.products])

        def allows(contexts: ContextBatch) -> BoolArray:
            income, *committed = (contexts.attributes[name] for name in names)
            room = np.subtract(self.share * income, sum(committed))
            # A comparison with NaN is false: what is not known cannot be afforded.
            payable: BoolArray = (instalments <= room[:, None]) | (instalments == 0)
            return payable[:, None, None, :]

        return allows

    def needs(self, known: Vocabulary) -> str:
        """What must be so, in words."""
        paid = "instalment" if self.committed is None else f"instalment + {self.committed}"
        return f"{paid} <= {self.share:g} x {self.income}"

    def asked(self, known: Vocabulary) -> tuple[str, ...]:
        """Income and commitments."""
        return (self.income,) if self.committed is None else (self.income, self.committed)


def _declared(known: Vocabulary, name: str, *kinds: type[Numeric | Flag | Category]) -> str:
    """The name of a declared attribute of a kind that the rule can read."""
    column = known.column(name)
    wanted = " or ".join(str(kind.__struct_config__.tag) for kind in kinds)
    found = column.__struct_config__.tag
    rule = f"attribute {name!r} is a {found}; the rule reads a {wanted}"
    require(isinstance(column, kinds), "rule", "attribute", rule)
    return name
