"""Lives under somebody's decisions, to learn from and to judge on: those that `simulator.env` shows.

What customers share is switched off, so that a life is a customer's own and everybody meets the same noise
whoever decides: differences are paired. Shape letters: N customers, n decisions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from msgspec import Struct

from experiments.choices import decision_id, decision_number
from nba.arrays import BoolArray, FloatArray, IntArray, StrArray, join_rows
from nba.context import ContextBatch
from nba.errors import require
from nba.longrun import Steps
from nba.snapshot import Snapshot
from simulator.lives import Cohort, Ledger, Lives
from simulator.world import World


class Told(NamedTuple):
    """What somebody decides about some customers."""

    actions: IntArray  # (B,)
    propensities: FloatArray  # (B,)


class Asked(NamedTuple):
    """Customers who are up for a decision."""

    contexts: ContextBatch  # B
    allowed: BoolArray  # (B, A) by the bank
    ids: StrArray  # (B,) of the decisions
    seats: IntArray  # (B,) number of the customer among these, from 0
    day: int  # of the world


Decide = Callable[[Asked], Told]


class Span(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose lives, and how long; late conversions come in during `settle_days`."""

    customers: int
    days: int = 84
    settle_days: int = 28
    seed: int = 0
    first_customer: int = 0

    def __post_init__(self) -> None:
        """Check the number of customers; the lives check the rest."""
        require(self.customers >= 1, "journeys", "customers", f"must be at least 1, got {self.customers}")


class Decisions(NamedTuple):
    """All decisions of some lives, each customer's k-th before anybody's k + 1-th."""

    seats: IntArray  # (n,) number of the customer among these, from 0
    order: IntArray  # (n,) k, from 0
    days: IntArray  # (n,) of the world
    features: FloatArray  # (n, K)
    eligible: BoolArray  # (n, A) by the bank
    actions: IntArray  # (n,)
    propensities: FloatArray  # (n,)
    rewards: FloatArray  # (n,) net value until the next decision, or until the end
    targets: FloatArray  # (n, G, A) what each of G other snapshots would have done


class Journeys(NamedTuple):
    """What was decided in some lives, and what they came to."""

    decisions: Decisions
    net: FloatArray  # (N,) account currency over the whole life
    contacts: FloatArray  # (N,)
    opt_outs: FloatArray  # (N,) decisions after which a channel was closed

    @property
    def following(self) -> IntArray:
        """(n,) the row of the customer's next decision, -1 after the last."""
        seats, order = self.decisions.seats, self.decisions.order
        rows, after = np.lexsort((order, seats)), np.full(seats.size, -1)
        same = seats[rows[1:]] == seats[rows[:-1]]
        after[rows[:-1][same]] = rows[1:][same]
        return after

    def steps(self) -> Steps:
        """Each decision with the next one; the last of a life is left out, for time alone has ended it."""
        done, after = self.decisions, self.following
        (rows,) = np.nonzero(after >= 0)
        ahead = after[rows]
        return Steps(
            journeys=done.seats[rows],
            features=done.features[rows],
            actions=done.actions[rows],
            propensities=done.propensities[rows],
            rewards=done.rewards[rows],
            days=(done.days[ahead] - done.days[rows]).astype(np.float64),
            eligible=done.eligible[rows],
            next_features=done.features[ahead],
            next_eligible=done.eligible[ahead],
            ends=np.zeros(rows.size, dtype=np.bool_),
        )


def by(snapshot: Snapshot) -> Decide:
    """A snapshot at work."""

    def decide(asked: Asked) -> Told:
        batch = snapshot.decide(asked.contexts, asked.ids)
        return Told(batch.actions, batch.propensities)

    return decide


def journeys(world: World, decide: Decide, span: Span, targets: Sequence[Snapshot] = ()) -> Journeys:
    """Let `decide` decide through whole lives; in every state `targets` say what they would have done."""
    lives = Lives(world=world, seed=span.seed, days=span.days, settle_days=span.settle_days)
    ledger = Ledger.empty(span.customers, len(world.config.catalogue.products))
    ids = np.arange(span.first_customer, span.first_customer + span.customers)
    cohorts = lives.begin(ids, np.arange(span.customers), ledger)
    net, contacts, opt_outs = ledger.net.copy(), np.zeros(ids.size), np.zeros(ids.size)
    ledger.clear(slice(None))
    pages: list[Decisions] = []
    while asked := [one for one in cohorts if not lives.is_last(one)]:
        actions = np.zeros(span.customers, dtype=np.int64)
        turn = join_rows([_page(lives, one, decide, ids, len(pages), targets) for one in asked])
        actions[turn.seats] = turn.actions
        cohorts, _ = lives.decided(asked, actions, ledger)
        pages.append(turn._replace(rewards=ledger.net[turn.seats]))
        net, contacts, opt_outs = net + ledger.net, contacts + ledger.contacted, opt_outs + ledger.opted_out
        ledger.clear(slice(None))
    return Journeys(join_rows(pages), net, contacts, opt_outs)


def _page(
    lives: Lives, cohort: Cohort, decide: Decide, ids: IntArray, number: int, targets: Sequence[Snapshot]
) -> Decisions:
    """The decisions about a cohort; their rewards are still to come."""
    contexts, seats, day = lives.contexts(cohort), cohort.seats, cohort.state.day
    allowed = lives.bank.eligible(contexts).mask
    names = [decision_id(lives.seed, one) for one in decision_number(ids[seats], day).tolist()]
    told = decide(Asked(contexts, allowed, np.array(names, dtype=object), seats, day))
    others = [one.action_distribution(contexts) for one in targets]
    return Decisions(
        seats=seats,
        order=np.full(seats.size, number),
        days=np.full(seats.size, day),
        features=contexts.features,
        eligible=allowed,
        actions=told.actions,
        propensities=told.propensities,
        rewards=np.zeros(seats.size),
        targets=np.stack(others, axis=1) if others else np.zeros((seats.size, 0, allowed.shape[1])),
    )
