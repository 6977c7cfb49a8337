"""The retail bank under tight caps: joint channel x time x product x silence against one after another.

One belief is taught under the bank's own limits. Then three ways to decide with it meet the same fresh
customers with the same noise and under the same cap, once for each seed:

    in turn   the product that is worth most in the mean over its contacts, then its channel, then its
              time, and at last whether to contact at all
    joint     the best contact or silence, one choice
    waiting   the same, where a contact now competes with the moments to come (nba.longrun.plan)

Values are what the oracle expects of every decision made, account currency per customer: what customers then
happen to buy is far noisier and is told as net. Intervals are Student's t over paired seeds.
"""

from __future__ import annotations

from experiments.benchmarks._harness import run  # first: it pins the BLAS threads

# isort: split
import sys
from time import perf_counter

import numpy as np
from msgspec import structs
from scipy.stats import t

from experiments.rollout import rollout
from experiments.spec import MOST_CUSTOMERS, Phase, load_experiment
from nba.arrays import BoolArray, FloatArray, StrArray
from nba.catalogue import NO_ACTION
from nba.constraints import ContactLimit
from nba.context import ContextBatch
from nba.decision import DecisionBatch
from nba.longrun.waiting import Clock, Turn, Waiting
from nba.policies import Greedy
from nba.posteriors import Posterior
from nba.propensity import Floor
from nba.snapshot import Snapshot
from simulator.world import World, load_world

WAITING = Waiting(
    moments=3,
    every_days=4,
    kept=1.0 - 4.0 / 14.0,  # a slot, or a product, comes back after 14 days
    clocks=(
        Clock(attribute="days_to_key_day", per_day=-1.0, repeats_days=30.0),
        Clock(attribute="days_since_event"),
    ),
    turns=(Turn(attribute="timing_type", level="key_day", clock="days_to_key_day", otherwise="regular"),),
)
_CAPS = {"1_in_14": ContactLimit(contacts=1, days=14), "2_in_7": ContactLimit(contacts=2, days=7)}
_WAYS = ("in_turn", "joint", "waiting")


class InTurn(Snapshot, frozen=True, kw_only=True, eq=False, dict=True):
    """Product, channel and time one after another, and then contact or silence."""

    def decide(
        self,
        contexts: ContextBatch,
        decision_ids: StrArray,
        limit: int = 1,
        requested: BoolArray | None = None,
    ) -> DecisionBatch:
        """Decide for all contexts among what is left after each choice."""
        catalogue, left = self.strategy.catalogue, self.strategy.eligible(contexts, requested).mask
        worth = self.expected_values(contexts, left)
        for factor in (catalogue.product_of, catalogue.channel_of, catalogue.timing_of):
            left = left & (factor == _best_levels(worth, left, factor)[:, None])
        left[:, NO_ACTION] = True
        return super().decide(contexts, decision_ids, limit, left)


def _best_levels(worth: FloatArray, left: BoolArray, factor: np.ndarray) -> np.ndarray:
    """(B,) the level with the largest mean worth over the contacts left, 0 where there are none."""
    levels = (factor[:, None] == np.arange(factor.max() + 1)).astype(np.float64)
    counts, sums = left @ levels, np.where(left, worth, 0.0) @ levels
    means = np.full(sums.shape, -np.inf)
    best: np.ndarray = np.divide(sums, counts, out=means, where=counts > 0).argmax(axis=1)
    return best


def measure(quick: bool) -> dict[str, float]:
    """Net values by way and cap, and the gains from one way to the next."""
    world, seeds = load_world("retail-bank"), (2, 3) if quick else tuple(range(2, 8))
    train = Phase(customers=1_000, days=56, seed=1, publish_every_days=4)
    judged = Phase(customers=400, days=40, settle_days=20, seed=0)
    if quick:
        train, judged = (structs.replace(one, customers=200, days=12) for one in (train, judged))
    start = Snapshot.start(load_experiment("demo").spec("thompson").strategy(world, train.seed))
    belief = rollout(world, start, train, with_oracle=False).snapshot.posterior
    figures: dict[str, float] = {"customers": judged.customers, "days": judged.days, "seeds": len(seeds)}
    for name, cap in _CAPS.items():
        under = _capped(world, cap)
        both = np.array([[_judged(under, way, belief, judged, seed) for way in _WAYS] for seed in seeds])
        values, net = both[:, :, 0], both[:, :, 1]
        means = dict(zip(_WAYS, values.mean(axis=0).tolist(), strict=True))
        figures |= {f"value_{way}_{name}": mean for way, mean in means.items()}
        figures |= _gain(f"joint_over_in_turn_{name}", values[:, 1] - values[:, 0])
        figures |= _gain(f"waiting_over_joint_{name}", values[:, 2] - values[:, 1])
        figures |= _gain(f"waiting_over_in_turn_{name}", values[:, 2] - values[:, 0])
        figures |= _gain(f"net_waiting_over_joint_{name}", net[:, 2] - net[:, 1])
    return figures


def _capped(world: World, cap: ContactLimit) -> World:
    """The bank with a cap on all channels in place of its own; limits of single channels stay."""
    contact = world.config.contact
    own = tuple(limit for limit in contact.policy.limits if limit.channel is not None)
    policy = structs.replace(contact.policy, limits=(cap, *own))
    return World(structs.replace(world.config, contact=structs.replace(contact, policy=policy)))


def _judged(world: World, way: str, belief: Posterior, phase: Phase, seed: int) -> tuple[float, float]:
    """Expected and net account currency per customer of one way to decide, on fresh customers."""
    spec, begun = load_experiment("demo").spec("thompson"), perf_counter()
    strategy = structs.replace(
        spec.strategy(world, seed),
        policy=Greedy(),
        floor=Floor(),
        waiting=WAITING if way == "waiting" else None,
    )
    kind = InTurn if way == "in_turn" else Snapshot
    prices = np.zeros(strategy.resource_use.shape[1])
    snapshot = kind(strategy=strategy, posterior=belief, prices=prices, outcomes=strategy.outcomes())
    phase = structs.replace(phase, seed=seed)
    found = rollout(world, snapshot, phase, first_customer=MOST_CUSTOMERS, with_oracle=True).totals
    value, net, contacts = (float(part.mean()) for part in (found.expected_value, found.net, found.contacts))
    print(
        f"{way}, seed {seed}: {value:.3f}, net {net:.3f} of {contacts:.2f} contacts,",
        f"{perf_counter() - begun:.0f} s",
        file=sys.stderr,
    )
    return value, net


def _gain(name: str, differences: FloatArray) -> dict[str, float]:
    """Mean of paired differences with its 95 % interval."""
    n, mean = differences.size, float(differences.mean())
    half = float(t.ppf(0.975, n - 1) * differences.std(ddof=1) / np.sqrt(n))
    return {name: mean, f"{name}_ci_low": mean - half, f"{name}_ci_high": mean + half}


if __name__ == "__main__":
    run("timing", measure)
