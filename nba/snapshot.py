"""A snapshot: a strategy with its posterior at one point of the log, ready to decide and to learn."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct, structs

from nba.ahead import Coming, Known, PlannedContacts, known
from nba.arbitration import Money, Tariff
from nba.arrays import BoolArray, FloatArray, IntArray, KeyArray, StrArray
from nba.catalogue import NO_ACTION
from nba.constraints.turns import in_turns
from nba.context import Context, ContextBatch
from nba.decision import Decision, DecisionBatch
from nba.explain import Explanation
from nba.feedback import RoundBatch
from nba.learning import learnt_batch
from nba.outcomes import Aftermath, FrozenOutcomes, OutcomeBeliefs
from nba.policies import Ready
from nba.posteriors import Posterior
from nba.propensity import draw
from nba.randomness import Purpose, decision_keys, draw_generator, keyed_uniforms
from nba.recording import Origin, Recording
from nba.strategy import Strategy
from nba.terms import Reckoning

_CHUNK = 64  # contexts at a time: keeps what is made of them inside the cache


class Frozen(NamedTuple):
    """What a snapshot fixes at publication: what the policy needs, and means for values and money."""

    ready: Ready
    mean_draw: Any
    outcomes: FrozenOutcomes


class Belief(NamedTuple):
    """What a snapshot thinks of some contexts."""

    distribution: FloatArray  # (B, A)
    expected_values: FloatArray  # (B, A) mean utilities, -inf where not eligible


class Snapshot(Struct, frozen=True, kw_only=True, eq=False, dict=True):
    """A pure function from (context, decision id) to a decision with its exact propensity.

    `version` counts published policies, `posterior_seq` is the position in the log up to which the
    posterior has learnt; together with the strategy's seed it fixes the draws.
    """

    strategy: Strategy
    posterior: Posterior
    prices: FloatArray  # (J,) shadow prices of `Strategy.resource_use`, account currency per unit
    version: int = 0
    posterior_seq: int = 0
    outcomes: OutcomeBeliefs = OutcomeBeliefs()  # stages of contacts, amounts of conversions
    price_version: int = 0

    @staticmethod
    def start(strategy: Strategy) -> Snapshot:
        """A strategy before any round, with no resource scarce."""
        posterior = strategy.model.prior(strategy.catalogue, strategy.schema)
        prices = np.zeros(strategy.resource_use.shape[1])
        return Snapshot(strategy=strategy, posterior=posterior, prices=prices, outcomes=strategy.outcomes())

    @cached_property
    def frozen(self) -> Frozen:
        """The draws: a pure function of (posterior, strategy seed, posterior_seq)."""
        rng = draw_generator(self.strategy.seed, self.posterior_seq)
        ready = self.strategy.policy.freeze(self.posterior, rng)
        return Frozen(ready, self.posterior.mean_draw(), self.outcomes.frozen())

    def warm(self) -> None:
        """Draw, and decide for nobody: what is made or compiled once is not left to the first decision."""
        fatigue = np.zeros((1, len(self.strategy.catalogue.channels), 2))
        eligible = np.ones((1, self.strategy.catalogue.n_actions), dtype=np.bool_)
        belief = self._chunk(np.zeros((1, self.strategy.schema.n_columns)), fatigue, eligible, Known())
        self._draw(belief, np.zeros(1, dtype=np.uint64), 0)

    def action_distribution(self, contexts: ContextBatch, requested: BoolArray | None = None) -> FloatArray:
        """(B, A) probabilities of the eligible actions; requested (B, A) narrows them further."""
        return self._believe(contexts, self.strategy.eligible(contexts, requested).mask).distribution

    def decide(
        self,
        contexts: ContextBatch,
        decision_ids: StrArray,
        limit: int = 1,
        requested: BoolArray | None = None,
    ) -> DecisionBatch:
        """Decide for all contexts; the uniform of rank r is keyed by (decision id, r).

        Ranks are drawn one after the other from the actions still eligible, each with the same
        distribution function, so that every rank's propensity is exact given the ranks above it.
        A list ends where no-contact is drawn. A batch holds a customer once; households take turns.
        """
        keys = decision_keys(decision_ids)
        if self.strategy.contact_policy.has_households:
            decide = partial(self._decide, limit=limit)
            return in_turns(decide, contexts, keys, requested, self.strategy.catalogue)
        return self._decide(contexts, keys, requested, limit)

    def _decide(
        self, contexts: ContextBatch, keys: KeyArray, requested: BoolArray | None, limit: int
    ) -> DecisionBatch:
        eligibility = self.strategy.eligible(contexts, requested)
        belief = self._believe(contexts, eligibility.mask)
        actions, propensities = self._draw(belief, keys, 0)
        ranked, shares = actions[:, None], propensities[:, None]
        if limit > 1:
            ranked, shares = self._ranks(contexts, eligibility.mask, keys, (actions, propensities), limit)
        return DecisionBatch(
            actions=actions,
            propensities=propensities,
            ranked=ranked,
            ranked_propensities=shares,
            distribution=belief.distribution,
            expected_values=belief.expected_values,
            eligible=eligibility.mask,
            removed_by=eligibility.removed_by,
        )

    def decide_one(
        self, context: Context, decision_id: str, limit: int = 1, requested: BoolArray | None = None
    ) -> Decision:
        """Decide for one customer: a batch of one, as a record. requested is (1, A)."""
        return self.decide_all([context], [decision_id], limit, requested)[0]

    def decide_all(
        self,
        contexts: Sequence[Context],
        decision_ids: Sequence[str],
        limit: int = 1,
        requested: BoolArray | None = None,
    ) -> list[Decision]:
        """Decide for customers of whom each comes up once, as records. requested is (B, A)."""
        encoded = self.strategy.encode(contexts)
        batch = self.decide(encoded, np.array(decision_ids, dtype=object), limit, requested)
        return self._recording(encoded, batch).records(contexts, decision_ids)

    def explain(self, context: Context, requested: BoolArray | None = None) -> Explanation:
        """Why and why not, for one customer: every action, with its terms or what removed it.

        requested is (1, A). Nothing is drawn: `probability` is that of rank 1.
        """
        contexts = self.strategy.encode([context])
        batch = self.decide(contexts, np.array([""], dtype=object), requested=requested)
        actions = np.argsort(-batch.expected_values[0], kind="stable")[: int(batch.eligible[0].sum())]
        (terms,) = self._recording(contexts, batch).reckoning().terms(actions[None])
        return Explanation.of(self.strategy, context, requested, batch, (actions, terms))

    def _recording(self, contexts: ContextBatch, batch: DecisionBatch) -> Recording:
        """A batch with all that its records tell."""
        n_actions, frozen = self.strategy.catalogue.n_actions, self.frozen
        everything = np.ones((contexts.n_contexts, n_actions), dtype=np.bool_)
        unit = Reckoning.unit(n_actions)
        scores = self.posterior.expected_values(frozen.mean_draw, contexts.features, unit, everything)
        origin = Origin(self.strategy.name, self.version, self.posterior_seq, self.price_version)
        beliefs, waits = (self._tariff, frozen.outcomes), self.strategy.waits(contexts)
        return Recording(
            self.strategy, origin, *beliefs, contexts, batch, self.known(contexts), waits, scores
        )

    def learn(self, rounds: RoundBatch, seq: int, aftermath: Aftermath | None = None) -> Snapshot:
        """The next snapshot: after a batch of rounds and what came of contacts, at log position `seq`."""
        outcomes = self.outcomes if aftermath is None else self.outcomes.learn(aftermath)
        return self.at(learnt_batch(self.posterior, rounds), seq, outcomes)

    def decayed(self, elapsed_days: float) -> Snapshot:
        """The same snapshot with beliefs that have forgotten for some days."""
        posterior, outcomes = self.posterior.decayed(elapsed_days), self.outcomes.decayed(elapsed_days)
        return self.at(posterior, self.posterior_seq, outcomes)

    def at(self, posterior: Posterior, seq: int, outcomes: OutcomeBeliefs | None = None) -> Snapshot:
        """The same snapshot with another posterior, learnt up to position `seq` of the log."""
        kept = self.outcomes if outcomes is None else outcomes
        return structs.replace(self, posterior=posterior, posterior_seq=seq, outcomes=kept)

    def priced(self, prices: FloatArray, price_version: int) -> Snapshot:
        """The same snapshot, its draws included, at other prices (J,)."""
        other = structs.replace(self, prices=prices, price_version=price_version)
        if "frozen" in self.__dict__:
            other.__dict__["frozen"] = self.frozen  # draws do not depend on prices
        return other

    def expected_values(self, contexts: ContextBatch, eligible: BoolArray) -> FloatArray:
        """(B, A) mean utilities at the snapshot's prices, -inf where not eligible (B, A)."""
        return self._means(contexts, eligible, self.known(contexts))

    def plan(self, contexts: ContextBatch) -> PlannedContacts:
        """The contacts to come, as seen today and bound to nothing; InvalidConfig without `waiting`."""
        own = self.strategy.own_charges(contexts, self.prices)
        return Coming.of(self.strategy, contexts, self._means, own).plan()

    def known(self, contexts: ContextBatch) -> Known:
        """What utilities take from contexts beside their features and fatigue."""
        return known(self.strategy, contexts, self._means, self.prices)

    def _means(self, contexts: ContextBatch, eligible: BoolArray, known: Known) -> FloatArray:
        expected = np.full(eligible.shape, -np.inf)
        expected[:, NO_ACTION] = 0.0
        (open_rows,) = np.logical_or.reduce(eligible[:, 1:], axis=1).nonzero()
        for start in range(0, open_rows.size, _CHUNK):
            rows = open_rows[start : start + _CHUNK]
            features, mean = contexts.features[rows], self.frozen.mean_draw
            money = self.money(features, contexts.fatigue[rows], known.take(rows))
            expected[rows] = self.posterior.expected_values(mean, features, money, eligible[rows])
        return expected

    def _ranks(
        self,
        contexts: ContextBatch,
        eligible: BoolArray,
        keys: KeyArray,
        first: tuple[IntArray, FloatArray],
        limit: int,
    ) -> tuple[IntArray, FloatArray]:
        """(B, L) actions of all ranks and their probabilities, given those of the first."""
        ranked = np.full((contexts.n_contexts, limit), -1, dtype=np.int64)
        shares = np.zeros(ranked.shape)
        ranked[:, 0], shares[:, 0] = first
        clashes = self.strategy.rulebook.clashes
        open_actions, alive = eligible.copy(), np.arange(contexts.n_contexts)
        for rank in range(1, limit):
            open_actions[alive, ranked[alive, rank - 1]] = False
            if clashes is not None:
                open_actions[alive] &= ~clashes[ranked[alive, rank - 1]]
            alive = alive[ranked[alive, rank - 1] != NO_ACTION]
            if alive.size == 0:
                break
            belief = self._believe(contexts.take(alive), open_actions[alive])
            ranked[alive, rank], shares[alive, rank] = self._draw(belief, keys[alive], rank)
        return ranked, shares

    def _draw(self, belief: Belief, keys: KeyArray, rank: int) -> tuple[IntArray, FloatArray]:
        """(B,) actions for a rank, and their probabilities."""
        uniforms = keyed_uniforms(self.strategy.seed, Purpose.DECISION, keys, block=rank)
        return draw(belief.distribution, uniforms)

    def _believe(self, contexts: ContextBatch, eligible: BoolArray) -> Belief:
        """Distribution and expected values by chunks; a context without eligible contacts costs nothing."""
        is_open: BoolArray = np.logical_or.reduce(eligible[:, 1:], axis=1)
        (open_rows,) = is_open.nonzero()
        asked = self.known(contexts)
        if 0 < open_rows.size == eligible.shape[0] <= _CHUNK:
            return self._chunk(contexts.features, contexts.fatigue, eligible, asked)
        distribution, expected = np.zeros(eligible.shape), np.full(eligible.shape, -np.inf)
        distribution[:, NO_ACTION], expected[:, NO_ACTION] = 1.0, 0.0  # where no contact is possible
        for start in range(0, open_rows.size, _CHUNK):
            rows = open_rows[start : start + _CHUNK]
            own = contexts.features[rows], contexts.fatigue[rows], eligible[rows], asked.take(rows)
            distribution[rows], expected[rows] = self._chunk(*own)
        return Belief(distribution, expected)

    def _chunk(self, features: FloatArray, fatigue: FloatArray, eligible: BoolArray, known: Known) -> Belief:
        """Belief about a few contexts: scores to utilities to distribution."""
        strategy, ready = self.strategy, self.frozen.ready
        money = self.money(features, fatigue, known)
        base = strategy.policy.distribution(self.posterior, ready, features, money, eligible)
        expected = self.posterior.expected_values(self.frozen.mean_draw, features, money, eligible)
        mixed = strategy.floor.mix(base, eligible, strategy.catalogue.costs)
        return Belief(strategy.floor.capped(mixed, expected), expected)

    def money(self, features: FloatArray, fatigue: FloatArray, known: Known) -> Money:
        """From expected rewards to utilities, with the terms that the arbitration has on."""
        has, outcomes, weighing = self.strategy.arbitration.has, self.frozen.outcomes, self.strategy.weighing
        worth = outcomes.worth(features) if has("stages") else None
        ratios = outcomes.ratios(features) if has("value") else None
        weights = None if weighing is None or known.held is None else weighing.factors(known.held)
        more = self.strategy.surcharges
        surcharge = None if more is None else more.of(features, fatigue)
        return self._tariff.money(fatigue, worth, ratios, weights, surcharge, known.displaced, known.own)

    @cached_property
    def _tariff(self) -> Tariff:
        return self.strategy.tariff(self.prices)
