"""The reward side beside conversions: stages of contacts with their money, and revenue given conversion."""

from __future__ import annotations

from nba.outcomes.beliefs import Aftermath, FrozenOutcomes, OutcomeBeliefs
from nba.outcomes.revenue import RevenueEvidence, RevenueModel, RevenuePosterior, SaleRows
from nba.outcomes.stages import STAGES, ContactRows, Stage, StageEvidence, StageModel, StagePosterior

__all__ = [
    "STAGES",
    "Aftermath",
    "ContactRows",
    "FrozenOutcomes",
    "OutcomeBeliefs",
    "RevenueEvidence",
    "RevenueModel",
    "RevenuePosterior",
    "SaleRows",
    "Stage",
    "StageEvidence",
    "StageModel",
    "StagePosterior",
]
