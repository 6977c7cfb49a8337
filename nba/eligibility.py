"""What rules leave of the actions, and which of them removed the rest."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nba.arrays import BoolArray
from nba.catalogue import NO_ACTION


class Eligibility(NamedTuple):
    """What is left after all rules, and which rule removed the rest."""

    mask: BoolArray  # (B, A), no-contact always
    removed_by: NDArray[np.int8]  # (B, A) index into `Strategy.rule_names`, -1 where nothing removed it

    @staticmethod
    def of_anybody(allowed: BoolArray, silence: bool, n_rules: int) -> Eligibility:
        """(1, A) from (A,) allowed where nothing is asked of the customer.

        Then only the catalogue removes, the first of the n_rules, and without silence the last of them.
        """
        mask = allowed[None].copy()
        mask[:, NO_ACTION] = silence or not allowed[NO_ACTION + 1 :].any()
        removed_by = np.where(mask, -1, 0).astype(np.int8)
        removed_by[~mask[:, NO_ACTION], NO_ACTION] = n_rules - 1
        return Eligibility(mask, removed_by)

    def repeated(self, n: int) -> Eligibility:
        """(n, A) the same for n contexts, from that of one; arrays of their own."""
        return Eligibility(self.mask.repeat(n, axis=0), self.removed_by.repeat(n, axis=0))
