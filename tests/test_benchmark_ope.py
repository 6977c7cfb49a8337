"""The benchmark of off-policy evaluation: a stream of partitions tells the truth in little memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from experiments.benchmarks import ope
from experiments.benchmarks.evaluation import open_bandit
from experiments.benchmarks.evaluation.problems import mild_problem
from experiments.benchmarks.evaluation.proofs import heavy_sequence
from experiments.benchmarks.evaluation.simulated import sequence_coverage


def test_a_stream_tells_the_value_of_its_target() -> None:
    problem = mild_problem(1, n_contexts=50, n_actions=12)
    told, spent = ope.stream(90_000, problem)
    assert told.n == 90_000 and told.verdict == "supported" and spent > 0.0
    assert [one.estimator for one in told.estimates] == ["snips", "dr"]
    assert all(abs(one.value - problem.truth) < 4 * one.stderr for one in told.estimates)
    ope._check(told, problem)
    with pytest.raises(ArithmeticError, match="snips is 0.0"):
        ope._check(told, problem._replace(rates=2.0 * problem.rates))


def test_without_its_environment_a_peer_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_bandit, "PYTHON", Path("no-such-environment/bin/python"))
    assert not open_bandit.is_here()


@pytest.mark.slow
@pytest.mark.skipif(not open_bandit.is_here(), reason="make bench-peers installs Open Bandit Pipeline")
def test_open_bandit_pipeline_says_the_same() -> None:
    told = open_bandit.ratios(mild_problem(1, n_contexts=50, n_actions=12), 5_000)
    assert told.interval > told.value > 0.0  # and that its value is ours, to 1e-9
    assert told.value_alone > told.value


def test_a_heavy_sequence_is_reproducible() -> None:
    one, other = (heavy_sequence(3, 1, np.array([200, 400])) for _ in range(2))
    assert one[1] == other[1] and (one[0].highs == other[0].highs).all()


@pytest.mark.slow
def test_sequences_hold_at_every_look_on_the_simulated_bank() -> None:
    shares = sequence_coverage(1_000, 60)  # of 500 logs see python -m experiments.benchmarks.ope
    assert min(shares.values()) >= 0.95 - 2.0 * (0.05 * 0.95 / 60) ** 0.5, shares
