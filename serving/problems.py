"""Errors as problem documents of RFC 9457; every rejection says where in the body and why."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from nba.context import AttributeValue
from nba.errors import NBAError
from serving.wire import Problem, Reason

MEDIA_TYPE = "application/problem+json"
_TITLES = {
    400: ("malformed-request", "The request cannot be read"),
    401: ("unauthorized", "A valid key is needed"),
    403: ("forbidden", "The key may not do this"),
    404: ("not-found", "There is nothing here"),
    408: ("too-slow", "The body did not arrive in time"),
    405: ("method-not-allowed", "The method is not supported here"),
    409: ("conflict", "The request contradicts an earlier one"),
    413: ("body-too-large", "The body is too large"),
    415: ("unsupported-media-type", "The body must be JSON"),
    422: ("invalid-request", "The request breaks a rule"),
    429: ("too-many-requests", "The key asks too often"),
    500: ("internal-error", "The service failed"),
    503: ("unavailable", "The service is not ready"),
}
_AT = re.compile(r"^(?P<what>.*?)(?: - at `\$(?P<path>.*)`)?$", re.DOTALL)
_FIELD = re.compile(r"^Object (?:contains unknown|missing required) field `(?P<name>.*)`$", re.DOTALL)
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")


class Rejected(NBAError):
    """A request that is answered with a problem document."""

    def __init__(
        self,
        status: int,
        detail: str,
        *reasons: Reason,
        slug: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.status, self.detail, self.reasons, self.slug = status, detail, list(reasons), slug
        self.headers = headers or {}
        super().__init__(detail)

    def document(self) -> Problem:
        """The problem document."""
        return problem(self.status, self.detail, self.reasons, self.slug)


def invalid(pointer: str, rule: str, slug: str | None = None, status: int = 422) -> Rejected:
    """A rejection for one place in the body."""
    return Rejected(status, f"{pointer or 'the body'}: {rule}", Reason(pointer, rule), slug=slug)


def in_flight() -> Rejected:
    """A request whose first answer is still on its way; whoever asks again a moment later is given it."""
    rule = "is being answered; ask again in a moment for the same answer"
    return invalid("/request_id", rule, slug="request-in-flight", status=409)


def overloaded(most: int) -> Rejected:
    """More requests wait already than can be answered soon; nothing was done about this one."""
    rule = f"{most:,} requests are waiting already; come again, or name budget_ms to be told no-contact"
    return Rejected(503, rule, slug="overloaded")


def problem(
    status: int, detail: str, reasons: list[Reason] | None = None, slug: str | None = None
) -> Problem:
    """A problem document with the title and type that go with a status."""
    default_slug, title = _TITLES.get(status, ("error", "The request failed"))
    kind = f"urn:nba:error:{slug or default_slug}"
    return Problem(type=kind, title=title, status=status, detail=detail, errors=reasons or [])


def token(name: str) -> str:
    """A name as one step of a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")


def undecodable(body: bytes, error: Exception) -> Rejected:
    """Why a body could not be decoded: 400 if it is not JSON, 422 if it is but breaks the schema."""
    if isinstance(error, msgspec.ValidationError):
        pointer, rule = _place(str(error), body)
        return invalid(pointer, rule)
    if not body.strip():
        return invalid("", "the body is empty; it must be a JSON object", status=400)
    odd = next(_non_finite(_lenient(body), ""), None)
    if odd is not None:
        return invalid(odd, "must be a finite number; NaN and Infinity are not JSON", status=400)
    if isinstance(error, UnicodeDecodeError):
        return invalid("", "the body is not valid UTF-8", status=400)
    return invalid("", f"the body is not valid JSON: {error}", status=400)


def _place(message: str, body: bytes) -> tuple[str, str]:
    """(pointer, rule) of a msgspec validation message."""
    match = _AT.match(message)
    assert match is not None  # the pattern fits every text
    what, path = match["what"], match["path"] or ""
    pointer, place = "", _lenient(body)
    for name, index in _STEP.findall(path):
        step = name or index
        if step == "...":  # msgspec does not say which key of a mapping is meant
            key = _bad_attribute(place)
            if key is None:
                break
            step = key
        pointer += f"/{token(step)}"
        place = _child(place, step)
    field = _FIELD.match(what)
    return (f"{pointer}/{token(field['name'])}" if field else pointer), what


def _bad_attribute(attributes: Any) -> str | None:
    """The first key whose value no attribute may have; None if the body is too deep to be looked at."""
    for key, value in attributes.items() if isinstance(attributes, dict) else ():
        try:
            if next(_non_finite(value, ""), None) is not None:
                return str(key)
            msgspec.convert(value, AttributeValue)
        except (msgspec.ValidationError, OverflowError):
            return str(key)
    return None


def _lenient(body: bytes) -> Any:
    """The body as the standard library reads it, which accepts NaN; None if even that fails."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _child(place: Any, step: str) -> Any:
    if isinstance(place, dict):
        return place.get(step)
    if isinstance(place, list) and step.isdigit() and int(step) < len(place):
        return place[int(step)]
    return None


def _non_finite(value: Any, pointer: str) -> Iterator[str]:
    """Pointers to the numbers that no float can hold or that are not finite."""
    if isinstance(value, dict):
        for key, child in value.items():
            yield from _non_finite(child, f"{pointer}/{token(str(key))}")
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from _non_finite(child, f"{pointer}/{index}")
    elif isinstance(value, float) and not math.isfinite(value):
        yield pointer
    elif isinstance(value, int) and value.bit_length() > 1024:
        yield pointer
