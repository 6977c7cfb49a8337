"""The text of a world file with calibrated numbers in it, every comment kept."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec

from nba.errors import InvalidConfig, require
from simulator.calibrate.ensemble import entry_names
from simulator.calibrate.parameters import Vector
from simulator.config import WorldConfig

_DIGITS = 6  # significant ones: more than any of these numbers is known to
_NOTE = "Written by `nba calibrate`: further vectors of the fields above that fit the data as well."


def world_text(name: str) -> str:
    """The text of a shipped world, or of a file by path, as `load_world` finds them."""
    shelf = resources.files("simulator") / "worlds"
    place = Path(name) if name.endswith(".toml") else shelf / f"{name}.toml"
    return place.read_text(encoding="utf-8")


def with_numbers(
    text: str, config: WorldConfig, vector: Vector, provenance: dict[str, Any], members: list[Vector]
) -> str:
    """The text with the fields of a vector, the [calibration] table and the ensemble put in their places."""
    import tomlkit

    document = tomlkit.parse(text)
    for path, value in vector.items():
        _put(document, config, path, value)
    for name in ("calibration", "ensemble"):
        document.pop(name, None)
    table, rows = tomlkit.table(), tomlkit.aot()
    for name, value in provenance.items():
        table.add(name, _rounded(value))
    for member in members:
        row = tomlkit.table()
        for path, value in member.items():
            row.add(path, _rounded(value))
        rows.append(row)
    table.comment(_NOTE.partition(":")[0])
    document.add("calibration", table)
    if members:
        document.add("ensemble", rows)
        rows[0].comment(_NOTE)
    return str(tomlkit.dumps(document))


def write_world(path: Path, text: str) -> None:
    """Write a world file whole or not at all, and only if it is one."""
    try:
        msgspec.toml.decode(text, type=WorldConfig)
    except msgspec.MsgspecError as error:
        raise InvalidConfig(str(path), "", str(error)) from None
    check_writable(path)
    draft = path.with_name(path.name + ".part")
    draft.write_text(text, encoding="utf-8")
    os.replace(draft, path)


def check_writable(path: Path) -> None:
    """Refuse a place that cannot be written before hours are spent on what is to be written there."""
    require(path.suffix == ".toml", str(path), "", "must end in .toml")
    require(path.parent.is_dir(), str(path), "", "its folder does not exist")
    require(os.access(path.parent, os.W_OK), str(path), "", "its folder cannot be written")
    require(not path.is_dir(), str(path), "", "is a folder")


def _put(document: Any, config: WorldConfig, path: str, value: Any) -> None:
    """Set one field; an array of the same length keeps its line breaks and comments."""
    section, _, rest = path.partition(".")
    field, _, entry = rest.partition(".")
    known = getattr(getattr(config, section), field)
    table = document[section]
    if field not in table:
        table.add(field, _plain(known))
    if entry:
        table[field][entry_names(config, field).index(entry)] = _rounded(value)
    elif isinstance(value, tuple) and len(table[field]) == len(value):
        for at, number in enumerate(value):
            table[field][at] = _rounded(number)
    else:
        table[field] = _rounded(value)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _rounded(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_rounded(one) for one in value]
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value
