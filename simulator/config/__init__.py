"""Configuration of a world: every number of a TOML file, checked when it is decoded."""

from __future__ import annotations

from simulator.config.contacts import (
    ComplaintConfig,
    ContactRules,
    OptOutConfig,
    PlatformLimit,
    ResponseConfig,
)
from simulator.config.names import MECHANISMS, OBSERVED
from simulator.config.people import (
    EVENTS,
    N_INTERESTS,
    N_RECEPTIVITY,
    N_WEALTH_TIERS,
    N_WEEK_CLASSES,
    SAME_FAMILY,
    STAGES,
    TIMING_TYPES,
    AmountsConfig,
    BehaviourConfig,
    CrossSell,
    EventKind,
    LifeCycleConfig,
    PopulationConfig,
    ReferralConfig,
    Transition,
)
from simulator.config.subset import only
from simulator.config.world import (
    HISTORY_DAYS,
    LAST_DAY,
    LONGEST_WAIT_DAYS,
    MechanismsConfig,
    WorldConfig,
)

__all__ = [
    "EVENTS",
    "HISTORY_DAYS",
    "LAST_DAY",
    "LONGEST_WAIT_DAYS",
    "MECHANISMS",
    "N_INTERESTS",
    "N_RECEPTIVITY",
    "N_WEALTH_TIERS",
    "N_WEEK_CLASSES",
    "OBSERVED",
    "SAME_FAMILY",
    "STAGES",
    "TIMING_TYPES",
    "AmountsConfig",
    "BehaviourConfig",
    "ComplaintConfig",
    "ContactRules",
    "CrossSell",
    "EventKind",
    "LifeCycleConfig",
    "MechanismsConfig",
    "OptOutConfig",
    "PlatformLimit",
    "PopulationConfig",
    "ReferralConfig",
    "ResponseConfig",
    "Transition",
    "WorldConfig",
    "only",
]
