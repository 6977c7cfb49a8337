"""What a wrong half-life costs in one channel: prices tuned for 3, 7 and 15 days where 3, 7 and 15 are true.

Habituation 0.3 and 0.1, opt-out hazard 0.0005, as in methods C2, which found the same by simulation.
"""

from __future__ import annotations

from experiments.longrun.misspecified import HALF_LIVES, Shares, grid
from experiments.longrun.one_channel import FatigueProblem
from nba.arrays import FloatArray

HABITUATIONS = (0.3, 0.1)
_OPT_OUT = 0.0005
_LEVELS, _QUICK_LEVELS = 121, 41  # of either counter; 161 move no price's share by more than a point


def figures(offers: FloatArray, chances: FloatArray, quick: bool) -> dict[str, float]:
    """Shares of the optimum in each cell, and the least where the half-life is right, a step off and two."""
    found: dict[str, float] = {}
    for habituation in HABITUATIONS[: 1 if quick else None]:
        problem = FatigueProblem(HALF_LIVES[0], habituation, _OPT_OUT, offers, chances, saturates=False)
        cells = grid(problem, _QUICK_LEVELS if quick else _LEVELS)
        for name in Shares._fields:
            shares = {cell: float(getattr(one, name)) for cell, one in cells.items()}
            for (true, assumed), share in shares.items():
                found[f"half_life_{true:g}_assumed_{assumed:g}_{name}_{habituation}"] = share
            for steps, label in enumerate(("right", "next", "far")):
                least = min(share for cell, share in shares.items() if _steps(*cell) == steps)
                found[f"half_life_{label}_{name}_{habituation}_min"] = least
    return found


def _steps(true: float, assumed: float) -> int:
    return abs(HALF_LIVES.index(true) - HALF_LIVES.index(assumed))
