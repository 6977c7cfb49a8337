"""The gates of promotion in simulated trials: A/A promotions, and power at the planned size."""

from __future__ import annotations

from experiments.benchmarks import _harness
from experiments.promotion.proof import proof


def measure(quick: bool) -> dict[str, float]:
    """Shares of 200 trials (quick: 40), and what they were planned by."""
    return {name: float(value) for name, value in proof(40 if quick else 200)._asdict().items()}


if __name__ == "__main__":
    _harness.run("promotion", measure)
