"""The durable log of decisions and feedback, behind one protocol."""

from serving.ledger.records import (
    Appended,
    DecisionRow,
    Due,
    EventRow,
    History,
    LoggedEvent,
    PriceRow,
    SavedPosterior,
    TakenBack,
)
from serving.ledger.sqlite import SQLiteLedger, SQLiteReader
from serving.ledger.store import Ledger, LedgerError, Reader, StoreLocked, open_ledger, open_reader

__all__ = [
    "Appended",
    "DecisionRow",
    "Due",
    "EventRow",
    "History",
    "Ledger",
    "LedgerError",
    "LoggedEvent",
    "PriceRow",
    "Reader",
    "SQLiteLedger",
    "SQLiteReader",
    "SavedPosterior",
    "StoreLocked",
    "TakenBack",
    "open_ledger",
    "open_reader",
]
