"""What the service remembers of customers: contacts, opt-outs and products bought.

Counters change in the same breath as the decision, before anything waits for the disk; two requests
for one customer can therefore never both see room under a contact limit that has room for one.
"""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime, timedelta

from msgspec import Struct, field

from nba.catalogue import Catalogue
from nba.context import AttributeValue, Contact, Context
from nba.strategy import Strategy
from serving.ledger import Reader
from serving.ledger.records import EventRow, from_micros


class Remembered(Struct, kw_only=True):
    """The history of one customer; `pending` counts decisions that are not on the disk yet."""

    contacts: list[Contact] = field(default_factory=list)
    opted_out: set[str] = field(default_factory=set)
    bought: set[str] = field(default_factory=set)
    pending: int = 0


class CustomerBook:
    """Histories by customer, read from the ledger when first asked for; lives on the event loop."""

    def __init__(self, reader: Reader, strategy: Strategy, capacity: int = 100_000) -> None:
        self._reader, self._catalogue, self._capacity = reader, strategy.catalogue, capacity
        self._memory = timedelta(days=strategy.lookback_days)
        self._known: OrderedDict[str, Remembered] = OrderedDict()

    def context(
        self,
        customer_id: str,
        at: datetime,
        attributes: dict[str, AttributeValue],
        left: dict[str, float] | None = None,
    ) -> Context:
        """The context of a customer: what the caller says, and what the log adds; `left` of budgets."""
        known = self.remembered(customer_id)
        oldest = at - self._memory
        return Context(
            customer_id=customer_id,
            at=at,
            attributes=_with_owned(attributes, known.bought),
            contacts=tuple(contact for contact in known.contacts if contact.at > oldest),
            opted_out=tuple(sorted(known.opted_out)),
            left=left or {},
        )

    def remembered(self, customer_id: str) -> Remembered:
        """The history of a customer."""
        known = self._known.get(customer_id)
        if known is None:
            known = self._known[customer_id] = self._read(customer_id)
            self._forget_some()
        self._known.move_to_end(customer_id)
        return known

    def apply(self, event: EventRow) -> None:
        """Let feedback that is in the log change the history at once; late feedback counts as well."""
        known = self._known.get(event.customer_id or "")  # an id is never empty, an orphan has none
        if known is None:
            return
        if event.outcome == "opted_out":
            known.opted_out |= closed_channels(event.channel, self._catalogue)
        elif event.outcome == "converted" and event.product is not None:
            known.bought.add(event.product)

    def _read(self, customer_id: str) -> Remembered:
        history = self._reader.history(customer_id)
        known = Remembered(bought=set(history.conversions))
        for channel, product, at in history.contacts:
            known.contacts.append(Contact(channel=channel, product=product, at=from_micros(at)))
        for closed in history.opt_outs:
            known.opted_out |= closed_channels(closed, self._catalogue)
        return known

    def _forget_some(self) -> None:
        while len(self._known) > self._capacity:
            idle = next((name for name, known in self._known.items() if not known.pending), None)
            if idle is None:
                return
            del self._known[idle]


def closed_channels(channel: str | None, catalogue: Catalogue) -> set[str]:
    """The channels that an opt-out closes: the one of its decision, or all after a no-contact decision."""
    return {channel} if channel is not None else {each.name for each in catalogue.channels}


def with_contact(known: Remembered, contact: Contact | None) -> None:
    """Count a decision that is on its way to the disk."""
    known.pending += 1
    if contact is not None:
        known.contacts.append(contact)


def settled(known: Remembered, contact: Contact | None, *, is_stored: bool) -> None:
    """Note that a decision reached the disk, or take its contact back."""
    known.pending -= 1
    if contact is not None and not is_stored:
        known.contacts.remove(contact)


def _with_owned(attributes: dict[str, AttributeValue], bought: set[str]) -> dict[str, AttributeValue]:
    """Attributes with the products bought here added to those the caller knows of."""
    owned = attributes.get("owned")
    if not bought or not (owned is None or isinstance(owned, list)):
        return attributes  # a wrong type is the schema's to refuse
    return attributes | {"owned": [*(owned or []), *sorted(bought - set(owned or []))]}
