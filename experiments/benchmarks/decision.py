"""How long a decision takes, over the time of the matrix products that it cannot do without."""

from __future__ import annotations

from experiments.benchmarks._harness import cpu_seconds, run  # first: it pins the BLAS threads

# isort: split
import numpy as np

from experiments.spec import load_experiment
from nba.snapshot import Snapshot
from simulator.world import load_world

_ROWS = 8


def measure(quick: bool) -> dict[str, float]:
    """CPU time per decision of the demo's Thompson strategy, in a batch and alone."""
    world = load_world("retail-bank")
    snapshot = Snapshot.start(load_experiment("demo").spec("thompson").strategy(world, 1))
    n_contexts, repeats = (256, 5) if quick else (1024, 20)
    state = world.reset(1, np.arange(n_contexts))
    contexts = world.observe(state, np.arange(n_contexts))
    ids = np.array([f"d{number}" for number in range(n_contexts)], dtype=object)
    alone, one_id = contexts.take(np.arange(1)), ids[:1]
    draws = snapshot.frozen.ready.draws
    rows = np.ones((_ROWS, contexts.features.shape[1]), dtype=np.float32)

    def products() -> None:
        (rows @ draws.main).reshape(_ROWS * draws.n_draws, -1) @ draws.spread

    floor = cpu_seconds(products, repeats * 10)
    batch = cpu_seconds(lambda: snapshot.decide(contexts, ids), max(3, repeats // 4))
    single = cpu_seconds(lambda: snapshot.decide(alone, one_id), repeats * 5)
    return {
        "batch_us_per_decision": 1e6 * batch / n_contexts,
        "single_us_per_decision": 1e6 * single,
        "products_us_per_decision": 1e6 * floor / _ROWS,
        "ratio_to_products": batch / n_contexts / (floor / _ROWS),
        "n_actions": float(world.config.catalogue.n_actions),
        "n_draws": float(draws.n_draws),
    }


if __name__ == "__main__":
    run("decision", measure)
