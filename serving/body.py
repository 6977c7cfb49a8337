"""A decision as the ledger keeps it: all that is needed to explain it, learn from it and make it again."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
from msgspec import Struct, structs

from nba.arrays import BoolArray
from nba.catalogue import NO_ACTION, NO_ACTION_ID, Catalogue
from nba.context import Context
from nba.decision import Decision
from nba.errors import UnknownAction
from serving.problems import invalid
from serving.wire import DecisionRequest, Direction, Mode, Role


class DecisionBody(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was asked, the context as it was used (with the history known then), and the answer.

    `role`, `direction` and `arms` (the digest of the store's arms then) say by which strategy it was decided.
    The last slot of a request with placements knows the decisions of the `slots` before it.
    `own` is the customer's row of each budget (`nba.allocation.budgets.Tally`), None where nobody knows it;
    it stays when a customer is erased, for what is used stays used.
    """

    channels: list[str] | None
    candidates: list[str] | None
    exclude: list[str]
    limit: int
    context: Context
    decision: Decision
    role: Role = "champion"
    direction: Direction = "outbound"
    mode: Mode = "live"
    is_deferred: bool = False
    placement: str | None = None
    slots: tuple[str, ...] = ()
    arms: str = ""
    own: tuple[int | None, ...] = ()


_decoder = msgspec.json.Decoder(DecisionBody)


def encode_body(body: DecisionBody) -> bytes:
    """JSON; floats keep every bit."""
    return msgspec.json.encode(body)


def decode_body(blob: bytes) -> DecisionBody:
    """The inverse of `encode_body`."""
    return _decoder.decode(blob)


def redacted(blob: bytes, pseudonym: str) -> bytes:
    """A body without the person: the decision with what it taught stays, what it knew of them goes.

    What stays of the knowledge is `features`, the numbers that the model read: learning is a sum over them.
    """
    body = decode_body(blob)
    context = Context(customer_id=pseudonym, at=body.context.at, attributes={}, left=body.context.left)
    decision = structs.replace(body.decision, customer_id=pseudonym)
    return encode_body(structs.replace(body, context=context, decision=decision))


def requested_of(request: DecisionRequest | DecisionBody, catalogue: Catalogue) -> BoolArray | None:
    """(1, A) the actions that a request leaves; None when it narrows nothing."""
    is_now = request.direction == "inbound"
    if request.channels is None and request.candidates is None and not (request.exclude or is_now):
        return None
    mask = np.ones(catalogue.n_actions, dtype=np.bool_)
    if request.channels is not None:
        mask &= _any(catalogue, "/channels", request.channels, _on_channel)
    if request.candidates is not None:
        mask &= _any(catalogue, "/candidates", request.candidates, _named)
    if NO_ACTION_ID in request.exclude:
        pointer = f"/exclude/{request.exclude.index(NO_ACTION_ID)}"
        raise invalid(pointer, "no-contact is always possible and cannot be excluded")
    mask &= ~_any(catalogue, "/exclude", request.exclude, _named)
    if is_now:  # the customer is here: what waits is for another day
        waits = np.array([timing.waits_for is not None for timing in catalogue.timings])
        mask &= ~waits[catalogue.timing_of]
    mask[NO_ACTION] = True
    return mask[None, :]


def _any(
    catalogue: Catalogue, pointer: str, names: list[str], rows: Callable[[Catalogue, str], BoolArray]
) -> BoolArray:
    hit = np.zeros(catalogue.n_actions, dtype=np.bool_)
    for index, name in enumerate(names):
        try:
            hit |= rows(catalogue, name)
        except UnknownAction as error:
            raise invalid(f"{pointer}/{index}", str(error)) from None
    return hit


def _on_channel(catalogue: Catalogue, name: str) -> BoolArray:
    on_channel: BoolArray = catalogue.channel_of == catalogue.level("channel", name)
    return on_channel


def _named(catalogue: Catalogue, name: str) -> BoolArray:
    """The row of an action id, or all rows of a product."""
    if any(product.name == name for product in catalogue.products):
        of_product: BoolArray = catalogue.product_of == catalogue.level("product", name)
        return of_product
    hit = np.zeros(catalogue.n_actions, dtype=np.bool_)
    hit[catalogue.row_of(name)] = True
    return hit
