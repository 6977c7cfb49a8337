"""The proof in the retail bank: what the benchmark runs, and in what size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from msgspec import structs

from experiments.executor import Executor
from experiments.longrun.cells import Cell, Ground, Played, play
from experiments.longrun.prepared import Order, prepared, where
from experiments.longrun.proof import Proof, School, judged, proof, student
from experiments.longrun.tune import Search
from experiments.spec import Phase
from nba.errors import require
from simulator.calibrate.ensemble import apply
from simulator.world import World, load_world

_WORLD = "retail-bank"
_SCHOOLS, _FIRST = 4, 101  # occasions on which all learn, and the seed of the first
_SEEDS_OF_MEMBER = 4


def retail_bank(cells: Path, workers: int, quick: bool, members: int = 0) -> dict[str, float]:
    """The demo's Thompson sampling with a tuned price over the long phase; when quick only its machinery.

    With members also the ranking in as many worlds that fit the same data.
    """
    require(members >= 0, "benchmark longrun", "--members", f"must be >= 0, got {members}")
    size = _quick() if quick else _full()
    order = Order("demo", "thompson", _WORLD, *size, cells, workers, None)
    search, n_schools = (_quick_search(), 1) if quick else (_search(), _SCHOOLS)
    with where(order) as executor:

        def played(ground: Ground, these: Sequence[Cell]) -> list[Played]:
            return play(ground, these, executor, cells)

        found = proof(taught(order, n_schools, executor), search, played)
        if members == 0:
            return told(found)
        seeds = search.fresh_seeds[:_SEEDS_OF_MEMBER]
        others = [
            judged(taught(order._replace(world=world), 1, executor), found.price, [found.cap], seeds, played)
            for world in fitting_worlds(load_world(_WORLD), members)
        ]
    return told(found) | over_worlds(others)


def fitting_worlds(world: World, members: int) -> list[World]:
    """The first members of a world's ensemble: other worlds that fit the data as well."""
    bare = structs.replace(world.config, ensemble=())
    return [World(apply(bare, vector)) for vector in world.config.ensemble[:members]]


def over_worlds(found: Sequence[Proof]) -> dict[str, float]:
    """In how many worlds the price is ahead of all others, and its mean lead with worlds as the units."""
    gains = np.array([[one.caps[one.cap].net.mean, one.myopic.net.mean, one.rules.net.mean] for one in found])
    over_caps = student(gains[:, 0])
    return {
        "members": len(found),
        "members_ahead": float((gains > 0.0).all(axis=1).mean()),
        "members_gain_over_caps": over_caps.mean,
        "members_gain_ci_low": over_caps.low,
    }


def taught(order: Order, n_schools: int, executor: Executor) -> list[School]:
    """The strategy of an order and the rules, each taught on several occasions."""
    trains = [structs.replace(order.train, seed=_FIRST + number) for number in range(n_schools)]
    return [
        School(
            *(
                prepared(order._replace(strategy=name, train=train), executor)
                for name in (order.strategy, "rules")
            )
        )
        for train in trains
    ]


def told(found: Proof) -> dict[str, float]:
    """Its figures, the price in the mean over segments, and every cap by its number of contacts."""
    by_cap = {f"gain_over_cap_{cap}": one.net.mean for cap, one in found.caps.items() if cap is not None}
    return found.figures() | by_cap | {"price_level": found.price.otherwise, "price_slope": found.price.slope}


def _search() -> Search:
    return Search(rounds=1, seeds=(2, 3, 4, 5), fresh_seeds=tuple(range(11, 31)))


def _quick_search() -> Search:
    return Search(rounds=1, seeds=(2, 3), fresh_seeds=(11, 12))


def _full() -> tuple[Phase, Phase]:
    """Half a year of contacts, and as long again in which what they began comes to an end."""
    train = Phase(customers=3_000, days=84, seed=_FIRST, publish_every_days=4)
    return train, Phase(customers=5_000, days=180, settle_days=180, seed=0)


def _quick() -> tuple[Phase, Phase]:
    train = Phase(customers=100, days=12, seed=_FIRST, publish_every_days=4)
    return train, Phase(customers=100, days=12, seed=0)
