"""Named places where a test can kill the process, as a crash would, without any clean-up."""

from __future__ import annotations

import os

KILLED = 137  # the exit code of a process that SIGKILL ended


def failpoint(name: str) -> None:
    """Die here when NBA_FAILPOINT is `name`, or `name:n` and this is the n-th time."""
    wanted = os.environ.get("NBA_FAILPOINT")
    if not wanted:
        return
    place, _, count = wanted.partition(":")
    if place != name:
        return
    _seen[name] = _seen.get(name, 0) + 1
    if _seen[name] >= int(count or 1):
        os._exit(KILLED)


_seen: dict[str, int] = {}
