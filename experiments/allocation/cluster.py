"""Shards of an allocation as Ray actors: each keeps its customers, prices go in and usage comes back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from experiments.executor import executor
from nba.allocation.problem import Problem
from nba.allocation.shards import Population, Shard, Units
from nba.errors import NBAError


@contextmanager
def population(problem: Problem, workers: int) -> Iterator[Population]:
    """All customers in this process for one worker, and on Ray for more; the plan is the same bit for bit."""
    if workers <= 1:
        yield Population.here(problem)
        return
    with executor(workers):
        actors = on_ray(problem, workers)
        try:
            yield asking(problem, actors)
        finally:
            import ray

            for actor in actors:
                ray.kill(actor)


def on_ray(problem: Problem, workers: int) -> list[Any]:
    """One actor for each shard on the Ray that is up."""
    import ray

    remote: Any = ray.remote(Shard)
    return [remote.remote(part) for part in problem.shards(workers)]


def asking(problem: Problem, actors: list[Any]) -> Population:
    """All customers, behind the actors that hold the shards of a problem."""
    import ray

    def ask(method: str, *arguments: Any) -> list[Any]:
        shared = [ray.put(argument) for argument in arguments]  # once, not once for each actor
        try:
            return list(ray.get([getattr(actor, method).remote(*shared) for actor in actors]))
        except ray.exceptions.RayTaskError as error:
            # Ray's text is the worker's traceback; ours says what to do.
            raise (error.cause if isinstance(error.cause, NBAError) else error) from None

    return Population(ask, problem.rows, Units.of(problem), problem.n_customers)
