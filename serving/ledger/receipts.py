"""Receipts: every row of the log is committed to by an entry of one hash chain, written with the row.

    content = SHA-256(salt | canonical bytes of the row)
    digest  = SHA-256(digest of the entry before | "seq kind row" | content)

Whoever changes, removes or swaps a row or an entry breaks what follows, and `serving.chain` names the place.
Who can write the whole store could write a whole new chain: keep its head (`GET /v1/learner`, `nba replay`)
where they cannot write, and give it to `nba replay --head` later. The salt is what erasure destroys: without
it a content says nothing about the row, not even to who guesses it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cache
from hashlib import sha256
from operator import attrgetter
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct, structs

from serving.ledger.database import Database
from serving.ledger.records import AdminRow, DecisionRow, EventRow, PriceRow, Receipt

if TYPE_CHECKING:
    from serving.ledger.store import Reader

BATCH = 512
START = bytes(32)  # the digest before the first entry
SALT_BYTES = 16
Row = DecisionRow | EventRow | PriceRow | AdminRow
# The ledger sets these by itself, or uses them only while it appends.
_UNSEALED = {"seq", "first_due", "is_once"}
_KINDS: dict[type[Struct], str] = {
    DecisionRow: "decision", EventRow: "event", PriceRow: "price", AdminRow: "admin"
}  # fmt: skip
_INSERT = "INSERT INTO receipt VALUES (?, ?, ?, ?, ?, ?)"
_HEAD = "SELECT seq, digest FROM receipt ORDER BY seq DESC LIMIT 1"


def canonical(row: Row) -> bytes:
    """The bytes that stand for a row: JSON of what it holds, sorted by name, then what is bytes already.

    What is None is left out, so that a column of later migrations changes no receipt of before.
    """
    names, values, raw = _parts(type(row))
    told = {
        name: int(value) if value is True or value is False else value
        for name, value in zip(names, values(row), strict=True)
        if value is not None
    }
    return b"\n".join([msgspec.json.encode(told), *(getattr(row, name) for name in raw)])


@cache
def _parts(kind: type[Row]) -> tuple[tuple[str, ...], attrgetter[tuple[object, ...]], tuple[str, ...]]:
    """Of a kind of row: names that are told as JSON, in their order, what reads them, and names of bytes."""
    fields = sorted(structs.fields(kind), key=attrgetter("name"))
    fields = [one for one in fields if one.name not in _UNSEALED]
    raw = tuple(one.name for one in fields if one.type is bytes)
    names = tuple(one.name for one in fields if one.type is not bytes)
    return names, attrgetter(*names), raw


def content_of(row: Row, salt: bytes) -> bytes:
    """What commits to a row, 32 bytes."""
    return sha256(salt + canonical(row)).digest()


def linked(before: bytes, seq: int, kind: str, row: int, content: bytes) -> bytes:
    """The digest of an entry, 32 bytes, from the digest of the entry before it."""
    return sha256(before + f"{seq} {kind} {row}".encode("ascii") + content).digest()


def seal(db: Database, row: Row, seq: int) -> Receipt:
    """Append the receipt of a row of position `seq` in its table, in the transaction that wrote the row."""
    last, before = db.execute(_HEAD).fetchone() or (0, START)
    kind, salt = _KINDS[type(row)], os.urandom(SALT_BYTES)
    content = content_of(row, salt)
    digest = linked(before, last + 1, kind, seq, content)
    db.execute(_INSERT, (last + 1, kind, seq, salt, content, digest))
    return Receipt(seq=last + 1, kind=kind, row=seq, salt=salt, content=content, digest=digest)


def forget_salts(db: Database, kind: str, row: int) -> None:
    """Destroy what would let anybody test a guess of what a row said before."""
    db.execute("UPDATE receipt SET salt = NULL WHERE kind = ? AND row = ?", (kind, row))


def adopt(db: Database, reader: Reader) -> None:
    """Begin the chain of a store of before there were receipts with the rows that it holds."""
    if db.execute(_HEAD).fetchone() is not None:
        return
    with db:
        for kind in ("decision", "event", "price"):
            for row in rows_of(reader, kind):
                seal(db, row, position(row))


def rows_of(reader: Reader, kind: str) -> Iterator[Row]:
    """All rows of a table of the log, in their order."""
    after = -1
    while rows := _after(reader, kind, after):
        yield from rows
        after = position(rows[-1])


def position(row: Row) -> int:
    """The position of a row in its table."""
    return row.version if isinstance(row, PriceRow) else row.seq


def _after(reader: Reader, kind: str, after: int) -> Sequence[Row]:
    if kind == "decision":
        return reader.decisions_after(after, BATCH)
    if kind == "event":
        return reader.log_after(after, BATCH)
    if kind == "admin":
        return reader.admin_rows(after, BATCH)
    return [row for row in reader.price_rows() if row.version > after]
