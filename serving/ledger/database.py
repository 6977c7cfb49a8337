"""What the ledger's SQL needs of a connection.

The SQL is written once, in SQLite's words; `serving.ledger.postgres` says the same to PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol


class Rows(Protocol):
    """What a statement found."""

    def __iter__(self) -> Iterator[Any]:
        """The rows that are left."""
        ...

    def fetchone(self) -> Any:
        """The next row; None behind the last."""
        ...

    def fetchall(self) -> list[Any]:
        """All rows that are left."""
        ...


class Database(Protocol):
    """A connection; as a context it is a savepoint, undone where the block raises."""

    def execute(self, statements: str, bindings: Any = None, /) -> Rows:
        """Run statements; `bindings` are for `?`, `?1` or `:name`."""
        ...

    def last_insert_rowid(self) -> int:
        """The position that the last insert gave its row."""
        ...

    def close(self) -> None:
        """End the connection."""
        ...

    def __enter__(self) -> Any: ...

    def __exit__(self, *failure: Any) -> bool | None: ...


class WritingDatabase(Database, Protocol):
    """A connection that can also write, in transactions."""

    def begin(self) -> None:
        """Begin a transaction that writes."""
        ...

    def commit(self) -> None:
        """Make it durable."""
        ...

    def rollback(self) -> None:
        """Undo it, unless the store has already."""
        ...

    def forget(self) -> bool:
        """Leave no copy of what was erased where the store keeps its pages; False to try again later."""
        ...
