"""Who is decided for by which strategy: arms by a hash of the customer, and inbound apart from outbound.

The champion is the strategy of the bundle. A challenger has another policy or floor over the same beliefs;
the random arm chooses evenly among what is eligible, the control contacts nobody. All of them log their exact
propensities, so that each of their decisions may teach the one posterior: it learns what follows an action,
whoever chose it.
"""

from __future__ import annotations

from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import Struct, structs

from nba.errors import InvalidConfig, require
from nba.policies import NoContact, Policy, RandomEligible
from nba.propensity import Floor
from nba.snapshot import Snapshot
from nba.strategy import Strategy
from nba.trials import Assignment
from nba.trials.assignment import NOBODY
from serving.ledger import Ledger, Reader
from serving.wire import Direction, Role

KEY = "arms:"  # of what the store was served with, by digest
_ROLES: tuple[Role, ...] = ("control", "random", "challenger")


class Challenger(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Another way to choose over the same beliefs; a floor left out is the champion's."""

    policy: Policy
    floor: Floor | None = None


class Arms(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """Whole percents of all customers, divided by hash(customer, salt); the champion has the rest."""

    salt: str
    control: int = 0
    random: int = 0
    challenger: int = 0
    challenged_by: Challenger | None = None

    def __post_init__(self) -> None:
        """Check the shares, and that a challenger has both a share and a policy."""
        for name in _ROLES:
            rule = f"must be a whole percentage of 0 to 100, got {getattr(self, name)}"
            require(0 <= getattr(self, name) <= 100, "arms", name, rule)
        rule = "needs both `challenger`, its share, and [challenged_by] with its policy"
        require((self.challenger > 0) == (self.challenged_by is not None), "arms", "challenger", rule)
        self.assignment.places([])  # what is wrong with the shares together is told here

    @cached_property
    def assignment(self) -> Assignment:
        """The arms in the order control, random, challenger, from bucket 0 on."""
        shares = {name: float(getattr(self, name)) for name in _ROLES}
        return Assignment.of(self.salt, {name: share for name, share in shares.items() if share})

    def role(self, customer_id: str) -> Role:
        """Who chooses for a customer: the same for as long as salt and shares are."""
        place = int(self.assignment.places([customer_id])[0])
        return "champion" if place == NOBODY else self.assignment.arms[place].name  # type: ignore[return-value]

    @property
    def text(self) -> str:
        """Canonical JSON."""
        return msgspec.json.encode(self, order="deterministic").decode()

    @property
    def digest(self) -> str:
        """SHA-256 of the text, its first 16 digits."""
        return sha256(self.text.encode()).hexdigest()[:16]


class Way(NamedTuple):
    """By which strategy something is decided."""

    role: Role = "champion"
    direction: Direction = "outbound"


class Ways:
    """The snapshots of all ways, made of the champion's when they are first needed."""

    def __init__(self, strategy: Strategy, arms: Arms | None = None) -> None:
        self.arms = arms
        self._strategy = strategy
        self._strategies = {Way(): strategy}
        self._made: dict[Way, Snapshot] = {}
        self._champion: Snapshot | None = None

    def check(self, champion: Snapshot) -> None:
        """Decide for nobody in every arm: what is wrong with one is told at the start."""
        roles = [arm.name for arm in self.arms.assignment.arms] if self.arms else []
        for role in roles:
            self.snapshot(champion, Way(role)).warm()  # type: ignore[arg-type]

    def way(self, customer_id: str, direction: Direction) -> Way:
        """How a customer is decided for."""
        return Way("champion" if self.arms is None else self.arms.role(customer_id), direction)

    def strategy(self, way: Way) -> Strategy:
        """The strategy of a way."""
        found = self._strategies.get(way)
        if found is None:
            found = self._strategies[way] = _strategy(self._strategy, way, self.arms)
        return found

    def snapshot(self, champion: Snapshot, way: Way) -> Snapshot:
        """The champion's snapshot as another way sees it: the same beliefs and prices, its own choice."""
        if way == Way():
            return champion
        if self._champion is not champion:
            before, self._champion = self._champion, champion
            is_same = before is not None and _draws(before) == _draws(champion)
            new = (champion.prices, champion.price_version)
            self._made = {name: one.priced(*new) for name, one in self._made.items()} if is_same else {}
        if way not in self._made:
            self._made[way] = structs.replace(champion, strategy=self.strategy(way))
        return self._made[way]


def _draws(snapshot: Snapshot) -> tuple[int, int, int, int]:
    """What the draws of a snapshot follow from; objects by their identity."""
    return id(snapshot.posterior), id(snapshot.outcomes), snapshot.posterior_seq, snapshot.version


def _strategy(champion: Strategy, way: Way, arms: Arms | None) -> Strategy:
    found = champion
    if way.role == "control":
        found = structs.replace(found, policy=NoContact(), floor=Floor())
    elif way.role == "random":
        found = structs.replace(found, policy=RandomEligible(), floor=Floor())
    elif way.role == "challenger" and arms is not None and arms.challenged_by is not None:
        other = arms.challenged_by
        found = structs.replace(found, policy=other.policy, floor=other.floor or found.floor)
    if way.direction == "inbound":
        # Nobody is disturbed who came by themselves; what is offered too often still rests.
        limits = structs.replace(found.contact_policy, limits=(), quiet_hours=(), back_off=())
        found = structs.replace(found, contact_policy=limits, waiting=None)
    return found


def load_arms(path: Path) -> Arms:
    """Arms from a TOML file; InvalidConfig names the place of what is wrong."""
    try:
        return msgspec.toml.decode(path.read_bytes(), type=Arms)
    except OSError as error:
        raise InvalidConfig(str(path), "", f"the file of arms cannot be read: {error.strerror}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidConfig(str(path), "", f"is not a file of arms: {error}") from None


def open_ways(champion: Snapshot, ledger: Ledger, path: Path | None) -> Ways:
    """The ways of a service whose arms are in a file, if any; the store keeps them for who replays it."""
    ways = Ways(champion.strategy, None if path is None else load_arms(path))
    ways.check(champion)
    if ways.arms is not None:
        ledger.bind(KEY + ways.arms.digest, ways.arms.text).result()
    return ways


def stored_ways(reader: Reader, strategy: Strategy, digest: str) -> Ways:
    """The ways of a store's decisions that were made under the arms of a digest; none were set if empty."""
    text = reader.meta(KEY + digest) if digest else None
    return Ways(strategy, None if text is None else msgspec.json.decode(text, type=Arms))
