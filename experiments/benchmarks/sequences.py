"""What it earns to learn follow-ups: another channel after silence, a person after interest shown online.

In the world "follow-up", whose best policy is computed exactly: shares of the optimal gain over never
contacting, discounted at 0.995 a day for ever, of a customer whom nobody has contacted yet. Learnt policies
come from a log of random contacts, on several seeds, and are valued by the programme and not by chance:

- `fitted_q_min`, `fitted_q_mean`: fitted Q iteration, which is told nothing but what a bank sees;
- `short_sighted_max`: the same trees without a future, and `myopic` the exact programme without one;
- `rule_...`: fixed rules. The right order after a wrong wait, one channel every day with calls on interest.

With --bank also the retail bank, where sequences are worth what its hand-off makes them: fitted Q iteration
that sees unanswered contacts and open interest above the same without, paired, with an interval over seeds.
"""

from __future__ import annotations

from experiments.benchmarks._harness import parser, report  # first: it pins the BLAS threads

# isort: split
from time import process_time

import numpy as np
from msgspec import structs

from experiments.longrun.challenger import learnt, with_follow_ups
from experiments.longrun.journeys import Journeys, Span, by, journeys
from experiments.longrun.proof import student
from experiments.longrun.sequence import MESSAGE, TEXT, Programme, Sequence, every_day, in_order
from experiments.spec import MOST_CUSTOMERS, StrategySpec, load_experiment
from nba.arrays import FloatArray, IntArray
from nba.longrun import Steps
from nba.posteriors import FittedAdvantages
from nba.snapshot import Snapshot
from simulator.config import only
from simulator.world import World, load_world

_CHANNELS, _TIMINGS = ("app_push", "sms", "call"), ("now", "evening")
_PRODUCTS = ("term-deposit", "credit-card", "card-instalment", "coupon")
RULES = {
    "text_next_day": in_order(1),
    "text_second_day": in_order(2),
    "text_third_day": in_order(3),
    "text_fourth_day": in_order(4),
    "push_every_day": every_day(MESSAGE),
    "text_every_day": every_day(TEXT),
    "text_third_day_and_no_calls": in_order(3, calls=False),
}


def known_answer(seeds: int, customers: int, days: int = 60) -> dict[str, float]:
    """Shares of the optimum in the world "follow-up"."""
    world = load_world("follow-up")
    programme = Programme.of(Sequence.of(world.config))
    best = programme.worth(programme.greedy())
    found = {name: programme.worth(programme.by_rule(rule)) / best for name, rule in RULES.items()}
    shares: dict[str, list[float]] = {"fitted-q": [], "short-sighted": []}
    begun = process_time()
    for seed in range(1, seeds + 1):
        steps = logged(world, Span(customers=customers, days=days, settle_days=0, seed=seed))
        for name, some in shares.items():
            some.append(programme.worth(policy_of(programme, world, taught(world, name, steps, seed))) / best)
    return {
        "fitted_q_min": min(shares["fitted-q"]),
        "fitted_q_mean": float(np.mean(shares["fitted-q"])),
        "short_sighted_max": max(shares["short-sighted"]),
        "myopic": programme.worth(programme.greedy(0.0)) / best,
        **{f"rule_{name}": share for name, share in found.items()},
        "optimum": best,
        "seeds": seeds,
        "decisions": customers * (days - 1),
        "seconds_per_seed": (process_time() - begun) / seeds,
    }


def logged(world: World, span: Span) -> Steps:
    """The journeys of the explorer."""
    return journeys(world, by(_start(world, "explorer", span.seed)), span).steps()


def taught(world: World, name: str, steps: Steps, seed: int) -> Snapshot:
    """A strategy of the experiment after journeys."""
    return learnt(_start(world, name, seed), steps)[0]


def policy_of(programme: Programme, world: World, snapshot: Snapshot) -> IntArray:
    """(n,) what a snapshot does in each state of the programme."""
    posterior, costs = snapshot.posterior, snapshot.strategy.catalogue.costs
    assert isinstance(posterior, FittedAdvantages)
    gains = posterior.gains(programme.features(world.config.schema)).mean(axis=0) - costs[1:]
    best: IntArray = np.concatenate([np.full((len(gains), 1), 0.0), gains], axis=1).argmax(axis=1)
    return best


def bank(seeds: int, customers: int) -> dict[str, float]:
    """What seeing follow-ups adds in a small retail bank, account currency per customer in 84 days."""
    plain = only(load_world("retail-bank").config, _CHANNELS, _TIMINGS, _PRODUCTS)
    worlds = {"blind": World(plain), "seeing": World(with_follow_ups(plain))}
    pairs = [_lives(worlds, customers, seed) for seed in range(1, seeds + 1)]
    figures: dict[str, float] = {}
    for one, other in (("seeing", "blind"), ("seeing", "silent"), ("blind", "silent")):
        over = student(np.array([(pair[one].net - pair[other].net).mean() for pair in pairs]))
        name = f"bank_{one}_above_{other}"
        figures |= {name: over.mean, f"{name}_low": over.low, f"{name}_high": over.high}
    for name in ("seeing", "blind"):
        figures[f"bank_{name}_contacts"] = _mean([pair[name].contacts for pair in pairs])
        figures[f"bank_{name}_opt_outs"] = _mean([pair[name].opt_outs for pair in pairs])
    return figures | {"bank_seeds": seeds, "bank_customers": customers}


def _lives(worlds: dict[str, World], customers: int, seed: int) -> dict[str, Journeys]:
    """Lives of the same customers under Q that sees follow-ups, under Q that does not, and in silence."""
    log = Span(customers=customers, seed=seed)
    judged = structs.replace(log, seed=seed + 1_000, first_customer=MOST_CUSTOMERS)
    found = {"silent": journeys(worlds["blind"], by(_start(worlds["blind"], "no-contact", seed)), judged)}
    for name, world in worlds.items():
        spec = load_experiment("long-run").spec("fitted-q")
        model = structs.replace(spec.model, growths=4, tolerance=0.02)
        start = _started(structs.replace(spec, model=model), world, seed)
        found[name] = journeys(world, by(learnt(start, logged(world, log))[0]), judged)
    return found


def _start(world: World, name: str, seed: int) -> Snapshot:
    return _started(load_experiment("follow-up").spec(name), world, seed)


def _started(spec: StrategySpec, world: World, seed: int) -> Snapshot:
    return Snapshot.start(spec.strategy(world, seed))


def _mean(parts: list[FloatArray]) -> float:
    return float(np.mean(parts))


def main() -> None:
    """Measure and report."""
    options = parser("sequences")
    options.add_argument("--bank", action="store_true", help="the retail bank too")
    options.add_argument("--bank-seeds", type=int, default=4, help="paired seeds there")
    options.add_argument("--bank-customers", type=int, default=2_000, help="of every run there")
    given = options.parse_args()
    figures = known_answer(1 if given.quick else 5, 2_000)
    if given.bank:
        size = (2, 200) if given.quick else (given.bank_seeds, given.bank_customers)
        figures |= bank(*size)
    report("sequences", given, figures)


if __name__ == "__main__":
    main()
