"""Numbered migrations: each runs once, and the text that ran is remembered by its checksum."""

from __future__ import annotations

import re
from hashlib import sha256
from importlib.resources import files
from typing import NamedTuple

from serving.ledger.database import WritingDatabase
from serving.ledger.store import LedgerError

_NAME = re.compile(r"(\d{4})_\w+\.(sqlite|postgres)\.sql")
_TABLE = (
    "CREATE TABLE IF NOT EXISTS migration "
    "(number INTEGER PRIMARY KEY, name TEXT NOT NULL, sha256 TEXT NOT NULL) STRICT"
)


class Migration(NamedTuple):
    """One numbered script."""

    number: int
    name: str
    script: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the script."""
        return sha256(self.script.encode("utf-8")).hexdigest()


def shipped(dialect: str = "sqlite") -> list[Migration]:
    """The migrations of this version for "sqlite" or "postgres", in order."""
    found = []
    for entry in files("serving.ledger").joinpath("sql").iterdir():
        match = _NAME.fullmatch(entry.name)
        if match and match[2] == dialect:
            found.append(Migration(int(match[1]), entry.name, entry.read_text(encoding="utf-8")))
    return sorted(found)


def migrate(db: WritingDatabase, migrations: list[Migration]) -> None:
    """Bring a store to this version; refuse one whose migrations are unknown or were different."""
    db.begin()
    try:
        db.execute(_TABLE)
        done = {number: (name, digest) for number, name, digest in db.execute("SELECT * FROM migration")}
        for migration in migrations:
            ran = done.pop(migration.number, None)
            if ran is None:
                db.execute(migration.script)
                db.execute("INSERT INTO migration VALUES (?, ?, ?)", (*migration[:2], migration.checksum))
            elif ran[1] != migration.checksum:
                raise LedgerError(
                    f"The store ran another {migration.name} than this version ships. "
                    "Open it with the version that wrote it, or start a new store."
                )
        if done:
            raise LedgerError(
                f"The store was written by a newer version (migration {max(done)}). Upgrade nba to open it."
            )
        db.commit()
    except BaseException:
        db.rollback()
        raise
