"""Off-policy evaluation: what a target policy would have earned, told from another policy's log.

A log is read in partitions. Each becomes `Terms`, what every round adds to an estimate, and from them
`Moments`, sums that merge; values, standard errors and intervals are computed once, at the end. The front
door is `Evaluation`: it checks a log, sums it, and reports support, estimates and intervals, or refuses.
`Comparison` tells two targets apart on one log. Journeys and ranked lists are `Paths`, long horizons
`Transitions`; `pooled` joins logs of several policies, and `nba.ope.audit` audits estimators (PAS-IF).
"""

from __future__ import annotations

from nba.ope.bootstrap import Replicates, percentile
from nba.ope.compare import Compared, Comparison, Match
from nba.ope.estimators import (
    MRDR,
    USUAL,
    AdaptiveBlending,
    DirectMethod,
    DoublyRobust,
    Estimator,
    EstimatorLike,
    InversePropensity,
)
from nba.ope.evaluate import Evaluation, Report, Settings, Told
from nba.ope.fitted_q import (
    FittedQ,
    FittedQEvaluation,
    OccupancySums,
    QDiverged,
    Transitions,
    double_reinforcement,
    occupancy_ratios,
)
from nba.ope.groups import GroupedDoublyRobust, MarginalInversePropensity, channel_family_groups
from nba.ope.intervals import Interval, cressie_read, empirical_bernstein, normal
from nba.ope.logged import BadLog, LoggedRounds, pooled
from nba.ope.paths import Paths, StepSums, per_decision, per_step, sequential_doubly_robust
from nba.ope.reward_models import Logistic, RewardModel, Ridge, cross_fitted, mrdr_weights
from nba.ope.selection import moments_of, select, shrunk, slope
from nba.ope.sequences import ConfidenceSequence, asymptotic_reach, betting_sequence, t_reach
from nba.ope.support import Floors, Support
from nba.ope.terms import Estimate, Moments, Range, Terms, difference
from nba.ope.weighting import Clipped, OptimisticShrinkage, Plain, SubGaussian, Switched, Weighting

__all__ = [
    "MRDR",
    "USUAL",
    "AdaptiveBlending",
    "BadLog",
    "Clipped",
    "Compared",
    "Comparison",
    "ConfidenceSequence",
    "DirectMethod",
    "DoublyRobust",
    "Estimate",
    "Estimator",
    "EstimatorLike",
    "Evaluation",
    "FittedQ",
    "FittedQEvaluation",
    "Floors",
    "GroupedDoublyRobust",
    "Interval",
    "InversePropensity",
    "LoggedRounds",
    "Logistic",
    "MarginalInversePropensity",
    "Match",
    "Moments",
    "OccupancySums",
    "OptimisticShrinkage",
    "Paths",
    "Plain",
    "QDiverged",
    "Range",
    "Replicates",
    "Report",
    "RewardModel",
    "Ridge",
    "Settings",
    "StepSums",
    "SubGaussian",
    "Support",
    "Switched",
    "Terms",
    "Told",
    "Transitions",
    "Weighting",
    "asymptotic_reach",
    "betting_sequence",
    "channel_family_groups",
    "cressie_read",
    "cross_fitted",
    "difference",
    "double_reinforcement",
    "empirical_bernstein",
    "moments_of",
    "mrdr_weights",
    "normal",
    "occupancy_ratios",
    "per_decision",
    "per_step",
    "percentile",
    "pooled",
    "select",
    "sequential_doubly_robust",
    "shrunk",
    "slope",
    "t_reach",
]
