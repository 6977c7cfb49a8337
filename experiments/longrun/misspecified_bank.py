"""A price tuned in a bank that tires at one pace, played in one that tires at another, by simulation.

The bank counts contacts with the half-life that it assumes, has learnt and tuned its price in a world of that
half-life, and is played in the true one, where its own counters stand in the place of the true ones.
"""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import NamedTuple

import numpy as np
from msgspec import structs

from experiments.compare import mean_interval
from experiments.executor import Finishing
from experiments.longrun.cells import Ground, play, under
from experiments.longrun.journeys import Asked, Decide, Span, Told, journeys
from experiments.longrun.misspecified import HALF_LIVES
from experiments.longrun.tune import Search, tune
from experiments.results import Interval
from experiments.rollout import rollout
from experiments.spec import MOST_CUSTOMERS, Phase, StrategySpec
from nba.arrays import FloatArray
from nba.errors import require
from nba.fatigue import FatiguePrice
from nba.snapshot import Snapshot
from simulator.world import World

_MOMENTS = slice(-3, -1)  # the feature columns of fatigue, before that of the weekend


class BankCell(NamedTuple):
    """Net value per customer in one true world, of what was learnt and tuned in an assumed one."""

    priced: Interval  # above silence
    unpriced: Interval  # above silence
    gain: Interval  # of the price
    contacts: float  # under the price


class Learnt(NamedTuple):
    """What a bank comes to that assumes a half-life."""

    snapshot: Snapshot
    price: FatiguePrice


def grid(
    world: World, spec: StrategySpec, train: Phase, judge: Phase, search: Search, executor: Finishing
) -> dict[tuple[float, float], BankCell]:
    """Cells by (true, assumed) half-life, all judged on the first of the fresh seeds."""
    banks = {days: learnt(paced(world, days), spec, train, judge, search, executor) for days in HALF_LIVES}
    span = Span(
        customers=judge.customers,
        days=judge.days,
        settle_days=judge.settle_days,
        seed=search.fresh_seeds[0],
        first_customer=MOST_CUSTOMERS,
    )
    return {
        (true, assumed): cell(paced(world, true), banks[assumed], span)
        for true, assumed in product(HALF_LIVES, HALF_LIVES)
    }


def learnt(
    world: World, spec: StrategySpec, train: Phase, judge: Phase, search: Search, executor: Finishing
) -> Learnt:
    """Learn in a world, then tune the price there, with the seeds that the search tunes on."""
    start = Snapshot.start(spec.strategy(world, train.seed))
    trained = rollout(world, start, train, executor, with_oracle=False).snapshot
    ground = Ground(world, trained.at(trained.posterior, 0), judge)
    return Learnt(ground.snapshot, tune(ground, search, lambda cells: play(ground, cells, executor)).price)


def cell(true: World, bank: Learnt, span: Span) -> BankCell:
    """Play a bank in a world, with its price and without, and leave it silent."""
    snapshots = [under(bank.snapshot, price) for price in (bank.price, FatiguePrice(), None)]
    priced, unpriced, nothing = (journeys(true, counting(one, span.customers), span) for one in snapshots)
    return BankCell(
        mean_interval(priced.net - nothing.net),
        mean_interval(unpriced.net - nothing.net),
        mean_interval(priced.net - unpriced.net),
        float(priced.contacts.mean()),
    )


def counting(snapshot: Snapshot, customers: int) -> Decide:
    """A snapshot that goes by its own count of contacts: those it decides, with its strategy's kernel.

    The counters are kept from one call to the next, so that one of these lives through one span. They are
    exact where contacts are made on the day on which they are decided, and none is refused by its channel.
    """
    strategy = snapshot.strategy
    require(
        strategy.schema.moments,
        f"strategy {strategy.name}",
        "schema.moments",
        "must be on: it counts fatigue",
    )
    counters = np.zeros((customers, len(strategy.catalogue.channels), 2))
    touched = np.zeros(customers)
    return partial(_counted, snapshot, strategy.fatigue.spill(strategy.catalogue), counters, touched)


def _counted(
    snapshot: Snapshot, spill: FloatArray, counters: FloatArray, touched: FloatArray, asked: Asked
) -> Told:
    strategy, seats = snapshot.strategy, asked.seats
    counters[seats] *= strategy.fatigue.recovery(asked.day - touched[seats])[:, None]
    touched[seats] = asked.day
    features = asked.contexts.features.copy()
    features[:, _MOMENTS] = np.log1p(counters[seats].sum(axis=1))
    contexts = asked.contexts._replace(features=features, fatigue=counters[seats])
    batch = snapshot.decide(contexts, asked.ids)
    made = batch.actions > 0
    counters[seats[made]] += spill[strategy.catalogue.channel_of[batch.actions[made]]][:, :, None]
    return Told(batch.actions, batch.propensities)


def paced(world: World, half_life_days: float) -> World:
    """The world at another pace of recovery, in which no channel refuses a contact."""
    config = world.config
    off = tuple(dict.fromkeys((*config.mechanisms.off, "platform_limits")))
    fatigue = structs.replace(config.fatigue, long_half_life_days=half_life_days)
    mechanisms = structs.replace(config.mechanisms, off=off)
    return structs.replace(world, config=structs.replace(config, fatigue=fatigue, mechanisms=mechanisms))
