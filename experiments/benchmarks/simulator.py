"""How fast the simulator's day is, over the time of its random numbers alone."""

from __future__ import annotations

from experiments.benchmarks._harness import cpu_seconds, run  # first: it pins the BLAS threads

# isort: split
import numpy as np

from nba.arrays import AnyArray
from nba.randomness import Purpose, keyed_uniforms
from simulator.state import WorldState
from simulator.world import load_world

# Uniforms of a day: for everybody two (life cycle, organic), for each decided customer five.
_FOR_EVERYBODY = (Purpose.LIFE_CYCLE, Purpose.ORGANIC)
_FOR_DECIDED = (Purpose.DELIVERY, Purpose.ENGAGEMENT, Purpose.OPT_OUT, Purpose.COMPLAINT, Purpose.CONVERSION)


def measure(quick: bool) -> dict[str, float]:
    """CPU time of one simulated day with a quarter of the customers decided, without any policy."""
    world = load_world("retail-bank")
    n, repeats = (16_000, 3) if quick else (32_000, 10)
    state = world.reset(1, np.arange(n))
    rows = world.due(state)
    actions = np.arange(rows.size, dtype=np.int64) * 7 % world.config.catalogue.n_actions

    def day() -> None:
        world.advance(state, rows, actions, world.respond(state, rows, actions))

    def numbers() -> None:
        for purpose in _FOR_EVERYBODY:
            keyed_uniforms(1, purpose, state.people.ids, 0)
        for purpose in _FOR_DECIDED:
            keyed_uniforms(1, purpose, state.people.ids[rows], 0)

    seconds, alone = cpu_seconds(day, repeats), cpu_seconds(numbers, repeats)
    return {
        "customer_days_per_second": n / seconds,
        "bytes_per_customer": _bytes(state) / n,
        "ratio_to_rng": seconds / alone,
    }


def _bytes(state: WorldState) -> float:
    """Memory of all arrays that are held for the customers."""
    arrays: list[AnyArray] = [part for part in state if isinstance(part, np.ndarray)]
    arrays += [part for part in state.people if isinstance(part, np.ndarray)]
    return float(sum(array.nbytes for array in [*arrays, *state.people.seen.values()]))


if __name__ == "__main__":
    run("simulator", measure)
