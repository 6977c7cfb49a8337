"""The priced policy against the best caps, no price and the rules, over a long phase and many paired seeds.

All of them have learnt alike and are frozen; price and caps are both chosen on the same tuning seeds, and all
are judged on others, on the same customers with the same noise. Every run is kept by `play`, so that a proof
that was stopped goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from msgspec import structs

from experiments.longrun.cells import Cell, Ground, Played, difference, paired
from experiments.longrun.tune import Search, tune
from experiments.results import Interval
from nba.constraints import ContactPolicy
from nba.errors import InvalidConfig
from nba.fatigue import FatiguePrice

PlayOn: TypeAlias = Callable[[Ground, Sequence[Cell]], list[Played]]


class Proof(NamedTuple):
    """Differences per customer over the phase, of the priced policy above each other."""

    price: FatiguePrice
    cap: int | None  # contacts in the longest window of the best cap; None for the bank's own caps
    over_caps: Interval
    over_myopic: Interval
    over_rules: Interval
    opt_outs_over_caps: Interval

    def figures(self) -> dict[str, float]:
        """Under the keys of the benchmark."""
        return {
            "gain_over_caps": self.over_caps.mean,
            "gain_ci_low": min(one.low for one in (self.over_caps, self.over_myopic, self.over_rules)),
            "gain_over_myopic": self.over_myopic.mean,
            "gain_over_rules": self.over_rules.mean,
            "opt_out_difference": self.opt_outs_over_caps.mean,
            "opt_out_ci_high": self.opt_outs_over_caps.high,
        }


def proof(strategy: Ground, rules: Ground, search: Search, play: PlayOn) -> Proof:
    """Tune price and cap of a strategy on `search.seeds`, and judge on `search.fresh_seeds`."""
    price = tune(strategy, search, lambda cells: play(strategy, cells)).price
    caps = capped(strategy)
    tried = {cap: _played(play, ground, FatiguePrice(), search.seeds) for cap, ground in caps.items()}
    best = max(tried, key=lambda cap: float(np.mean([one.net.mean() for one in tried[cap]])))
    priced, myopic = (_played(play, strategy, one, search.fresh_seeds) for one in (price, FatiguePrice()))
    at_caps = _played(play, caps[best], FatiguePrice(), search.fresh_seeds)
    own = rules.snapshot.strategy.arbitration.fatigue_price
    return Proof(
        price,
        best,
        paired(priced, at_caps),
        paired(priced, myopic),
        paired(priced, _played(play, rules, own, search.fresh_seeds)),
        difference(priced, at_caps, "opt_outs", None),
    )


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


def _played(play: PlayOn, ground: Ground, price: FatiguePrice, seeds: Sequence[int]) -> list[Played]:
    return play(ground, [Cell(price, seed) for seed in seeds])
