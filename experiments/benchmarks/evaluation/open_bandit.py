"""Open Bandit Pipeline 0.5.7 and we on the same arrays: DR's value with a 95 % interval, and the value alone.

It runs in an environment of its own (`make bench-peers`), on older libraries than ours. Both sides have the
same arrays and take turns, each in a process; only the estimator's own CPU seconds count, the least of the
turns. Its interval is a bootstrap, whose resamples cost in proportion: we ask for 1,000 (methods E3), a tenth
of its default. Ours is the streaming pass with all checks of the log, the support report, and Cressie-Read.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from typing import NamedTuple

import msgspec
import numpy as np

from experiments.benchmarks.evaluation.problems import Problem
from nba.arrays import FloatArray
from nba.ope.estimators import DoublyRobust
from nba.ope.evaluate import Evaluation, Settings
from nba.ope.logged import LoggedRounds
from nba.ope.selection import moments_of

PYTHON = Path(".venv-obp/bin/python")
N_RESAMPLES = 1_000
_TURNS, _TIMES = 2, 3
_SETTINGS = Settings(estimators=(DoublyRobust(),))


class Ratios(NamedTuple):
    """How many times as long as we Open Bandit Pipeline takes."""

    interval: float  # for value and 95 % interval
    value: float  # for its value alone, against all that our pass does
    value_alone: float  # for its value alone, against our value and standard error, without checks


class Timed(msgspec.Struct, frozen=True):
    """One side's answer."""

    value: float
    ends: tuple[float, float]
    value_seconds: float
    seconds: float


def is_here() -> bool:
    """Whether `make bench-peers` has made its environment."""
    return PYTHON.exists()


def ratios(problem: Problem, n_rounds: int) -> Ratios:
    """Both sides on one log; ArithmeticError if they disagree on the value."""
    rounds, target, contexts = problem.log(n_rounds, np.random.default_rng(2))
    predicted = problem.rates[contexts]
    arrays = {
        "rewards": rounds.rewards,
        "actions": rounds.actions,
        "propensities": rounds.propensities,
        "target": target,
        "predicted": predicted,
    }
    with TemporaryDirectory() as folder:
        for name, array in arrays.items():
            np.save(Path(folder) / f"{name}.npy", array)
        ours, alone, theirs = [], [], []
        for _ in range(_TURNS):
            begun = process_time()
            told = Evaluation.of(_SETTINGS, rounds, target, {"rewards": predicted}).report().estimates[0]
            ours.append(process_time() - begun)
            alone += [_alone(rounds, target, predicted, told.value) for _ in range(_TIMES)]
            theirs.append(_their_turn(Path(folder)))
    if abs(theirs[0].value - told.value) > 1e-9:
        raise ArithmeticError(f"DR is {told.value!r} here and {theirs[0].value!r} by Open Bandit Pipeline")
    seconds, valued = (min(one.seconds for one in theirs), min(one.value_seconds for one in theirs))
    return Ratios(seconds / min(ours), valued / min(ours), valued / min(alone))


def _alone(rounds: LoggedRounds, target: FloatArray, predicted: FloatArray, value: float) -> float:
    """CPU seconds of DR's value and standard error on the five arrays that the other side has."""
    begun = process_time()
    found = moments_of(DoublyRobust(), rounds._replace(logging=None), target, predicted)
    told = found.estimate(self_normalised=False)
    spent = process_time() - begun
    if abs(told.value - value) > 1e-9:
        raise ArithmeticError(f"DR is {told.value!r} alone and {value!r} in the pass")
    return spent


def _their_turn(folder: Path) -> Timed:
    script = Path(__file__).with_name("open_bandit_side.py")
    ended = subprocess.run(
        [PYTHON, script, folder, str(N_RESAMPLES)],
        capture_output=True,
        check=False,
        text=True,
        env={**os.environ, "PYTHONPATH": ""},
    )
    if ended.returncode:
        raise RuntimeError(f"Open Bandit Pipeline failed; make bench-peers makes it anew:\n{ended.stderr}")
    return msgspec.json.decode(ended.stdout.splitlines()[-1], type=Timed)
