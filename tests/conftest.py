"""What all tests share: the environment of a run, set before NumPy is imported, and a local Ray."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from types import ModuleType

import pytest

os.environ.update(
    # Two cores, often several processes: BLAS threads would fight over them.
    OPENBLAS_NUM_THREADS="1",
    OMP_NUM_THREADS="1",
    MKL_NUM_THREADS="1",
    MPLBACKEND="Agg",
    RAY_USAGE_STATS_ENABLED="0",
    RAY_ENABLE_UV_RUN_RUNTIME_ENV="0",
    RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0",
    MLFLOW_DISABLE_TELEMETRY="true",
    MLFLOW_ALLOW_PICKLE_DESERIALIZATION="false",
)


pytest_plugins = ["ledger_fixtures"]


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file's tests stay in one process, and all that need a Ray in the same: two do not mix."""
    with_ray = {item.path for item in items if "ray_session" in getattr(item, "fixturenames", ())}
    for item in items:
        item.add_marker(pytest.mark.xdist_group("ray" if item.path in with_ray else item.path.name))
    # The longest group first: nobody waits for it at the end.
    items.sort(key=lambda item: item.path not in with_ray)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """No bytes or sets in a test's name: two processes must agree on it.

    A compressed file holds the time, and the order of a set is that of its process.
    """
    return argname if isinstance(val, bytes | set | frozenset) else None


@pytest.fixture(scope="session")
def ray_session() -> Iterator[ModuleType]:
    """The `ray` module, connected to a cluster of two CPUs on this machine."""
    # A token of our own in the environment: Ray would else write one into the home directory.
    os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(16))
    import ray

    # Short, because the path of a Unix socket may have no more than about 100 characters.
    directory = tempfile.mkdtemp(prefix="r", dir="/tmp")
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=150 * 1024**2,
        log_to_driver=False,
        _temp_dir=directory,
    )
    yield ray
    ray.shutdown()
    shutil.rmtree(directory, ignore_errors=True)
