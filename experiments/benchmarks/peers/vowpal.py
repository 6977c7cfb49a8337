"""Vowpal Wabbit as a player: contextual bandit with action-dependent features, through its Python package.

A round is parsed once from text; the label is set on the parsed example of the action played, which gives
the same predictions as parsing again with the label, at half the time. Costs are -1 and 0, the encoding
that its authors found best (estimators.md 3.7).
"""

from __future__ import annotations

from importlib import import_module
from itertools import combinations

import numpy as np

from experiments.benchmarks.peers.problems import Problem
from nba.arrays import FloatArray
from nba.catalogue import Catalogue
from nba.propensity import choose

PACKAGE = "vowpalwabbit"
_FACTORS = {"c": "channel", "t": "timing", "p": "product"}


class VowpalPlayer:
    """One of Vowpal Wabbit's exploration algorithms; `options` name it and its settings."""

    def __init__(self, problem: Problem, options: str, seed: int) -> None:
        given = f"{arguments(problem.catalogue)} {options} --random_seed {seed} --quiet"
        self._workspace = import_module(PACKAGE).Workspace(given)
        self._features, self._actions = problem.features, "\n".join(action_lines(problem.catalogue))

    def choose(self, row: int, uniform: float) -> int:
        """An action in round `row`, drawn from the distribution that Vowpal Wabbit states."""
        self._examples = self._workspace.parse(f"{shared_line(self._features[row])}\n{self._actions}")
        scores = np.array([self._workspace.predict(self._examples)])
        distribution = scores / scores.sum()  # RegCB gives 1 to each of equals
        action = int(choose(distribution, np.array([uniform]))[0])
        self._probability = float(distribution[0, action])
        return action

    def learn(self, row: int, action: int, reward: float) -> None:
        """Learn from the round that was chosen for last."""
        self._examples[1 + action].set_label_string(f"0:{-reward:g}:{self._probability:.8g}")
        self._workspace.learn(self._examples)
        self._workspace.finish_example(self._examples)


def arguments(catalogue: Catalogue) -> str:
    """Options of the problem: every pair of factors and of customer and factor, as our features have them.

    Where actions are mere labels the customer alone says nothing: without its linear terms, which our
    regressions do not have either, every algorithm learns far better (digits: SquareCB 0.760 and 0.856 at
    the same setting). Where they share factors it made no difference on the tuning seeds.
    """
    factors = _varying(catalogue)
    pairs = " ".join(f"-q {one}{other}" for one, other in combinations(("u", *factors), 2))
    linear = "" if len(factors) > 1 else " --ignore_linear u"
    return f"--cb_explore_adf {pairs}{linear}"


def shared_line(features: FloatArray) -> str:
    """The line of a customer (K,); Vowpal Wabbit has an intercept of its own."""
    told = " ".join(f"{column}:{features[column]:.6g}" for column in 1 + np.flatnonzero(features[1:]))
    return f"shared |u {told}"


def action_lines(catalogue: Catalogue) -> list[str]:
    """The line of each action: its factors, those that have more than one level."""
    spaces = _varying(catalogue)
    levels = {space: getattr(catalogue, f"{_FACTORS[space]}_of")[1:] for space in spaces}
    return [
        " ".join(f"|{space} {space}{levels[space][action]}" for space in spaces)
        for action in range(catalogue.n_actions - 1)
    ]


def _varying(catalogue: Catalogue) -> list[str]:
    return [space for space, size in zip(_FACTORS, catalogue.shape, strict=True) if size > 1]
