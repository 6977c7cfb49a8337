"""Kinds of numbers that a world is made of, and the check that every number is of its kind.

The kinds are annotations, so a TOML file is checked while it is decoded; `check` holds a struct that
was built in Python to the same rules.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta, Struct

from nba.errors import InvalidConfig

Probability: TypeAlias = Annotated[float, Meta(ge=0.0, le=1.0)]
Amount: TypeAlias = Annotated[float, Meta(ge=0.0)]  # a rate, a size, a cost, a hazard
Positive: TypeAlias = Annotated[float, Meta(gt=0.0)]
Count: TypeAlias = Annotated[int, Meta(ge=1)]
Logit: TypeAlias = float  # added to log-odds
LogFactor: TypeAlias = float  # added to the log of a hazard


def check(source: str, pointer: str, section: Struct) -> None:
    """Hold every number of a section to its kind; InvalidConfig names the field, like response.halo."""
    plain = msgspec.to_builtins(section, enc_hook=float)  # NumPy's numbers are floats too
    for place, value in _numbers(plain, pointer):
        if not math.isfinite(value):
            raise InvalidConfig(source, place, f"must be finite, got {value}")
    try:
        msgspec.convert(plain, type(section))
    except msgspec.ValidationError as error:
        rule, _, place = str(error).partition(" - at `$")
        raise InvalidConfig(source, pointer + place.rstrip("`"), rule[:1].lower() + rule[1:]) from None


def check_length(source: str, pointer: str, row: tuple[Any, ...], length: int, of: str) -> None:
    """One number for each of `of`."""
    if len(row) != length:
        raise InvalidConfig(source, pointer, f"needs {length} numbers, one for each of {of}, got {len(row)}")


def check_families(
    source: str, pointer: str, names: Any, families: tuple[str, ...], *, all_of_them: bool = False
) -> None:
    """Only families that products have; with `all_of_them` every one of those."""
    unknown = sorted(set(names) - set(families))
    missing = sorted(set(families) - set(names)) if all_of_them else []
    if unknown or missing:
        wrong = f"{unknown} are no product families" if unknown else f"{missing} are missing"
        raise InvalidConfig(source, pointer, f"{wrong}; the families are {sorted(set(families))}")


def _numbers(value: Any, pointer: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, float):
        yield pointer, value
    elif isinstance(value, dict):
        for name, part in value.items():
            yield from _numbers(part, f"{pointer}.{name}".lstrip("."))
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            yield from _numbers(part, f"{pointer}[{index}]")
