"""The durable log of decisions and feedback, behind one protocol."""

from serving.ledger.erasure import Erased
from serving.ledger.records import (
    AdminRow,
    Appended,
    DecisionRow,
    Due,
    EventRow,
    History,
    LoggedEvent,
    PriceRow,
    Receipt,
    SavedPosterior,
    TakenBack,
)
from serving.ledger.sqlite import SQLiteLedger, SQLiteReader
from serving.ledger.store import Ledger, LedgerError, Reader, StoreLocked, open_ledger, open_reader

__all__ = [
    "AdminRow",
    "Appended",
    "DecisionRow",
    "Due",
    "Erased",
    "EventRow",
    "History",
    "Ledger",
    "LedgerError",
    "LoggedEvent",
    "PriceRow",
    "Reader",
    "Receipt",
    "SQLiteLedger",
    "SQLiteReader",
    "SavedPosterior",
    "StoreLocked",
    "TakenBack",
    "open_ledger",
    "open_reader",
]
