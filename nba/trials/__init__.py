"""Controlled trials: who is in which arm, how many it takes, what the arms differ by, and when to stop.

Customers are assigned by a hash of their id (`Assignment`), so that anybody can recompute it. What each arm
brought is sums that merge (`ArmSums`); from them come the lift, sharpened by what was known before (CUPED),
and a confidence sequence that may be looked at every day. `plan` says beforehand what a trial can find.
"""

from __future__ import annotations

from nba.trials.assignment import Arm, Assignment, Launch, four_arm_launch
from nba.trials.lift import ArmSums, Lift, lift_of
from nba.trials.planning import Binary, Design, Money, Plan, Sample, pairs, plan
from nba.trials.ratio import SampleRatio, sample_ratio
from nba.trials.sequence import LiftSequence, lift_sequence
from nba.trials.uplift import Uplift, uplift_of

__all__ = [
    "Arm",
    "ArmSums",
    "Assignment",
    "Binary",
    "Design",
    "Launch",
    "Lift",
    "LiftSequence",
    "Money",
    "Plan",
    "Sample",
    "SampleRatio",
    "Uplift",
    "four_arm_launch",
    "lift_of",
    "lift_sequence",
    "pairs",
    "plan",
    "sample_ratio",
    "uplift_of",
]
