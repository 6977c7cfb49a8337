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
from serving.ledger.sqlite import SQLLedger, SQLReader
from serving.ledger.sqlite_file import SQLiteLedger, SQLiteReader
from serving.ledger.store import (
    ConnectionLost,
    Ledger,
    LedgerError,
    Reader,
    StoreLocked,
    open_ledger,
    open_reader,
)

__all__ = [
    "AdminRow",
    "Appended",
    "ConnectionLost",
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
    "SQLLedger",
    "SQLReader",
    "SQLiteLedger",
    "SQLiteReader",
    "SavedPosterior",
    "StoreLocked",
    "TakenBack",
    "open_ledger",
    "open_reader",
]
