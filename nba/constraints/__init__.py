"""What may be done at all: rules and the contact policy, as masks that act before the draw."""

from nba.constraints.contact_policy import ContactLimit, ContactPolicy
from nba.constraints.rules import Consent, HouseChannels, Near, NotOwned, Requires, Rule, Suitability

__all__ = [
    "Consent",
    "ContactLimit",
    "ContactPolicy",
    "HouseChannels",
    "Near",
    "NotOwned",
    "Requires",
    "Rule",
    "Suitability",
]
