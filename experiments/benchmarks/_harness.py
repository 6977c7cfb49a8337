"""What every benchmark shares: its options, repeated timing, and one JSON line at the end."""

from __future__ import annotations

import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before NumPy is imported: two threads make small kernels slower

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import msgspec


def run(name: str, measure: Callable[[bool], dict[str, float]]) -> None:
    """Measure and report: `measure` hears whether to be quick."""
    options = parser(name).parse_args()
    report(name, options, measure(options.quick))


def parser(name: str) -> argparse.ArgumentParser:
    """The options that all benchmarks have."""
    options = argparse.ArgumentParser(prog=f"python -m experiments.benchmarks.{name}")
    options.add_argument("--json", action="store_true", help="print only the JSON line")
    options.add_argument("--quick", action="store_true", help="fewer repetitions")
    return options


def report(name: str, options: argparse.Namespace, figures: dict[str, float]) -> None:
    """Write build/bench/NAME.json and print."""
    line = msgspec.json.encode({"benchmark": name, "quick": options.quick, **figures}).decode()
    folder = Path("build/bench")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(line + "\n")
    if not options.json:
        for key, value in figures.items():
            print(f"{key:40s} {value:.6g}")
    print(line)


def cpu_seconds(function: Callable[[], object], repeats: int) -> float:
    """The smallest CPU time of one call: other processes can only add to it."""
    function()
    best = float("inf")
    for _ in range(repeats):
        begun = time.process_time()
        function()
        best = min(best, time.process_time() - begun)
    return best
