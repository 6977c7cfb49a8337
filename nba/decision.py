"""A decision: the ranked actions, and the exact probability with which each was chosen."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from nba.arrays import BoolArray, FloatArray, IntArray


class RankedAction(Struct, frozen=True, kw_only=True):
    """One entry of the ranked list.

    `propensity` is the probability that this action was chosen for this rank, given the eligible
    actions and the ranks above it; at rank 1 that is the propensity of the decision.
    `expected_value` is the mean utility in account currency: value of the expected reward, minus
    cost, shadow prices, fatigue price and what it displaces of later contacts.
    """

    action_id: str
    channel: str | None
    timing: str | None
    product: str | None
    rank: int
    propensity: float
    expected_value: float


class Terms(Struct, frozen=True, kw_only=True):
    """How the expected value of an action comes about; amounts are account currency per decision.

    conversion = score x value x lever_factor x context_factor, and

        expected_value = conversion + cost + sum of stages + shadow_price + fatigue_price + waiting
            + rounding

    exactly (what costs is below 0). `score` is the mean of what the model expects of the contact in
    conversions, `value` what one brings, and `stages` probability x money of what else comes of a contact,
    such as opt-outs. Decisions are served in 32 bits: `rounding` is what that adds to the 64 bits here.
    """

    score: float
    value: float
    lever_factor: float
    context_factor: float
    conversion: float
    cost: float
    stages: dict[str, float]
    shadow_price: float
    fatigue_price: float
    rounding: float
    expected_value: float
    waiting: float = 0.0  # below 0: what a contact now displaces of better moments to come


class Decision(Struct, frozen=True, kw_only=True):
    """One decision as it is logged.

    `opens_at` is when the contact is made, which may be days after the decision (`at` itself without a
    contact): limits count it and its attribution window begins there. `features` are what learning from
    it needs, `removed` counts actions by the first rule against them. `best` is the eligible action of the
    highest expected value and `forgone` what its value is above that of the action at rank 1: money spent to
    learn, 0 where the decision explored nothing. Both are None in logs of an older nba.
    """

    decision_id: str
    customer_id: str
    at: datetime
    opens_at: datetime
    policy: str
    policy_version: int
    posterior_seq: int
    price_version: int = 0  # of the budgets' prices, which move while a posterior serves
    actions: tuple[RankedAction, ...]
    no_contact_propensity: float
    n_eligible: int
    eligible_digest: str
    distribution_digest: str
    features: tuple[float, ...]
    removed: dict[str, int]
    terms: tuple[Terms, ...] = ()  # of `actions`, in their order
    best: str | None = None
    forgone: float | None = None  # account currency, >= 0


class DecisionBatch(NamedTuple):
    """Decisions as columns; L is the length of the ranked list, unused ranks hold action -1."""

    actions: IntArray  # (B,) the executed action, rank 1
    propensities: FloatArray  # (B,)
    ranked: IntArray  # (B, L)
    ranked_propensities: FloatArray  # (B, L)
    distribution: FloatArray  # (B, A) action distribution of rank 1
    expected_values: FloatArray  # (B, A) mean utilities, -inf where not eligible
    eligible: BoolArray  # (B, A)
    removed_by: NDArray[np.int8]  # (B, A) index of the first rule that removed the action, -1 if none
