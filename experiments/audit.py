"""An independent look at a decision log, to see whether the bank's hard limits were kept.

Written against the log alone and not with the code that enforces the limits, so that a mistake
there shows here.
"""

from __future__ import annotations

import numpy as np

from experiments.logs import DecisionLog
from nba.arrays import BoolArray, IntArray
from nba.catalogue import Catalogue
from nba.constraints import ContactPolicy


def violations(
    log: DecisionLog, catalogue: Catalogue, policy: ContactPolicy, household_customers: int = 1
) -> int:
    """Contacts that broke a limit or a product's rest on their day, or were decided after an opt-out.

    A contact that was refused was not made: it fills no window and breaks no limit. Limits are of days;
    `household_customers` with successive numbers live together.
    """
    contacted = (log.action > 0) & ~log.refused
    customer, day = log.customer[contacted], log.contact_day[contacted]
    channel = catalogue.channel_of[log.action[contacted]]
    product = catalogue.product_of[log.action[contacted]]
    found = 0
    for limit in policy.limits:
        subject = customer // household_customers if limit.level == "household" else customer
        names = (limit.channel,) if limit.channel is not None else limit.channels
        concerned = np.ones(channel.size, dtype=np.bool_)
        if names:
            concerned = np.isin(channel, [catalogue.level("channel", name) for name in names])
        if limit.each_channel:
            subject = subject * len(catalogue.channels) + channel
        found += _too_close(subject[concerned], day[concerned], limit.contacts, limit.days)
    pairs = customer * len(catalogue.products) + product
    found += _too_close(pairs, day, 1, policy.product_rest_days)
    return found + _after_opt_out(customer, channel, log.day[contacted], log.opted_out[contacted])


def _too_close(subject: IntArray, day: IntArray, contacts: int, days: int) -> int:
    """How often a subject has more than `contacts` contacts in less than `days` days."""
    order = np.lexsort((day, subject))
    subject, day = subject[order], day[order]
    same = subject[contacts:] == subject[: subject.size - contacts]
    return int((same & (day[contacts:] - day[: day.size - contacts] < days)).sum())


def _after_opt_out(customer: IntArray, channel: IntArray, day: IntArray, opted_out: BoolArray) -> int:
    """Contacts on a channel that were decided on a later day than the customer's opt-out from it."""
    left: dict[tuple[int, int], int] = {}
    for c, h, d in zip(customer[opted_out], channel[opted_out], day[opted_out], strict=True):
        left[int(c), int(h)] = min(int(d), left.get((int(c), int(h)), int(d)))
    return sum(
        left.get((int(c), int(h)), int(d)) < int(d) for c, h, d in zip(customer, channel, day, strict=True)
    )
