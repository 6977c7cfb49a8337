"""The steps of `nba calibrate`, from files to a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nba.errors import require
from simulator.calibrate import sources
from simulator.calibrate.borrowed import Borrowed, borrowed, borrowed_vector
from simulator.calibrate.checkpoint import Checkpoint
from simulator.calibrate.columns import ColumnMap, load_map
from simulator.calibrate.fit import fit
from simulator.calibrate.level import LEVEL, levelled
from simulator.calibrate.parameters import MIDDLES
from simulator.calibrate.result import Result, provenance, result
from simulator.calibrate.run import digest, ensemble, member_vectors, problem, simulation_noise
from simulator.calibrate.table import load
from simulator.calibrate.written import check_writable, with_numbers, world_text, write_world
from simulator.config import WorldConfig


class Order(NamedTuple):
    """What `nba calibrate` was asked for."""

    data: Path
    out: Path
    world: str = "retail-bank"
    columns: Path | None = None
    members: int = 24
    seed: int = 1
    evaluations: int | None = None
    habituation: Path | None = None
    delays: Path | None = None
    channels: Path | None = None


def carry_out(order: Order, told: Callable[[str], None]) -> tuple[Result, Borrowed]:
    """Read, fit, draw, write; `told` hears of every simulation. Raises InvalidConfig for any bad input."""
    from simulator.world import load_world

    check_writable(order.out)
    world, columns = load_world(order.world), load_map(order.columns)
    _check_names(world.config, columns)
    lent = _lent(order, world.config)
    campaign = load(order.data, columns)
    of = problem(world, campaign, columns, order.seed)
    name = digest(world, columns, order.data.read_bytes(), order.seed)
    stage = ["fit"]
    place = order.out.with_name(order.out.name + ".checkpoint")
    kept = Checkpoint(place, name, lambda: told(stage[0]))
    simulate = kept.of(of.simulate)
    found = fit(simulate, of.goal, MIDDLES, order.evaluations)
    stage[0] = "ensemble"
    drawn = ensemble(of, found, order.members, order.seed, simulate)
    judged = result(of, found, drawn, simulation_noise(of, world, found.theta, order.seed))
    best = of.vector(found.theta) | borrowed_vector(lent, of.cast, np.zeros(3))
    rate = float(of.goal.target[0])  # sales at contact 1
    best, factor = levelled(world.config, best, columns, rate)
    table = provenance(of, judged, lent, order.data.name, name, order.seed) | {LEVEL: factor}
    members = [
        levelled(world.config, one, columns, rate)[0] for one in member_vectors(of, drawn, lent, order.seed)
    ]
    write_world(order.out, with_numbers(world_text(order.world), world.config, best, table, members))
    kept.remove()
    return judged, lent


def _check_names(config: WorldConfig, columns: ColumnMap) -> None:
    for kind, name, known in (
        ("channel", columns.channel, config.catalogue.channels),
        ("product", columns.product, config.catalogue.products),
    ):
        names = [one.name for one in known]
        rule = f"{name!r} is not in the world {config.name}; it has {', '.join(names)}"
        require(name in names, columns.name, kind, rule)


def _lent(order: Order, config: WorldConfig) -> Borrowed:
    """Estimates of other studies: derived again from the files given, as shipped otherwise."""
    return borrowed(
        config,
        sources.habituation(order.habituation) if order.habituation else sources.HABITUATION,
        sources.delay_shape(order.delays) if order.delays else sources.DELAY_SHAPE,
        sources.visit_against_mail(order.channels) if order.channels else sources.VISIT_AGAINST_MAIL,
    )
