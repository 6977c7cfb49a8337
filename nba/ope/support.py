"""The support report: whether a log can tell anything about a target, before what it tells.

Sums over rounds that merge; the verdict and its reasons come at the end. Methods E1, E2 and H2, H3.
"""

from __future__ import annotations

from math import copysign, inf, sqrt
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from msgspec import Struct

from nba.arrays import FloatArray, IntArray
from nba.errors import require
from nba.ope.logged import LoggedRounds

Verdict: TypeAlias = Literal["supported", "weak", "refused"]
_OCTAVES = np.arange(-6, 21)  # weights from 2^-6 to 2^20, one bin each, and one bin below and above
_LEAST_CHOICES = 10  # of an action: with fewer, its mean weight is not close to normal


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


class ArmCheck(NamedTuple):
    """Per action: the mean of 1/propensity over the rounds that chose it, which should be `expected`."""

    mean: FloatArray  # (A,) of 1[chosen] / propensity
    expected: FloatArray  # (A,) share of rounds in which it could be chosen
    z: FloatArray  # (A,) deviation in standard errors, nan where too seldom chosen to tell


class Support(NamedTuple):
    """Sums over rounds of what speaks for and against a log."""

    n: int
    ratio_sums: FloatArray  # (4,) of w, w^2, and the mean and variance that w should have given the context
    max_ratio: float
    lost_mass: float  # sum over rounds of the target's mass on actions that could not be chosen
    knows_logging: bool  # whether the log has the whole logging distribution
    knows_eligible: bool  # whether the log tells which actions could be chosen
    histogram: IntArray  # (28,) rounds per weight: 0 or below 2^-6, then per octave
    arms: FloatArray  # (A, 4) sums of 1[chosen], 1[chosen]/propensity, its square, and rounds with support
    arm_variances: FloatArray  # (A,) sum of the variances that 1[chosen]/propensity should have

    @staticmethod
    def of(rounds: LoggedRounds, target: FloatArray, lost: FloatArray) -> Support:
        """The sums of one partition; target (n, A) as it would run, lost (n,) what it lost of its mass."""
        ratios, support = rounds.ratios(target), rounds.support()
        variances, arm_variances = _null_variances(rounds, target)
        return Support(
            n=rounds.n_rounds,
            ratio_sums=np.array([ratios.sum(), ratios @ ratios, target.sum(), variances]),
            max_ratio=float(ratios.max(initial=0.0)),
            lost_mass=float(lost.sum()),
            knows_logging=rounds.logging is not None,
            knows_eligible=support is not None,
            histogram=_histogram(ratios),
            arms=_arm_sums(rounds, target.shape[1]),
            arm_variances=arm_variances,
        )

    def __add__(self, other: object) -> Support:
        """The sums of both partitions."""
        if not isinstance(other, Support):
            return NotImplemented
        return Support(
            n=self.n + other.n,
            ratio_sums=self.ratio_sums + other.ratio_sums,
            max_ratio=max(self.max_ratio, other.max_ratio),
            lost_mass=self.lost_mass + other.lost_mass,
            knows_logging=self.knows_logging and other.knows_logging,
            knows_eligible=self.knows_eligible and other.knows_eligible,
            histogram=self.histogram + other.histogram,
            arms=self.arms + other.arms,
            arm_variances=self.arm_variances + other.arm_variances,
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

    @property
    def ratio_z(self) -> float:
        """Deviation of the mean weight from what it should be, in standard errors."""
        total, square, expected, variance = self.ratio_sums
        if not self.knows_logging:
            variance = square - total * total / self.n
        deviation = total - expected
        if abs(deviation) <= 1e-9 * self.n:
            return 0.0
        return float(deviation / sqrt(variance)) if variance > 0.0 else copysign(inf, deviation)

    def arm_check(self) -> ArmCheck:
        """The test of each action's mean weight."""
        chosen, inverse, square, possible = self.arms.T
        variances = self.arm_variances if self.knows_logging else square - inverse * inverse / self.n
        told = (chosen >= _LEAST_CHOICES) & (variances > 0.0)
        if self.knows_logging:  # an action that should have come up often and never did tells as much
            told |= (variances > 0.0) & (possible * possible >= 25.0 * variances)
        z = np.full(chosen.size, np.nan)
        z[told] = (inverse - possible)[told] / np.sqrt(variances[told])
        if not self.knows_logging:
            z = np.where(z < 0.0, 0.0, z)  # an eligible action may never be chosen: no contradiction
        return ArmCheck(inverse / self.n, possible / self.n, z)

    def verdict(self, floors: Floors) -> tuple[Verdict, tuple[str, ...]]:
        """Whether the target is supported, and the reasons if it is not, or only weakly."""
        refusals = (*self.thin(floors), *self.refusals(floors))
        if refusals:
            return "refused", refusals
        doubts = self._doubts(floors)
        return ("weak" if doubts else "supported"), doubts

    def thin(self, floors: Floors) -> tuple[str, ...]:
        """The reason to refuse weights of single actions, those of groups may still do; empty if none."""
        if self.effective_n >= floors.least_effective_n:
            return ()
        return (
            f"effective_n is {self.effective_n:.1f} of {self.n} rounds and must be at least "
            f"{floors.least_effective_n:g}: log more rounds, or judge a target closer to the log's.",
        )

    def refusals(self, floors: Floors) -> tuple[str, ...]:
        """The reasons to refuse every estimate."""
        if self.lost_target_mass <= floors.most_lost_mass:
            return self._wrong_propensities(floors)
        lost = (
            f"lost_target_mass is {self.lost_target_mass:.4f} and must be at most {floors.most_lost_mass:g}: "
            "the target wants actions that the log could not choose; what they earn is not in it."
        )
        return lost, *self._wrong_propensities(floors)

    def _wrong_propensities(self, floors: Floors) -> tuple[str, ...]:
        """Refusals because the mean weights are not what right propensities would give."""
        from scipy.special import ndtri

        arms = self.arm_check()
        tested = np.flatnonzero(np.isfinite(arms.z))
        most = -float(ndtri(floors.false_alarm / 2.0 / (tested.size + 1)))  # Bonferroni over all tests
        told = []
        if abs(self.ratio_z) > most:
            told.append(
                f"mean_weight is {self.mean_ratio:.4f}, {self.ratio_z:+.1f} standard errors from what right "
                "propensities give: they were logged wrongly, or the target wants what was never chosen."
            )
        off = tested[np.abs(arms.z[tested]) > most]
        if off.size:
            worst = int(off[np.abs(arms.z[off]).argmax()])
            told.append(
                f"{off.size} of {tested.size} actions have a mean inverse propensity that the log "
                f"contradicts, most of all action {worst}: {arms.mean[worst]:.4f} instead of "
                f"{arms.expected[worst]:.4f}, {arms.z[worst]:+.1f} standard errors. "
                "Something filtered or rounded after the draw."
            )
        return tuple(told)

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
        if not self.knows_eligible:
            told.append(
                "the log does not tell which actions could be chosen, so lost target mass shows only in the "
                "mean weight; log the eligible set or the whole distribution."
            )
        return tuple(told)


def _null_variances(rounds: LoggedRounds, target: FloatArray) -> tuple[float, FloatArray]:
    """What the log's own distributions say of the variance of w, summed, and of 1[a]/mu(a), summed (A,)."""
    if rounds.logging is None:
        return 0.0, np.zeros(target.shape[1])
    possible = rounds.logging > 0.0
    inverse = np.divide(1.0, rounds.logging, out=np.zeros_like(rounds.logging), where=possible)
    mass = target @ np.ones(target.shape[1])
    # A logging probability that the target shares leaves no variance; rounding must not make some.
    variances = np.maximum(np.einsum("na,na,na->n", target, target, inverse) - mass * mass, 0.0)
    return float(variances.sum()), inverse.sum(axis=0) - np.count_nonzero(possible, axis=0)


def _arm_sums(rounds: LoggedRounds, n_actions: int) -> FloatArray:
    """(A, 4) sums of 1[chosen], 1[chosen]/propensity, its square, and rounds in which it could be chosen."""
    inverse, support = 1.0 / rounds.propensities, rounds.support()
    columns = [np.bincount(rounds.actions, power, n_actions) for power in (None, inverse, inverse * inverse)]
    possible = np.full(n_actions, rounds.n_rounds) if support is None else support.sum(axis=0)
    return np.column_stack([*columns, possible]).astype(np.float64)


def _histogram(ratios: FloatArray) -> IntArray:
    """(28,) rounds per octave of weight."""
    bins = np.searchsorted(2.0**_OCTAVES, ratios, side="right")
    return np.bincount(bins, minlength=_OCTAVES.size + 1).astype(np.int64)
