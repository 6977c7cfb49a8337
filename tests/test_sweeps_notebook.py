"""Sweeps in a notebook: frames and figures hold the sweep's figures, and the example runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sweep_fixtures import HEAD, written

from experiments.sweeps.config import load_sweep
from experiments.sweeps.notebook import Results, load, run
from experiments.sweeps.tables import TABLES
from nba.errors import InvalidConfig

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("notebook")


@pytest.fixture(scope="module")
def results(folder: Path) -> Results:
    return run(written(folder, head=HEAD.replace("seeds = 3", "seeds = 2")), folder)


def test_frames_hold_the_figures_of_the_sweep(results: Results) -> None:
    figures = results.frame("figures").set_index(["strategy", "metric"])
    for line in results.compared.lines:
        found = figures.loc[(line.strategy, "contacts")]
        assert found["mean"] == line.figures["contacts"].mean
        assert found["difference_high"] == line.figures["contacts"].difference.high
    values = results.leaderboard("net_value")["clickbait"]
    assert values.is_monotonic_decreasing and values.idxmax() == results.compared.lines[0].strategy
    assert {name: results.frame(name).shape[0] > 0 for name in TABLES} == {
        name: name not in ("gates", "failures") for name in TABLES
    }


def test_figures_show_the_same_numbers(results: Results) -> None:
    assert results.charts("clickbait")[:3] == ["difference", "front", "learning"]
    axes = results.figure("learning", "clickbait").axes[0]
    curve = results.frame("learning").query("strategy == 'thompson'")["cumulative_net_value"]
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), curve)
    with pytest.raises(InvalidConfig, match="chart: must be one of difference, .*, got 'pie'"):
        results.figure("pie", "clickbait")
    with pytest.raises(InvalidConfig, match="world: must be one of clickbait, got 'mars'"):
        results.charts("mars")


def test_a_sweep_may_be_an_object_and_is_found_again(results: Results, folder: Path) -> None:
    steps: list[int] = []
    again = run(load_sweep(str(folder / "sweep.toml")), folder, on_customer_days=steps.append)
    assert str(again) == str(results) == str(load("small", folder)) and steps == []


@pytest.mark.slow
def test_the_example_runs(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "examples/sweep_notebook.py", "--out", str(tmp_path)],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1", "PATH": "", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "harder-difference.png").stat().st_size > 10_000 and "patient" in done.stdout
