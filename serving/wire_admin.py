"""What crosses the HTTP boundary for administrators."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import Struct

from serving.wire import FeedbackEntry, ReceiptProof


class ErasureReport(Struct, frozen=True, kw_only=True):
    """What forgetting a customer changed; `objections` counts channels that stay closed to them."""

    decisions: int
    events: int
    objections: int


class AdminCall(Struct, frozen=True, kw_only=True):
    """What an administrator did: `actor` is how the digest of a key begins, or a command."""

    seq: int
    at: datetime
    actor: str
    what: str
    detail: dict[str, Any]


class ExportedRecord(Struct, frozen=True, kw_only=True):
    """A decision of the log: `seq` is the cursor, `record` what was asked, known and answered."""

    seq: int
    record: dict[str, Any]
    feedback: list[FeedbackEntry]
    receipt: ReceiptProof
