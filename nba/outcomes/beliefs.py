"""What a snapshot believes of outcomes beside conversions: stages of contacts, and amounts of sales."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from msgspec import Struct, structs

from nba.arrays import AnyArray, FloatArray, join_rows
from nba.catalogue import Catalogue
from nba.features import FeatureSchema
from nba.outcomes.revenue import FrozenRevenue, RevenueEvidence, RevenueModel, RevenuePosterior, SaleRows
from nba.outcomes.stages import ContactRows, FrozenStage, StageModel, StagePosterior


class Aftermath(NamedTuple):
    """What came of contacts and conversions, as rows to learn from."""

    contacts: ContactRows
    sales: SaleRows

    @staticmethod
    def none(n_columns: int) -> Aftermath:
        """Nothing."""
        return Aftermath(ContactRows.none(n_columns), SaleRows.none(n_columns))

    @staticmethod
    def joined(parts: list[Aftermath]) -> Aftermath:
        """The rows of some in their order; there must be at least one."""
        return Aftermath(join_rows([one.contacts for one in parts]), join_rows([one.sales for one in parts]))


class FrozenOutcomes(NamedTuple):
    """Stages and amounts at the mean of their parameters."""

    stages: tuple[FrozenStage, ...] = ()
    revenue: FrozenRevenue | None = None

    def worth(self, features: FloatArray) -> FloatArray | None:
        """(B, K) to (B, C): account currency that events of a contact bring, by channel; None without stages.

        The sum over stages of probability x money (methods B6). There is no such event without contact, so
        that this is uplift against no-contact.
        """
        if not self.stages:
            return None
        total = np.zeros((features.shape[0], self.stages[0].money.size))
        for one in self.stages:
            total += one.probabilities(features) * one.money
        return total

    def ratios(self, features: FloatArray) -> FloatArray | None:
        """(B, K) to (B, P): expected amount given conversion, in multiples of the margin, or None."""
        return None if self.revenue is None else self.revenue.ratios(features)


class OutcomeBeliefs(Struct, frozen=True, kw_only=True, eq=False):
    """Posteriors of the stages and of amounts; without any of them nothing is learnt and nothing changes."""

    stages: tuple[StagePosterior, ...] = ()
    revenue: RevenuePosterior | None = None

    @staticmethod
    def prior(
        stages: tuple[StageModel, ...],
        revenue: RevenueModel | None,
        catalogue: Catalogue,
        schema: FeatureSchema,
    ) -> OutcomeBeliefs:
        """Beliefs before any contact; an unknown channel is an UnknownAction."""
        return OutcomeBeliefs(
            stages=tuple(model.prior(catalogue, schema) for model in stages),
            revenue=None if revenue is None else revenue.prior(catalogue, schema),
        )

    def __bool__(self) -> bool:
        """Whether there is anything to learn."""
        return bool(self.stages) or self.revenue is not None

    def frozen(self) -> FrozenOutcomes:
        """What a snapshot publishes."""
        revenue = None if self.revenue is None else self.revenue.frozen()
        return FrozenOutcomes(tuple(one.frozen() for one in self.stages), revenue)

    def learn(self, aftermath: Aftermath) -> OutcomeBeliefs:
        """Beliefs after many rows at once: stages at the mode they lead to. Raises NotConverged."""
        contacts, sales, revenue = *aftermath, self.revenue
        return OutcomeBeliefs(
            stages=tuple(one.laplace(contacts) for one in self.stages),
            revenue=revenue and revenue.absorb(revenue.evidence(sales)),
        )

    def fold(self, aftermath: Aftermath) -> OutcomeBeliefs:
        """Beliefs after rows in their order; the bits do not depend on cuts."""
        contacts, sales, revenue = *aftermath, self.revenue
        return OutcomeBeliefs(
            stages=tuple(one.fold(contacts) for one in self.stages), revenue=revenue and revenue.fold(sales)
        )

    def decayed(self, elapsed_days: float) -> OutcomeBeliefs:
        """Forget towards the priors, each with its own half-life."""
        return OutcomeBeliefs(
            stages=tuple(one.decayed(elapsed_days) for one in self.stages),
            revenue=self.revenue and self.revenue.decayed(elapsed_days),
        )

    def state(self) -> dict[str, AnyArray]:
        """The arrays that learning changed, by names that begin with "outcomes."."""
        arrays: dict[str, AnyArray] = {}
        for one in self.stages:
            arrays[f"outcomes.{one.model.stage}.precision"] = one.precision
            arrays[f"outcomes.{one.model.stage}.shift"] = one.shift
        if self.revenue is not None:
            sums = self.revenue.state._asdict()
            arrays |= {f"outcomes.revenue.{name}": part for name, part in sums.items()}
        return arrays

    def restored(self, state: Mapping[str, AnyArray]) -> OutcomeBeliefs:
        """The inverse of `state`, onto beliefs of the same models; a KeyError or ValueError if unfit."""
        for name, like in self.state().items():
            if state[name].shape != like.shape or state[name].dtype != like.dtype:
                found, wanted = state[name], f"{like.dtype} {like.shape}"
                raise ValueError(f"{name} is {found.dtype} {found.shape}, expected {wanted}")
        stages = tuple(
            structs.replace(one, **{part: state[f"outcomes.{one.model.stage}.{part}"] for part in _PARTS})
            for one in self.stages
        )
        if self.revenue is None:
            return OutcomeBeliefs(stages=stages)
        sums = RevenueEvidence(*(state[f"outcomes.revenue.{name}"] for name in RevenueEvidence._fields))
        return OutcomeBeliefs(stages=stages, revenue=structs.replace(self.revenue, state=sums))


_PARTS = ("precision", "shift")
