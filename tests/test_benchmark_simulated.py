"""Coverage on the simulated bank: its answers are those that its oracle promises."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.benchmarks.evaluation.simulated import cohort, coupon_log, simulated_coverage, truth


def test_answers_are_those_that_the_oracle_promises() -> None:
    some = cohort(0, 20_000)
    assert some.chances.shape == some.logging.shape == (20_000, 42)
    np.testing.assert_allclose(some.logging.sum(axis=1), 1.0)
    rounds = coupon_log(some, 1)
    promised = rounds.at(some.chances)
    off = (rounds.rewards - promised).sum() / np.sqrt((promised * (1.0 - promised)).sum())
    assert abs(off) < 4.0
    assert 0.04 < rounds.rewards.mean() < 0.06  # about 5 % convert


@pytest.mark.slow
@pytest.mark.parametrize("n", [1_000, 10_000])
def test_the_default_interval_covers_on_the_simulated_bank(n: int) -> None:
    assert truth() == pytest.approx(0.0539, abs=0.001)
    told = simulated_coverage(n)
    print(told)
    noise = np.sqrt(0.95 * 0.05 / 500)
    assert all(0.93 - noise <= share <= 0.97 + noise for share in told["cressie-read"].values()), told
    if n == 1_000:  # rare rewards under heavy weights
        assert max(told["normal"].values()) < 0.93
