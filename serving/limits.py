"""How often a key may ask: a token bucket each, in the process that answers."""

from __future__ import annotations

from collections.abc import Callable


class Bucket:
    """Fills with `rate` tokens a second up to one second's worth (at least one); a request takes one.

    A batch is charged for its lines once they are known: what it takes beyond the bucket is owed, and the key
    waits until it is paid.
    """

    __slots__ = ("_at", "_level", "_rate", "_seconds", "_size")

    def __init__(self, rate: float, seconds: Callable[[], float]) -> None:
        self._rate, self._seconds = rate, seconds
        self._size = self._level = max(1.0, rate)
        self._at = seconds()

    def wait(self) -> float:
        """Take a token; gives 0, or the seconds until there is one, in which case none is taken."""
        self._fill()
        if self._level >= 1.0:
            self._level -= 1.0
            return 0.0
        return (1.0 - self._level) / self._rate

    def charge(self, tokens: int) -> None:
        """Take more tokens, also such as are not there yet."""
        self._fill()
        self._level -= tokens

    def _fill(self) -> None:
        now = self._seconds()
        self._level = min(self._size, self._level + (now - self._at) * self._rate)
        self._at = now
