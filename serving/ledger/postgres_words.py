"""A PostgreSQL session that takes the ledger's SQL, which is written in SQLite's words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple

from nba.errors import InvalidConfig
from serving.ledger.store import ConnectionLost, LedgerError, Unstorable, shown

try:
    import psycopg
except ImportError as error:  # pragma: no cover - of an installation without the extra
    raise LedgerError(
        "A PostgreSQL store needs psycopg, which is not installed: pip install 'nba[postgres]'."
    ) from error

CONNECT_SECONDS = 10
_POSITIONED = re.compile(r"INSERT INTO (decision|event|admin) \(")
_WORDS = (
    (re.compile(r"\bIS (?=[?:])"), "IS NOT DISTINCT FROM "),
    (re.compile(r"\?(\d+)"), r"%(_\1)s"),
    (re.compile(r"\?"), "%s"),
    (re.compile(r"(?<![:\w]):([a-z_]+)"), r"%(\1)s"),
    (re.compile(r"\) STRICT$"), ")"),
)


class Translated(NamedTuple):
    """A statement in PostgreSQL's words."""

    text: str
    is_numbered: bool  # its bindings are ?1, ?2, ...
    is_positioned: bool  # it gives the position of the row that it inserts


@lru_cache(maxsize=512)
def translated(statements: str) -> Translated:
    """What SQLite's words mean to PostgreSQL: bindings, `IS` a binding, and the position of a new row."""
    text = statements.strip()
    for pattern, replacement in _WORDS:
        text = pattern.sub(replacement, text)
    is_positioned = _POSITIONED.match(text) is not None
    return Translated(text + " RETURNING seq" * is_positioned, "%(_1)s" in text, is_positioned)


class Connection:
    """One session; errors that end it are ConnectionLost."""

    def __init__(self, url: str, name: str) -> None:
        self.url, self._name, self._rowid = url, name, 0
        self.connect()

    @property
    def is_lost(self) -> bool:
        """Whether the session has ended."""
        return bool(self._session.closed)

    def connect(self) -> None:
        """Begin a session."""
        try:
            self._session = psycopg.connect(
                self.url, autocommit=True, application_name=self._name, connect_timeout=CONNECT_SECONDS
            )
            schema = self._session.execute("SELECT current_schema()").fetchone()
        except psycopg.OperationalError as error:
            raise ConnectionLost(f"{shown(self.url)!r} cannot be reached: {_first_line(error)}") from None
        except psycopg.ProgrammingError as error:
            rule = f"{shown(self.url)!r} is no URL of PostgreSQL: {_first_line(error)}"
            raise InvalidConfig("settings", "store", rule) from None
        if schema == (None,):
            self.close()
            rule = f"{shown(self.url)!r} names a schema that does not exist; create it, or drop the option"
            raise InvalidConfig("settings", "store", rule)

    def execute(self, statements: str, bindings: Any = None, /) -> Any:
        """Run statements of SQLite's words; several at once only without bindings."""
        text, is_numbered, is_positioned = translated(statements)
        if is_numbered:
            bindings = {f"_{number}": value for number, value in enumerate(bindings, start=1)}
        with self._told():
            rows = self._session.execute(text, bindings or None)
        if is_positioned:
            (self._rowid,) = rows.fetchone() or (0,)
        return rows

    def copy(self, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
        """Put rows into a table in one stream, where an insert of each would wait for each answer."""
        statement = f"COPY {table} ({', '.join(columns)}) FROM STDIN"
        with self._told(), self._session.cursor() as cursor, cursor.copy(statement) as stream:
            for row in rows:
                stream.write_row(row)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """The driver's errors as the ledger's."""
        try:
            yield
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            if error.diag.severity_nonlocalized in ("FATAL", "PANIC"):
                self.close()  # the server has ended the session, also where libpq has not noticed yet
            raise ConnectionLost(f"The server refused or was lost: {_first_line(error)}") from None
        except psycopg.DataError as error:
            raise Unstorable(_first_line(error)) from None

    def last_insert_rowid(self) -> int:
        """The position that the last insert gave its row."""
        return self._rowid

    def close(self) -> None:
        """End the session; a second time does nothing."""
        self._session.close()

    def __del__(self) -> None:
        # As apsw does: a session that nobody can use any more ends.
        if hasattr(self, "_session"):
            self.close()

    def __enter__(self) -> Connection:
        self.execute("SAVEPOINT one")
        return self

    def __exit__(self, *failure: Any) -> None:
        if not self.is_lost:
            undo = "" if failure[0] is None else "ROLLBACK TO SAVEPOINT one; "
            self.execute(f"{undo}RELEASE SAVEPOINT one")


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
