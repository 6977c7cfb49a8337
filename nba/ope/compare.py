"""Two targets on one log: the difference of their values, fixed-size interval and sequence side by side.

The rounds are the same, so what both targets would have done alike cancels. The sequence may be looked at
after any number of rounds, and is what a promotion waits for (methods E3); the interval may be read once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from msgspec import Struct

from nba.arrays import BoolArray, FloatArray
from nba.errors import require
from nba.ope.bootstrap import Replicates, percentile
from nba.ope.doubts import Seen, outside
from nba.ope.estimators import DirectMethod, DoublyRobust, Estimator
from nba.ope.intervals import CONFIDENCE, check_confidence, cressie_read
from nba.ope.logged import LoggedRounds, check_log, check_target, on_eligible
from nba.ope.sequences import asymptotic_reach, naive_alarms
from nba.ope.support import Floors, Support, Verdict
from nba.ope.terms import Estimate, Moments, difference


class Match(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How two targets are compared.

    The sequence is narrowest at planned_rounds, which is fixed before the first look. With `n_replicates`
    interval and sequence take customers as independent, not rounds.
    """

    estimator: Estimator = DoublyRobust()
    floors: Floors = Floors()
    confidence: float = CONFIDENCE
    planned_rounds: int = 10_000
    n_replicates: int = 0
    seed: int = 0
    propensities_estimated: bool = False
    labels: tuple[str, ...] = ()  # (A,) of the actions, for sentences

    def __post_init__(self) -> None:
        """Check what a difference can be made of."""
        check_confidence(self.confidence)
        plain = not self.estimator.self_normalised
        require(
            plain, "match", "estimator", "must not be self-normalised: its parts do not subtract by round"
        )
        weighs = not isinstance(self.estimator, DirectMethod)
        require(weighs, "match", "estimator", "must weigh rewards: of a model alone no error is known")
        rounds = self.planned_rounds
        require(rounds >= 1, "match", "planned_rounds", f"must be at least 1, got {rounds}")


_LEAST_ROUNDS = 2  # that any error can be told from


class Compared(Struct, frozen=True, kw_only=True):
    """What a log says of one target against another; figures are None where it is refused."""

    n: int  # rounds in which both targets can run
    difference: float | None
    stderr: float | None
    ci_low: float | None
    ci_high: float | None
    method: str | None
    sequence_low: float | None
    sequence_high: float | None
    naive_alarms_20_looks: float  # how often the interval, looked at 20 times, finds a difference of nothing
    verdict: Verdict
    reasons: tuple[str, ...]

    @property
    def is_better(self) -> bool:
        """Whether the sequence shows that the first target earns more."""
        return self.sequence_low is not None and self.sequence_low > 0.0


class Comparison(NamedTuple):
    """Sums over rounds for the difference of two targets; they merge."""

    match: Match
    supports: tuple[Support, Support]
    seen: Seen  # rewards and customers
    moments: Moments
    replicates: Replicates | None

    @staticmethod
    def of(
        match: Match,
        rounds: LoggedRounds,
        targets: tuple[FloatArray, FloatArray],
        predicted: FloatArray | None = None,
        first_row: int = 0,
    ) -> Comparison:
        """The sums of one partition that begins with row first_row; targets and predicted are (n, A)."""
        check_log(rounds, first_row)
        for target in targets:
            check_target(rounds, target, first_row)
        (one, one_lost), (other, other_lost) = (on_eligible(rounds, target) for target in targets)
        # Rounds in which both targets can run.
        kept: BoolArray = np.logical_or.reduce(one > 0.0, axis=1) & np.logical_or.reduce(other > 0.0, axis=1)
        some, known = rounds.take(kept), None if predicted is None else predicted[kept]
        apart = difference(*(match.estimator.terms(some, able[kept], known) for able in (one, other)))
        supports = Support.of(rounds, one, one_lost), Support.of(rounds, other, other_lost)
        again = (
            Replicates.of(apart, some.clusters, match.seed, match.n_replicates)
            if match.n_replicates
            else None
        )
        return Comparison(match, supports, Seen.of(rounds), Moments.of(apart), again)

    def __add__(self, other: object) -> Comparison:
        """The sums of both partitions, made with an equal match."""
        if not isinstance(other, Comparison):
            return NotImplemented
        require(self.match == other.match, "comparison", "match", "must be equal in all partitions of a log")
        one, two = (mine + its for mine, its in zip(self.supports, other.supports, strict=True))
        again = None
        if self.replicates is not None and other.replicates is not None:
            again = self.replicates + other.replicates
        return Comparison(self.match, (one, two), self.seen + other.seen, self.moments + other.moments, again)

    def report(self) -> Compared:
        """The difference with its interval and sequence, unless either target is refused."""
        require(self.supports[0].n > 0, "comparison", "rounds", "must not be empty")
        verdict, reasons = self._judged()
        if self.moments.n_rounds < _LEAST_ROUNDS:
            verdict = "refused"
            reasons = (*reasons, f"both targets can run in {self.moments.n_rounds} rounds only")
        found = None if verdict == "refused" else self._figures()
        value, stderr, low, high, lowest, highest, method = found or (None,) * 7
        if value is not None and low is not None and high is not None and not low <= value <= high:
            reasons = (*reasons, *outside(["difference"], self.moments.mean_ratio, 0.0))
            verdict = "weak"
        return Compared(
            n=self.moments.n_rounds,
            difference=value,
            stderr=stderr,
            ci_low=low,
            ci_high=high,
            method=method,
            sequence_low=lowest,
            sequence_high=highest,
            naive_alarms_20_looks=naive_alarms(20, self.match.confidence),
            verdict=verdict,
            reasons=reasons,
        )

    def _figures(self) -> tuple[float, float, float, float, float, float, str]:
        """Difference, standard error, ends of the interval and of the sequence, and the interval's method."""
        confidence = self.match.confidence
        estimate = self.moments.estimate(self_normalised=False)
        if self.replicates is None:
            interval = cressie_read(self.moments, mean_ratio=0.0, confidence=confidence)
        else:
            again = self.replicates.values(self_normalised=False)
            interval = percentile(again, confidence)
            estimate = Estimate(estimate.value, float(np.std(again, ddof=1)))
        reach = asymptotic_reach(estimate, self.moments.n_rounds, self.match.planned_rounds, confidence)
        ends = (estimate.value - reach, estimate.value + reach)
        return (*estimate, interval.low, interval.high, *ends, interval.method)

    def _judged(self) -> tuple[Verdict, tuple[str, ...]]:
        """The worse of both verdicts, the reasons of each, and what speaks against the interval."""
        told = [support.verdict(self.match.floors, self.match.labels) for support in self.supports]
        doubts = self.seen.doubts(
            bootstrapped=self.replicates is not None,
            propensities_estimated=self.match.propensities_estimated,
        )
        order: tuple[Verdict, ...] = ("supported", "weak", "refused")
        reasons = (
            f"{name} target: {reason}"
            for name, (_, mine) in zip(("first", "second"), told, strict=True)
            for reason in mine
        )
        verdicts: list[Verdict] = [verdict for verdict, _ in told]
        if doubts:
            verdicts.append("weak")
        return max(verdicts, key=order.index), (*reasons, *doubts)
