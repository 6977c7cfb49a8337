"""What crosses the HTTP boundary, strictly typed: nothing is coerced, nothing unknown is ignored."""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from nba.context import AttributeValue
from nba.decision import RankedAction, Terms
from nba.explain import Removal

Identifier = Annotated[str, Meta(min_length=1, max_length=256)]
Name = Annotated[str, Meta(min_length=1, max_length=512)]
AwareTime = Annotated[datetime, Meta(tz=True)]
Outcome = Literal[
    "delivered", "seen", "engaged", "converted", "rejected", "opted_out", "complained", "refused", "cancelled"
]  # fmt: skip
FeedbackStatus = Literal["accepted", "duplicate", "late", "orphan"]
Direction = Literal["outbound", "inbound"]
Mode = Literal["live", "shadow", "dry_run"]
Role = Literal["champion", "challenger", "random", "control", "fallback"]


class OtherContact(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A contact that was not decided here, such as a service message of another department."""

    channel: Name
    at: AwareTime
    product: Name | None = None


class Customer(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Whom to decide for; the attributes are those that the bundle's feature schema declares.

    `zone` is the IANA name of the time zone. `household` is kept until another one is named. `contacts` are
    those made or planned elsewhere, which limits count; like attributes they are told with every request.
    """

    id: Identifier
    attributes: dict[str, AttributeValue] = {}
    zone: Name | None = None
    household: Identifier | None = None
    contacts: Annotated[list[OtherContact], Meta(max_length=1000)] = []


class Placement(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One place to fill; what it does not say of `candidates` is the request's, `exclude` adds to it."""

    name: Name
    candidates: list[Name] | None = None
    exclude: list[Name] = []


class DecisionRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Ask for the next best action of one customer.

    `channels` and `candidates` (action ids or product names) narrow what may be chosen, `exclude` takes
    away; no-contact is always possible. The first of at most `limit` ranked actions is the one to carry
    out, the others are reserves. The same `request_id` gives the same answer. `at` is the moment decided for,
    now if it is left out: limits and quiet hours are those of that moment, so who asks at night for the
    morning names the morning.

    `placements` are filled one after another, no product twice, each by a decision of its own. Inbound the
    customer is here: `channels` names the one that they use, contacts are made at once, and contact limits
    and quiet hours do not hold them up, though limits count them. A "shadow" is stored, and counts for
    nothing and teaches nothing; a "dry_run" is not even stored. With `defer_activation` a decision teaches
    from its activation on only. Whoever names `budget_ms` has an answer by then, if need be a fallback.
    """

    customer: Customer
    channels: list[Name] | None = None
    candidates: list[Name] | None = None
    exclude: list[Name] = []
    limit: Annotated[int, Meta(ge=1, le=50)] = 1
    request_id: Identifier | None = None
    at: AwareTime | None = None
    placements: Annotated[list[Placement], Meta(max_length=20)] = []
    direction: Direction = "outbound"
    mode: Mode = "live"
    defer_activation: bool = False
    budget_ms: Annotated[int, Meta(ge=1, le=60_000)] | None = None


class Slot(Struct, frozen=True, kw_only=True):
    """How a placement is filled: by a decision of its own, whose propensities are given the slots before."""

    placement: str
    decision_id: str
    actions: tuple[RankedAction, ...]
    feedback_until: datetime


class DecisionResponse(Struct, frozen=True, kw_only=True):
    """The ranked actions; `posterior_seq` is the log position up to which the posterior has learnt.

    `role` says who chose. With placements `slots` has one for each, and the rest speaks of the first.
    """

    decision_id: str
    policy: str
    policy_version: int
    posterior_seq: int
    actions: tuple[RankedAction, ...]
    feedback_until: datetime
    replayed: bool = False
    role: Role = "champion"
    mode: Mode = "live"
    slots: tuple[Slot, ...] = ()


class Activation(Struct, frozen=True, kw_only=True):
    """What became of an activation: its position in the log, and until when feedback teaches."""

    status: Literal["accepted", "duplicate"]
    seq: int
    feedback_until: datetime


class Feedback(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Report what came of a decision; `value` is account currency, `product` only if another than offered.

    A contact that its channel "refused", or that was "cancelled" before it was made, fills no limit,
    teaches nothing and gives its units back to budgets that say so (`returned_if`), unless something else
    was told of it before.
    """

    event_id: Identifier
    decision_id: Identifier
    outcome: Literal[Outcome, "conversion"]  # "conversion" is read as "converted"
    value: Annotated[float, Meta(ge=0)] | None = None
    occurred_at: AwareTime | None = None
    product: Name | None = None


class FeedbackReceipt(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of feedback, and its position in the log.

    After an opt-out `to_cancel` names the decisions whose contacts are still to come on a channel that it
    closes: they must not be made, and are reported as "cancelled".
    """

    status: FeedbackStatus
    seq: int
    to_cancel: tuple[str, ...] = ()


class FeedbackEntry(Struct, frozen=True, kw_only=True):
    """One entry of the log about a decision."""

    seq: int
    kind: Literal["feedback", "exposure"]
    event_id: str
    outcome: str
    value: float
    product: str | None
    occurred_at: datetime
    status: str


class ReceiptProof(Struct, frozen=True, kw_only=True):
    """The entry of the hash chain that commits to a record; digests are hexadecimal."""

    seq: int
    content: str
    digest: str


class DecisionAudit(Struct, frozen=True, kw_only=True):
    """Everything that is known about a decision: what it saw, what it did, what came of it.

    Of one that was `erased` it is no longer known whom it was about, nor what it knew of them. A deferred one
    teaches, and its window begins, when the entry "activated" is in the log.
    """

    decision_id: str
    customer_id: str
    at: datetime
    opens_at: datetime  # when the contact is made
    role: Role
    mode: Mode
    direction: Direction
    is_deferred: bool
    placement: str | None
    policy: str
    policy_version: int
    posterior_seq: int
    price_version: int
    prices: dict[str, float]  # of budgets, of each the customer's own row, account currency per unit
    budget_left: dict[str, float]  # units that were left to the customer, before the decision
    attributes: dict[str, AttributeValue]
    features: dict[str, float]
    contacts: int  # known at the time
    opted_out: tuple[str, ...]
    actions: tuple[RankedAction, ...]
    no_contact_propensity: float
    n_eligible: int
    removed: dict[str, int]  # rule -> actions that it was the first to remove
    terms: tuple[Terms, ...]  # of `actions`: what their expected values are made of
    best: str | None  # the eligible action of the highest expected value; None if an older nba decided
    forgone: float | None  # by how much it is above the action of rank 1, account currency
    is_exploration: bool | None  # whether something is forgone, in order to learn
    why_not: tuple[Removal, ...]  # the actions that were removed, by rule
    eligible_digest: str
    distribution_digest: str
    feedback_until: datetime
    feedback: list[FeedbackEntry]
    erased: bool
    receipt: ReceiptProof


class LearnerStatus(Struct, frozen=True, kw_only=True):
    """Where the learner is: `lag` counts accepted events that it has not folded yet."""

    policy: str
    policy_version: int
    bundle_digest: str
    last_seq: int
    folded_seq: int
    posterior_seq: int
    posterior_sha256: str
    lag: int
    snapshot_age_seconds: float
    price_version: int
    prices: dict[str, float]  # of the rows of budgets, account currency per unit
    budget_left: dict[str, float]  # of the same rows, units now; below 0 if one only measured was exceeded
    is_healthy: bool
    is_current: bool  # what is folded is in use; a policy with epochs may hold it back
    head: str  # of the receipts, "position:digest": what to keep elsewhere for `nba replay --head`


class Health(Struct, frozen=True, kw_only=True):
    """Whether the service lives, or may be sent requests; `checks` says why not."""

    status: Literal["ok", "unavailable"]
    checks: dict[str, bool] = {}


class Reason(Struct, frozen=True):
    """One thing wrong with a request: where (a JSON pointer into the body) and what."""

    pointer: str
    detail: str


class Problem(Struct, frozen=True, kw_only=True):
    """A problem document of RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[Reason] = []


class LineAnswer(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of a line, counted from 1: the status and the answer, or the problem, of it alone."""

    line: int
    status: int
    decision: DecisionResponse | None = None
    receipt: FeedbackReceipt | None = None
    problem: Problem | None = None


def fingerprint_of(record: Any) -> str:
    """SHA-256 of a record's canonical JSON: equal contents have equal fingerprints."""
    return sha256(msgspec.json.encode(record, order="deterministic")).hexdigest()


DECODERS = {kind: msgspec.json.Decoder[Any](kind) for kind in (DecisionRequest, Feedback)}
