"""What a wrong half-life costs: prices tuned for 3, 7 and 15 days where 3, 7 and 15 are true.

In one channel exactly: habituation 0.3 and 0.1, opt-out hazard 0.0005, as in methods C2, by simulation there.
In the small bank by simulation, for who asks for it: with 4,000 customers that takes an hour.
"""

from __future__ import annotations

from experiments.benchmarks.long_run.offline_peer import small_bank
from experiments.executor import executor
from experiments.longrun import misspecified_bank
from experiments.longrun.misspecified import HALF_LIVES, Shares, grid
from experiments.longrun.one_channel import FatigueProblem
from experiments.longrun.tune import Search
from experiments.results import Interval
from experiments.spec import Phase, load_experiment
from nba.arrays import FloatArray

HABITUATIONS = (0.3, 0.1)
_OPT_OUT = 0.0005
_LEVELS, _QUICK_LEVELS = 121, 41  # of either counter; 161 moved no share by a point in the three cells tried


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


def bank_figures(quick: bool, workers: int, customers: int) -> dict[str, float]:
    """The same in the small bank, by simulation: the demo's Thompson sampling, with a price tuned for it.

    Per cell, the gain of the priced policy above silence and above no price, account currency per customer.
    """
    customers, days = (100, 12) if quick else (customers, 84)
    train = Phase(customers=customers, days=days, seed=1, publish_every_days=4)
    judge = Phase(customers=customers, days=days, settle_days=0 if quick else 28, seed=0)
    search = Search(rounds=1 if quick else 3, seeds=(2,) if quick else (2, 3), fresh_seeds=(4,))
    spec = load_experiment("demo").spec("thompson")
    with executor(workers) as where:
        cells = misspecified_bank.grid(small_bank(), spec, train, judge, search, where)
    found: dict[str, float] = {}
    for (true, assumed), one in cells.items():
        name = f"bank_half_life_{true:g}_assumed_{assumed:g}"
        for label, gain in (("above_silence", one.priced), ("gain", one.gain)):
            found |= {f"{name}_{label}{end}": value for end, value in _ends(gain)}
    return found


def _ends(gain: Interval) -> tuple[tuple[str, float], ...]:
    return ("", gain.mean), ("_low", gain.low), ("_high", gain.high)


def _steps(true: float, assumed: float) -> int:
    return abs(HALF_LIVES.index(true) - HALF_LIVES.index(assumed))
