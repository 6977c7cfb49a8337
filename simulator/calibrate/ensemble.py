"""Vectors of world fields: laid over a configuration, and drawn where the moments are met as well.

A vector maps dotted paths to values: "response.long_fatigue" to a number, "response.month" to a row, and
"response.lift.term-deposit" to the entry of one product, channel or family. What begins with "history." is
of the past campaign and no field of a world; it is kept so that the campaign can be told again.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct, structs

from nba.errors import InvalidConfig, require
from simulator.calibrate.parameters import Vector
from simulator.config import WorldConfig

HISTORY = "history."
_BY_PRODUCT = ("lift", "organic")  # rows of the response; its other rows are by channel


def apply(config: WorldConfig, vector: Vector) -> WorldConfig:
    """The configuration with the fields of a vector replaced, checked as a whole.

    Paths of the history are passed over. Raises InvalidConfig for a path that names no field, channel or
    product of this world.
    """
    sections: dict[str, dict[str, Any]] = {}
    for path, value in vector.items():
        if path.startswith(HISTORY):
            continue
        section, field, entry = _parts(config, path)
        changes = sections.setdefault(section, {})
        current = changes.get(field, getattr(getattr(config, section), field))
        changes[field] = value if entry is None else _with_entry(config, path, current, value)
    return structs.replace(
        config,
        **{name: structs.replace(getattr(config, name), **changes) for name, changes in sections.items()},
    )


def entry_names(config: WorldConfig, field: str) -> list[str]:
    """What the entries of a row of the response are called, in their order."""
    catalogue = config.catalogue
    return [one.name for one in (catalogue.products if field in _BY_PRODUCT else catalogue.channels)]


def _parts(config: WorldConfig, path: str) -> tuple[str, str, str | None]:
    """Section, field and entry of a path."""
    section, _, rest = path.partition(".")
    field, _, entry = rest.partition(".")
    part = getattr(config, section, None)
    known = isinstance(part, Struct) and field in part.__struct_fields__
    require(known, config.name, path, "is no field of a world")
    return section, field, entry or None


def _with_entry(config: WorldConfig, path: str, row: Any, value: Any) -> Any:
    _, field, entry = _parts(config, path)
    if isinstance(row, dict):
        if entry not in row:
            raise InvalidConfig(config.name, path, f"must end in one of {', '.join(row)}")
        return row | {entry: value}
    names = entry_names(config, field)
    require(isinstance(row, tuple) and len(row) == len(names), config.name, path, "names an entry of no row")
    require(entry in names, config.name, path, f"must end in one of {', '.join(names)}")
    return tuple(value if name == entry else one for name, one in zip(names, row, strict=True))
