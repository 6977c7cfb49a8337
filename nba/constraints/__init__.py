"""What may be done at all: rules in layers and the contact policy, as masks that act before the draw."""

from nba.constraints.base import LAYERS, Layer
from nba.constraints.contact_policy import ContactPolicy
from nba.constraints.limits import Apart, BackOff, ContactLimit
from nba.constraints.quiet_hours import QuietHours
from nba.constraints.rulebook import Asked, Rule, RuleBook
from nba.constraints.rules import (
    Affordable,
    Consent,
    HouseChannels,
    Near,
    NotOwned,
    OnlyIf,
    Requires,
    Suitability,
)
from nba.constraints.suppression import Happened, NotTogether, Rest, happened_to, rests_of

__all__ = [
    "LAYERS",
    "Affordable",
    "Apart",
    "Asked",
    "BackOff",
    "Consent",
    "ContactLimit",
    "ContactPolicy",
    "Happened",
    "HouseChannels",
    "Layer",
    "Near",
    "NotOwned",
    "NotTogether",
    "OnlyIf",
    "QuietHours",
    "Requires",
    "Rest",
    "Rule",
    "RuleBook",
    "Suitability",
    "happened_to",
    "rests_of",
]
