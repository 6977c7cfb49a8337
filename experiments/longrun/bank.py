"""The proof in the retail bank: what the benchmark runs, and in what size."""

from __future__ import annotations

from pathlib import Path

from msgspec import structs

from experiments.executor import Executor
from experiments.longrun.cells import play
from experiments.longrun.prepared import Order, prepared, where
from experiments.longrun.proof import Proof, School, proof
from experiments.longrun.tune import Search
from experiments.spec import Phase

_SCHOOLS, _FIRST = 4, 101  # occasions on which all learn, and the seed of the first


def retail_bank(cells: Path, workers: int, quick: bool) -> dict[str, float]:
    """The demo's Thompson sampling with a tuned price over the long phase; when quick only its machinery."""
    size = _quick() if quick else _full()
    search = Search(rounds=1, seeds=(2, 3), fresh_seeds=(11, 12)) if quick else _search()
    order = Order("demo", "thompson", None, *size, cells, workers, None)
    with where(order) as executor:
        schools = taught(order, 1 if quick else _SCHOOLS, executor)
        return told(proof(schools, search, lambda ground, these: play(ground, these, executor, cells)))


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
    return Search(seeds=(2, 3, 4, 5), fresh_seeds=tuple(range(11, 31)))


def _full() -> tuple[Phase, Phase]:
    """Half a year of contacts, and as long again in which what they began comes to an end."""
    train = Phase(customers=3_000, days=84, seed=_FIRST, publish_every_days=4)
    return train, Phase(customers=2_000, days=180, settle_days=180, seed=0)


def _quick() -> tuple[Phase, Phase]:
    train = Phase(customers=100, days=12, seed=_FIRST, publish_every_days=4)
    return train, Phase(customers=100, days=12, seed=0)
