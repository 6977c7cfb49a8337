"""What resources and budgets may ask of the contacts of a catalogue."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nba.arrays import AnyArray
from nba.catalogue import Catalogue

COST = "cost"


def action_columns(catalogue: Catalogue) -> Mapping[str, AnyArray]:
    """What resources may ask of contacts, (A - 1,) each: texts, and `cost` in account currency."""
    c, t, p = (of[1:] for of in (catalogue.channel_of, catalogue.timing_of, catalogue.product_of))
    channels, products = catalogue.channels, catalogue.products
    return {
        "action": np.array(catalogue.action_ids[1:]),
        "channel": np.array([channels[n].name for n in c]),
        "channel_family": np.array([channels[n].family for n in c]),
        "timing": np.array([catalogue.timings[n].name for n in t]),
        "product": np.array([products[n].name for n in p]),
        "product_family": np.array([products[n].family for n in p]),
        COST: catalogue.costs[1:],
    }
