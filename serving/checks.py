"""What the schema of a request cannot say: which ids and times are possible, and what is the same."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from msgspec import structs

from nba.catalogue import Catalogue
from nba.errors import UnknownAction
from serving.ids import made_at
from serving.ledger import DecisionRow
from serving.ledger.records import from_micros, to_micros
from serving.problems import Rejected, invalid, token
from serving.wire import DecisionRequest, Feedback, OtherContact, fingerprint_of

CLOCK_SKEW = timedelta(minutes=1)  # between machines, before an id counts as from the future
EARLIEST_OUTCOME = timedelta(days=1)  # before its decision: clocks and time zones of other systems
PLANNING = timedelta(days=366)  # how far ahead of the clock a decision may be asked for
OLDEST_YEAR, NEWEST_YEAR = 2000, 2999


def check_same_request(stored: str, fingerprint: str) -> None:
    """Refuse a request id that was used for another request."""
    if stored != fingerprint:
        rule = "was used for another request; a new question needs a new id"
        raise invalid("/request_id", rule, slug="request-id-reused")


def issued(decision_id: str, now: datetime) -> None:
    """Refuse an id that no ledger of this service can hold."""
    made = made_at(decision_id.lower())
    if made is None:
        raise invalid(
            "/decision_id", "must be the id of a decision (a UUID of version 7)", slug="unknown-decision"
        )
    if made > now + CLOCK_SKEW:
        raise invalid(
            "/decision_id", "is dated in the future: this service did not make it", slug="unknown-decision"
        )


def decision_time(at: datetime | None, now: datetime) -> datetime:
    """When a decision is for: now, unless the request says otherwise and may."""
    if at is None:
        return now
    if at.year < OLDEST_YEAR or at > now + PLANNING:
        raise invalid(
            "/at", f"must lie between {OLDEST_YEAR} and {PLANNING.days} days from now, got {at.isoformat()}"
        )
    return at.astimezone(now.tzinfo)


def outcome_time(occurred_at: datetime, now: datetime, row: DecisionRow | None) -> int:
    """Microseconds of an outcome's time, if it can be true."""
    if not OLDEST_YEAR <= occurred_at.year <= NEWEST_YEAR:
        raise invalid(
            "/occurred_at", f"the year must lie in {OLDEST_YEAR} to {NEWEST_YEAR}, got {occurred_at.year}"
        )
    # Past the window it is late and teaches nothing, whatever the clock says.
    is_in_window = row is None or to_micros(occurred_at) <= row.feedback_until
    if is_in_window and occurred_at > now + CLOCK_SKEW:
        raise invalid("/occurred_at", f"an outcome cannot lie in the future, got {occurred_at.isoformat()}")
    if row is not None and occurred_at < from_micros(row.at) - EARLIEST_OUTCOME:
        decided = from_micros(row.at).isoformat()
        raise invalid("/occurred_at", f"an outcome cannot come before its decision, which is of {decided}")
    return to_micros(occurred_at)


def feedback_fingerprint(feedback: Feedback, outcome: str, occurred_at: int) -> str:
    """Equal for feedback that says the same in other words; a time that was not given stays open."""
    moment = from_micros(occurred_at) if feedback.occurred_at else None
    same = {
        "decision_id": feedback.decision_id.lower(),
        "value": feedback.value or 0.0,
        "occurred_at": moment,
    }
    return fingerprint_of(structs.replace(feedback, outcome=outcome, **same))


def check_way(request: DecisionRequest) -> None:
    """Refuse what cannot go together: direction, mode, placements and the time of activation."""
    if request.direction == "inbound" and len(request.channels or ()) != 1:
        rule = "inbound, must name the one channel on which the customer is here"
        raise invalid("/channels", rule)
    if request.mode == "dry_run" and request.request_id is not None:
        rule = "a dry run stores nothing, so that its answer cannot be given again; leave the id out"
        raise invalid("/request_id", rule)
    if request.mode != "live" and request.defer_activation:
        raise invalid("/defer_activation", f"is of live decisions; nothing of mode {request.mode!r} can act")


def check_places(request: DecisionRequest) -> None:
    """Refuse two placements of one name."""
    names = [place.name for place in request.placements]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise invalid(f"/placements/{index}/name", f"must be another: {name!r} is a place already")


def check_contacts(contacts: list[OtherContact], catalogue: Catalogue) -> None:
    """Refuse contacts on channels, and about products, that the catalogue does not know."""
    for index, contact in enumerate(contacts):
        named = {"channel": contact.channel, "product": contact.product}
        for factor, name in named.items():
            try:
                if name is not None:
                    catalogue.level(factor, name)
            except UnknownAction as error:
                raise invalid(f"/customer/contacts/{index}/{factor}", str(error)) from None


def attribute_pointer(pointer: str, request: DecisionRequest) -> str:
    """The pointer into the body of a pointer below the attributes, whose names may hold "/" and "~"."""
    name = pointer[1:]
    if name in request.customer.attributes:
        name = token(name)
    return f"/customer/attributes/{name}"


def check_content(headers: Mapping[str, str], *media_types: str) -> None:
    """Refuse a body of another media type, in another charset than UTF-8, or compressed."""
    media_type, _, parameters = headers.get("content-type", "").partition(";")
    charset = parameters.strip().lower().removeprefix("charset=").strip('"')
    if media_type.strip().lower() not in media_types or charset not in ("", "utf-8", "utf8"):
        raise Rejected(415, f"Send the body as `Content-Type: {media_types[0]}`, in UTF-8.")
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise Rejected(415, "Send the body without a Content-Encoding.")
