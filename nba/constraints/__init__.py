"""What may be done at all: rules in layers and the contact policy, as masks that act before the draw."""

from nba.constraints.base import LAYERS, Layer
from nba.constraints.contact_policy import ContactLimit, ContactPolicy
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
    "Asked",
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
    "Requires",
    "Rest",
    "Rule",
    "RuleBook",
    "Suitability",
    "happened_to",
    "rests_of",
]
