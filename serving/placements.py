"""A request with placements as requests of their own, one for each place to fill."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from msgspec import structs

from nba.decision import Decision
from serving.problems import Rejected, invalid
from serving.wire import DecisionRequest, Placement


class Asked(NamedTuple):
    """A request and what tells it from others; of a request with placements, one place of it."""

    request: DecisionRequest
    fingerprint: str
    placement: str | None = None
    slots: tuple[str, ...] = ()  # the decisions of the places before, which the last one knows


def slot_of(asked: Asked, number: int, before: Sequence[Decision]) -> Asked:
    """One place as a request that leaves out the products of the slots `before`.

    The last one has the request's id and comes last into the log: where it is, all are.
    """
    request, place = asked.request, asked.request.placements[number]
    is_last = number == len(request.placements) - 1
    taken = [product for one in before if (product := one.actions[0].product) is not None]
    alone = structs.replace(
        request,
        placements=[],
        candidates=request.candidates if place.candidates is None else place.candidates,
        exclude=[*place.exclude, *request.exclude, *taken],
        request_id=request.request_id if is_last else None,
    )
    ids = tuple(one.decision_id for one in before) if is_last else ()
    return Asked(alone, asked.fingerprint, place.name, ids)


def in_place(error: Rejected, place: Placement, number: int) -> Rejected:
    """What refuses a slot, with the pointer into the request that it was made of."""
    if not error.reasons:
        return error
    (reason,) = error.reasons
    pointer = _pointer(reason.pointer, place, number)
    return invalid(pointer, reason.detail, slug=error.slug, status=error.status)


def _pointer(pointer: str, place: Placement, number: int) -> str:
    _, field, *rest = [*pointer.split("/"), ""]
    below = f"/placements/{number}{pointer}"
    if field == "candidates" and place.candidates is not None:
        return below
    if field == "exclude":
        index = int(rest[0])
        return below if index < len(place.exclude) else f"/exclude/{index - len(place.exclude)}"
    return pointer
