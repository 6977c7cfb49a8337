"""A store with policies of a toy world: one that never contacts, and one that contacts at random."""

from __future__ import annotations

from pathlib import Path

from experiment_fixtures import record_quickly, small_result

from experiments.spec import load_experiment
from nba.snapshot import Snapshot
from simulator.world import World, load_world

TOY: World = load_world("fatigue-toy")  # one channel, one product: a pair of runs takes a moment


def toy_policy(strategy: str) -> Snapshot:
    """A strategy of the demo as it begins."""
    return Snapshot.start(load_experiment("demo").spec(strategy).strategy(TOY, 11))


def register(store: Path, *strategies: str) -> None:
    """Register strategies of the demo in this order: the first becomes champion, the last challenger."""
    for name in strategies:
        made, snapshot = small_result(), toy_policy(name)
        results = tuple(one._replace(snapshot=snapshot) for one in made.results)
        record_quickly(made._replace(results=results), store)
