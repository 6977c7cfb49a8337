"""Customers side by side, each on a day of their own: what one decision brings until the next one.

An environment asks all its customers at once, but they come up on different days, and one whose
life has just begun is weeks behind the others. Customers on the same day form a cohort; the world
carries those between two decisions from day to day, merges cohorts that meet and parts those whose
members have come up. All functions are pure but for the `Ledger` that they write into.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct, structs

from nba.arrays import AnyArray, BoolArray, FloatArray, IntArray, join_rows, take_rows
from nba.context import ContextBatch
from nba.errors import require
from nba.policies import NoContact
from nba.posteriors import SegmentRatesModel
from nba.strategy import Strategy
from simulator.config import LAST_DAY
from simulator.life_cycle import CHURNED
from simulator.population import Population
from simulator.state import Responses, WorldState
from simulator.world import World

_NOTHING = -1  # in the place of an action
_CHUNK = 256  # contexts whose masks are made at a time: stays in the cache
MOST_CUSTOMERS = 2**56  # numbers are keys of the random numbers
_SHARED = ("seed", "day", "people", "pending", "book", "queue")  # of a state: not one entry per customer


class Cohort(NamedTuple):
    """Customers on the same day of the world."""

    state: WorldState  # N customers
    seats: IntArray  # (N,) the sub-environment of each

    def take(self, chosen: BoolArray) -> Cohort:
        """The customers of a mask (N,)."""
        return Cohort(take_customers(self.state, np.flatnonzero(chosen)), self.seats[chosen])


class Ledger(NamedTuple):
    """What the bank has seen happen since the last decision, by seat; money in account currency."""

    value: FloatArray  # (S,) amounts of all conversions, organic ones included
    cost: FloatArray  # (S,) of contacts
    loss: FloatArray  # (S,) modelled value lost by opt-outs and complaints
    contacted: BoolArray  # (S,) decided and not refused
    refused: BoolArray  # (S,) by the channel
    delivered: BoolArray  # (S,)
    engaged: BoolArray  # (S,)
    opted_out: BoolArray  # (S,)
    complained: BoolArray  # (S,)
    conversions: IntArray  # (S, P) by product, whatever brought them about

    @staticmethod
    def empty(n_seats: int, n_products: int) -> Ledger:
        """Nothing yet."""
        money = [np.zeros(n_seats) for _ in range(3)]
        flags = [np.zeros(n_seats, dtype=np.bool_) for _ in range(6)]
        return Ledger._make([*money, *flags, np.zeros((n_seats, n_products), dtype=np.int64)])

    @property
    def net(self) -> FloatArray:
        """(S,) the reward: value minus cost minus loss."""
        return self.value - self.cost - self.loss

    def book(self, seats: IntArray, responses: Responses) -> None:
        """Book a day's contacts with `seats` (B,), of which nobody has two between two pages."""
        self.cost[seats] += responses.costs
        self.loss[seats] += responses.losses
        for name in ("contacted", "refused", "delivered", "engaged", "opted_out", "complained"):
            getattr(self, name)[seats] |= getattr(responses, name)

    def clear(self, seats: IntArray | BoolArray | slice) -> None:
        """Begin a new page for some seats."""
        for column in self:
            column[seats] = 0


class Seen(NamedTuple):
    """What is shown of customers when they come up for a decision."""

    seats: IntArray  # (n,)
    days: IntArray  # (n,) of the world
    features: FloatArray  # (n, K)
    mask: BoolArray  # (n, A) what the bank allows, no-contact always


class Lives(Struct, frozen=True, kw_only=True, dict=True):
    """Lives of `days` days with decisions and `settle_days` without, in one world with one noise.

    The settling days let late conversions of the last contacts count. With `ends_early` nobody is asked
    any more whom no decision can reach: who has withdrawn every consent, or has churned in a world from
    which nobody comes back. What people share, the time of staff and invitations, is switched off: the
    life of one customer must not depend on who else is simulated.
    """

    world: World
    seed: int
    days: int
    settle_days: int
    ends_early: bool = False

    def __post_init__(self) -> None:
        """Check the numbers."""
        every = self.world.config.decide_every_days
        for name, value, least in (
            ("days", self.days, every),  # else there are customers whom nobody ever asks
            ("settle_days", self.settle_days, 0),
            ("seed", self.seed, 0),
        ):
            require(value >= least, "simulator.env", name, f"must be at least {least}, got {value}")
        rule = "has a limit over households, whose members are not simulated together here; leave it out"
        alone = not self.world.config.contact.policy.has_households
        require(alone, "simulator.env", "world.contact.policy", rule)
        last = self.days + self.settle_days
        lasting = "rests after outcomes are known to experiments and to the service, not to environments"
        require(not self.bank.rulebook.rests, "simulator.env", "contact.rules", lasting)
        rule = f"days and settle_days together must be at most {LAST_DAY}, got {last}"
        require(last <= LAST_DAY, "simulator.env", "days", rule)

    @cached_property
    def bank(self) -> Strategy:
        """What the bank allows, whoever decides."""
        config = self.world.config
        return Strategy(
            name="bank",
            catalogue=config.catalogue,
            schema=config.schema,
            model=SegmentRatesModel(),
            policy=NoContact(),
            tags=config.contact.tags,
            rules=config.contact.rules,
            contact_policy=config.contact.policy,
            fatigue=config.fatigue,
        )

    @cached_property
    def alone(self) -> World:
        """The world without what customers share."""
        config = self.world.config
        off = tuple(dict.fromkeys((*config.mechanisms.off, "capacity", "referral")))
        apart = structs.replace(
            config,
            mechanisms=structs.replace(config.mechanisms, off=off),
            population=structs.replace(config.population, branch_customers=MOST_CUSTOMERS),
        )
        return structs.replace(self.world, config=apart)

    def begin(self, ids: IntArray, seats: IntArray, ledger: Ledger) -> list[Cohort]:
        """New customers `ids` (N,) on their first decision day; the days before it are booked too."""
        rising, place = np.unique(ids, return_inverse=True)
        state = take_customers(self.alone.reset(self.seed, rising), place)
        nothing = np.full(ledger.value.size, _NOTHING)
        return self._onward([Cohort(state, seats)], nothing, ledger)

    def decided(
        self, cohorts: Sequence[Cohort], actions: IntArray, ledger: Ledger
    ) -> tuple[list[Cohort], BoolArray]:
        """Carry out `actions` (S,) and go on to everybody's next decision, or to the end of their days.

        Returns the cohorts there, and who (S,) has ended early.
        """
        left = np.zeros(actions.size, dtype=np.bool_)
        return self._onward(cohorts, actions.copy(), ledger, left if self.ends_early else None), left

    def seen(self, cohorts: Sequence[Cohort]) -> Seen:
        """What the bank knows of some cohorts today, each on its own day, and what it allows."""
        contexts = [self.contexts(one) for one in cohorts]
        seats = np.concatenate([one.seats for one in cohorts])
        days = np.repeat([one.state.day for one in cohorts], [one.seats.size for one in cohorts])
        features = np.concatenate([one.features for one in contexts])
        return Seen(seats, days, features, np.concatenate([self._allowed(one) for one in contexts]))

    def _allowed(self, contexts: ContextBatch) -> BoolArray:
        """(n, A) what the bank allows."""
        starts = range(0, contexts.n_contexts, _CHUNK)
        chunks = [contexts.take(slice(start, start + _CHUNK)) for start in starts]
        return np.concatenate([self.bank.eligible(chunk).mask for chunk in chunks])

    def contexts(self, cohort: Cohort) -> ContextBatch:
        """The contexts of a cohort today."""
        return self.alone.observe(cohort.state, np.arange(cohort.seats.size))

    def is_last(self, cohort: Cohort) -> bool:
        """Whether a cohort has lived all its days."""
        return cohort.state.day == self.days + self.settle_days

    def _onward(
        self,
        cohorts: Sequence[Cohort],
        actions: IntArray,
        ledger: Ledger,
        left: BoolArray | None = None,
    ) -> list[Cohort]:
        """Let days pass, the earliest first, until everybody is due or at the end.

        `actions` (S,) are those to be carried out on the day on which a customer sets off, and are used up.
        """
        moving, arrived = list(cohorts), []
        while moving:
            day = min(one.state.day for one in moving)
            here = _joined([one for one in moving if one.state.day == day])
            moving = [one for one in moving if one.state.day > day]
            stops = self._stops(here, left) & (actions[here.seats] == _NOTHING)
            if stops.any():
                arrived.append(here.take(stops))
                here = here.take(~stops)
            if here.seats.size:
                moving.append(self._day(here, actions, ledger))
                actions[here.seats] = _NOTHING
        return arrived

    def _stops(self, here: Cohort, left: BoolArray | None) -> BoolArray:
        """(N,) who is asked today, or has no day left; `left` (S,) is told who ends early."""
        due = np.zeros(here.seats.size, dtype=np.bool_)
        if self.is_last(here):
            return ~due
        if here.state.day < self.days:
            due[self.alone.due(here.state)] = True
        if left is not None:
            left[here.seats[due & self._is_done(here.state)]] = True
            due &= ~left[here.seats]
        return due

    def _is_done(self, state: WorldState) -> BoolArray:
        """(N,) whom no decision can reach any more."""
        is_done: BoolArray = state.consents == 0
        if not any(move.source == "churned" for move in self.alone.laws.config.life_cycle.transitions):
            is_done |= state.stage == CHURNED
        return is_done

    def _day(self, here: Cohort, actions: IntArray, ledger: Ledger) -> Cohort:
        """One day of a cohort: the contacts of `actions` (S,) are made, and everything is booked."""
        rows = np.flatnonzero(actions[here.seats] != _NOTHING)
        seats = here.seats[rows]
        responses = self.alone.respond(here.state, rows, actions[seats])
        after, sold = self.alone.advance(here.state, rows, actions[seats], responses)
        ledger.book(seats, responses)
        buyers = here.seats[sold.customers]
        np.add.at(ledger.value, buyers, sold.amounts)
        np.add.at(ledger.conversions, (buyers, sold.products), 1)
        return Cohort(after, here.seats)


def _joined(cohorts: Sequence[Cohort]) -> Cohort:
    """One cohort of some that are on the same day."""
    if len(cohorts) == 1:
        return cohorts[0]
    state = join_customers([one.state for one in cohorts])
    return Cohort(state, np.concatenate([one.seats for one in cohorts]))


def take_customers(state: WorldState, rows: IntArray) -> WorldState:
    """The customers of `rows` in that order; all different, if anything is still to come for them."""
    place = np.full(state.people.n_customers, -1)
    place[rows] = np.arange(rows.size)
    customers = place[state.pending.customers]
    pending = take_rows(state.pending._replace(customers=customers), customers >= 0)
    return _by_customer([state], lambda arrays: arrays[0][rows])._replace(pending=pending)


def join_customers(states: Sequence[WorldState]) -> WorldState:
    """Customers of several states on the same day of the same world, one after the other."""
    starts = np.cumsum([0, *(state.people.n_customers for state in states)])
    pending = join_rows(
        [
            state.pending._replace(customers=state.pending.customers + start)
            for state, start in zip(states, starts[:-1], strict=True)
        ]
    )
    return _by_customer(states, np.concatenate)._replace(pending=pending)


def _by_customer(states: Sequence[WorldState], combine: Callable[[list[AnyArray]], AnyArray]) -> WorldState:
    """Combine states array by array; what is not per customer is the first one's."""
    first = states[0]
    traits = zip(*(state.people for state in states), strict=True)
    people = Population._make(combine(list(columns)) for columns in traits)
    columns: dict[str, Any] = {
        name: combine([getattr(state, name) for state in states])
        for name in WorldState._fields
        if name not in _SHARED
    }
    return first._replace(people=people, **columns)
