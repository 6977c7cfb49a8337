"""Rules that remove actions before anything is drawn: one struct per rule, one mask per call.

A mask is over the table of contacts (B, C, T, P) and has length 1 along a factor that the rule does not
ask about, so that nobody spells it out action by action. Staying silent breaks no rule.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from msgspec import Struct

from nba.arrays import BoolArray, IntArray
from nba.catalogue import Catalogue
from nba.context import ContextBatch
from nba.errors import UnknownAction
from nba.features import FeatureSchema

_SAFEST = 1.0


class Consent(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="consent"):
    """Only channels that the customer agreed to; no recorded consent means no contact."""

    def allows(self, contexts: ContextBatch, catalogue: Catalogue, schema: FeatureSchema) -> BoolArray:
        """(B, C | 1, T | 1, P | 1) contacts the rule leaves."""
        return contexts.consents[:, :, None, None]


class NotOwned(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="not_owned"):
    """Nothing that the customer holds already, unless it can be bought again."""

    def allows(self, contexts: ContextBatch, catalogue: Catalogue, schema: FeatureSchema) -> BoolArray:
        """(B, C | 1, T | 1, P | 1) contacts the rule leaves."""
        held: BoolArray = contexts.owned & ~catalogue.repeatable
        return ~held[:, None, None, :]


class Suitability(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="suitability"):
    """No product riskier than the customer's risk class (attribute `attribute`, 1 to 5).

    A customer whose class is not known is offered the safest class only.
    """

    attribute: str = "risk_class"

    def allows(self, contexts: ContextBatch, catalogue: Catalogue, schema: FeatureSchema) -> BoolArray:
        """(B, C | 1, T | 1, P | 1) contacts the rule leaves."""
        known = contexts.attributes[self.attribute]
        known = np.where(np.isnan(known), _SAFEST, known)
        bearable: BoolArray = known[:, None] >= catalogue.risk_classes
        return bearable[:, None, None, :]


class Requires(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="requires"):
    """A channel that needs a flag of the customer, such as an installed app."""

    channel: str
    flag: str

    def allows(self, contexts: ContextBatch, catalogue: Catalogue, schema: FeatureSchema) -> BoolArray:
        """(B, C | 1, T | 1, P | 1) contacts the rule leaves."""
        is_other = np.arange(len(catalogue.channels)) != catalogue.level("channel", self.channel)
        has_flag: BoolArray = contexts.attributes[self.flag] > 0
        channels: BoolArray = has_flag[:, None] | is_other
        return channels[:, :, None, None]


class Near(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="near"):
    """A timing that applies only when a day counted by an attribute is at most `within_days` off."""

    timing: str
    attribute: str
    within_days: float

    def allows(self, contexts: ContextBatch, catalogue: Catalogue, schema: FeatureSchema) -> BoolArray:
        """(B, C | 1, T | 1, P | 1) contacts the rule leaves."""
        is_other = np.arange(len(catalogue.timings)) != catalogue.level("timing", self.timing)
        is_near: BoolArray = np.abs(contexts.attributes[self.attribute]) <= self.within_days
        timings: BoolArray = is_near[:, None] | is_other
        return timings[:, None, :, None]


class HouseChannels(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="house_channels"):
    """Business as usual: one fixed channel per segment and one fixed timing for everybody."""

    channels: dict[str, str]  # segment -> channel
    timing: str
    otherwise: str  # channel of segments not named and of customers without one

    def allows(self, contexts: ContextBatch, catalogue: Catalogue, schema: FeatureSchema) -> BoolArray:
        """(B, C | 1, T | 1, P | 1) contacts the rule leaves."""
        if schema.segment is None:
            raise UnknownAction("house_channels needs a schema with a segment.")
        unknown = self.channels.keys() - set(schema.segments)
        if unknown:
            raise UnknownAction(f"segments {sorted(unknown)} do not exist; use {', '.join(schema.segments)}.")
        house = [self.channels.get(segment, self.otherwise) for segment in (*schema.segments, "")]
        levels = np.array([catalogue.level("channel", name) for name in house])
        # Segment code -1 (missing) reads the last entry, which is the channel for everybody else.
        channel: IntArray = levels[contexts.attributes[schema.segment].astype(np.int64)]
        of_house = np.arange(len(catalogue.channels)) == channel[:, None]
        on_time = np.arange(len(catalogue.timings)) == catalogue.level("timing", self.timing)
        house_actions: BoolArray = of_house[:, :, None, None] & on_time[:, None]
        return house_actions


Rule: TypeAlias = Consent | NotOwned | Suitability | Requires | Near | HouseChannels
