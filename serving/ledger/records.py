"""The rows of the ledger as records; times are microseconds since 1970 in UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal

from msgspec import Struct

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

# A contact was never made if one of these is the first that is told of it.
TAKEN_BACK = ("refused", "cancelled")
ACTIVATED = "activated"  # the outcome of the entry that makes a deferred decision count
EventStatus = Literal["accepted", "late", "orphan"]


def to_micros(moment: datetime) -> int:
    """Microseconds since 1970 of an aware datetime, exactly."""
    return (moment - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """The aware datetime (UTC) of microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=micros)


class DecisionRow(Struct, frozen=True, kw_only=True):
    """One decision.

    `watched` is the product whose conversions teach: the one offered, or after no-contact a probe, which
    the ledger drops when the customer and product are watched already. `first_due` is its first step.
    `opens_at` is when the contact is made, `at` when it was decided. A contact that is watched only once it
    is activated has no `watched`.
    """

    decision_id: str
    request_id: str | None
    fingerprint: str
    customer_id: str
    at: int
    opens_at: int
    channel: str | None
    product: str | None
    policy_version: int
    posterior_seq: int
    feedback_until: int
    body: bytes
    watched: str | None
    first_due: int
    household: str | None = None
    seq: int = 0


class EventRow(Struct, frozen=True, kw_only=True):
    """One entry of the learning log: feedback, or what was watched (kind "exposure"; `step` says which part).

    `is_once` says that the product cannot be bought again; the ledger decides with it, when it appends a
    conversion, whether it `teaches`: not if it is credited elsewhere or was credited before. Of other
    feedback the first of an outcome teaches.
    """

    kind: Literal["feedback", "exposure"]
    event_id: str
    decision_id: str
    customer_id: str | None
    fingerprint: str
    outcome: str
    value: float
    product: str | None
    channel: str | None
    step: int | None
    occurred_at: int
    received_at: int
    status: EventStatus
    teaches: bool = True
    seq: int = 0
    is_once: bool = False


class Appended(Struct, frozen=True):
    """What became of an event and its position: "duplicate" and "conflict" when its id was known."""

    status: Literal["accepted", "late", "orphan", "duplicate", "conflict"]
    seq: int


class LoggedEvent(Struct, frozen=True):
    """An event with what folding it needs of its decision."""

    event: EventRow
    body: bytes
    watched: str | None
    told: str  # with commas: outcomes that taught of the decision before, "exposure" and "trial" among them
    opened_at: int  # when its contact was made: that of a deferred decision is its activation


class Due(Struct, frozen=True, kw_only=True):
    """A decision of which a step is due: at its moment, or before when a newer contact cut it short."""

    decision_seq: int
    step: int
    due_at: int
    decision_id: str
    customer_id: str
    at: int
    product: str
    channel: str | None


class Exposed(Struct, frozen=True, kw_only=True):
    """An exposure event, and the step that comes after it (None when it was the last, or cut short)."""

    event: EventRow
    decision_seq: int
    next_step: int | None
    next_due: int | None


class History(Struct, frozen=True, kw_only=True):
    """What the ledger knows of a customer: contacts, opt-outs, conversions and the household last named.

    A contact is (decision id, channel, product, at, refused); those that were cancelled are left out. `held`
    says until when those that wait for their activation may be activated.
    """

    contacts: list[tuple[str, str, str, int, bool]]
    opt_outs: list[str | None]  # a channel; None stands for all of them
    conversions: list[str]  # products
    household: str | None = None
    held: dict[str, int] = {}  # by decision id


class PriceRow(Struct, frozen=True, kw_only=True):
    """One version of the prices of budgets; `planned` where a person set it, otherwise it follows."""

    version: int
    decision_seq: int  # the last decision that is counted
    planned: bool
    state: bytes  # JSON


class TakenBack(Struct, frozen=True, kw_only=True):
    """A contact that was never made: "refused" or "cancelled" is the first that was told of it."""

    seq: int  # of the event
    decision_seq: int
    decision_id: str
    outcome: str
    body: bytes  # of the decision


class SavedPosterior(Struct, frozen=True, kw_only=True):
    """A posterior with the log position it stands for."""

    last_seq: int
    posterior: bytes
    sha256: str


class AdminRow(Struct, frozen=True, kw_only=True):
    """What an administrator did; `detail` is JSON and holds no personal data."""

    at: int
    actor: str  # the first digits of the digest of a key, or a command
    what: str
    detail: str
    seq: int = 0


class Receipt(Struct, frozen=True, kw_only=True):
    """One entry of the chain: it commits to a row of a table of the log, see `serving.ledger.receipts`."""

    seq: int
    kind: str
    row: int
    salt: bytes | None  # None once the row was erased
    content: bytes
    digest: bytes
