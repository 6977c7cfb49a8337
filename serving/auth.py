"""Who may ask what, and how often: checked before a handler runs."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable
from math import ceil

from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from serving.keys import Key, KeyRing, hash_key
from serving.limits import Bucket
from serving.problems import Rejected
from serving.settings import Clock

_BUCKET = "rate"  # in the state of a request


class KeyAuth(ASGIMiddleware):
    """Lets a request pass when its key has the scope that the handler names in `opt["scope"]`.

    `rate` is how many requests a second a key may make that says nothing of its own, None without a limit.
    """

    scopes = (ScopeType.HTTP,)

    def __init__(
        self, ring: KeyRing, clock: Clock, rate: float | None, seconds: Callable[[], float] = time.monotonic
    ) -> None:
        self._ring, self._clock, self._rate, self._seconds = ring, clock, rate, seconds
        self._buckets: dict[tuple[str, float], Bucket] = {}

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Check the key, or raise the problem that answers the request."""
        wanted = scope["route_handler"].opt.get("scope")
        if wanted is not None:
            key = self._found(presented(scope), wanted)
            rate = self._rate if key.rate is None else key.rate
            if rate is not None:
                scope["state"][_BUCKET] = self._passed(key.digest, rate)
        await next_app(scope, receive, send)

    def _found(self, told: str | None, wanted: str) -> Key:
        if told is None:
            raise Rejected(401, "Send a key as `Authorization: Bearer KEY` or `X-API-Key: KEY`.")
        digest, found = hash_key(told), None
        for key in self._ring.keys():  # all of them: the time taken says nothing about which one fits
            if hmac.compare_digest(key.digest, digest):
                found = key
        if found is None:
            raise Rejected(401, "The key is not known.")
        if found.until is not None and self._clock() >= found.until:
            raise Rejected(401, f"The key was valid until {found.until:%Y-%m-%d}.")
        if wanted not in found.scopes and "admin" not in found.scopes:
            raise Rejected(403, f"The key lacks the scope {wanted!r}.")
        return found

    def _passed(self, digest: str, rate: float) -> Bucket:
        bucket = self._buckets.get((digest, rate))
        if bucket is None:
            bucket = self._buckets[digest, rate] = Bucket(rate, self._seconds)
        seconds = bucket.wait()
        if seconds > 0.0:
            told = {"retry-after": str(ceil(seconds))}
            raise Rejected(429, f"The key may ask {rate:g} times a second.", headers=told)
        return bucket


def charge(scope: Scope, tokens: int) -> None:
    """Count what a request asks for beyond the one that it is."""
    bucket = scope["state"].get(_BUCKET)
    if bucket is not None:
        bucket.charge(tokens)


def actor_of(scope: Scope) -> str:
    """Who asks, as the log of administrators names them: how the digest of the key begins."""
    told = presented(scope)
    return "no key" if told is None else f"key {hash_key(told)[:8]}"


def presented(scope: Scope) -> str | None:
    """The key of a request, if it has one."""
    headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
    kind, _, key = headers.get(b"authorization", "").partition(" ")
    if kind.lower() == "bearer" and key.strip():
        return key.strip()
    return headers.get(b"x-api-key") or None
