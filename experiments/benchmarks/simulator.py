"""How fast the simulator's day is, over the time of its random numbers, and what common noise is worth.

The days are those of the retail bank in its second month, when histories, queues and pending conversions
are as long as they stay. Contacts of every channel are asked for at random; some are refused, so the
figures state which share of the customers is really contacted on a day.
"""

from __future__ import annotations

from experiments.benchmarks._harness import cpu_seconds, run  # first: it pins the BLAS threads

# isort: split
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from time import process_time
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
from msgspec import structs

from experiments.noise import nets_by_seed, variance_reduction
from experiments.rollout import rollout
from experiments.simulate import peak_mb
from experiments.spec import Phase, load_experiment
from nba import randomness
from nba.arrays import IntArray
from nba.randomness import Purpose, keyed_uniforms
from nba.snapshot import Snapshot
from simulator import engine
from simulator.state import WorldState
from simulator.world import World, load_world

_SETTLED_DAYS = 35  # before the days that are measured
_SHARES = {"_at_10_percent": 0.1, "": 0.2, "_at_30_percent": 0.3}  # of the customers contacted on a day
_PAIRS = (("rules", "no-contact"), ("rules", "random"))


class Plan(NamedTuple):
    """Contacts that are asked for on each of some days."""

    rows: list[IntArray]
    actions: list[IntArray]


class Call(NamedTuple):
    """Random numbers that were asked for."""

    function: Callable[..., object]
    arguments: tuple[Any, ...]


def measure(quick: bool) -> dict[str, float]:
    """CPU time of simulated days without any policy, per engine and share of customers contacted."""
    n, days, repeats = (20_000, 5, 2) if quick else (100_000, 20, 4)
    plain, fused = (structs.replace(load_world("retail-bank"), engine=name) for name in ("numpy", "numba"))
    ids, figures = np.arange(n), dict[str, float](customers=n, days=days)
    for at, share in _SHARES.items():
        state, asked = settled(fused, ids, share)
        contacts = plan(plain, ids, asked, range(_SETTLED_DAYS, _SETTLED_DAYS + days))
        after, figures[f"contacted_share{at}"] = live(plain, state, contacts)
        for world, name in ((plain, ""), (fused, "_numba")):
            seconds = cpu_seconds(partial(live, world, state, contacts), repeats)
            figures[f"customer_days_per_second{name}{at}"] = n * days / seconds
        if not at:
            figures["bytes_per_customer"] = after.n_bytes / n
            drawn = cpu_seconds(partial(replay, random_calls(plain, state, contacts)), repeats)
            figures["ratio_to_rng"] = n * days / figures["customer_days_per_second"] / drawn
    return figures | rollouts(quick) | {"peak_mb": peak_mb()}


def settled(world: World, ids: IntArray, share: float) -> tuple[WorldState, float]:
    """Customers after five weeks, and the contacts to ask for so that a share of them is contacted a day.

    Some are refused, by platforms' caps and full books, so more are asked for: in the first four weeks by a
    guess, afterwards by what came of it in the fifth.
    """
    guess, weeks = 1.2 * share, _SETTLED_DAYS - 7
    state, _ = live(world, world.reset(1, ids), plan(world, ids, guess, range(weeks)))
    state, made = live(world, state, plan(world, ids, guess, range(weeks, _SETTLED_DAYS)))
    return state, guess * share / made


def plan(world: World, ids: IntArray, asked: float, days: range) -> Plan:
    """Every customer with probability `asked`, about any allowed action."""
    allowed = np.flatnonzero(world.config.catalogue.allowed)[1:]
    rows, actions = [], []
    for day in days:
        who, what = (keyed_uniforms(1, Purpose.DECISION, ids, day, block) for block in (0, 1))
        rows.append(np.flatnonzero(who < asked))
        actions.append(allowed[np.floor(what[rows[-1]] * allowed.size).astype(np.int64)])
    return Plan(rows, actions)


def live(world: World, state: WorldState, contacts: Plan) -> tuple[WorldState, float]:
    """The state after the days of a plan, and the share of the customers that was contacted on a day."""
    made = 0
    for rows, actions in zip(*contacts, strict=True):
        responses = world.respond(state, rows, actions)
        state, _ = world.advance(state, rows, actions, responses)
        made += int(responses.contacted.sum())
    return state, made / (state.people.n_customers * len(contacts.rows))


def random_calls(world: World, state: WorldState, contacts: Plan) -> list[Call]:
    """Every request for random numbers that the simulator makes in the days of a plan."""
    calls: list[Call] = []

    def recording(function: Callable[..., object]) -> Callable[..., Any]:
        def record(*arguments: Any) -> object:
            calls.append(Call(function, arguments))
            return function(*arguments)

        return record

    with ExitStack() as patches:
        for name in ("keyed_words", "keyed_uniforms"):
            stand_in = recording(getattr(randomness, name))
            for module in [one for path, one in sys.modules.items() if path.startswith("simulator.")]:
                if hasattr(module, name):
                    patches.enter_context(patch.object(module, name, stand_in))
        # An engine holds its own reference, and a world its engine: both are made anew.
        recorded = engine.NUMPY._replace(words=recording(randomness.keyed_words))
        patches.enter_context(patch.object(engine, "NUMPY", recorded))
        live(World(world.config, "numpy"), state, contacts)
    return calls


def replay(calls: list[Call]) -> None:
    """Draw the same numbers again, and nothing else."""
    for call in calls:
        call.function(*call.arguments)


def rollouts(quick: bool) -> dict[str, float]:
    """Speed of a whole rollout with decisions and logs, and what common noise does for a comparison."""
    world, experiment = load_world("retail-bank"), load_experiment("demo")
    names = {name for pair in _PAIRS for name in pair}
    snapshots = {name: Snapshot.start(experiment.spec(name).strategy(world, 1)) for name in sorted(names)}
    phase = Phase(customers=4_000, days=14 if quick else 42, seed=1)
    begun = process_time()
    rollout(world, snapshots["rules"], phase, with_oracle=False)
    figures = {"rollout_customer_days_per_second": phase.customer_days / (process_time() - begun)}
    # Many small runs: the variance between seeds is the harder one to know.
    phase, seeds = Phase(customers=500, days=28, settle_days=14, seed=1), range(1, 7 if quick else 33)
    nets = {name: nets_by_seed(world, snapshot, phase, seeds) for name, snapshot in snapshots.items()}
    for one, other in _PAIRS:
        for name, times in variance_reduction(nets[one], nets[other])._asdict().items():
            figures[f"variance_reduction_{one}_{other}_{name}"] = times
    return figures


if __name__ == "__main__":
    run("simulator", measure)
