"""Apprentice mode: a learner stands behind the existing rules until it would mostly choose the same.

The rules decide and every outcome teaches the learner. How often the learner's own choice would have been
that of the rules is counted in windows; the first window whose lower bound reaches the required rate puts
the learner in charge. All state is in the object, and whoever decides, decides with its own exact
distribution, so propensities need no second formula.
"""

from __future__ import annotations

from math import sqrt
from typing import NamedTuple, TypeAlias

import numpy as np
from msgspec import Struct, structs

from nba.arrays import BoolArray, FloatArray, IntArray, StrArray, check_shape
from nba.context import Context, ContextBatch
from nba.decision import Decision, DecisionBatch
from nba.errors import require
from nba.feedback import RoundBatch
from nba.outcomes import Aftermath, OutcomeBeliefs
from nba.posteriors import Posterior
from nba.propensity import probability_of
from nba.snapshot import Snapshot
from nba.strategy import Strategy

_Z95 = 1.6448536269514722  # one-sided 95 %


def match_bound(match: float, rounds: int) -> float:
    """One-sided lower 95 % bound of a match rate (Wilson score); probabilities vary less than coins."""
    share = _Z95**2 / rounds
    return (match + share / 2.0 - sqrt(share * (match * (1.0 - match) + share / 4.0))) / (1.0 + share)


def _added(before: float, more: FloatArray) -> float:
    """A sum that goes on one number at a time."""
    return float(np.cumsum(np.append(before, more))[-1])


class Apprentice(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is required of an apprentice, and how far it has come.

    Decisions are counted one by one in windows of `window_rounds`; a window is judged when it is full, and
    the next one begins at nothing, so that what was learnt long ago does not hold anybody back. They are
    taken for independent; repeated decisions about one customer make the bound a little too high.
    """

    required_match: float = 0.7
    window_rounds: int = 2_000
    least_rounds: int = 2_000  # decisions in all before a switch
    seen: int = 0  # decisions in the window
    matched: float = 0.0  # sum of the learner's probabilities of what the rules chose
    gained: float = 0.0  # account currency that the learner believes its own choices to be worth more
    seen_before: int = 0  # decisions in all windows that are full
    last_match: float | None = None  # match rate of the last full window
    last_bound: float | None = None  # its lower bound
    last_gain: float | None = None  # believed gain of a decision, account currency
    in_charge: bool = False

    def __post_init__(self) -> None:
        """Check the numbers."""
        rule = f"must be above 0 and below 1, got {self.required_match}; no window of any length shows 1"
        require(0.0 < self.required_match < 1.0, "apprentice", "required_match", rule)
        for name, least in (("window_rounds", 1), ("least_rounds", 0), ("seen", 0), ("seen_before", 0)):
            value = getattr(self, name)
            require(value >= least, "apprentice", name, f"must be at least {least}, got {value}")
        reached = match_bound(1.0, self.window_rounds)
        rule = (
            f"cannot show {self.required_match}: all of {self.window_rounds} show {reached:.3f}; lengthen it"
        )
        require(reached >= self.required_match, "apprentice", "window_rounds", rule)

    @property
    def match(self) -> float | None:
        """Match rate so far in the window, None before its first decision."""
        return self.matched / self.seen if self.seen else None

    def after(self, comparison: Comparison) -> Apprentice:
        """The apprentice after some decisions, in their order; cuts do not change the bits."""
        now, start, n_rows = self, 0, comparison.agreements.size
        while start < n_rows and not now.in_charge:
            part = slice(start, start + now.window_rounds - now.seen)
            now = structs.replace(
                now,
                seen=now.seen + comparison.agreements[part].size,
                matched=_added(now.matched, comparison.agreements[part]),
                gained=_added(now.gained, comparison.gains[part]),
            )
            now, start = now._judged() if now.seen == now.window_rounds else now, part.stop
        return now

    def _judged(self) -> Apprentice:
        """After a full window: in charge, or at the beginning of the next one."""
        match, total = self.matched / self.seen, self.seen_before + self.seen
        bound = match_bound(match, self.seen)
        return structs.replace(
            self,
            seen=0,
            matched=0.0,
            gained=0.0,
            seen_before=total,
            last_match=match,
            last_bound=bound,
            last_gain=self.gained / self.seen,
            in_charge=bound >= self.required_match and total >= self.least_rounds,
        )


class Comparison(NamedTuple):
    """What a learner makes of decisions that the rules took, where there was a choice."""

    agreements: FloatArray  # (n,) the learner's probability of the action chosen
    gains: FloatArray  # (n,) account currency it believes its own distribution to bring above that action
    decisions: IntArray  # (n,) which decisions these are: rows of the batch that was compared


class Tutored(Struct, frozen=True, kw_only=True, eq=False):
    """A learner, the rules it is to imitate, and how far it has come; decides as a snapshot does."""

    learner: Snapshot
    rules: Snapshot
    apprentice: Apprentice = Apprentice()

    def __post_init__(self) -> None:
        """Check that both speak of the same actions and read contexts in the same way."""
        for name in ("catalogue", "schema", "contact_policy", "fatigue"):
            same = getattr(self.learner.strategy, name) == getattr(self.rules.strategy, name)
            require(same, f"apprentice {self.learner.strategy.name}", name, "must be the one of the rules")

    @property
    def speaking(self) -> Snapshot:
        """Who decides now."""
        return self.learner if self.apprentice.in_charge else self.rules

    @property
    def strategy(self) -> Strategy:
        """The strategy of who decides now."""
        return self.speaking.strategy

    @property
    def posterior(self) -> Posterior:
        """What the learner believes."""
        return self.learner.posterior

    @property
    def outcomes(self) -> OutcomeBeliefs:
        """What the learner believes of stages and amounts."""
        return self.learner.outcomes

    @property
    def posterior_seq(self) -> int:
        """Position in the log up to which the learner has learnt."""
        return self.learner.posterior_seq

    def decide(
        self,
        contexts: ContextBatch,
        decision_ids: StrArray,
        limit: int = 1,
        requested: BoolArray | None = None,
    ) -> DecisionBatch:
        """The decisions of who is in charge, with their exact propensities (see Snapshot.decide)."""
        return self.speaking.decide(contexts, decision_ids, limit, requested)

    def decide_one(
        self, context: Context, decision_id: str, limit: int = 1, requested: BoolArray | None = None
    ) -> Decision:
        """Decide for one customer (see Snapshot.decide_one)."""
        return self.speaking.decide_one(context, decision_id, limit, requested)

    def compare(
        self,
        contexts: ContextBatch,
        decision_ids: StrArray,
        batch: DecisionBatch,
        requested: BoolArray | None = None,
    ) -> Comparison:
        """What the learner would have done with the contexts of `batch`; pure, it changes no decision.

        Where the learner has no choice nothing is compared: everybody is silent there. An action that the
        learner's rules do not allow agrees with nothing and gains nothing.
        """
        check_shape(batch.actions, (contexts.n_contexts,), "batch.actions")
        own = self.learner.decide(contexts, decision_ids, requested=requested)
        values, done = own.expected_values, probability_of(own.expected_values, batch.actions)
        hoped = np.where(own.distribution > 0.0, values, 0.0)
        gains = np.where(np.isfinite(done), (own.distribution * hoped).sum(axis=1) - done, 0.0)
        has_choice = own.eligible.sum(axis=1) > 1
        agreements = probability_of(own.distribution, batch.actions)
        return Comparison(agreements[has_choice], gains[has_choice], np.flatnonzero(has_choice))

    def observe(self, comparison: Comparison) -> Tutored:
        """After some decisions, which may have put the learner in charge of the next ones."""
        return self.being(self.apprentice.after(comparison))

    def being(self, apprentice: Apprentice) -> Tutored:
        """The same with an apprentice that has come so far."""
        return structs.replace(self, apprentice=apprentice)

    def learn(self, rounds: RoundBatch, seq: int, aftermath: Aftermath | None = None) -> Tutored:
        """The learner after some rounds, whoever caused them; the rules stay as they are."""
        return structs.replace(self, learner=self.learner.learn(rounds, seq, aftermath))

    def decayed(self, elapsed_days: float) -> Tutored:
        """The same with a learner that has forgotten for some days."""
        return structs.replace(self, learner=self.learner.decayed(elapsed_days))

    def at(self, posterior: Posterior, seq: int) -> Tutored:
        """The same with another posterior of the learner."""
        return structs.replace(self, learner=self.learner.at(posterior, seq))


Decider: TypeAlias = Snapshot | Tutored
