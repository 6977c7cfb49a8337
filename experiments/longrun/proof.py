"""The priced policy against caps, no price and the rules, over a long phase and many paired seeds.

All of them have learnt alike and are frozen. The price is tuned on seeds of its own; caps are not chosen
before: every cap that the tuning seeds do not rule out is played on the seeds that judge, and the price has
to beat the one that does best there. Future value is in every net value: a channel that was closed is charged
at what the world says it would still have brought, and the phase should go on for as many days again on
which nobody is contacted (`Phase.settle_days`), so that delayed conversions and the purchases of customers
who became less active or left count too. Every run is kept by `play`; a proof that was stopped goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf, sqrt
from typing import NamedTuple, TypeAlias

import numpy as np
from msgspec import structs

from experiments.longrun.cells import Cell, Ground, Played, paired
from experiments.longrun.tune import Search, searched
from experiments.results import Interval
from nba.arrays import FloatArray
from nba.constraints import ContactPolicy
from nba.errors import InvalidConfig
from nba.fatigue import FatiguePrice

PlayOn: TypeAlias = Callable[[Ground, Sequence[Cell]], list[Played]]


class School(NamedTuple):
    """A strategy and the rules, after learning on the same occasion."""

    strategy: Ground
    rules: Ground


class Against(NamedTuple):
    """The priced policy above another, per customer, with seeds as the independent units."""

    net: Interval  # account currency
    opt_outs: Interval  # closed channels


class Proof(NamedTuple):
    """The priced policy above each other."""

    price: FatiguePrice
    caps: dict[int | None, Against]  # by contacts in the longest window; None for the bank's own
    myopic: Against
    rules: Against

    @property
    def cap(self) -> int | None:
        """The best of the caps, in hindsight."""
        return min(self.caps, key=lambda cap: self.caps[cap].net.mean)

    def figures(self) -> dict[str, float]:
        """Under the keys of the benchmark."""
        at_cap = self.caps[self.cap]
        others = (*self.caps.values(), self.myopic, self.rules)
        return {
            "gain_over_caps": at_cap.net.mean,
            "gain_ci_low": min(one.net.low for one in others),
            "gain_over_myopic": self.myopic.net.mean,
            "gain_over_rules": self.rules.net.mean,
            "opt_out_difference": at_cap.opt_outs.mean,
            "opt_out_ci_high": max(one.opt_outs.high for one in others),
        }


def proof(schools: Sequence[School], search: Search, play: PlayOn) -> Proof:
    """Tune the price on `search.seeds` and judge it on `search.fresh_seeds`; seeds take schools in turn."""
    strategies = [school.strategy for school in schools]
    price, _ = searched(strategies[0], search, lambda cells: in_turn(strategies, cells, play))
    return judged(schools, price, contenders(strategies, search.seeds, play), search.fresh_seeds, play)


def judged(
    schools: Sequence[School],
    price: FatiguePrice,
    caps: Sequence[int | None],
    seeds: Sequence[int],
    play: PlayOn,
) -> Proof:
    """A price against caps, no price and the rules at a price of their own."""
    strategies, rules = [one.strategy for one in schools], [one.rules for one in schools]
    own = rules[0].snapshot.strategy.arbitration.fatigue_price

    def played(grounds: Sequence[Ground], one: FatiguePrice) -> list[Played]:
        return in_turn(grounds, [Cell(one, seed) for seed in seeds], play)

    priced, myopic = (played(strategies, one) for one in (price, FatiguePrice()))
    at_caps = {cap: played([capped(one)[cap] for one in strategies], FatiguePrice()) for cap in caps}
    found = {cap: against(priced, one) for cap, one in at_caps.items()}
    return Proof(price, found, against(priced, myopic), against(priced, played(rules, own)))


def contenders(strategies: Sequence[Ground], seeds: Sequence[int], play: PlayOn) -> list[int | None]:
    """The caps that are not told from the best of them on some seeds, customers as independent units."""
    cells = [Cell(FatiguePrice(), seed) for seed in seeds]
    tried = {
        cap: in_turn([capped(one)[cap] for one in strategies], cells, play) for cap in capped(strategies[0])
    }
    best = max(tried.values(), key=lambda played: float(np.mean([one.net.mean() for one in played])))
    return [cap for cap, played in tried.items() if played is best or paired(best, played).low <= 0.0]


def in_turn(grounds: Sequence[Ground], cells: Sequence[Cell], play: PlayOn) -> list[Played]:
    """Play cells, each on the ground whose turn its seed is; in their order."""
    turns = [cell.seed % len(grounds) for cell in cells]
    found: dict[int, Played] = {}
    for turn in sorted(set(turns)):
        rows = [row for row, own in enumerate(turns) if own == turn]
        found |= dict(zip(rows, play(grounds[turn], [cells[row] for row in rows]), strict=True))
    return [found[row] for row in range(len(cells))]


def against(one: Sequence[Played], other: Sequence[Played]) -> Against:
    """Differences per customer, with a 95 % interval of Student over the seeds.

    Customers of a seed share its market, so it is seeds that are independent.
    """
    return Against(_over_seeds(one, other, "net"), _over_seeds(one, other, "opt_outs"))


def _over_seeds(one: Sequence[Played], other: Sequence[Played], column: str) -> Interval:
    pairs = zip(one, other, strict=True)
    return student(np.array([(getattr(mine, column) - getattr(its, column)).mean() for mine, its in pairs]))


def student(values: FloatArray) -> Interval:
    """The mean of independent values (n,) with its 95 % interval of Student; without end for one value."""
    from scipy.stats import t

    n, mean = values.size, float(values.mean())
    half = float(t.ppf(0.975, n - 1)) * float(values.std(ddof=1)) / sqrt(n) if n > 1 else inf
    return Interval(mean=mean, low=mean - half, high=mean + half)


def capped(ground: Ground) -> dict[int | None, Ground]:
    """The strategy under the bank's own caps, and under every tighter one of its longest window."""
    strategy = ground.snapshot.strategy
    policy = strategy.contact_policy
    common = [limit for limit in policy.limits if limit.channel is None]
    if not common:
        rule = "has no limit over all channels: there is no cap to tighten"
        raise InvalidConfig(f"world {ground.world.config.name}", "contact.policy.limits", rule)
    longest = max(common, key=lambda limit: limit.days)

    def under(cap: int) -> Ground:
        limits = tuple(
            structs.replace(limit, contacts=cap) if limit is longest else limit for limit in policy.limits
        )
        tighter = ContactPolicy(limits=limits, product_rest_days=policy.product_rest_days)
        changed = structs.replace(strategy, contact_policy=tighter)
        return ground._replace(snapshot=structs.replace(ground.snapshot, strategy=changed))

    return {None: ground} | {cap: under(cap) for cap in range(longest.contacts - 1, 0, -1)}
