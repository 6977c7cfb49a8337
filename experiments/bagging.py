"""The members of a bagged posterior fitted as independent tasks, on Ray or one after the other."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from experiments.executor import Executor, RayExecutor, Report
from nba.posteriors.bagged import BaggedRegressors
from nba.posteriors.members import Member

_Held: TypeAlias = Callable[[], BaggedRegressors]


def fit_members(posterior: BaggedRegressors, run: Executor) -> BaggedRegressors:
    """The posterior with its ensemble fitted by tasks: the members, bit for bit, that it would fit itself."""
    if "ensemble" in posterior.__dict__:
        return posterior
    held = _held(posterior, run)
    members = run.map(_fitted, [(held, number) for number in range(posterior.model.n_members)])
    return posterior.primed(ensemble=posterior.ensemble_of(tuple(members)))


def _fitted(item: tuple[_Held, int], report: Report) -> Member:
    held, number = item
    member = held().member(number)
    report(1)
    return member


def _held(posterior: BaggedRegressors, run: Executor) -> _Held:
    """What gives a task the posterior: on Ray its rows are put into the object store once, not per member."""
    if not isinstance(run, RayExecutor):
        return lambda: posterior
    import ray

    return partial(ray.get, ray.put(posterior))
