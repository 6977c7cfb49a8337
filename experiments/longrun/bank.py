"""The proof in the retail bank: what the benchmark runs, and in what size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from msgspec import structs

from experiments.executor import Executor
from experiments.longrun.cells import Cell, Ground, Played, play
from experiments.longrun.prepared import Order, prepared, where
from experiments.longrun.proof import PlayOn, Proof, School, judged, proof, student
from experiments.longrun.tune import Search
from experiments.spec import Phase
from nba.errors import require
from nba.fatigue import FatiguePrice
from simulator.calibrate.ensemble import apply
from simulator.world import World, load_world

_WORLD = "retail-bank"
_SCHOOLS, _FIRST = 4, 101  # occasions on which all learn, and the seed of the first
_SEEDS_OF_MEMBER = 4


def retail_bank(cells: Path, workers: int, quick: bool, members: int = 0) -> dict[str, float]:
    """The demo's Thompson sampling with a tuned price over the long phase; when quick only its machinery.

    With members also the ranking in as many worlds that fit the same data.
    """
    if members:
        fitting_worlds(load_world(_WORLD), members)  # refused here, not after hours
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
        others = in_worlds(order, Ranking(found.price, (found.cap,), seeds, members), executor, played)
    return told(found) | over_worlds(others)


class Ranking(NamedTuple):
    """What is ranked in the first members of the ensemble: a price against caps, no price and rules."""

    price: FatiguePrice
    caps: tuple[int | None, ...]  # contacts in the longest window; None for the bank's own
    seeds: tuple[int, ...]
    members: int


def in_worlds(order: Order, ranking: Ranking, executor: Executor, play: PlayOn) -> list[Proof]:
    """One verdict per world: strategy and rules learn in it, and are played there at the same price."""
    found = []
    for world in fitting_worlds(load_world(_WORLD), ranking.members):
        schools = taught(order._replace(world=world), 1, executor)
        found.append(judged(schools, ranking.price, ranking.caps, ranking.seeds, play))
    return found


def fitting_worlds(world: World, members: int) -> list[World]:
    """The first members of a world's ensemble: other worlds that fit the data as well."""
    bare, vectors = structs.replace(world.config, ensemble=()), world.config.ensemble
    rule = f"must be 1 to {len(vectors)}, the worlds of the ensemble of {bare.name}, got {members}"
    require(1 <= members <= len(vectors), "benchmark longrun", "--members", rule)
    return [World(apply(bare, vector)) for vector in vectors[:members]]


def over_worlds(found: Sequence[Proof]) -> dict[str, float]:
    """In how many worlds the price is ahead of all others, and its mean leads with worlds as the units.

    The lead over caps is that over the best of them in each world, in hindsight.
    """
    gains = np.array([[one.caps[one.cap].net.mean, one.myopic.net.mean, one.rules.net.mean] for one in found])
    figures = {"members": float(len(found)), "members_ahead": float((gains > 0.0).all(axis=1).mean())}
    for name, column in zip(("caps", "myopic", "rules"), gains.T, strict=True):
        over = student(column)
        figures |= {f"members_gain_over_{name}": over.mean, f"members_gain_over_{name}_low": over.low}
        figures |= {
            f"members_gain_over_{name}_high": over.high,
            f"members_ahead_of_{name}": float((column > 0.0).mean()),
        }
    return figures


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
