"""Early stopping: which strategies get no further seeds in a world, where another is surely better."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nba.arrays import FloatArray
from nba.ope.sequences import t_reach


def hopeless(means: Mapping[str, FloatArray], alpha: float, n_rivals: int) -> dict[str, str]:
    """Strategies that are surely worse than another, with the name of the one that beats them by most.

    means (S,) are of the same S seeds, larger is better. Every pair is compared by a confidence sequence at
    alpha / n_rivals, n_rivals being the strategies that there were in the beginning, less one. So the chance
    that the best one is ever stopped, in a run of any length that is looked at as often as one likes, is at
    most alpha, if means over customers are about normal.
    """
    found: dict[str, tuple[float, str]] = {}
    for name, mine in means.items():
        for other, its in means.items():
            low = _surely_above(its - mine, 1.0 - alpha / max(n_rivals, 1)) if other != name else -np.inf
            if low > found.get(name, (0.0, ""))[0]:
                found[name] = (low, other)
    return {name: other for name, (_, other) in found.items()}


def _surely_above(gaps: FloatArray, confidence: float) -> float:
    """The lower end of the sequence of a mean difference (S,)."""
    if gaps.size < 2:
        return -np.inf
    return float(gaps.mean()) - t_reach(float(gaps.std(ddof=1)), gaps.size, confidence)
