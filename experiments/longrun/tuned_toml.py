"""What `nba tune-fatigue` does: search, judge on fresh seeds, and write the price for a spec."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec
import typer

from experiments.longrun.cells import Ground
from experiments.longrun.lsvi import ValueSearch, learn_price, watching
from experiments.longrun.prepared import Order, player, prepared, unchanged, where
from experiments.longrun.tune import Play, Search, SegmentVerdict, Tuned, judged, tune
from experiments.results import Interval
from experiments.world_report.written import write_page
from nba.fatigue import FatiguePrice

Method: TypeAlias = Literal["search", "lsvi"]
_TABLE = "strategies.arbitration.fatigue_price"


def run_tuning(order: Order, search: Search, out: Path, as_json: bool, method: Method = "search") -> None:
    """Find a price, write the file and tell what was found."""
    with where(order) as executor:
        ground = prepared(order, executor, watching if method == "lsvi" else unchanged)
        n_runs = 3 * len(search.fresh_seeds)
        if method == "search":
            n_runs = search.runs(len(ground.world.config.catalogue.channels))
        with player(ground, order, executor, n_runs, "the price of a contact") as play:
            tuned = tune(ground, search, play) if method == "search" else _learnt(ground, search, play)
    written = tuned.price if tuned.holds else FatiguePrice()
    lines = [*told(tuned), "below the strategy's other lines in the experiment's file:"]
    write_page(out, "".join(f"# {line}\n" for line in lines) + "\n" + toml(written))
    if not as_json:
        typer.echo("\n".join([*told(tuned), f"written to {out}"]))
        return
    found = {
        "strategy": order.strategy,
        "method": method,
        "world": ground.world.config.name,
        "runs": n_runs,
        "better": tuned.holds,
        "price": written,
        "tuned": tuned.price,
        "tuning_gain": tuned.tuning_gain,
        "verdicts": tuned.verdicts,
    }
    typer.echo(msgspec.json.encode(found).decode())


def _learnt(ground: Ground, search: Search, play: Play) -> Tuned:
    """The price by value iteration, judged on the same fresh seeds as one that was searched for."""
    found = learn_price(ground, ValueSearch(search.seeds[0]))
    return Tuned(found.price, judged(ground, found.price, search.fresh_seeds, play), None)


def told(tuned: Tuned) -> Iterator[str]:
    """The verdict for people, on the seeds that the price was not tuned on."""
    if tuned.holds:
        yield "a price of contact is better than none, on fresh seeds (95 % intervals, per customer):"
    else:
        yield "no price is told from none on fresh seeds, so none is written (95 % intervals, per customer):"
    yield from (_line(one) for one in tuned.verdicts)
    if tuned.tuning_gain is not None:
        yield f"on the seeds it was tuned on: {tuned.tuning_gain:+.3f}, flattered, for it was chosen there"


def toml(price: FatiguePrice) -> str:
    """The tables of a price as they stand below a strategy in an experiment's file."""
    plain = msgspec.to_builtins(price)
    segments = plain.pop("segments")
    tables = {_TABLE: plain} | {f"{_TABLE}.segments.{_key(name)}": one for name, one in segments.items()}
    return "\n".join(_table(name, fields) for name, fields in tables.items())


def _table(name: str, fields: dict[str, Any]) -> str:
    lines = [f"{key} = {_value(value)}\n" for key, value in fields.items() if value != {}]
    return f"[{name}]\n" + "".join(lines)


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(name)} = {_value(one)}" for name, one in value.items()) + " }"
    return msgspec.json.encode(value).decode()


def _key(name: str) -> str:
    is_bare = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
    return name if is_bare else msgspec.json.encode(name).decode()


def _line(one: SegmentVerdict) -> str:
    verdict = "better" if one.holds else "worse" if one.gain.high < 0 else "not told apart"
    return (
        f"{one.segment}: {verdict}, by {_interval(one.gain, 3)} account currency; "
        f"above silence {_interval(one.above_silence, 3)}; opt-outs {_interval(one.opt_outs, 4)}; "
        f"contacts {one.contacts_unpriced:.2f} -> {one.contacts:.2f}"
    )


def _interval(one: Interval, digits: int) -> str:
    return f"{one.mean:+.{digits}f} ({one.low:+.{digits}f} to {one.high:+.{digits}f})"
