"""Decision ids: UUIDs of version 7, which carry the millisecond in which they were made."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime

_FORM = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def new_id(now: datetime) -> str:
    """A UUIDv7 (RFC 9562) of an aware time and 74 random bits."""
    noise = int.from_bytes(os.urandom(10), "big")
    value = int(now.timestamp() * 1000) << 80 | 0x7 << 76 | (noise >> 62 & 0xFFF) << 64
    digits = f"{value | 0b10 << 62 | noise & (1 << 62) - 1:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def made_at(text: str) -> datetime | None:
    """When an id was made; None if it is not a UUIDv7 in lower-case canonical form."""
    if not _FORM.fullmatch(text):
        return None
    return datetime.fromtimestamp(int(text[:8] + text[9:13], 16) / 1000, tz=UTC) if _in_range(text) else None


def _in_range(text: str) -> bool:
    # 48 bits of milliseconds reach past the year 9999, where datetime ends.
    return int(text[:8] + text[9:13], 16) < 253_402_300_800_000
