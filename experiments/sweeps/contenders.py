"""From the tables of a sweep to strategies and worlds, a user's own parts among them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import structs

from experiments.spec import StrategySpec
from experiments.sweeps.config import Search
from experiments.sweeps.custom import Sources, is_dotted, resolved, struct_of
from nba.constraints.base import RuleBase
from nba.errors import InvalidConfig, require
from nba.policies import PolicyBase
from simulator.world import World, load_world

MOST_VARIANTS = 1_000


def variants(table: Mapping[str, Any], source: str, pointer: str) -> dict[str, dict[str, Any]]:
    """The strategies that a table stands for, by name: one, those of its grid, or those of its search.

    A grid's name tells what is set: `thompson floor.epsilon=0.02`; a search's its number: `thompson #3`.
    """
    plain = {key: value for key, value in table.items() if key not in ("grid", "search")}
    name = plain.get("name")
    require(isinstance(name, str) and bool(name), source, f"{pointer}.name", "must be present")
    rule = "has a grid or a search, not both"
    require(not ("grid" in table and "search" in table), source, pointer, rule)
    if "search" in table:
        try:
            drawn = msgspec.convert(table["search"], Search).settings()
        except msgspec.ValidationError as error:
            raise InvalidConfig(source, f"{pointer}.search", str(error)) from None
        found = {f"{name} #{number}": one for number, one in enumerate(drawn, start=1)}
    elif "grid" in table:
        found = {_told(str(name), one): one for one in _product(table["grid"], source, f"{pointer}.grid")}
    else:
        found = {str(name): {}}
    require(len(found) <= MOST_VARIANTS, source, pointer, f"stands for more than {MOST_VARIANTS} strategies")
    return {
        label: _with(plain | {"name": label}, settings, source, pointer) for label, settings in found.items()
    }


def _told(name: str, settings: Mapping[str, Any]) -> str:
    return " ".join([name, *(f"{key}={value}" for key, value in settings.items())])


def _product(grid: Any, source: str, pointer: str) -> list[dict[str, Any]]:
    is_grid = isinstance(grid, dict) and all(isinstance(one, list) and one for one in grid.values())
    require(is_grid and bool(grid), source, pointer, "must be a table of lists, none of them empty")
    rows: list[dict[str, Any]] = [{}]
    for key, values in grid.items():
        rows = [row | {key: value} for row in rows for value in values]
    return rows


def _with(table: dict[str, Any], settings: Mapping[str, Any], source: str, pointer: str) -> dict[str, Any]:
    """The table with settings by dotted key put in."""
    made: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(table))
    for key, value in settings.items():
        *path, last = key.split(".")
        place = made
        for part in path:
            place = place.setdefault(part, {})
            require(isinstance(place, dict), source, f"{pointer}.{key}", f"{part!r} is no table")
        place[last] = value
    return made


def dotted_in(table: Mapping[str, Any]) -> Iterator[str]:
    """The dotted names of a strategy's own policy and rules."""
    policy, rules = table.get("policy", {}), table.get("rules", [])
    parts = [policy, *(rules if isinstance(rules, list) else [])]
    yield from (one["type"] for one in parts if isinstance(one, dict) and is_dotted(one.get("type")))


def spec_of(table: Mapping[str, Any], sources: Sources, source: str, pointer: str) -> StrategySpec:
    """The strategy of a table; what is wrong names the file and the place."""
    plain, own = dict(table), {}
    if any(True for _ in dotted_in({"policy": table.get("policy", {})})):
        own["policy"] = struct_of(table["policy"], PolicyBase, sources, source)
        plain["policy"] = {"type": "no_contact"}
    if any(True for _ in dotted_in({"rules": table.get("rules", [])})):
        plain["rules"] = []
        own["rules"] = tuple(_rule(one, sources, source, pointer) for one in table["rules"])
    try:
        spec = msgspec.convert(plain, StrategySpec)
    except msgspec.ValidationError as error:
        raise InvalidConfig(source, pointer, str(error)) from None
    return structs.replace(spec, **own)


def _rule(table: Any, sources: Sources, source: str, pointer: str) -> Any:
    if isinstance(table, dict) and is_dotted(table.get("type")):
        return struct_of(table, RuleBase, sources, source)
    return spec_of(_PLAIN | {"rules": [table]}, sources, source, f"{pointer}.rules").rules[0]


_PLAIN = {"name": "-", "model": {"type": "segment_rates"}, "policy": {"type": "no_contact"}}


def world_of(name: str, sources: Sources, source: str) -> World:
    """A shipped world, one of a TOML file, or a user's own: a World, or a function without arguments."""
    if not is_dotted(name):
        return load_world(name)
    found = resolved(name, sources, source)
    world = found() if callable(found) else found
    rule = f"must be a simulator.world.World or a function that gives one, got {type(world).__name__}"
    require(isinstance(world, World), source, name, rule)
    made: World = world
    return made
