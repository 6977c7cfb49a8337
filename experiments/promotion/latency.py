"""How long single decisions take on this machine, now: the one figure that another run does not repeat."""

from __future__ import annotations

from time import perf_counter_ns

import numpy as np

from experiments.promotion.evidence import Measured, percentile_99
from nba.context import ContextBatch
from nba.snapshot import Snapshot

TIMED = 1_000  # decisions


def latency(candidate: Snapshot, contexts: ContextBatch, confidence: float) -> Measured:
    """Milliseconds for one customer at a time, its context (one of B) already encoded."""
    n = contexts.features.shape[0]
    ids = np.array([f"timed-{number}" for number in range(n)], dtype=object)
    candidate.warm()
    taken = np.zeros(n)
    for number in range(n):
        one, name = contexts.take(np.array([number])), ids[number : number + 1]
        begun = perf_counter_ns()
        candidate.decide(one, name)
        taken[number] = (perf_counter_ns() - begun) / 1e6
    return percentile_99(taken, confidence)
