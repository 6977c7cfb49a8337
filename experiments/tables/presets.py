"""Policies by name: a model, a policy and a floor as one writes them, with single fields set for a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from nba.errors import InvalidConfig, require
from nba.policies import Policy
from nba.posteriors import Model
from nba.propensity import Floor
from simulator.files import load_toml

_SHELF = "policies"


class Preset(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A way to learn and to choose; catalogue and schema come from the table."""

    name: str
    model: Model
    policy: Policy
    floor: Floor = Floor()
    description: str = ""


class _Shelf(Struct, frozen=True, forbid_unknown_fields=True):
    policies: list[dict[str, Any]]


def load_preset(name: str, changes: Iterable[str] = ()) -> Preset:
    """A shipped policy by name, or one in a TOML file; `changes` are KEY=VALUE such as policy.alpha=0.1.

    Raises InvalidConfig, which names the file or the change, the field and the rule.
    """
    is_path = name.endswith(".toml")
    fields = load_toml(name, "experiments", "tables", dict[str, Any]) if is_path else _shipped(name)
    source = name
    for change in changes:
        fields, source = _changed(fields, change), f"{source} --set {change}"
    try:
        return msgspec.convert(fields, Preset)
    except msgspec.ValidationError as error:
        raise InvalidConfig(source, "", str(error)) from None


def presets() -> list[Preset]:
    """All shipped policies."""
    return [load_preset(one["name"]) for one in _shelf()]


def _shelf() -> list[dict[str, Any]]:
    return load_toml(_SHELF, "experiments", "tables", _Shelf).policies


def _shipped(name: str) -> dict[str, Any]:
    shelf = {one["name"]: one for one in _shelf()}
    rule = f"is no shipped policy; use one of {', '.join(shelf)}, or the path of a .toml file"
    require(name in shelf, name, "", rule)
    return shelf[name]


def _changed(fields: Mapping[str, Any], change: str) -> dict[str, Any]:
    """The fields with one of them set; the value is read as TOML, or as text where it is none."""
    place, equals, text = change.partition("=")
    path = place.strip().split(".")
    rule = "must read KEY=VALUE, for example policy.alpha=0.1"
    require(bool(equals) and all(path), "--set", change, rule)
    try:
        value = msgspec.toml.decode(f"value = {text}")["value"]
    except msgspec.DecodeError:
        value = text.strip()
    return _set(fields, path, value, change)


def _set(fields: Mapping[str, Any], path: list[str], value: object, change: str) -> dict[str, Any]:
    name, *rest = path
    if not rest:
        return {**fields, name: value}
    inner = fields.get(name, {})
    require(isinstance(inner, Mapping), "--set", change, f"{name} holds a value, not fields")
    return {**fields, name: _set(inner, rest, value, change)}
