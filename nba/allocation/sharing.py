"""What the customers of a day share, and by which rule it is given to them.

`Priced` solves shadow prices for the day, at which everybody is decided alone, and settles by lottery what
overflows: probabilities stay exact (methods D5). `ChannelByChannel` is what banks do without prices: one
channel after the other takes its best customers until it is full; it is there to be compared with.

Shape letters: B customers of a day, A actions (row 0 is no-contact), J rows, V kinds of equal use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from msgspec import Struct

from nba.allocation.columns import action_columns
from nba.allocation.dual import first_prices, minimise, proved
from nba.allocation.frame import Entry, frame_of
from nba.allocation.lottery import grouped, reserved
from nba.allocation.owned_rows import with_owners, without_owners
from nba.allocation.owners import Owners
from nba.allocation.problem import Kinds, Problem, Rows
from nba.allocation.pruning import Pruned, problem_of_pruned, prune
from nba.allocation.resources import Resources
from nba.allocation.shards import Jitter, Population
from nba.arrays import AnyArray, BoolArray, Float32Array, FloatArray, IntArray, KeyArray, check_shape
from nba.catalogue import NO_ACTION, Catalogue
from nba.errors import InvalidConfig, require
from nba.features import FeatureSchema

_ACCURACY = 1e-7  # relative, of the dual of a day
_ONE = np.ones(1, dtype=np.int64)  # contact of a customer
_COPIES = 16
_NOISE = 1e-2  # of the typical value, for the smoothed dual of few customers
_TEXTS = ("action", "channel", "channel_family", "timing", "product", "product_family")
_AMOUNTS = ("cost",)


class Shared(NamedTuple):
    """Limits of a day over the actions of a catalogue."""

    uses: FloatArray  # (A, J) units per contact; no-contact uses nothing
    rows: Rows  # for as many customers as `Sharing.customers` says
    entries: tuple[Entry, ...]
    owners: Owners | None = None  # of rows that a contact uses only if they are its customer's own

    @property
    def hard(self) -> BoolArray:
        """(J,) rows that must not be exceeded; the others are floors, or only measured."""
        return np.isinf(self.rows.ceilings)

    def of(self, share: float) -> Shared:
        """The limits of a part of the customers, or of several times as many."""
        return self._replace(rows=self.rows._replace(limits=self.rows.limits * share))

    def members(self, attributes: Mapping[str, AnyArray]) -> BoolArray | None:
        """(B, J) rows that contacts of customers with such attributes use; None where those of all do."""
        if self.owners is None:
            return None
        return self.owners.members(self.owners.rows(attributes), self.rows.limits.size)

    def usage(self, actions: IntArray, members: BoolArray | None) -> FloatArray:
        """(J,) units that the actions (B,) of customers use."""
        uses = self.uses[actions]
        units: FloatArray = (uses if members is None else uses * members).sum(axis=0)
        return units

    def best(self, utilities: Float32Array, eligible: BoolArray) -> Float32Array:
        """(M, B, V) utilities of the best actions of each kind of use, -inf where none is eligible.

        utilities (M, B, A) and eligible (B, A). Of actions that use the same only the best can be chosen.
        """
        kinds, kind_of = self._kinds()
        open_to = np.where(eligible, utilities, np.float32(-np.inf))[:, :, 1:]
        pruned = prune(open_to.reshape(-1, open_to.shape[2]), kind_of, Kinds.of(kinds), _ONE)
        best: Float32Array = pruned.values.reshape(*open_to.shape[:2], len(kinds))
        return best

    def prices(
        self, keys: KeyArray, best: Float32Array, reserve: float, members: BoolArray | None = None
    ) -> FloatArray:
        """(J,) account currency per unit, for customers (B,) with best utilities (M, B, V) under M draws.

        members (B, J) as `members` says it.

        They are those of M times the limits for M copies of everybody, so that the limits are used up by
        the mean of the draws, which is what a policy uses that follows each of them with the same
        probability. Of every hard limit `reserve` of three times its square root is left free, so that
        independent draws overflow it less often.
        """
        if not keys.size or not self.rows.limits.size:
            return np.zeros(self.rows.limits.size)
        kept = self.rows.limits - reserve * (self.rows.limits - reserved(self.rows.limits))
        rows = self.rows._replace(limits=np.where(self.hard, kept, self.rows.limits))
        kinds, _ = self._kinds()
        groups, group = grouped(members, (keys.size, rows.limits.size))
        own = group[:, None] * len(kinds) + np.arange(len(kinds))
        kinds = (kinds * groups[:, None]).reshape(-1, rows.limits.size)
        everyone = Pruned(np.zeros(best.shape[1:], dtype=np.int64), best[0], own)
        problem, _ = problem_of_pruned(keys, everyone, Kinds.of(kinds), rows, _ONE)
        if len(best) == 1:
            return _best_prices(problem)
        order = np.argsort(keys, kind="stable")
        there = best[0][order] > -np.inf
        people = Population.here(_copies(problem, [draw[order][there] for draw in best]))
        return minimise(people, first_prices(people, None), accuracy=_ACCURACY).prices

    def _kinds(self) -> tuple[FloatArray, IntArray]:
        """Uses (V, J) of contacts that differ, and which of them each contact (A - 1,) has."""
        kinds, kind_of = np.unique(self.uses[1:], axis=0, return_inverse=True)
        return kinds, kind_of.ravel()


def _best_prices(problem: Problem) -> FloatArray:
    """(J,) prices of the lowest bound that is found; those of noisy copies help where customers are few."""
    people = Population.here(problem)
    found = minimise(people, first_prices(people, None), accuracy=_ACCURACY)
    noise = [Jitter(_NOISE * people.units.money, copy) for copy in range(_COPIES)]
    noisy = Population.here(_copies(problem, [one.values(problem) for one in noise]))
    soft = minimise(noisy, found, accuracy=_ACCURACY)
    sharp = minimise(people, soft, accuracy=_ACCURACY)
    return min((proved(people, one) for one in (found, soft, sharp)), key=lambda one: one.bound).prices


def _copies(problem: Problem, values: Sequence[AnyArray]) -> Problem:
    """Every customer once for each of the values (n,) of candidates, and as many times the limits."""
    times = len(values)
    sizes = np.tile(np.diff(problem.starts), times)
    return problem._replace(
        keys=np.tile(problem.keys, times),
        starts=np.concatenate([[0], np.cumsum(sizes)]),
        kind_of=np.tile(problem.kind_of, times),
        values=np.concatenate(values),
        rows=problem.rows._replace(limits=problem.rows.limits * times),
    )


class Sharing(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Resources of one day of so many customers of the bank; more or fewer have more or less of them."""

    resources: Resources
    customers: int = 1_000

    def __post_init__(self) -> None:
        """Check the number."""
        rule = f"must be at least 1, got {self.customers}"
        require(self.customers >= 1, "allocation", "customers", rule)

    def shared(self, catalogue: Catalogue, schema: FeatureSchema, source: str) -> Shared:
        """The limits over a catalogue's actions; InvalidConfig names `source` and the field."""
        try:
            return self._shared(catalogue, schema, source)
        except InvalidConfig as error:
            raise InvalidConfig(source, f"allocation.resources.{error.pointer}", error.rule) from None

    def _shared(self, catalogue: Catalogue, schema: FeatureSchema, source: str) -> Shared:
        self.resources.check(source)
        one = "a customer gets one action in a decision, and nothing more can be capped; drop it"
        require(self.resources.at_most == 1 and not self.resources.caps, source, "at_most", one)
        resources, owned = without_owners(self.resources, _TEXTS, schema, source)
        for known, given in ((_TEXTS, resources.columns()), (_AMOUNTS, resources.amounts())):
            for name, pointer in given.items():
                rule = f"actions have no column {name!r} that it could be; they have {', '.join(known)}"
                require(name in known, source, pointer, rule)
        columns, largest = action_columns(catalogue), float(np.abs(catalogue.values).max())
        frame = frame_of(resources, columns, catalogue.n_actions - 1, largest, source)
        uses = np.zeros((catalogue.n_actions, frame.rows.limits.size))
        uses[1:] = frame.kinds.matrix(frame.rows.limits.size).toarray()
        hard = np.isinf(frame.rows.ceilings)
        mixed = [frame.rows.names[row] for row in np.flatnonzero(hard & (uses < 0.0).any(axis=0))]
        rule = f"no lottery can keep {', '.join(mixed)}; make them report_only, or use limits"
        require(not mixed, source, "shares", rule)
        return Shared(*with_owners(uses, frame.rows, frame.entries, owned))


class Priced(Sharing, frozen=True, kw_only=True, tag="priced", forbid_unknown_fields=True):
    """Shadow prices of the day, everybody's own draw at them, and a lottery where these overflow.

    Prices are those of the utilities that the policy chooses by: of `draws` of its draws, as many as it has
    at most, each with the same share. So they fit policies that take the best of the mean, of a bound or
    of a draw: at prices of mean utilities Thompson sampling wants two to five times the limits, and the
    lottery, which stays exact, turns the rest away whatever it is worth. What softmax, gap weighting and
    the floor want beside the best is not foreseen, and left to the lottery.
    A reserve is for large groups: with limits of 10 to 60 for a branch all of it costs half of the value.
    """

    draws: int = 16
    reserve: float = 0.0  # of 3 sqrt(limit), which is left free for the luck of draws

    def __post_init__(self) -> None:
        """Check the numbers."""
        super().__post_init__()
        require(self.draws >= 1, "allocation", "draws", f"must be at least 1, got {self.draws}")
        rule = f"must lie in [0, 1], got {self.reserve}"
        require(0.0 <= self.reserve <= 1.0, "allocation", "reserve", rule)


class ChannelByChannel(
    Sharing, frozen=True, kw_only=True, tag="channel_by_channel", forbid_unknown_fields=True
):
    """One channel after the other takes its most valuable customers who are left, until it is full."""

    order: tuple[str, ...]

    def shared(self, catalogue: Catalogue, schema: FeatureSchema, source: str) -> Shared:
        """The limits, once the order is known to name every channel."""
        names = [channel.name for channel in catalogue.channels]
        rule = f"must name every channel once: {', '.join(names)}; got {', '.join(self.order)}"
        require(sorted(self.order) == sorted(names), source, "allocation.order", rule)
        return Sharing.shared(self, catalogue, schema, source)

    def taken(
        self, catalogue: Catalogue, shared: Shared, utilities: FloatArray, members: BoolArray | None = None
    ) -> IntArray:
        """(B,) actions, from mean utilities (B, A); members (B, J) as `Shared.members` says it."""
        levels = [catalogue.level("channel", name) for name in self.order]
        groups = [catalogue.channel_of == level for level in levels]
        return channel_by_channel(utilities, shared, groups, members)


AnySharing: TypeAlias = Priced | ChannelByChannel


def channel_by_channel(
    utilities: FloatArray, shared: Shared, groups: list[BoolArray], members: BoolArray | None = None
) -> IntArray:
    """(B,) actions: each group (A,) in turn serves who is left, best utility (B, A) first, while limits last.

    Of a group a customer gets its best action that still fits; a contact that is worth nothing is not made.
    """
    check_shape(utilities, (None, shared.uses.shape[0]), "utilities")
    actions = np.full(utilities.shape[0], NO_ACTION)
    hard = shared.hard
    uses, left = shared.uses[:, hard], shared.rows.limits[hard] + shared.rows.tolerances[hard]
    mine = np.ones((actions.size, left.size), dtype=np.bool_) if members is None else members[:, hard]
    for group in groups:
        ours, free = np.flatnonzero(group), np.flatnonzero(actions == NO_ACTION)
        kinds, kind_of = np.unique(uses[ours], axis=0, return_inverse=True)
        one = np.ones(1, dtype=np.int64)
        best = prune(utilities[np.ix_(free, ours)], kind_of.ravel(), Kinds.of(kinds), one)
        people, places = np.nonzero(best.values > 0.0)
        for pair in np.argsort(-best.values[people, places], kind="stable"):
            customer, action = free[people[pair]], ours[best.actions[people[pair], places[pair]]]
            needed = uses[action] * mine[customer]
            if actions[customer] == NO_ACTION and (needed <= left).all():
                actions[customer] = action
                left = left - needed
    return actions
