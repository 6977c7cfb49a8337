"""What the service remembers of customers: contacts, opt-outs, products bought, and who lives together.

Counters change in the same breath as the decision, before anything waits for the disk; two requests for
one customer, or for two members of a household, can therefore never both see room under a contact limit that
has room for one.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

from msgspec import Struct, field, structs

from nba.catalogue import Catalogue
from nba.context import OUTCOMES, AttributeValue, Contact, Context, Outcome
from nba.strategy import Strategy
from serving.ledger import History, Reader
from serving.ledger.records import TAKEN_BACK, EventRow, from_micros
from serving.wire import Customer

_MOMENT = 0.002  # seconds: about a commit
_LONGEST_DAYS = 36_500  # a century: what must never meet is remembered for good
_EVER = datetime.min.replace(tzinfo=UTC)


class Remembered(Struct, kw_only=True):
    """The history of one customer; `pending` counts decisions that are not on the disk yet.

    What lies `since` then is here, what came before can be read again.
    """

    contacts: dict[str, Contact] = field(default_factory=dict)  # by decision id
    held: dict[str, datetime] = field(default_factory=dict)  # until when a contact may still be activated
    # Where rules ask for them, by decision id, outcome and product: what is told twice of one contact is one.
    outcomes: dict[tuple[str, str, str], Outcome] = field(default_factory=dict)
    opted_out: set[str] = field(default_factory=set)
    bought: set[str] = field(default_factory=set)
    household: str | None = None
    pending: int = 0
    since: datetime = _EVER


class CustomerBook:
    """Histories by customer, read from the ledger when first asked for; lives on the event loop."""

    def __init__(self, reader: Reader, strategy: Strategy, capacity: int = 100_000) -> None:
        self._reader, self._catalogue, self._capacity = reader, strategy.catalogue, capacity
        self._memory = timedelta(days=min(strategy.lookback_days, _LONGEST_DAYS))
        self._asks_outcomes = strategy.asks_outcomes
        self._known: OrderedDict[str, Remembered] = OrderedDict()
        self.has_households = strategy.contact_policy.has_households
        self._members: OrderedDict[str, set[str]] = OrderedDict()

    def context(self, customer: Customer, at: datetime, left: dict[str, float] | None = None) -> Context:
        """The context of a customer: what the caller says, and what the log adds; `left` of budgets."""
        known, oldest = self._recent(customer.id, at), at - self._memory
        household = customer.household or known.household
        elsewhere = (Contact(channel=c.channel, product=c.product, at=c.at) for c in customer.contacts)
        own = [*counted(known, at), *elsewhere]
        return Context(
            customer_id=customer.id,
            at=at,
            attributes=_with_owned(customer.attributes, known.bought),
            contacts=tuple(contact for contact in own if contact.at > oldest),
            opted_out=tuple(sorted(known.opted_out)),
            outcomes=tuple(one for one in known.outcomes.values() if one.at > oldest),
            left=left or {},
            zone=customer.zone,
            household=household,
            household_contacts=tuple(
                one for one in self._others(customer.id, household, at) if one.at > oldest
            ),
        )

    def _recent(self, customer_id: str, at: datetime) -> Remembered:
        """The history of a customer that a decision at a moment may ask for.

        What is twice as old as anything that is asked for is forgotten, so that no history grows for ever. A
        decision for a moment in the past reads it again. Nothing is forgotten before it is on the disk.
        """
        known = self.remembered(customer_id)
        if at - self._memory < known.since:
            before = self._of(customer_id, self._reader.history(customer_id))
            known.contacts, known.held = before.contacts | known.contacts, before.held | known.held
            known.outcomes = before.outcomes | known.outcomes
            known.since = _EVER
        forgotten = at - 2 * self._memory
        if known.pending == 0 and any(last <= forgotten for _, _, last in lasting(known)):
            known.contacts = {name: one for name, one, last in lasting(known) if last > forgotten}
            known.outcomes = {name: one for name, one in known.outcomes.items() if one.at > forgotten}
            known.since = forgotten
        return known

    def recall(self, customer_ids: Iterable[str]) -> None:
        """Read the histories of customers who will be asked for, at once."""
        missing = [name for name in dict.fromkeys(customer_ids) if name not in self._known]
        for name, history in self._reader.histories(missing).items() if missing else ():
            self._known[name] = self._of(name, history)
        self._forget_some(set(missing))

    def remembered(self, customer_id: str) -> Remembered:
        """The history of a customer."""
        if customer_id not in self._known:
            self.recall([customer_id])
        self._known.move_to_end(customer_id)
        return self._known[customer_id]

    def apply(self, event: EventRow, first_told: str) -> None:
        """Let feedback that is in the log change the history at once; late feedback counts as well.

        `first_told` is the outcome that was the first to be told of the decision.
        """
        known = self._known.get(event.customer_id or "")  # an id is never empty, an orphan has none
        if known is None:
            return
        if self._asks_outcomes and event.channel is not None and event.product is not None:
            told = event.outcome, event.channel, event.product, event.occurred_at
            self._tell(known, event.decision_id, *told)
        if event.outcome == "opted_out":
            known.opted_out |= closed_channels(event.channel, self._catalogue)
        elif event.outcome == "converted" and event.product is not None:
            known.bought.add(event.product)
        elif event.outcome in TAKEN_BACK:
            _take_back(known, event.decision_id, first_told)

    def activate(self, customer_id: str, decision_id: str, opened_at: datetime) -> None:
        """A deferred contact has been made; it counts from then on as any other."""
        known = self._known.get(customer_id)
        if (
            known is not None
            and known.held.pop(decision_id, None) is not None
            and decision_id in known.contacts
        ):
            contact = known.contacts[decision_id]
            known.contacts[decision_id] = structs.replace(contact, at=opened_at)

    def move(self, customer: Customer) -> None:
        """Let a customer live where a request that was not refused says."""
        household, known = customer.household, self.remembered(customer.id)
        if household is None:
            return
        if known.household != household:
            self._members.get(known.household or "", set()).discard(customer.id)
        known.household = household
        if self.has_households:
            self._home(household).add(customer.id)

    async def forget(self, customer_id: str) -> None:
        """Forget a customer who was erased, once no decision about them is on its way to the disk."""
        while (known := self._known.get(customer_id)) is not None and known.pending:
            await asyncio.sleep(_MOMENT)
        self._known.pop(customer_id, None)
        for members in self._members.values():
            members.discard(customer_id)

    def _others(self, customer_id: str, household: str | None, at: datetime) -> Iterator[Contact]:
        """Contacts of the other members of a household, if any limit asks for them."""
        if self.has_households and household is not None:
            for member in sorted(self._home(household) - {customer_id}):
                yield from counted(self._recent(member, at), at)

    def _home(self, household: str) -> set[str]:
        """The members of a household; in memory may be who is not on the disk yet, or has just moved out."""
        members = self._members.get(household)
        if members is None:
            members = {name for name in self._reader.members(household) if self._lives_in(name, household)}
            self._members[household] = members
            self._forget_homes()
        self._members.move_to_end(household)
        return members

    def _lives_in(self, customer_id: str, household: str) -> bool:
        known = self._known.get(customer_id)
        return known is None or known.household == household

    @staticmethod
    def _tell(known: Remembered, decision_id: str, outcome: str, channel: str, product: str, at: int) -> None:
        """Add what came of a contact, if anything asks about it; of what is told again, the last counts."""
        if outcome in OUTCOMES:
            one = Outcome(outcome=outcome, channel=channel, product=product, at=from_micros(at))
            before = known.outcomes.setdefault((decision_id, outcome, product), one)
            if before.at < one.at:
                known.outcomes[decision_id, outcome, product] = one

    def _of(self, customer_id: str, history: History) -> Remembered:
        known = Remembered(
            bought={*history.conversions, *self._reader.purchases(customer_id)}, household=history.household
        )
        for decision_id, channel, product, at, refused in history.contacts:
            made = Contact(channel=channel, product=product, at=from_micros(at), refused=refused)
            known.contacts[decision_id] = made
        known.held = {name: from_micros(until) for name, until in history.held.items()}
        if self._asks_outcomes:
            for told in self._reader.outcomes(customer_id):
                self._tell(known, *told)
        for closed in (*history.opt_outs, *self._reader.objections(customer_id)):
            known.opted_out |= closed_channels(closed, self._catalogue)
        return known

    def _forget_some(self, asked: set[str]) -> None:
        """Forget who was not asked for lately and is not now, and of whom no decision is on its way."""
        while len(self._known) > self._capacity:
            rows = self._known.items()
            idle = next((name for name, known in rows if not known.pending and name not in asked), None)
            if idle is None:
                return
            del self._known[idle]

    def _forget_homes(self) -> None:
        """Forget households of whose members no decision is on its way: all of them are on the disk."""
        while len(self._members) > self._capacity:
            idle = next((home for home, names in self._members.items() if not self._is_busy(names)), None)
            if idle is None:
                return
            del self._members[idle]

    def _is_busy(self, names: set[str]) -> bool:
        return any(name in self._known and self._known[name].pending for name in names)


def closed_channels(channel: str | None, catalogue: Catalogue) -> set[str]:
    """The channels that an opt-out closes: the one of its decision, or all after a no-contact decision."""
    return {channel} if channel is not None else {each.name for each in catalogue.channels}


def counted(known: Remembered, at: datetime) -> Iterator[Contact]:
    """Contacts as limits count them at a moment.

    One that may still be activated counts as made right now, the moment that leaves the least room: whenever
    it is made, no limit is broken. One that no longer may was never made.
    """
    for decision_id, contact in known.contacts.items():
        until = known.held.get(decision_id)
        if until is None:
            yield contact
        elif at <= until:
            yield structs.replace(contact, at=max(contact.at, at))


def planned(known: Remembered, channels: set[str], now: datetime) -> tuple[str, ...]:
    """Decisions whose contacts are still to come on some channels, in the order of the decisions."""
    rows = lasting(known)
    return tuple(
        name for name, one, last in rows if one.channel in channels and last > now and not one.refused
    )


def lasting(known: Remembered) -> Iterator[tuple[str, Contact, datetime]]:
    """Decision ids, contacts, and the last moment at which each may still be made."""
    for name, one in known.contacts.items():
        yield name, one, max(one.at, known.held.get(name, one.at))


def with_contact(
    known: Remembered, decision_id: str, contact: Contact | None, held: datetime | None = None
) -> None:
    """Count a decision that is on its way to the disk; `held` says until when it may be activated."""
    known.pending += 1
    if contact is not None:
        known.contacts[decision_id] = contact
        if held is not None:
            known.held[decision_id] = held


def settled(known: Remembered, decision_id: str, *, is_stored: bool) -> None:
    """Note that a decision reached the disk, or take its contact back."""
    known.pending -= 1
    if not is_stored:
        known.contacts.pop(decision_id, None)


def _take_back(known: Remembered, decision_id: str, first_told: str) -> None:
    """A contact that was refused or cancelled was never made; once anything else is told, it was."""
    if first_told == "cancelled":
        known.contacts.pop(decision_id, None)
    elif first_told == "refused" and decision_id in known.contacts:
        known.contacts[decision_id] = structs.replace(known.contacts[decision_id], refused=True)


def _with_owned(attributes: dict[str, AttributeValue], bought: set[str]) -> dict[str, AttributeValue]:
    """Attributes with the products bought here added to those the caller knows of."""
    owned = attributes.get("owned")
    if not bought or not (owned is None or isinstance(owned, list)):
        return attributes  # a wrong type is the schema's to refuse
    return attributes | {"owned": [*(owned or []), *sorted(bought - set(owned or []))]}
