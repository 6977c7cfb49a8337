"""The keys file: who may do what, by the SHA-256 of a key; two keys of one caller may be valid at a time.

A line reads `SHA-256 scope,scope [rate=50] [until=2027-01-31]  # note`: at most 50 requests a second, and
none from that day on (UTC). A running service sees a changed file within a second, so that a key is rotated
by adding the new one, telling the caller, and revoking the old one.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
from collections.abc import Callable
from datetime import UTC, date, datetime
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from nba.errors import InvalidConfig

SCOPES = ("decide", "feedback", "read", "admin")  # admin may do everything
LOOK_SECONDS = 1.0  # at most this often a changed file is looked for
_LINE = re.compile(
    r"(?P<digest>[0-9a-f]{64})\s+(?P<scopes>[a-z]+(?:\s*,\s*[a-z]+)*)(?P<terms>(?:\s+[a-z]+=\S+)*)"
)

log = logging.getLogger("serving.keys")


class Key(NamedTuple):
    """A key by its SHA-256, what it may do, how often in a second (None: no limit), and until when."""

    digest: str
    scopes: frozenset[str]
    rate: float | None = None
    until: datetime | None = None


def hash_key(key: str) -> str:
    """What the keys file holds of a key."""
    return sha256(key.encode("utf-8")).hexdigest()


def load_keys(path: Path) -> list[Key]:
    """Read a keys file; InvalidConfig names the line that breaks a rule."""
    found = [_key(text, f"{path}:{number}") for number, text in _lines(path)]
    if not found:
        raise InvalidConfig(str(path), "", "the keys file holds no key; without any, nobody could ask")
    digests = [key.digest for key in found]
    twice = next((digest for digest in digests if digests.count(digest) > 1), None)
    if twice is not None:
        raise InvalidConfig(str(path), twice[:8], "stands on two lines; one line says all of a key")
    return found


def add_key(path: Path, scopes: str, rate: float | None, until: str | None, note: str) -> str:
    """Add a new key to a keys file, which is made if it is missing; gives the key, which is kept nowhere."""
    key = secrets.token_urlsafe(32)
    terms = [f"rate={rate:g}"] if rate is not None else []
    terms += [f"until={until}"] if until is not None else []
    line = " ".join([hash_key(key), scopes.replace(" ", ""), *terms])
    _key(line, "the new key")
    text = f"{line}  # {' '.join(note.split())}" if note else line
    known = path.read_text(encoding="utf-8") if path.exists() else ""
    _write(path, known + ("\n" if known and not known.endswith("\n") else "") + text + "\n")
    return key


def revoke_key(path: Path, start: str) -> str:
    """Take out of a keys file the key whose digest begins so; gives the digest."""
    digests = [key.digest for key in load_keys(path) if key.digest.startswith(start)]
    if len(start) < 6 or len(digests) != 1:
        rule = f"must begin the digest of one key with at least 6 digits, and {len(digests)} begin so"
        raise InvalidConfig(str(path), start, rule)
    kept = [line for line in path.read_text(encoding="utf-8").splitlines() if not _holds(line, digests[0])]
    _write(path, "\n".join(kept) + "\n")
    return digests[0]


class KeyRing:
    """The keys of a file as it is now; a file that breaks a rule leaves those of before in place."""

    def __init__(self, path: Path, seconds: Callable[[], float]) -> None:
        self._path, self._seconds = path, seconds
        self._looked, self._seen = seconds(), _state(path)
        self._keys = load_keys(path)

    def keys(self) -> list[Key]:
        """The keys that are valid, apart from their dates."""
        if self._seconds() - self._looked >= LOOK_SECONDS:
            self._looked = self._seconds()
            self._refresh()
        return self._keys

    def _refresh(self) -> None:
        state = _state(self._path)
        if state == self._seen:
            return
        self._seen = state
        try:
            self._keys = load_keys(self._path)
        except InvalidConfig as error:
            log.error("the keys of before stay valid: %s", error)


def _state(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file does; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _lines(path: Path) -> list[tuple[int, str]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8 text"
        raise InvalidConfig(str(path), "", f"the keys file cannot be read: {reason}") from None
    told = ((number, line.partition("#")[0].strip()) for number, line in enumerate(lines, start=1))
    return [(number, text) for number, text in told if text]


def _key(text: str, where: str) -> Key:
    match = _LINE.fullmatch(text)
    if match is None:
        rule = (
            "a line must read: 64 hex digits of SHA-256, a space, scopes with commas, then rate= and until="
        )
        raise InvalidConfig(where, "", rule)
    scopes = frozenset(scope.strip() for scope in match["scopes"].split(","))
    unknown = sorted(scopes - set(SCOPES))
    if unknown:
        raise InvalidConfig(where, "scopes", f"unknown scope {unknown[0]!r}; use {', '.join(SCOPES)}")
    rate, until = None, None
    for term in match["terms"].split():
        name, _, value = term.partition("=")
        if name == "rate":
            rate = _rate(value, where)
        elif name == "until":
            until = _until(value, where)
        else:
            raise InvalidConfig(where, name, "is no term of a key; use rate= and until=")
    return Key(match["digest"], scopes, rate, until)


def _rate(text: str, where: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0.0 < rate < float("inf"):
        raise InvalidConfig(where, "rate", f"must be requests a second, > 0, got {text!r}")
    return rate


def _until(text: str, where: str) -> datetime:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise InvalidConfig(where, "until", f"must be a day like 2027-01-31, got {text!r}") from None
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _holds(line: str, digest: str) -> bool:
    return line.partition("#")[0].strip().startswith(digest)


def _write(path: Path, text: str) -> None:
    """Replace a file in one step, readable by its owner alone."""
    fresh = path.with_name(path.name + ".new")
    with os.fdopen(
        os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
    ) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, path)
