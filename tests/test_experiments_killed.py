"""`nba simulate` as a process: killed while it writes, and never larger than a part."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from dataset_fixtures import bytes_of

pytestmark = pytest.mark.slow

PATIENCE_SECONDS = 300.0


def started(out: Path, customers: int, days: int) -> subprocess.Popen[str]:
    words = ["simulate", "--strategy", "rules", "--publish-every-days", "0", "--json", "--out", str(out)]
    sizes = ["--customers", str(customers), "--days", str(days)]
    return subprocess.Popen(
        [sys.executable, "-m", "nba", *words, *sizes],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )


def summary(process: subprocess.Popen[str]) -> dict[str, Any]:
    stdout, stderr = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, stderr
    found: dict[str, Any] = json.loads(stdout)
    return found


def test_a_killed_process_leaves_whole_parts_and_the_next_one_goes_on(tmp_path: Path) -> None:
    process = started(tmp_path / "killed", 12_000, 12)
    until = time.monotonic() + PATIENCE_SECONDS
    while not (tmp_path / "killed" / "parts" / "part-00000.json").exists():
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = bytes_of(tmp_path / "killed")
    assert "manifest.json" not in before and "decisions/part-00000.parquet" in before
    resumed, whole = (summary(started(tmp_path / name, 12_000, 12)) for name in ("killed", "whole"))
    assert resumed["digest"] == whole["digest"] and whole["parts"] > 2
    after = bytes_of(tmp_path / "killed")
    assert after == bytes_of(tmp_path / "whole")
    kept = [name for name in before if not Path(name).name.startswith(".")]
    assert all(after[name] == before[name] for name in kept)


def test_memory_does_not_grow_with_the_number_of_customers(tmp_path: Path) -> None:
    """A second part needs some more than the first, because an allocator keeps what it had; then no more."""
    small, large = (
        summary(started(tmp_path / str(customers), customers, 8)) for customers in (12_000, 36_000)
    )
    assert large["customer_days"] == 3 * small["customer_days"]
    assert large["peak_mb"] < 1.1 * small["peak_mb"]
