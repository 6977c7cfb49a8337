"""Who may do what: hashed keys with scopes, checked before a handler runs."""

from __future__ import annotations

import hmac
import re
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from nba.errors import InvalidConfig
from serving.problems import Rejected

SCOPES = ("decide", "feedback", "read", "admin")  # admin may do everything
_LINE = re.compile(r"([0-9a-f]{64})\s+([a-z]+(?:\s*,\s*[a-z]+)*)")


class Key(NamedTuple):
    """A key by its SHA-256, and what it may do."""

    digest: str
    scopes: frozenset[str]


def hash_key(key: str) -> str:
    """What the keys file holds of a key."""
    return sha256(key.encode("utf-8")).hexdigest()


def load_keys(path: Path) -> list[Key]:
    """Read a keys file: lines of SHA-256 in hex, a space, scopes with commas; "#" starts a comment."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8 text"
        raise InvalidConfig(str(path), "", f"the keys file cannot be read: {reason}") from None
    found = []
    for number, line in enumerate(lines, start=1):
        text = line.partition("#")[0].strip()
        if text:
            found.append(_key(text, f"{path}:{number}"))
    if not found:
        raise InvalidConfig(str(path), "", "the keys file holds no key; without any, nobody could ask")
    return found


def _key(text: str, where: str) -> Key:
    match = _LINE.fullmatch(text)
    if match is None:
        raise InvalidConfig(
            where, "", "a line must read: 64 hex digits of SHA-256, a space, scopes with commas"
        )
    scopes = frozenset(scope.strip() for scope in match[2].split(","))
    unknown = sorted(scopes - set(SCOPES))
    if unknown:
        raise InvalidConfig(where, "scopes", f"unknown scope {unknown[0]!r}; use {', '.join(SCOPES)}")
    return Key(match[1], scopes)


class KeyAuth(ASGIMiddleware):
    """Lets a request pass when its key has the scope that the handler names in `opt["scope"]`."""

    scopes = (ScopeType.HTTP,)

    def __init__(self, keys: list[Key]) -> None:
        self._keys = keys

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Check the key, or raise the problem that answers the request."""
        wanted = scope["route_handler"].opt.get("scope")
        if wanted is not None:
            self._check(_presented(scope), wanted)
        await next_app(scope, receive, send)

    def _check(self, presented: str | None, wanted: str) -> None:
        if presented is None:
            raise Rejected(401, "Send a key as `Authorization: Bearer KEY` or `X-API-Key: KEY`.")
        digest, found = hash_key(presented), None
        for key in self._keys:  # all of them: the time taken says nothing about which one fits
            if hmac.compare_digest(key.digest, digest):
                found = key
        if found is None:
            raise Rejected(401, "The key is not known.")
        if wanted not in found.scopes and "admin" not in found.scopes:
            raise Rejected(403, f"The key lacks the scope {wanted!r}.")


def _presented(scope: Scope) -> str | None:
    headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
    kind, _, key = headers.get(b"authorization", "").partition(" ")
    if kind.lower() == "bearer" and key.strip():
        return key.strip()
    return headers.get(b"x-api-key") or None


def actor_of(scope: Scope) -> str:
    """Who asks, as the log of administrators names them: how the digest of the key begins."""
    presented = _presented(scope)
    return "loopback" if presented is None else f"key {hash_key(presented)[:8]}"
