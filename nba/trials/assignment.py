"""Who is in which arm of a trial: a hash of the customer's id, and nothing that is stored or drawn.

The bucket of a customer is BLAKE2b(salt, customer) mod 100, and an arm is a range of buckets. It is the same
on every machine and in every year; two salts divide the customers independently of each other. An arm may
grow into buckets that were nobody's, but no bucket changes its arm: whoever was treated stays treated.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

import numpy as np
from msgspec import Struct

from nba.arrays import IntArray, StrArray
from nba.errors import require
from nba.randomness import decision_keys

N_BUCKETS = 100
NOBODY = -1  # of a bucket without an arm
GLOBAL_CONTROL = "global-control"
FOUR_ARMS = ("policy", "random", "business-as-usual", "none")


class Arm(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A name and its buckets, first and last included."""

    name: str
    first: int
    last: int

    def __post_init__(self) -> None:
        """Check the range."""
        require(bool(self.name), "arm", "name", "must not be empty")
        fits = 0 <= self.first <= self.last < N_BUCKETS
        rule = f"buckets must run from first to last within 0..{N_BUCKETS - 1}, got {self.first}..{self.last}"
        require(fits, "arm", self.name, rule)

    @property
    def share(self) -> float:
        """Of all customers."""
        return (self.last - self.first + 1) / N_BUCKETS


class Assignment(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arms side by side; buckets that are in none are left out of the trial."""

    salt: str
    arms: tuple[Arm, ...]

    def __post_init__(self) -> None:
        """Check that arms have names and buckets of their own."""
        require(bool(self.salt), "assignment", "salt", "must not be empty: name the trial")
        names = [arm.name for arm in self.arms]
        twice = sorted({name for name in names if names.count(name) > 1})
        require(not twice, "assignment", "arms", f"must have different names; {twice} come up twice")
        ordered = sorted(self.arms, key=lambda arm: arm.first)
        for arm, after in zip(ordered, ordered[1:], strict=False):
            rule = (
                f"{arm.name} ({arm.first}..{arm.last}) and {after.name} ({after.first}..{after.last}) overlap"
            )
            require(arm.last < after.first, "assignment", "arms", rule)

    @staticmethod
    def of(salt: str, percents: dict[str, float]) -> Assignment:
        """Arms from bucket 0 on, in the order given, each with so many of 100 buckets; whole numbers."""
        arms, first = [], 0
        for name, percent in percents.items():
            whole = isfinite(percent) and percent >= 1 and percent == int(percent)
            require(whole, "assignment", name, f"must get a whole percentage of at least 1, got {percent:g}")
            arms.append((name, first, first + int(percent) - 1))
            first += int(percent)
        rule = f"percentages must sum to at most 100, not {first}"
        require(first <= N_BUCKETS, "assignment", "arms", rule)
        return Assignment(salt=salt, arms=tuple(Arm(name=n, first=a, last=b) for n, a, b in arms))

    def buckets(self, customers: Sequence[str] | StrArray) -> IntArray:
        """(n,) bucket 0..99 of each customer; a number counts as its decimal text.

        The first seven bytes of BLAKE2b with a digest of eight, little-endian, of "salt", a line feed and
        "customer" in UTF-8, modulo 100.
        """
        keys = decision_keys([f"{self.salt}\n{customer}" for customer in customers])
        return (keys % np.uint64(N_BUCKETS)).astype(np.int64)

    def places(self, customers: Sequence[str] | StrArray) -> IntArray:
        """(n,) place in `arms` of each customer's arm, NOBODY if outside the trial."""
        return self._arm_of()[self.buckets(customers)]

    def check_successor(self, later: Assignment) -> None:
        """Raise InvalidConfig if a later version takes anybody out of an arm."""
        require(later.salt == self.salt, "assignment", "salt", "must stay: another one is another trial")
        for bucket, (before, after) in enumerate(zip(self._names(), later._names(), strict=True)):
            rule = f"bucket {bucket} must stay in {before!r}; to divide anew, take another salt"
            require(before in ("", after), "assignment", "arms", rule)

    def _names(self) -> list[str]:
        """The name of each bucket's arm, empty for none."""
        return [self.arms[place].name if place != NOBODY else "" for place in self._arm_of()]

    def _arm_of(self) -> IntArray:
        """(100,) place of the arm of each bucket."""
        arm_of = np.full(N_BUCKETS, NOBODY, dtype=np.int64)
        for place, arm in enumerate(self.arms):
            arm_of[arm.first : arm.last + 1] = place
        return arm_of


class Launch(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A trial beside a persistent global control, who are in no trial at all.

    The control has a salt of its own, which outlives the trials: its customers tell what the whole programme
    is worth.
    """

    control: Assignment
    trial: Assignment

    def __post_init__(self) -> None:
        """Check that the two divide customers independently."""
        apart = self.control.salt != self.trial.salt
        require(apart, "launch", "trial.salt", "must differ from the control's, or one arm loses them all")
        one = [arm.name for arm in self.control.arms] == [GLOBAL_CONTROL]
        require(one, "launch", "control.arms", f"must be one arm named {GLOBAL_CONTROL!r}")
        taken = any(arm.name == GLOBAL_CONTROL for arm in self.trial.arms)
        require(not taken, "launch", "trial.arms", f"must not have an arm named {GLOBAL_CONTROL!r} as well")

    def names(self, customers: Sequence[str] | StrArray) -> StrArray:
        """(n,) name of each customer's arm: the global control first, then the trial's; empty outside."""
        words = np.array([*(arm.name for arm in self.trial.arms), ""], dtype=object)
        named: StrArray = words[self.trial.places(customers)]
        named[self.control.places(customers) != NOBODY] = GLOBAL_CONTROL
        return named


def four_arm_launch(
    salt: str,
    percents: tuple[float, float, float, float] = (70, 10, 10, 10),
    *,
    control_salt: str = "global-control",
    control_percent: float = 3,
) -> Launch:
    """The policy, a random choice among the same actions, business as usual, and none.

    Policy less random is what choosing is worth, random less none what contacts are worth, and policy less
    business as usual what changes; a control of 3 % suits ten million customers (methods E6).
    """
    return Launch(
        control=Assignment.of(control_salt, {GLOBAL_CONTROL: control_percent}),
        trial=Assignment.of(salt, dict(zip(FOUR_ARMS, percents, strict=True))),
    )
