"""What may be done at all: rules in layers and the contact policy, as masks that act before the draw."""

from nba.constraints.base import LAYERS, Layer
from nba.constraints.contact_policy import ContactPolicy
from nba.constraints.limits import Apart, BackOff, ContactLimit
from nba.constraints.quiet_hours import QuietHours
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
    "Apart",
    "Asked",
    "BackOff",
    "Consent",
    "ContactLimit",
    "ContactPolicy",
    "HouseChannels",
    "Layer",
    "Near",
    "NotOwned",
    "OnlyIf",
    "QuietHours",
    "Requires",
    "Rule",
    "Suitability",
    "in_order",
]
