"""Posteriors that have to be fitted, fitted before they are shipped: members as tasks, on Ray or in turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from experiments.executor import Executor, Report, SerialExecutor, held
from nba.posteriors import Posterior
from nba.posteriors.bagged import BaggedRegressors
from nba.posteriors.members import Member
from nba.posteriors.neural import NeuralLinear

_Held: TypeAlias = Callable[[], BaggedRegressors]


def fitted(posterior: Posterior, run: Executor) -> Posterior:
    """The posterior, holding what has to be fitted to its rows; others are as they are."""
    if isinstance(posterior, BaggedRegressors):
        return fit_members(posterior, run)
    if isinstance(posterior, NeuralLinear):
        posterior.network  # noqa: B018 - computed here, it travels with the posterior
    return posterior


def fit_members(posterior: BaggedRegressors, run: Executor) -> BaggedRegressors:
    """The posterior with its ensemble fitted by tasks: the members, bit for bit, that it would fit itself."""
    if "ensemble" in posterior.__dict__:
        return posterior
    if posterior.rows.shape[0] == 0:
        run = SerialExecutor()  # there is nothing to fit
    shared = held(posterior, run)
    members = run.map(_fitted, [(shared, number) for number in range(posterior.model.n_members)])
    return posterior.primed(ensemble=posterior.ensemble_of(tuple(members)))


def _fitted(item: tuple[_Held, int], report: Report) -> Member:
    shared, number = item
    member = shared().member(number)
    report(1)
    return member
