"""What may be done at all: rules in layers and the contact policy, as masks that act before the draw."""

from nba.constraints.base import LAYERS, Layer
from nba.constraints.contact_policy import ContactLimit, ContactPolicy
from nba.constraints.rulebook import Asked, in_order
from nba.constraints.rules import (
    Affordable,
    Consent,
    HouseChannels,
    Near,
    NotOwned,
    OnlyIf,
    Requires,
    Rule,
    Suitability,
)

__all__ = [
    "LAYERS",
    "Affordable",
    "Asked",
    "Consent",
    "ContactLimit",
    "ContactPolicy",
    "HouseChannels",
    "Layer",
    "Near",
    "NotOwned",
    "OnlyIf",
    "Requires",
    "Rule",
    "Suitability",
    "in_order",
]
