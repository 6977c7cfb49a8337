"""One check of the report: what was looked at, and how often it did not hold."""

from __future__ import annotations

from msgspec import Struct


class Check(Struct, frozen=True, kw_only=True):
    """A rule, how many cases were looked at, and how many break it."""

    name: str
    what: str
    cases: int
    violations: int
    detail: str = ""
