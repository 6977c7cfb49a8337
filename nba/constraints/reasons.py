"""Why a contact policy removed what it did from one customer: which of its parts, and how full they are."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nba.arrays import BoolArray
from nba.catalogue import Catalogue
from nba.conditions import Vocabulary
from nba.constraints.contact_policy import ContactPolicy
from nba.constraints.look import Look, Shut
from nba.context import AttributeValue, ContextBatch


class Reason(NamedTuple):
    """What must be so, in words, and what is found instead."""

    needs: str
    values: dict[str, AttributeValue]


def reasons_of(
    policy: ContactPolicy, known: Vocabulary, contexts: ContextBatch, name: str, removed: BoolArray
) -> list[Reason]:
    """Why the parts of a name removed contacts (C, T, P) of one customer; B = 1.

    A window is told as "2 of 2", with what is planned in it, a space by the contact that is too near, quiet
    hours by the end that the customer's clock will show.
    """
    catalogue, compiled = known.catalogue, policy.compiled(known)
    number, found = policy.names.index(name), list[Reason]()
    if number == 0:
        found = [
            *_rest(policy, contexts, catalogue, removed),
            *_counters(policy, contexts, catalogue, removed),
        ]
    if not policy.exact_parts:
        return found
    look = Look.at(contexts, catalogue, policy.zone)
    for one in compiled.groups[number]:
        closed = one.closed(look, contexts)[0] & removed
        if closed.any():
            told = one.part.told(Shut(look, closed), one.scopes, catalogue)
            found.append(Reason(one.text, {**told}))
    return found


def _rest(
    policy: ContactPolicy, contexts: ContextBatch, catalogue: Catalogue, removed: BoolArray
) -> list[Reason]:
    """Products that rest since their last offer."""
    ages = contexts.offer_age_days[0]
    rests = (ages < policy.product_rest_days) & ~catalogue.is_service & removed.any(axis=(0, 1))
    if not rests.any():
        return []
    needs = f"{policy.product_rest_days} days since the last offer of the product"
    names = [catalogue.products[number].name for number in np.flatnonzero(rests)]
    days = [round(float(age), 3) for age in ages[rests]]
    return [Reason(needs, {f"days since {name}": age for name, age in zip(names, days, strict=True)})]


def _counters(
    policy: ContactPolicy, contexts: ContextBatch, catalogue: Catalogue, removed: BoolArray
) -> list[Reason]:
    """Limits that counters keep, of the channels on which something was removed."""
    on: BoolArray = np.logical_or.reduce(removed, axis=(1, 2))
    found = []
    for limit, row, column in policy.counters(catalogue):
        count = int(contexts.contact_counts[0, row, column])
        if count >= limit.contacts and (on.any() if column < 0 else on[column]):
            found.append(Reason(limit.text, {limit.window: f"{count} of {limit.contacts}"}))
    return found
