"""Checks that the settings of all priors share."""

from __future__ import annotations

from math import isfinite

from msgspec import Struct, structs

from nba.errors import require

_POSITIVE = ("half_life_days", "pseudo_contacts")


def check_prior(model: Struct, source: str) -> None:
    """Raise InvalidConfig unless means are finite and spreads, half-lives and weights above zero."""
    for name, value in structs.asdict(model).items():
        if value is None or isinstance(value, str | Struct):  # a struct checks itself
            continue
        require(isfinite(value), source, name, f"must be finite, got {value}")
        is_spread = name.endswith("_sd") or name in _POSITIVE
        require(not is_spread or value > 0, source, name, f"must be above 0, got {value}")
