"""Log lines as JSON objects, for machines; no line of the service holds a customer, a body or a path."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime

import msgspec

TEXT = "%(asctime)s %(name)s %(message)s"


class JsonLines(logging.Formatter):
    """One line: when, how grave, which part of the service, what."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record; of an exception its kind alone, for its text may quote a request."""
        line = {
            "at": datetime.fromtimestamp(record.created, tz=UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        kind = record.exc_info[0] if record.exc_info else None
        return msgspec.json.encode(line | ({"error": kind.__name__} if kind else {})).decode()


def set_up(*, as_json: bool) -> None:
    """Send warnings and worse to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if as_json else logging.Formatter(TEXT))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
