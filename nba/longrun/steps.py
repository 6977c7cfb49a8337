"""Journeys as steps: each decision with what came of it, and the state at the next one."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nba.arrays import BoolArray, FloatArray, IntArray, check_shape
from nba.ope.logged import fault_of, refuse


class Steps(NamedTuple):
    """Decisions of journeys; each tells what came of it until the customer's next one.

    The last decision of a journey that was cut off has no next one, and is left out; `ends` marks those after
    which no decision could reach the customer any more.
    """

    journeys: IntArray  # (n,) number of the customer's journey
    features: FloatArray  # (n, K)
    actions: IntArray  # (n,)
    propensities: FloatArray  # (n,)
    rewards: FloatArray  # (n,) net value until the next decision, account currency
    days: FloatArray  # (n,) until the next decision
    eligible: BoolArray  # (n, A)
    next_features: FloatArray  # (n, K)
    next_eligible: BoolArray  # (n, A)
    ends: BoolArray  # (n,)

    def checked(self) -> Steps:
        """The same steps; BadLog where they cannot be."""
        n, rows = self.actions.size, np.arange(self.actions.size)
        for name in ("journeys", "propensities", "rewards", "days", "ends"):
            check_shape(getattr(self, name), (n,), name)
        for name in ("eligible", "next_eligible"):
            check_shape(getattr(self, name), (n, self.eligible.shape[1]), name)
        p = self.propensities
        rules = (
            ("propensities", "must lie in (0, 1]", ~((p > 0.0) & (p <= 1.0))),
            ("rewards", "must be finite", ~np.isfinite(self.rewards)),
            ("days", "must be above 0", ~(self.days > 0.0)),
            ("actions", "must be eligible", ~self.eligible[rows, self.actions]),
            (
                "eligible",
                "must hold no-contact: its worth is what contacts are compared with",
                ~self.eligible[:, 0],
            ),
            (
                "next_eligible",
                "must hold no-contact, or the journey ends",
                ~(self.next_eligible[:, 0] | self.ends),
            ),
        )
        refuse([fault for rule in rules for fault in fault_of(*rule)])
        return self
