"""Open Bandit Pipeline's table of seven estimators on digits, by our own code (methods I7)."""

from __future__ import annotations

import pytest

from experiments.benchmarks.evaluation.digits import PUBLISHED, table


@pytest.mark.slow
def test_the_digits_table() -> None:
    told = table()
    print({name: f"{error:.4f} ({distance:+.2f} se)" for name, (error, distance) in told.items()})
    assert told.keys() == PUBLISHED.keys()
    assert all(abs(distance) < 3.0 for _, distance in told.values()), told
