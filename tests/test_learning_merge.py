"""Learning is addition: parts of a log, on any number of workers and over any restarts, are the whole."""

from __future__ import annotations

import sys
from functools import reduce
from operator import add
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from checks.posteriors import features_of, instances, prior_of, rounds_of, same_state, strategy_of, taught
from small import cut

from experiments.executor import Executor, RayExecutor, Report, SerialExecutor
from nba.bundle import load_bundle, posterior_bytes, save_bundle
from nba.feedback import RoundBatch
from nba.posteriors import EnsembleModel, Model, state_of
from nba.snapshot import Snapshot

EVERY_MODEL = pytest.mark.parametrize("model", instances(), ids=lambda model: type(model).__name__)
PLACES = tuple(range(30, 240, 30))  # 8 logical blocks, whatever the number of workers


def evidence_of(work: tuple[Any, RoundBatch], report: Report) -> Any:
    """A task: what one block of a log tells a posterior."""
    posterior, rounds = work
    return posterior.evidence(rounds)


def merged(model: Model, executor: Executor) -> Any:
    """The posterior of a log in blocks, added in the order of the blocks."""
    prior: Any = prior_of(model)
    parts = executor.map(evidence_of, [(prior, part) for part in cut(rounds_of(model), *PLACES)])
    return prior.absorb(reduce(add, parts))


def adds_exactly(model: Model) -> bool:
    """Not so where members meet noise that is keyed by the cut; then the exact part does."""
    return not isinstance(model, EnsembleModel)


@EVERY_MODEL
def test_blocks_add_up_to_the_whole(model: Model) -> None:
    blocks, whole = merged(model, SerialExecutor()), taught(model)
    if adds_exactly(model):
        same_state(blocks, whole, 1e-12)
    else:
        np.testing.assert_allclose(blocks.parameters(), whole.parameters(), rtol=1e-9, atol=1e-12)


@pytest.mark.slow
@pytest.mark.ray
def test_workers_change_no_bit(ray_session: ModuleType) -> None:
    """One cluster for all members of the union: tasks of two workers, the same blocks, the same order."""
    for name in (__name__, "checks.posteriors", "small"):
        ray_session.cloudpickle.register_pickle_by_value(sys.modules[name])
    for model in instances():
        alone, together = merged(model, SerialExecutor()), merged(model, RayExecutor())
        assert posterior_bytes(together) == posterior_bytes(alone), type(model).__name__


@EVERY_MODEL
def test_saved_loaded_and_continued_is_uninterrupted(model: Model, tmp_path: Path) -> None:
    """Bundles of the posterior in double precision between any two batches, and forgetting in between."""
    first, second, third = cut(rounds_of(model), 70, 150)
    through = restarted = Snapshot.start(strategy_of(model))
    for number, batch in enumerate((first, second, third)):
        restarted = load_bundle(save_bundle(restarted, tmp_path / str(number)))
        through, restarted = (
            one.at(one.posterior.decayed(1.0), one.posterior_seq).learn(
                batch, one.posterior_seq + batch.n_rows
            )
            for one in (through, restarted)
        )
    again = load_bundle(save_bundle(restarted, tmp_path / "end"))
    assert posterior_bytes(again.posterior) == posterior_bytes(through.posterior)
    assert again.posterior_seq == through.posterior_seq == 240
    features = features_of(model)
    one, two = (each.posterior.draw(5, np.random.default_rng(1)) for each in (again, through))
    np.testing.assert_array_equal(
        again.posterior.scores(one, features), through.posterior.scores(two, features)
    )


@EVERY_MODEL
def test_stored_in_double_and_served_in_single_precision(model: Model) -> None:
    posterior = taught(model)
    assert all(array.dtype == np.float64 for array in state_of(posterior).values() if array.dtype.kind == "f")
    assert posterior.scores(posterior.mean_draw(), features_of(model)).dtype == np.float32
