"""What a sweep costs and keeps: speed-up by workers, the share of tracking, and resumption after SIGKILL.

- `cells`, `rerun_after_kill`, `duplicate_runs`: the shipped sweep of 8 strategies x 3 worlds x 10 seeds is
  killed with a third of its cells done and started again: cells that ran twice, and MLflow runs there twice.
- `tracking_overhead`: seconds of logging it to an MLflow store that is there, once the cells are done (MLflow
  is imported beside them, in a thread), in parts of the seconds that they took; `tracking_overhead_bank` of
  as many cells of the retail bank.
- `speedup_2`: wall seconds of eight cells of the retail bank in this process, over those on two Ray workers
  that are up and have run a cell each; Ray's own start is `ray_start_seconds`. A worker takes the next cell
  when it has finished one, and all use one BLAS thread. `cell_seconds` and `cell_cpu_seconds`: a cell alone.
- What takes from it: `cpu_share_1` and `cpu_share_2` are CPU seconds in parts of the wall seconds of tasks,
  1 on a quiet machine and less where other work waits for the same cores; `cpu_inflation_2` is the CPU of a
  cell beside another one over that alone (caches and memory are shared); `busy_2` is the share of their time
  in which workers had a task, the rest is overhead. `speedup_2_by_cpu`, 2 x busy / inflation, leaves other
  work out.
- `aa_promotions`, `power`: shares of 200 trials of the gates (40 when quick), as `promotion` tells in full.
"""

from __future__ import annotations

from experiments.benchmarks._harness import run  # first: it pins the BLAS threads

# isort: split
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import NamedTuple

import msgspec

from experiments.executor import Finishing, Report, SerialExecutor, executor, silent
from experiments.promotion.proof import proof
from experiments.store import open_store
from experiments.sweeps.cells import Cell, run_cell
from experiments.sweeps.config import load_sweep
from experiments.sweeps.plan import Plan, Row, load_plan, plan_of
from experiments.sweeps.record import DIGEST
from experiments.sweeps.shelved import kept_sweep
from experiments.training.timed import Spent, TimedExecutor

SWEEP = "known-worlds"
_COMMAND = "import typer; from experiments.sweeps.commands import sweep; typer.run(sweep)"
_BANK = "thompson floor.epsilon=0.02"


def measure(quick: bool) -> dict[str, float]:
    """All figures; when quick one world, three seeds, and cells of a fraction of a second."""
    with TemporaryDirectory() as name:
        figures = resumed(Path(name), quick) | speedup(quick)
    bank_seconds = figures["cells"] * figures["cell_seconds"]
    figures |= {"tracking_overhead_bank": figures["tracking_seconds"] / bank_seconds}
    promoted = proof(40 if quick else 200)
    return figures | {"aa_promotions": promoted.aa_promotions, "power": promoted.power}


def resumed(folder: Path, quick: bool) -> dict[str, float]:
    """Kill the sweep's process in the middle, start it again, and count what was done twice."""
    out, total = folder / "killed", sum(map(len, plan_of_size(quick).digests.values()))
    config = folder / "sweep.toml"
    config.write_text(text_of_size(quick))
    client = open_store(folder / "store", create=True)
    process = started(config, out, folder / "store")
    while len(list((out / "cells").glob("*.npz"))) < total // 3 and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = {path.name: path.stat().st_mtime_ns for path in (out / "cells").glob("*.npz")}
    summary = msgspec.json.decode(started(config, out, folder / "store").communicate()[0].splitlines()[-1])
    again = [name for name, then in before.items() if (out / "cells" / name).stat().st_mtime_ns != then]
    runs = [run for known in kept_sweep(out, summary["id"]).runs.values() for run in known.values()]
    seconds = sum(float(run.seconds.sum()) for run in runs)
    experiments = [one.experiment_id for one in client.search_experiments()]
    digests = [run.data.tags.get(DIGEST) for run in client.search_runs(experiments)]
    return {
        "cells": summary["cells"],
        "kept_after_kill": len(before),
        "rerun_after_kill": len(again) + summary["kept"] - len(before),
        "sweep_seconds": seconds,
        "tracking_seconds": summary["tracking_seconds"],
        "tracking_overhead": summary["tracking_seconds"] / seconds,
        "runs": len(digests),
        "duplicate_runs": len(digests) - len(set(digests)),
    }


def started(config: Path, out: Path, store: Path) -> subprocess.Popen[str]:
    """`nba sweep` as a process of its own."""
    words = ["--config", str(config), "--out", str(out), "--store", str(store), "--workers", "1", "--json"]
    command = [sys.executable, "-c", _COMMAND, *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def speedup(quick: bool) -> dict[str, float]:
    """Eight cells in turn, and on two workers."""
    cells, begun = bank_cells(quick), perf_counter()
    with executor(2) as ray:
        started_in = perf_counter() - begun
        if set(ray.map(blas_threads, range(2))) | {blas_threads(0, silent)} != {"1"}:
            raise RuntimeError("a process has more than one BLAS thread: set OPENBLAS_NUM_THREADS=1")
        timed(cells[:2], ray)
        together = timed(cells, ray)
    timed(cells[:1], SerialExecutor())
    alone = timed(cells, SerialExecutor())
    inflation, busy = together.spent.cpu / alone.spent.cpu, together.spent.wall / (2.0 * together.wall)
    return {
        "speedup_2": alone.wall / together.wall,
        "speedup_2_by_cpu": 2.0 * busy / inflation,
        "cell_seconds": alone.wall / len(cells),
        "cell_cpu_seconds": alone.spent.cpu / len(cells),
        "ray_start_seconds": started_in,
        "cpu_share_1": alone.spent.cpu / alone.spent.wall,
        "cpu_share_2": together.spent.cpu / together.spent.wall,
        "cpu_inflation_2": inflation,
        "busy_2": busy,
    }


class Timing(NamedTuple):
    """Wall seconds from the first cell to the last, and the seconds of all tasks."""

    wall: float
    spent: Spent


def timed(cells: list[Cell], where: Finishing) -> Timing:
    """Run all and wait."""
    run, begun = TimedExecutor(where), perf_counter()
    results = run.map(run_cell, cells)
    if any(result.failure for result in results):
        raise RuntimeError(results[0].failure)
    return Timing(perf_counter() - begun, run.spent)


def blas_threads(number: int, report: Report) -> str:
    """A task: how many threads its process was told to use."""
    return os.environ.get("OPENBLAS_NUM_THREADS", "all")


def bank_cells(quick: bool) -> list[Cell]:
    """One strategy in the retail bank under eight seeds."""
    sweep = load_sweep(SWEEP)
    size = {"customers": 30 if quick else 400}
    train, evaluate = (msgspec.structs.replace(one, **size) for one in (sweep.train, sweep.evaluate))
    bank = msgspec.structs.replace(sweep, worlds=("retail-bank",), train=train, evaluate=evaluate)
    plan = plan_of(bank, SWEEP)
    return [plan.cell(Row(_BANK, "retail-bank"), (seed,)) for seed in range(1, 9)]


def text_of_size(quick: bool) -> str:
    """The shipped file, or a smaller one."""
    text = (Path(__file__).parent.parent / "specs" / "sweeps" / f"{SWEEP}.toml").read_text(encoding="utf-8")
    if quick:
        text = text.replace('"clickbait", "fatigue-toy", "clv-recency"', '"clickbait"')
        text = text.replace("seeds = 10 ", "seeds = 2 ").replace("customers = 200", "customers = 20")
        text = text.replace("customers = 300", "customers = 20")
    return text


def plan_of_size(quick: bool) -> Plan:
    """Its plan."""
    with TemporaryDirectory() as name:
        path = Path(name) / f"{SWEEP}.toml"
        path.write_text(text_of_size(quick), encoding="utf-8")
        return load_plan(str(path))


if __name__ == "__main__":
    run("sweep", measure)
