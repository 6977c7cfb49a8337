"""The names of the tests themselves: two processes must collect the same, or pytest-xdist gives up."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def collected(hash_seed: str) -> list[str]:
    words = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "tests"]
    environment = os.environ | {"PYTHONHASHSEED": hash_seed}
    root = Path(__file__).parents[1]
    done = subprocess.run(words, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2_000:] + done.stderr[-2_000:]
    return [line for line in done.stdout.splitlines() if "::" in line]


@pytest.mark.slow
def test_names_depend_on_neither_time_nor_hash_seed() -> None:
    one, other = collected("1"), collected("2")
    assert len(one) > 1_000
    assert [pair for pair in zip(one, other, strict=True) if pair[0] != pair[1]] == []
