"""What a person sets when starting the service."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct

from nba.errors import InvalidConfig, require

Clock = Callable[[], datetime]
LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Settings(Struct, frozen=True, kw_only=True):
    """Where the bundle, the store and the keys are, and how often the learner acts."""

    bundle: Path
    store: str
    host: str = "127.0.0.1"
    keys_file: Path | None = None
    prices: Path | None = None  # of a plan: where the prices of budgets begin
    arms: Path | None = None  # who is in the control, the random and the challenger's arm
    posterior_map: Path | None = None  # a file that shows what is believed to other processes of this host
    publish_seconds: float = 0.5  # at most one new snapshot in this time
    save_seconds: float = 60.0  # the posterior is saved this often while it changes,
    save_events: int = 2_000  # or after this many events
    max_body_bytes: int = 262_144
    body_seconds: float = 10.0  # in which a body must have arrived
    requests_per_second: float | None = None  # of a key that says nothing of its own
    most_waiting: int = 1_000  # single requests for decisions; further ones are turned away

    def __post_init__(self) -> None:
        """Refuse to listen to a network without keys."""
        if self.keys_file is None and self.host not in LOOPBACK:
            rule = (
                f"without --keys-file the service listens on {', '.join(LOOPBACK)} only, not on {self.host!r}"
            )
            raise InvalidConfig("settings", "host", rule)
        if not 0.0 < self.publish_seconds < float("inf"):
            raise InvalidConfig("settings", "publish_seconds", f"must be > 0, got {self.publish_seconds}")
        rate = self.requests_per_second
        is_rate = rate is None or 0.0 < rate < float("inf")
        require(is_rate, "settings", "requests_per_second", f"must be > 0, got {rate}")
        most = self.most_waiting
        require(most >= 1, "settings", "most_waiting", f"must be at least 1, got {most}")


def wall_clock() -> datetime:
    """The time of the machine, in UTC."""
    return datetime.now(UTC)
