"""A policy, a rule, a world and a metric of one's own; `own_parts.toml` names them, `nba sweep` runs them.

nba sweep --config examples/own_parts.toml
"""

import numpy as np
from msgspec import structs

from nba.constraints.base import RuleBase
from nba.policies import PolicyBase
from nba.propensity import win_shares
from simulator.world import World, load_world


class Patient(PolicyBase, frozen=True, kw_only=True):
    """Contact only where the best utility is above a threshold."""

    threshold: float = 1.0  # account currency

    def base_distribution(self, ready, utilities, eligible):
        """(B, A) the best action where it is worth the threshold, silence elsewhere."""
        raised = utilities.copy()
        raised[:, :, 1:] -= self.threshold  # action 0 is silence, its utility 0
        return win_shares(raised, eligible)


class NoGames(RuleBase, frozen=True, kw_only=True, tag="no_games"):
    """No product is offered as a game."""

    def bound(self, known):
        """(1, C, 1, 1) all channels but the game."""
        allowed = np.array([channel.name != "game" for channel in known.catalogue.channels])
        return lambda contexts: allowed[None, :, None, None]


def harder() -> World:
    """The world `clickbait`, where contacts cost ten times as much."""
    config = load_world("clickbait").config
    channels = tuple(structs.replace(one, cost=10 * one.cost) for one in config.catalogue.channels)
    catalogue = structs.replace(config.catalogue, channels=channels)
    return World(structs.replace(config, name="harder", catalogue=catalogue))


def worst_tenth(run) -> float:
    """Net value of the tenth of customers that brought least."""
    return float(np.sort(run.net)[: max(1, run.net.size // 10)].mean())
