"""The support report: whether a log can tell anything about a target, before what it tells.

Sums over rounds that merge; the verdict and its reasons come at the end. Methods E1, E2 and H2, H3.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from msgspec import Struct

from nba.arrays import FloatArray, IntArray
from nba.errors import require
from nba.ope.calibration import ArmSums, Deviations
from nba.ope.logged import LoggedRounds, table_ratios

Verdict: TypeAlias = Literal["supported", "weak", "refused"]
_SURE = 3.0  # standard errors
_OCTAVES = np.arange(-6, 21)  # weights from 2^-6 to 2^20, one bin each, and one bin below and above


class Floors(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """From where on a log is refused, or called weak.

    `false_alarm` is the chance that a log with right propensities fails any of the tests of mean weights.
    """

    least_effective_n: float = 200.0
    weak_effective_n: float = 1_000.0
    most_lost_mass: float = 0.05
    weak_lost_mass: float = 0.01
    weak_largest_share: float = 0.05  # of one round in the sum of the weights
    false_alarm: float = 1e-3

    def __post_init__(self) -> None:
        """Check that what is weak comes before what is refused."""
        ordered = 0.0 <= self.least_effective_n <= self.weak_effective_n
        require(ordered, "floors", "least_effective_n", "must lie in [0, weak_effective_n]")
        ordered = 0.0 <= self.weak_lost_mass <= self.most_lost_mass <= 1.0
        require(ordered, "floors", "weak_lost_mass", "must lie in [0, most_lost_mass], and that in [0, 1]")
        holds = 0.0 < self.false_alarm < 1.0
        require(holds, "floors", "false_alarm", f"must lie in (0, 1), got {self.false_alarm}")


class Support(NamedTuple):
    """Sums over rounds of what speaks for and against a log."""

    n: int
    ratio_sums: FloatArray  # (4,) of w, w^2, and the mean and variance that w should have given the context
    max_ratio: float
    largest_ratio: float  # that the rounds' contexts could have led to, or the largest there was
    lost_mass: float  # sum over rounds of the target's mass on actions that could not be chosen
    knows_logging: bool  # whether the log has the whole logging distribution
    knows_eligible: bool  # whether the log tells which actions could be chosen
    histogram: IntArray  # (28,) rounds per weight: 0 or below 2^-6, then per octave
    arms: ArmSums

    @staticmethod
    def of(rounds: LoggedRounds, target: FloatArray, lost: FloatArray) -> Support:
        """The sums of one partition; target (n, A) as it would run, lost (n,) what it lost of its mass."""
        ratios, support = rounds.ratios(target), rounds.support()
        variances, largest = _promised(rounds, target)
        return Support(
            n=rounds.n_rounds,
            ratio_sums=np.array([ratios.sum(), ratios @ ratios, target.sum(), variances]),
            max_ratio=float(ratios.max(initial=0.0)),
            largest_ratio=max(largest, float(ratios.max(initial=0.0))),
            lost_mass=float(lost.sum()),
            knows_logging=rounds.logging is not None,
            knows_eligible=support is not None,
            histogram=_histogram(ratios),
            arms=ArmSums.of(rounds, target.shape[1]),
        )

    def __add__(self, other: object) -> Support:
        """The sums of both partitions."""
        if not isinstance(other, Support):
            return NotImplemented
        return Support(
            n=self.n + other.n,
            ratio_sums=self.ratio_sums + other.ratio_sums,
            max_ratio=max(self.max_ratio, other.max_ratio),
            largest_ratio=max(self.largest_ratio, other.largest_ratio),
            lost_mass=self.lost_mass + other.lost_mass,
            knows_logging=self.knows_logging and other.knows_logging,
            knows_eligible=self.knows_eligible and other.knows_eligible,
            histogram=self.histogram + other.histogram,
            arms=self.arms + other.arms,
        )

    @property
    def effective_n(self) -> float:
        """(sum w)^2 / sum w^2; 0 if all weights are zero."""
        total, square, _, _ = self.ratio_sums
        return float(total * total / square) if square > 0.0 else 0.0

    @property
    def mean_ratio(self) -> float:
        """Mean importance weight."""
        return float(self.ratio_sums[0] / self.n)

    @property
    def lost_target_mass(self) -> float:
        """Share of the target's probability on actions that the log could not have chosen."""
        return self.lost_mass / self.n

    def ratio_deviation(self) -> Deviations:
        """The sum of the weights beside what right propensities give."""
        total, square, expected, variance = self.ratio_sums
        if not self.knows_logging:
            variance = square - total * total / self.n
        sums = np.array([[total], [expected], [variance], [self.largest_ratio]])
        return Deviations(sums[0], sums[1], sums[2], sums[3], one_sided=False)

    def verdict(self, floors: Floors, names: Sequence[str] = ()) -> tuple[Verdict, tuple[str, ...]]:
        """Whether the target is supported, and the reasons if it is not, or only weakly.

        Reasons name actions by `names` (A,), or by number.
        """
        refusals = (*self.thin(floors), *self.refusals(floors, names))
        if refusals:
            return "refused", refusals
        doubts = self._doubts(floors)
        return ("weak" if doubts else "supported"), doubts

    def thin(self, floors: Floors) -> tuple[str, ...]:
        """The reason to refuse weights of single actions, those of groups may still do; empty if none."""
        told = []
        if self.effective_n < floors.least_effective_n:
            told.append(
                f"effective_n is {self.effective_n:.1f} of {self.n} rounds and must be at least "
                f"{floors.least_effective_n:g}: log more rounds, or judge a target closer to the log's."
            )
        expected = float(self.ratio_sums[2]) / self.n
        if missing_mass(self.mean_ratio, self._ratio_error(), expected) > floors.most_lost_mass:
            told.append(
                f"mean_weight is {self.mean_ratio:.4f} instead of {expected:.4f}: the target wants what the "
                "log has next to never chosen, and what that earns is not in it; judge a target closer to "
                "the log's."
            )
        return tuple(told)

    def refusals(self, floors: Floors, names: Sequence[str] = ()) -> tuple[str, ...]:
        """The reasons to refuse every estimate."""
        if self.lost_target_mass <= floors.most_lost_mass:
            return self._wrong_propensities(floors, names)
        lost = (
            f"lost_target_mass is {self.lost_target_mass:.4f} and must be at most {floors.most_lost_mass:g}: "
            "the target wants actions that the log could not choose; what they earn is not in it."
        )
        return lost, *self._wrong_propensities(floors, names)

    def _wrong_propensities(self, floors: Floors, names: Sequence[str]) -> tuple[str, ...]:
        """Refusals because the log contradicts its propensities: half the false alarms for each kind."""
        arms = self.arms.faults(floors.false_alarm / 2.0, names)
        if self.ratio_deviation().excess(floors.false_alarm / 2.0)[0] <= 1.0:
            return arms
        return (
            f"mean_weight is {self.mean_ratio:.4f} instead of {self.ratio_sums[2] / self.n:.4f}, and right "
            "propensities do not stray so far: they were logged wrongly, or the target wants what was never "
            "chosen.",
            *arms,
        )

    def _most_lost(self) -> float:
        """Lost mass that the mean weight, 1 less that, leaves possible within two standard errors."""
        return 1.0 - self.mean_ratio + 2.0 * self._ratio_error()

    def _ratio_error(self) -> float:
        """Standard error of the mean weight, by the weights that were seen."""
        variance = max(float(self.ratio_sums[1]) / self.n - self.mean_ratio**2, 0.0)
        return sqrt(variance / self.n)

    def _doubts(self, floors: Floors) -> tuple[str, ...]:
        """Reasons to call a supported target weak."""
        told = []
        if self.effective_n < floors.weak_effective_n:
            told.append(f"effective_n is {self.effective_n:.1f}, below {floors.weak_effective_n:g}.")
        if self.lost_target_mass > floors.weak_lost_mass:
            told.append(f"lost_target_mass is {self.lost_target_mass:.4f}, above {floors.weak_lost_mass:g}.")
        share = self.max_ratio / max(float(self.ratio_sums[0]), self.max_ratio, 1e-300)
        if share > floors.weak_largest_share:
            told.append(
                f"one round holds {share:.3f} of all weight (max_weight {self.max_ratio:.1f}), "
                f"above {floors.weak_largest_share:g}."
            )
        if not self.knows_eligible and (lost := self._most_lost()) > floors.most_lost_mass:
            told.append(
                "the log does not tell which actions could be chosen, and by the mean weight the target may "
                f"have lost {lost:.2f} of its mass; log the eligible set or the whole distribution."
            )
        return tuple(told)


def missing_mass(mean_ratio: float, error: float, expected: float = 1.0) -> float:
    """Target mass on what was possible and next to never chosen: lost as well, though no weight shows it.

    What the mean weight falls short by, beyond three standard errors of the weights that were seen.
    """
    return expected - mean_ratio - _SURE * error


def _promised(rounds: LoggedRounds, target: FloatArray) -> tuple[float, float]:
    """The variance of w by the log's own distributions, summed, and the largest weight there could be."""
    if rounds.logging is None:
        return 0.0, 0.0
    ratios, ones = table_ratios(target, rounds.logging), np.ones(target.shape[1])
    mass = target @ ones
    # A logging probability that the target shares leaves no variance; rounding must not make some.
    variances = np.maximum((target * ratios) @ ones - mass * mass, 0.0)
    return float(variances.sum()), float(ratios.max(initial=0.0))


def _histogram(ratios: FloatArray) -> IntArray:
    """(28,) rounds per octave of weight."""
    bins = np.searchsorted(2.0**_OCTAVES, ratios, side="right")
    return np.bincount(bins, minlength=_OCTAVES.size + 1).astype(np.int64)
