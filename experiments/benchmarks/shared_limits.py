"""The retail bank under shared limits: allocation by prices against channel-by-channel greedy.

One belief is taught without limits; then every strategy of the spec shared-limits decides with it about the
same fresh customers, with the same noise and under the same limits of a day and branch. Greedy goes channel
by channel, cheap first and dear first; the gain is over the better of the two, chosen when both are known.
Customers of a branch share limits, so that the intervals are over branches (Student's t), not customers.
"""

from __future__ import annotations

from experiments.benchmarks._harness import run  # first: it pins the BLAS threads

# isort: split
import sys
from time import perf_counter

import numpy as np
from msgspec import structs

from experiments.logs import DecisionLog
from experiments.rollout import Rollout, block_customers, rollout
from experiments.spec import CONTROL, MOST_CUSTOMERS, Experiment, Phase, load_experiment
from nba.arrays import FloatArray
from nba.posteriors import Posterior
from nba.snapshot import Snapshot
from nba.strategy import Strategy
from simulator.world import World, load_world

_TAUGHT, _PRICED, _WANTED, _GREEDY = "thompson", "priced", "unlimited", ("cheap-first", "dear-first")


def measure(quick: bool) -> dict[str, float]:
    """Net values per customer, the gain of prices with its interval, and how scarce things were."""
    world, plan = load_world("retail-bank"), load_experiment("shared-limits")
    if quick:
        shorter = Phase(customers=400, days=8, seed=11, publish_every_days=4)
        judged = Phase(customers=4_000, days=8, settle_days=4, seed=12)
        plan = structs.replace(plan, train=shorter, evaluate=judged)
    begun = Snapshot.start(plan.spec(_TAUGHT).strategy(world, plan.train.seed))
    belief = rollout(world, begun, plan.train, with_oracle=False).snapshot.posterior
    runs = {name: _judged(world, plan, name, belief) for name in (_PRICED, *_GREEDY, _WANTED, CONTROL)}
    best = max(_GREEDY, key=lambda name: float(runs[name].totals.net.mean()))
    limits = plan.spec(_PRICED).strategy(world, 0)
    figures: dict[str, float] = {"customers": plan.evaluate.customers, "days": plan.evaluate.days}
    figures |= {f"net_{name}".replace("-", "_"): float(one.totals.net.mean()) for name, one in runs.items()}
    branches = {name: _by_branch(world, one.totals.net) for name, one in runs.items()}
    figures |= _gain("gain", branches[_PRICED] - branches[best])
    figures["greedy_is_cheap_first"] = float(best == _GREEDY[0])
    for name in _GREEDY:
        figures |= _gain(f"gain_over_{name}".replace("-", "_"), branches[_PRICED] - branches[name])
    greedy_gain = float((branches[best] - branches[CONTROL]).mean())
    figures["gain_over_greedy"] = figures["gain"]
    figures["gain_share_of_greedy"] = figures["gain"] / greedy_gain if greedy_gain else np.nan
    for name in (_WANTED, _PRICED, best):
        figures |= _usage(name, world, limits, runs[name].decisions, plan.evaluate)
    return figures


def _judged(world: World, plan: Experiment, name: str, belief: Posterior) -> Rollout:
    """A strategy with a belief that is not its own, on the fresh customers."""
    snapshot, begun = Snapshot.start(plan.spec(name).strategy(world, plan.evaluate.seed)), perf_counter()
    if name != CONTROL:
        snapshot = snapshot.at(belief, 0)
    found = rollout(world, snapshot, plan.evaluate, first_customer=MOST_CUSTOMERS, with_oracle=False)
    print(f"{name}: {found.totals.net.mean():.4f} in {perf_counter() - begun:.0f} s", file=sys.stderr)
    return found


def _by_branch(world: World, net: FloatArray) -> FloatArray:
    """(branches,) mean net value of a customer; what is left of a last branch is left out."""
    size = block_customers(world)
    means: FloatArray = net[: net.size // size * size].reshape(-1, size).mean(axis=1)
    return means


def _gain(name: str, differences: FloatArray) -> dict[str, float]:
    """Mean of the differences of branches with its 95 % interval, account currency per customer."""
    from scipy.stats import t

    n, mean = differences.size, float(differences.mean())
    half = float(t.ppf(0.975, n - 1) * differences.std(ddof=1) / np.sqrt(n)) if n > 1 else np.inf
    return {name: mean, f"{name}_ci_low": mean - half, f"{name}_ci_high": mean + half}


def _usage(name: str, world: World, strategy: Strategy, log: DecisionLog, phase: Phase) -> dict[str, float]:
    """For each limit its mean usage over what there is, and the largest of any branch and day."""
    shared, size = strategy.shared, block_customers(world)
    if shared is None or strategy.allocation is None:
        return {}
    shared = shared.of(size / strategy.allocation.customers)
    branch = (log.customer - MOST_CUSTOMERS) // size
    cell = branch * phase.days + log.day
    uses, n_cells = shared.uses[log.action], (-(-phase.customers // size)) * phase.days
    used = np.stack([np.bincount(cell, column, minlength=n_cells) for column in uses.T], axis=1)
    shares = used / shared.rows.limits
    figures: dict[str, float] = {}
    for entry, column in zip(shared.entries, shares.T, strict=True):
        place = f"{name}/{entry.name}"
        figures |= {f"used/{place}": float(column.mean()), f"most_used/{place}": float(column.max())}
    return figures


if __name__ == "__main__":
    run("shared_limits", measure)
