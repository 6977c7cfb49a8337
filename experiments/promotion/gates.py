"""The gates that a candidate has to pass before it is served: configuration, from TOML.

Every limit is of the difference candidate less baseline, except the latency's, which is the candidate's own.
A limit of `inf` switches its gate off, and the verdict says so.
"""

from __future__ import annotations

from math import isnan
from pathlib import Path

import msgspec
from msgspec import Struct

from nba.errors import InvalidConfig, require
from nba.ope import Floors
from nba.ope.intervals import CONFIDENCE, check_confidence

MONTH_DAYS = 30.0  # all differences are of so many days


class Gates(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits, with their units; money is account currency per customer and 30 days.

    Value needs its lower end above its limit, all else the upper end below. The ends are those of two-sided
    intervals; because all gates must be passed at once, no correction for their number is due.
    """

    confidence: float = CONFIDENCE
    least_value: float = 0.0  # net value
    most_cost: float = 0.25  # of contacts
    most_opt_outs: float = 2.0  # per 1,000 customers and 30 days
    most_complaints: float = 1.0  # per 1,000 customers and 30 days
    most_elderly_gap: float = 3.0  # opt-outs and complaints per 1,000 elderly, less those per 1,000 others
    elderly_age: float = 60.0  # years, from where on a customer is elderly
    most_latency_ms: float = 50.0  # 99th percentile of single decisions
    least_days: float = 14.0
    least_rounds: int = 1_000  # decisions of the candidate, or logged rounds
    planned_rounds: int = 100_000  # of a log, at which its confidence sequence is narrowest
    false_alarm: float = 1e-3  # chance that right propensities fail their audit
    weak_support: bool = False  # whether support is enough that `nba evaluate` calls weak
    power: float = 0.8  # that a larger trial is planned for when a gate is not passed
    floors: Floors = Floors()  # of a log's support

    def __post_init__(self) -> None:
        """Check the numbers."""
        check_confidence(self.confidence)
        for name in self.__struct_fields__:
            value = getattr(self, name)
            require(
                not (isinstance(value, float) and isnan(value)), "gates", name, "must be a number, not nan"
            )
        for name in ("false_alarm", "power"):
            value = getattr(self, name)
            require(0.0 < value < 1.0, "gates", name, f"must lie strictly between 0 and 1, got {value}")
        for name, least in (
            ("least_days", 0),
            ("least_rounds", 1),
            ("planned_rounds", 1),
            ("elderly_age", 0),
        ):
            value = getattr(self, name)
            require(value >= least, "gates", name, f"must be at least {least}, got {value}")

    def limit(self, name: str) -> float:
        """The most that a guardrail may rise by."""
        return float(getattr(self, f"most_{name}"))


def load_gates(path: Path | None) -> Gates:
    """The gates in a TOML file, or the usual ones; InvalidConfig names the file, the key and the rule."""
    if path is None:
        return Gates()
    try:
        return msgspec.toml.decode(path.read_bytes(), type=Gates)
    except OSError as error:
        raise InvalidConfig(str(path), "", f"cannot be read: {error.strerror}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidConfig(str(path), "", str(error)) from None
