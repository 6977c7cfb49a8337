"""Contacts of records as columns, with their moments."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nba.arrays import IntArray
from nba.catalogue import Catalogue
from nba.constraints.local_time import to_micros
from nba.context import Contact, ContactHistory, Context


def history_of(contexts: Sequence[Context], catalogue: Catalogue) -> ContactHistory:
    """The contacts of contexts, those of their households behind them."""
    known = [(*context.contacts, *context.household_contacts) for context in contexts]
    own = np.array([len(context.contacts) for context in contexts])
    return ContactHistory(
        now=np.array([to_micros(context.at) for context in contexts]),
        at=_filled([[to_micros(contact.at) for contact in contacts] for contacts in known], 0),
        channel=_filled([[catalogue.level("channel", one.channel) for one in each] for each in known], -1),
        product=_filled([[_product(contact, catalogue) for contact in each] for each in known], -1),
        refused=_filled([[contact.refused for contact in each] for each in known], 0).astype(np.bool_),
        others=np.arange(max(map(len, known), default=0)) >= own[:, None],
        zones=np.array([context.zone for context in contexts], dtype=object),
        households=np.array([context.household for context in contexts], dtype=object),
    )


def levels_of(contacts: Sequence[Contact], catalogue: Catalogue) -> tuple[IntArray, IntArray]:
    """(n,) channels and (n,) products of contacts, -1 for what is no product."""
    channels = [catalogue.level("channel", contact.channel) for contact in contacts]
    products = [_product(contact, catalogue) for contact in contacts]
    return np.array(channels, dtype=np.int64), np.array(products, dtype=np.int64)


def _filled(rows: list[list[int]], filler: int) -> IntArray:
    """(B, H) lists of different lengths as one table."""
    table = np.full((len(rows), max(map(len, rows), default=0)), filler, dtype=np.int64)
    for number, row in enumerate(rows):
        table[number, : len(row)] = row
    return table


def _product(contact: Contact, catalogue: Catalogue) -> int:
    return -1 if contact.product is None else catalogue.level("product", contact.product)
