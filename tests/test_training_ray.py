"""One policy trained in one process, on two workers and on a cluster of two nodes: the same bundle digest."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from training_fixtures import cut_finely, dated, in_town, on_table, place

from experiments.training.run import train_logged, train_simulated

pytestmark = [pytest.mark.ray, pytest.mark.slow]

TESTS = Path(__file__).resolve().parent
PATIENCE = 280.0  # seconds; the machine may be busy

# Two nodes of one CPU each; tasks that wait for each other's node show that both take part.
TWO_NODES = """
import json, sys, time
from pathlib import Path
import pytest, ray
from ray.cluster_utils import Cluster
from training_fixtures import cut_finely, in_town, on_table
from experiments.executor import RayExecutor
from experiments.training.run import Place, train_logged, train_simulated

def node(item, report):
    time.sleep(3.0)
    return ray.get_runtime_context().get_node_id()

head = {"num_cpus": 1, "include_dashboard": False, "temp_dir": sys.argv[1]}
memory = {"object_store_memory": 150 * 1024**2}
cluster = Cluster(initialize_head=True, head_node_args=head | memory)
try:
    cluster.add_node(num_cpus=1, **memory)
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False)
    used = len(set(RayExecutor().map(node, [1, 2, 3, 4])))
    cut_finely(pytest.MonkeyPatch())
    folder = Path(sys.argv[2])
    places = [Place(folder / name, 1, cluster.address) for name in ("world", "log")]
    asked = on_table(folder / "dated.csv", places[1].out)
    found = [train_simulated(in_town(), places[0]), train_logged(asked, places[1])]
    told = {"used": used, "workers": found[0].figures["workers"], "digests": [one.digest for one in found]}
    print(json.dumps(told))
finally:
    ray.shutdown()
    cluster.shutdown()
"""


def digests(folder: Path, log: Path, workers: int) -> list[str]:
    """Of both trainings, on so many workers."""
    world, table = place(folder / "world", workers), place(folder / "log", workers)
    return [
        train_simulated(in_town(), world).digest,
        train_logged(on_table(log, table.out), table).digest,
    ]


@pytest.fixture
def directory() -> Iterator[str]:
    """A short path: that of a Unix socket in it may have no more than about 100 characters."""
    made = tempfile.mkdtemp(prefix="r", dir="/tmp")
    yield made
    shutil.rmtree(made, ignore_errors=True)


def test_two_workers_change_no_byte(
    tmp_path: Path, ray_session: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_finely(monkeypatch)
    log = dated(tmp_path)
    assert digests(tmp_path / "one", log, 1) == digests(tmp_path / "two", log, 2)


def test_two_nodes_change_no_byte(tmp_path: Path, directory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    log = dated(tmp_path)
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16), "OPENBLAS_NUM_THREADS": "1"}
    known = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    path = os.pathsep.join([str(TESTS), str(TESTS.parent), known.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", TWO_NODES, directory, str(tmp_path)],
        cwd=TESTS.parent,
        env=known | token | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    (found,) = (json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))
    cut_finely(monkeypatch)
    assert found == {"used": 2, "workers": 2, "digests": digests(tmp_path / "alone", log, 1)}
