"""Our policies against Vowpal Wabbit and MABWiser: rewards after the same tuning, and speed, in one run.

Every method has the same budget: six settings, each on two tuning seeds of a stated number of rounds. The
best of each library then play seeds that nobody has seen, all with the same customers and the same luck.
`make bench-peers` installs the peers; without them their ratios are left out.

Every single run is kept (`--results`): a benchmark that was killed goes on where it stood when started again.
"""

from __future__ import annotations

from experiments.benchmarks._harness import parser, report  # first: it pins the BLAS threads

# isort: split
import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

from experiments.benchmarks.peers.bank import bank
from experiments.benchmarks.peers.methods import N_SETTINGS, missing_peers
from experiments.benchmarks.peers.parts import classification, digits, simulation
from experiments.benchmarks.peers.results import Runner, runner
from experiments.benchmarks.peers.speed import speed
from experiments.benchmarks.peers.tournament import Budget

_NAME = "policies"
_FRESH_SEEDS = 20
_DATA = Path("data/classification-bandits")
_RESULTS = Path("build/bench/policies")
_REWARDS = {"digits": digits, "simulation": simulation, "classification": classification}
PARTS = ("speed", *_REWARDS, "bank")  # speed first, while nothing else runs


def measure(options: Namespace) -> dict[str, float]:
    """All figures of the parts that were asked for."""
    for package in missing_peers():
        reason = f"{package} is not installed, so its ratios are left out; `make bench-peers` installs it"
        print(reason, file=sys.stderr)
    budget = _budget(options)
    figures: dict[str, float] = {
        "fresh_seeds": budget.fresh_seeds,
        "tuning_settings": budget.settings,
        "tuning_seeds": budget.tuning_seeds,
        "tuning_rounds": budget.tuning_rounds,
    }
    with runner(options.workers, options.results) as run:
        for part in options.parts:
            begun = perf_counter()
            figures |= _part(part, options, run, budget)
            figures[f"{part}_minutes"] = (perf_counter() - begun) / 60.0
    return figures


def _part(name: str, options: Namespace, run: Runner, budget: Budget) -> dict[str, float]:
    if name == "speed":
        return speed(options.quick)
    if name == "bank":
        return bank(run, budget.fresh_seeds, options.quick)
    return _REWARDS[name](run, budget, options.data)


def _budget(options: Namespace) -> Budget:
    if options.quick:
        fresh = options.seeds or 2
        return Budget(fresh_seeds=fresh, tuning_seeds=1, tuning_rounds=60, settings=2, rounds=100)
    return Budget(fresh_seeds=options.seeds or _FRESH_SEEDS, settings=N_SETTINGS)


def _parts(text: str) -> list[str]:
    names = [name for name in PARTS if name in text.split(",")]
    if unknown := set(text.split(",")) - set(PARTS):
        raise ValueError(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    return names


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what the command line asks for."""
    known = parser(_NAME)
    known.add_argument("--parts", type=_parts, default=list(PARTS), help=f"some of {','.join(PARTS)}")
    known.add_argument("--seeds", type=int, help=f"fresh seeds ({_FRESH_SEEDS}, or 2 with --quick)")
    known.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes")
    known.add_argument("--data", type=Path, default=_DATA, help=f"classification tables ({_DATA})")
    known.add_argument("--results", type=Path, default=_RESULTS, help=f"where runs are kept ({_RESULTS})")
    options = known.parse_args(arguments)
    report(_NAME, options, measure(options))


if __name__ == "__main__":
    main()
