"""Verify the receipts of a store: no entry of the log was changed, removed, added or swapped unseen."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

import msgspec
from msgspec import Struct

from nba.errors import InvalidConfig
from serving.ledger import AdminRow, Reader
from serving.ledger.receipts import BATCH, START, Row, content_of, linked, position, rows_of
from serving.ledger.records import DecisionRow, EventRow, Receipt

KINDS = ("decision", "event", "price", "admin")
SHOWN = 20  # faults named in the report; all are counted


class Anchor(NamedTuple):
    """A position of the chain and the digest that somebody keeps elsewhere."""

    seq: int
    digest: str

    @staticmethod
    def parse(text: str) -> Anchor:
        """An anchor of "position:digest", as `nba replay` prints it."""
        seq, _, digest = text.partition(":")
        if not seq.isdigit() or len(digest) != 64 or set(digest) - set("0123456789abcdef"):
            rule = f"must read POSITION:DIGEST with 64 hex digits, as `nba replay` prints it, got {text!r}"
            raise InvalidConfig("replay", "head", rule)
        return Anchor(int(seq), digest)


class Rewritten(Struct, frozen=True):
    """What the deed of an administrator says of the rows that it wrote anew."""

    decisions: int
    events: int


class ChainReport(Struct, frozen=True, kw_only=True):
    """What a verification found; `head` is what to keep elsewhere, `faulty` names the first faults."""

    entries: int
    head: str  # "position:digest"
    erased: int  # rows that were written anew without the person
    faults: int
    faulty: list[str]


def verify(reader: Reader, anchor: Anchor | None = None) -> ChainReport:
    """Follow the chain from its start, and compare every row of the log with what its receipt says.

    The store may be in use: what is written after the start is left to the next verification. `anchor` is
    an entry as it was known to be once.
    """
    head = head_of(reader)
    end = Anchor.parse(head).seq
    faults = list(_links(reader, end, anchor))
    faults += [fault for kind in KINDS for fault in _rows(reader, kind, end)]
    n_erased = sum(len(reader.erased(kind)) for kind in ("decision", "event"))
    n_told = sum(_n_rows(row) for row in rows_of(reader, "admin") if isinstance(row, AdminRow))
    if n_erased != n_told:
        faults.append(f"{n_erased} rows have a second receipt, and the erasures in the log explain {n_told}")
    return ChainReport(entries=end, head=head, erased=n_erased, faults=len(faults), faulty=faults[:SHOWN])


def head_of(reader: Reader) -> str:
    """The last entry of the chain as "position:digest"."""
    last = reader.head()
    return f"0:{START.hex()}" if last is None else f"{last.seq}:{last.digest.hex()}"


def _links(reader: Reader, end: int, anchor: Anchor | None) -> Iterator[str]:
    """Entries that do not follow from the one before, and an anchor that does not hold."""
    before, is_held = START, anchor is None
    expected = 1
    for one in _entries(reader, end):
        for missing in range(expected, min(one.seq, expected + SHOWN)):
            yield f"receipt {missing}: removed"
        if one.digest != linked(before, one.seq, one.kind, one.row, one.content):
            yield f"receipt {one.seq} ({one.kind} {one.row}): does not follow from the one before"
        if anchor is not None and one.seq == anchor.seq:
            is_held = one.digest.hex() == anchor.digest
        before, expected = one.digest, one.seq + 1
    if anchor is not None and not is_held:
        yield f"receipt {anchor.seq}: is not the one that was kept, {anchor.digest[:12]}..."


def _entries(reader: Reader, end: int) -> Iterator[Receipt]:
    after = 0
    while entries := reader.receipts_after(after, BATCH):
        for one in entries:
            if one.seq > end:
                return
            yield one
        after = entries[-1].seq


def _rows(reader: Reader, kind: str, end: int) -> Iterator[str]:
    """Rows that are not what their receipts say; both come in the order of the table."""
    receipts = chain(_latest(reader, kind), [None])
    receipt = next(receipts)
    for row in rows_of(reader, kind):
        at = position(row)
        while receipt is not None and receipt.row < at:
            yield from _gone(receipt, end)
            receipt = next(receipts)
        if receipt is None or receipt.row > at:
            if not reader.receipts_of(kind, at):  # otherwise it was written since
                yield f"{_name(row, kind)}: has no receipt"
            continue
        if receipt.seq <= end and (receipt.salt is None or content_of(row, receipt.salt) != receipt.content):
            yield f"{_name(row, kind)}: is not what its receipt {receipt.seq} says"
        receipt = next(receipts)
    while receipt is not None:
        yield from _gone(receipt, end)
        receipt = next(receipts)


def _latest(reader: Reader, kind: str) -> Iterator[Receipt]:
    after = -1
    while found := reader.latest_receipts(kind, after, BATCH):
        yield from found
        after = found[-1].row


def _gone(receipt: Receipt, end: int) -> Iterator[str]:
    if receipt.seq <= end:
        yield f"{receipt.kind} {receipt.row}: removed; its receipt is {receipt.seq}"


def _name(row: Row, kind: str) -> str:
    """How a fault names a row: by its position, and by its id if it has one."""
    known = row.decision_id if isinstance(row, DecisionRow) else None
    known = row.event_id if isinstance(row, EventRow) else known
    return f"{kind} {position(row)}" + (f" ({known})" if known else "")


def _n_rows(row: AdminRow) -> int:
    """How many rows an entry says that it wrote anew."""
    if row.what not in ("erase", "retain"):
        return 0
    told = msgspec.json.decode(row.detail, type=Rewritten)
    return told.decisions + told.events
