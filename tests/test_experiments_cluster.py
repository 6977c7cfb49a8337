"""Real clusters of their own, started by `nba simulate` and of two nodes: the digest stays the same."""

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
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
PATIENCE = 240.0  # seconds; the machine may be busy
SIZES = (
    "--world",
    "retail-bank",
    "--strategy",
    "thompson",
    "--customers",
    "5000",
    "--days",
    "8",
    "--seed",
    "3",
)

# Two nodes of one CPU each; two tasks that wait for each other's node show that both take part.
TWO_NODES = """
import json, sys, time
import ray
from ray.cluster_utils import Cluster
from experiments import rollout as rollouts
from experiments.executor import RayExecutor, SerialExecutor
from experiments.logs import digest
from experiments.spec import Phase, load_experiment
from nba.snapshot import Snapshot
from msgspec import structs
from simulator.world import World, load_world

def node(item, report):
    time.sleep(3.0)
    return ray.get_runtime_context().get_node_id()

head = {"num_cpus": 1, "include_dashboard": False, "temp_dir": sys.argv[1]}
memory = {"object_store_memory": 100 * 1024**2}
cluster = Cluster(initialize_head=True, head_node_args=head | memory)
try:
    cluster.add_node(num_cpus=1, **memory)
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False)
    nodes = sum(one["Alive"] for one in ray.nodes())
    used = len(set(RayExecutor().map(node, [1, 2, 3, 4])))
    phase = Phase(customers=120, days=12, seed=5, publish_every_days=4)
    bank = load_world("retail-bank").config
    # A block holds whole branches: small ones, so that there are several.
    world = World(structs.replace(bank, population=structs.replace(bank.population, branch_customers=25)))
    snapshot = Snapshot.start(load_experiment("demo").spec("thompson").strategy(world, 1))
    digests = []
    for where, size in ((SerialExecutor(), 2000), (RayExecutor(), 25)):
        rollouts.BLOCK_CUSTOMERS = size
        run = rollouts.rollout(world, snapshot, phase, where)
        digests.append(digest(run.decisions, run.outcomes))
    print(json.dumps({"nodes": nodes, "used": used, "digests": digests}))
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


def last_line(command: list[str], folder: Path) -> Any:
    """The JSON line that a process ends with."""
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16)}
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | token
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.ray
def test_the_command_gives_the_same_digest_with_one_and_two_workers(tmp_path: Path) -> None:
    found = [
        last_line(
            ["-m", "nba", "simulate", *SIZES, "--workers", workers, "--out", workers, "--json"], tmp_path
        )
        for workers in ("1", "2")
    ]
    assert found[0]["digest"] == found[1]["digest"]
    # 5000 customers are two blocks: two tasks at a time.
    assert {one["customer_days"] for one in found} == {5000 * 8}
    for name in ("decisions", "outcomes"):
        one, two = (sorted((tmp_path / workers / name).glob("*.parquet")) for workers in ("1", "2"))
        assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]


@pytest.mark.slow
@pytest.mark.ray
def test_two_nodes_change_nothing(tmp_path: Path, directory: str) -> None:
    found = last_line(["-c", TWO_NODES, directory], tmp_path)
    assert (found["nodes"], found["used"]) == (2, 2)
    assert len(set(found["digests"])) == 1
