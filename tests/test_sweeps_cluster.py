"""The same sweep in one process, on two workers, on two nodes of which one is killed, and after SIGKILL."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sweep_fixtures import HEAD, STRATEGIES, plan_in, swept_in

from experiments.sweeps.run import Swept

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 280.0  # seconds; the machine may be busy
MODULE = '''
from nba.policies import PolicyBase
from nba.propensity import win_shares


class Best(PolicyBase, frozen=True):
    """The best by the mean; told by this module alone, which no worker can import."""

    def base_distribution(self, ready, utilities, eligible):
        return win_shares(utilities, eligible)
'''
OWN = '[[strategies]]\nname = "own"\nmodel = { type = "factored" }\npolicy = { type = "far_away.Best" }\n'

# Two nodes of one CPU each; the second is taken away when the first cell of the sweep is finished.
TWO_NODES = """
import json, sys, time
from pathlib import Path
import ray
from ray.cluster_utils import Cluster
from experiments.executor import RayExecutor
from experiments.sweeps.plan import load_plan
from experiments.sweeps.run import Heard, run_sweep

def node(item, report):
    time.sleep(3.0)
    return ray.get_runtime_context().get_node_id()

head = {"num_cpus": 1, "include_dashboard": False, "temp_dir": sys.argv[1]}
memory = {"object_store_memory": 100 * 1024**2}
for attempt in range(3):  # a busy machine can miss the time that Ray grants itself to start
    try:
        cluster = Cluster(initialize_head=True, head_node_args=head | memory)
        break
    except Exception:
        if attempt == 2:
            raise
try:
    second = cluster.add_node(num_cpus=1, **memory)
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False)
    used = len(set(RayExecutor().map(node, [1, 2, 3, 4])))
    killed = []

    def on_cell(row, result, was_kept):
        if not killed:
            cluster.remove_node(second, allow_graceful=False)
            killed.append(not second.any_processes_alive())

    heard = Heard(on_cell, lambda steps: None)
    swept = run_sweep(load_plan(sys.argv[2]), Path(sys.argv[3]), RayExecutor(), heard)
    found = {"used": used, "killed": killed, "digest": swept.digest, "run": swept.cells_run}
    print(json.dumps(found | {"failed": len(swept.failures)}))
finally:
    ray.shutdown()
    cluster.shutdown()
"""


@pytest.fixture
def directory() -> Iterator[str]:
    """A short path: that of a Unix socket in it may have no more than about 100 characters."""
    made = tempfile.mkdtemp(prefix="r", dir="/tmp")
    yield made
    shutil.rmtree(made, ignore_errors=True)


def environment() -> dict[str, str]:
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16), "OPENBLAS_NUM_THREADS": "1"}
    return {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | token


COMMAND = "import sys, typer; from experiments.sweeps.commands import sweep; typer.run(sweep)"


def started(folder: Path, out: Path, *words: str) -> subprocess.Popen[str]:
    """`nba sweep` as a process of its own."""
    given = ["--config", str(folder / "sweep.toml"), "--out", str(out), "--json", *words]
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *given],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def told(process: subprocess.Popen[str]) -> Any:
    stdout, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, stderr
    return json.loads(stdout.splitlines()[-1])


def run_alone(folder: Path) -> Swept:
    """The sweep in this process, with a policy from a module beside its file."""
    (folder / "far_away.py").write_text(MODULE)
    found = swept_in(folder / "alone", plan_in(folder, strategies=STRATEGIES + OWN))
    assert not found.failures
    return found


@pytest.mark.ray
def test_two_workers_find_what_one_process_finds(tmp_path: Path) -> None:
    alone = run_alone(tmp_path)
    workers = told(started(tmp_path, tmp_path / "two", "--workers", "2", "--no-track"))
    assert (workers["digest"], workers["run"]) == (alone.digest, 12)


@pytest.mark.ray
def test_a_node_that_is_killed_changes_nothing(tmp_path: Path, directory: str) -> None:
    alone = run_alone(tmp_path)
    words = [directory, str(tmp_path / "sweep.toml"), str(tmp_path / "nodes")]
    done = subprocess.run(
        [sys.executable, "-c", TWO_NODES, *words],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    # Ray tells of the dead node on stdout too.
    (nodes,) = (json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))
    assert nodes == {"used": 2, "killed": [True], "digest": alone.digest, "run": 12, "failed": 0}


def test_a_killed_sweep_resumes_with_no_cell_run_twice_and_no_run_logged_twice(tmp_path: Path) -> None:
    plan_in(tmp_path, head=HEAD.replace("seeds = 3", "seeds = 8"))
    out, store = tmp_path / "out", str(tmp_path / "store")
    process = started(tmp_path, out, "--workers", "1", "--store", store)
    until = time.monotonic() + PATIENCE
    while len(list((out / "cells").glob("*.npz"))) < 5:
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    kept = {path.name: path.stat().st_mtime_ns for path in (out / "cells").glob("*.npz")}
    resumed = told(started(tmp_path, out, "--workers", "1", "--store", store))
    assert 5 <= len(kept) < 24 and (resumed["kept"], resumed["run"]) == (len(kept), 24 - len(kept))
    assert all((out / "cells" / name).stat().st_mtime_ns == then for name, then in kept.items())
    assert resumed["runs_added"] == 4
    again = told(started(tmp_path, out, "--workers", "1", "--store", store))
    assert (again["run"], again["runs_added"], again["digest"]) == (0, 0, resumed["digest"])
