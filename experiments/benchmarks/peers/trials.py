"""One run of one method on one problem: what it follows from, and what it comes to."""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from time import process_time
from typing import NamedTuple

import numpy as np

from experiments.benchmarks.peers.methods import MABWISER, OURS, VOWPAL, Player, methods
from experiments.benchmarks.peers.problems import Problem, load
from experiments.benchmarks.peers.results import code_digest
from nba.randomness import Purpose, keyed_uniforms

_LAST_SHARE = 0.1
# What plays, and the loop in which everybody does: another one makes other results. Of ours only the modules
# that the field uses; how a uniform picks from a distribution is fixed by tests of its own.
_LOOP = "experiments.benchmarks.peers/trials.py"
_PLAYERS = {
    OURS: (
        "experiments.benchmarks.peers/ours.py",
        "nba/propensity.py",
        *(f"nba.policies/{name}.py" for name in ("base", "linucb", "thompson")),
        *(f"nba.posteriors/online{name}.py" for name in ("", "_design", "_linear", "_spread")),
        *(f"nba.posteriors/{name}.py" for name in ("base", "layout", "settings", "uncertainty")),
    ),
    VOWPAL: ("experiments.benchmarks.peers/vowpal.py",),
    MABWISER: ("experiments.benchmarks.peers/linear_mab.py",),
}


class Trial(NamedTuple):
    """One run of one method."""

    problem: str
    data: Path
    method: str
    setting: int
    seed: int
    rounds: int | None


class Score(NamedTuple):
    """What a run came to."""

    reward: float  # mean expected reward of the actions played
    last: float  # over the last tenth
    us_per_round: float  # CPU time of choosing and learning
    oracle: float  # what the best actions would have come to
    random: float  # what an even choice would have


def follows_from(trial: Trial) -> list[str]:
    """All that the result of a trial depends on."""
    (method,) = methods([trial.method])
    package = "numpy" if method.family == OURS else method.family
    problem = _problem_digest(trial.problem, trial.data, trial.seed, trial.rounds)
    return [
        f"{trial.problem} {trial.seed} {problem}",
        f"{trial.method} {method.settings[trial.setting]}",
        code_digest(_LOOP, *_PLAYERS[method.family]),
        f"{package} {version(package)}",
    ]


@cache
def _problem_digest(name: str, data: Path, seed: int, rounds: int | None) -> str:
    """Checksum of all that a problem shows and holds."""
    problem, running = load(name, data, seed, rounds), sha256()
    for part in (problem.features, problem.rewards, problem.expected):
        running.update(np.ascontiguousarray(part).data)
    running.update(str((problem.catalogue.shape, problem.features.shape)).encode())
    return running.hexdigest()[:16]


def run_trial(trial: Trial) -> Score:
    """Play one method on one problem; a pure function of the trial but for the clock."""
    (method,) = methods([trial.method])
    problem = load(trial.problem, trial.data, trial.seed, trial.rounds)
    player = method.player(problem, trial.setting, trial.seed)
    begun = process_time()
    chosen = play(problem, player, trial.seed)
    spent = process_time() - begun
    reward = problem.expected[np.arange(problem.n_rounds), chosen].astype(np.float64)
    last = reward[-max(int(_LAST_SHARE * reward.size), 1) :]
    return Score(
        reward=float(reward.mean()),
        last=float(last.mean()),
        us_per_round=1e6 * spent / problem.n_rounds,
        oracle=float(problem.expected.max(axis=1).mean()),
        random=float(problem.expected.mean()),
    )


def play(problem: Problem, player: Player, seed: int) -> list[int]:
    """The actions played, each learnt from before the next is chosen."""
    chosen = []
    for row, uniform in enumerate(
        keyed_uniforms(seed, Purpose.DECISION, np.arange(problem.n_rounds)).tolist()
    ):
        action = player.choose(row, uniform)
        player.learn(row, action, float(problem.rewards[row, action]))
        chosen.append(action)
    return chosen
