"""One run of one method on one problem: what it follows from, and what it comes to."""

from __future__ import annotations

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
# What a run of anybody follows from, beside the code of who plays.
_PROBLEMS = (
    "experiments.benchmarks.peers/problems.py",
    "experiments.benchmarks.peers/trials.py",
    *(f"experiments.tables/{name}.py" for name in ("bandit", "columns", "read")),
    *(f"nba/{name}.py" for name in ("features", "propensity", "randomness")),
)
_PLAYERS = {
    OURS: ("experiments.benchmarks.peers/ours.py", "nba.policies", "nba.posteriors"),
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
    """All that the result of a trial depends on; where the folder of its table lies is not among it."""
    (method,) = methods([trial.method])
    told = (*trial._replace(data=Path(), setting=0), method.settings[trial.setting])
    return [*map(str, told), *_players(method.family)]


def _players(family: str) -> tuple[str, str, str]:
    """Checksums of the problems and of the code of a family, and the version of what plays."""
    package = "numpy" if family == OURS else family
    return code_digest(*_PROBLEMS), code_digest(*_PLAYERS[family]), f"{package} {version(package)}"


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
