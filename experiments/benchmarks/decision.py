"""How fast decisions are: 840 actions, 64 draws, exact propensities; and what the matrix product costs.

The catalogue is the retail bank's, nothing of it excluded, every action eligible: the most there is to do.
The posterior has learnt from random rounds. Latencies are wall-clock time of a context that is already
encoded; batches are CPU time. Figures without a number of features are the worse of both.
"""

from __future__ import annotations

from experiments.benchmarks._harness import cpu_seconds, run  # first: it pins the BLAS threads

# isort: split
from time import perf_counter, process_time
from typing import NamedTuple

import numpy as np
from msgspec import structs

from nba.arrays import Float32Array, FloatArray, StrArray, rowwise
from nba.catalogue import Catalogue
from nba.context import ContextBatch
from nba.features import FeatureSchema, Numeric
from nba.feedback import RoundBatch
from nba.policies import ThompsonSampling
from nba.posteriors import FactoredModel
from nba.propensity import Floor
from nba.snapshot import Snapshot
from nba.strategy import Strategy
from simulator.world import load_world

N_FEATURES = (50, 100)  # columns of the feature matrix, the intercept among them
N_DRAWS = 64
_TAUGHT_ROUNDS = 20_000
_CHUNK = 64  # contexts that a snapshot scores at a time
_WORST = {"decision_p50_ms": max, "decision_p99_ms": max, "batch_per_second": min, "gemm_share": min}


class Desk(NamedTuple):
    """A strategy that has learnt something, and customers to decide about."""

    snapshot: Snapshot
    contexts: ContextBatch

    @staticmethod
    def of(n_features: int, n_contexts: int) -> Desk:
        """The retail bank's actions over so many standard normal features."""
        schema = FeatureSchema(columns=_columns(n_features - 1), moments=False)
        strategy = Strategy(
            name="speed",
            catalogue=catalogue(),
            schema=schema,
            model=FactoredModel(),
            policy=ThompsonSampling(n_draws=N_DRAWS),
            floor=Floor(epsilon=0.02),
        )
        rounds = random_rounds(strategy.catalogue, n_features, _TAUGHT_ROUNDS)
        contexts = customers(strategy.catalogue, features_of(n_features, n_contexts, seed=2))
        return Desk(Snapshot.start(strategy).learn(rounds, seq=_TAUGHT_ROUNDS), contexts)


def measure(quick: bool) -> dict[str, float]:
    """Latency, throughput and the product's share for each number of features, and the worse of both."""
    n_contexts, n_single, repeats = (256, 200, 2) if quick else (4_096, 5_000, 5)
    by_size = {}
    for n_features in N_FEATURES:
        desk = Desk.of(n_features, n_contexts)
        by_size[n_features] = singles(desk, n_single) | batches(desk, repeats)
    figures = {name: worst(row[name] for row in by_size.values()) for name, worst in _WORST.items()}
    sized = {f"{name}_{size}": value for size, row in by_size.items() for name, value in row.items()}
    return figures | sized | {"n_actions": catalogue().n_actions - 1.0, "n_draws": float(N_DRAWS)}


def singles(desk: Desk, n_calls: int) -> dict[str, float]:
    """Percentiles of the time of one decision, in ms: wall clock, and CPU time beside it."""
    ids = _ids(desk.contexts.n_contexts)
    single = [desk.contexts.take(np.arange(row, row + 1)) for row in range(desk.contexts.n_contexts)]
    wall, cpu = np.empty(n_calls), np.empty(n_calls)
    for call in range(-50, n_calls):  # the first ones warm up and are overwritten
        row = call % len(single)
        begun, begun_cpu = perf_counter(), process_time()
        desk.snapshot.decide(single[row], ids[row : row + 1])
        wall[call], cpu[call] = perf_counter() - begun, process_time() - begun_cpu
    quantiles = {"p50": 50, "p99": 99}
    figures = {f"decision_{name}_ms": 1e3 * float(np.percentile(wall, q)) for name, q in quantiles.items()}
    return figures | {
        f"decision_cpu_{name}_ms": 1e3 * float(np.percentile(cpu, q)) for name, q in quantiles.items()
    }


def batches(desk: Desk, repeats: int) -> dict[str, float]:
    """Decisions per second in a batch, and which share of the time is the bare product of the same shapes."""
    contexts, ids = desk.contexts, _ids(desk.contexts.n_contexts)
    table: Float32Array = desk.snapshot.frozen.ready.draws.main  # (K, F M)
    rows: Float32Array = contexts.features.astype(np.float32)
    whole = cpu_seconds(lambda: desk.snapshot.decide(contexts, ids), repeats)
    product = cpu_seconds(
        lambda: [rowwise(rows[at : at + 64], table) for at in range(0, len(rows), 64)], repeats
    )
    return {"batch_per_second": contexts.n_contexts / whole, "gemm_share": product / whole}


def catalogue() -> Catalogue:
    """The retail bank's seven channels, six timings and twenty products; nothing excluded, no waiting."""
    bank = load_world("retail-bank").config.catalogue
    timings = tuple(structs.replace(timing, waits_for=None) for timing in bank.timings)
    return structs.replace(bank, timings=timings, excluded=())


def features_of(n_features: int, n_rows: int, seed: int) -> FloatArray:
    """(n, K) the intercept and standard normal columns."""
    drawn = np.random.default_rng(seed).standard_normal((n_rows, n_features))
    drawn[:, 0] = 1.0
    return drawn


def random_rounds(of: Catalogue, n_features: int, n_rows: int, seed: int = 1) -> RoundBatch:
    """Rounds of any contact, of which one in twenty converts."""
    rng = np.random.default_rng(seed)
    actions = rng.integers(1, of.n_actions, n_rows)
    ones = np.ones(n_rows)
    rewards = (rng.random(n_rows) < 0.05).astype(np.float64)
    features = features_of(n_features, n_rows, seed)
    return RoundBatch(features, actions, of.product_of[actions], rewards, ones, ones, np.zeros(n_rows))


def customers(of: Catalogue, features: FloatArray) -> ContextBatch:
    """Customers (B, K) who agreed to every channel and have not been contacted for long."""
    (n_channels, _, n_products), n_rows = of.shape, features.shape[0]
    return ContextBatch(
        customer_ids=_ids(n_rows),
        at=np.full(n_rows, "2026-01-05T09:00:00", dtype="datetime64[s]"),
        features=features,
        attributes={f"x{column}": features[:, column] for column in range(1, features.shape[1])},
        consents=np.ones((n_rows, n_channels), dtype=np.bool_),
        fatigue=np.zeros((n_rows, n_channels, 2)),
        contact_counts=np.zeros((n_rows, 0, n_channels + 1), dtype=np.int64),
        owned=np.zeros((n_rows, n_products), dtype=np.bool_),
        offer_age_days=np.full((n_rows, n_products), np.inf),
    )


def _columns(n: int) -> tuple[Numeric, ...]:
    return tuple(Numeric(name=f"x{number}") for number in range(1, n + 1))


def _ids(n: int) -> StrArray:
    return np.array([f"d{number}" for number in range(n)], dtype=object)


if __name__ == "__main__":
    run("decision", measure)
