"""One pass over a log: the support report, and every estimator's value and interval.

`Evaluation.of` sums a partition, `+` merges partitions in any order, `report` tells. Where the verdict is
refused, the report has no estimates: a number that is printed is believed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import reduce
from math import inf, isnan
from operator import add
from typing import NamedTuple

import numpy as np
from msgspec import Struct, structs

from nba.arrays import BoolArray, FloatArray
from nba.errors import require
from nba.ope.bootstrap import Replicates, percentile, replicates_of
from nba.ope.doubts import Seen, outside
from nba.ope.estimators import USUAL, Estimator
from nba.ope.intervals import CONFIDENCE, Interval, check_confidence, cressie_read
from nba.ope.logged import LoggedRounds, blocks, check_log, check_target, on_eligible
from nba.ope.selection import candidate, slope
from nba.ope.support import Floors, Support, Verdict, missing_mass
from nba.ope.terms import Estimate, Moments


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is evaluated, and how.

    With `n_replicates` the intervals are those of the cluster bootstrap, right where customers come
    back; with 0 they are Cressie-Read intervals, right for independent rounds. A log whose propensities
    were estimated (nba.ope.propensities) is never more than weak. Reasons name actions by their labels
    (A,), or by number without.
    """

    estimators: tuple[Estimator, ...] = USUAL
    floors: Floors = Floors()
    confidence: float = CONFIDENCE
    n_replicates: int = 0
    seed: int = 0
    propensities_estimated: bool = False
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the confidence, and that names tell the estimators apart."""
        check_confidence(self.confidence)
        names = [one.name for one in self.estimators]
        twice = sorted({name for name in names if names.count(name) > 1})
        require(not twice, "evaluation", "estimators", f"must have different names; {twice} come up twice")
        holds = self.n_replicates == 0 or self.n_replicates >= 2
        require(holds, "evaluation", "n_replicates", f"must be 0 or at least 2, got {self.n_replicates}")


class Told(Struct, frozen=True, kw_only=True):
    """What one estimator says; of a model alone no error is known, and none is told."""

    estimator: str
    value: float
    stderr: float | None
    ci_low: float | None
    ci_high: float | None
    method: str | None


class Report(Struct, frozen=True, kw_only=True):
    """What a log says of a target.

    The estimates are of the rounds in which the target can run: has some mass on an eligible action.
    Estimates are only those that the log supports: none where it is refused, and where single actions have
    too little weight those of groups that have enough. `selected` is SLOPE++'s choice among those with an
    interval: a model alone would be taken for the surest of all.
    """

    n: int
    effective_n: float
    max_weight: float
    mean_weight: float
    lost_target_mass: float
    on_policy_mean: float
    estimates: tuple[Told, ...]
    selected: str | None
    verdict: Verdict
    reasons: tuple[str, ...]


class Evaluation(NamedTuple):
    """Sums over rounds for the support report and all estimators; they merge."""

    settings: Settings
    support: Support
    seen: Seen  # rewards and customers
    moments: tuple[Moments, ...]  # per estimator
    replicates: tuple[Replicates, ...]  # per estimator, empty without bootstrap

    @staticmethod
    def of(
        settings: Settings,
        rounds: LoggedRounds,
        target: FloatArray,
        predicted: Mapping[str, FloatArray] | None = None,
        first_row: int = 0,
    ) -> Evaluation:
        """The sums of one partition that begins with row first_row of the log.

        target is (n, A); predicted has cross-fitted predictions (n, A) under the names that the estimators
        ask for. Raises BadLog for what cannot be evaluated.
        """
        check_target(rounds, target, first_row)
        check_log(rounds, first_row)
        known = predicted or {}
        # A bootstrap draws once per customer, so it takes all rounds at once.
        cuts = [slice(None)] if settings.n_replicates else blocks(*target.shape)
        parts = (
            Evaluation._summed(
                settings, rounds.take(cut), target[cut], {name: table[cut] for name, table in known.items()}
            )
            for cut in cuts
        )
        return reduce(add, parts)._replace(seen=Seen.of(rounds))

    @staticmethod
    def _summed(
        settings: Settings, rounds: LoggedRounds, target: FloatArray, predicted: Mapping[str, FloatArray]
    ) -> Evaluation:
        """The sums of rounds that have been checked; estimates are of those where the target can run."""
        able, lost = on_eligible(rounds, target)
        # Elsewhere its weights have mean 0, and intervals count on 1.
        runs: BoolArray = able @ np.ones(able.shape[1]) > 0.0
        kept = slice(None) if runs.all() else runs  # the first copies nothing
        some = rounds.take(kept)
        known = {name: table[kept] for name, table in predicted.items()}
        terms = [one.terms(some, able[kept], known.get(one.model)) for one in settings.estimators]
        return Evaluation(
            settings,
            Support.of(rounds, able, lost),
            Seen.none(),  # counted once for all blocks
            tuple(Moments.of(one) for one in terms),
            replicates_of(terms, some.clusters, settings.seed, settings.n_replicates)
            if settings.n_replicates
            else (),
        )

    def __add__(self, other: object) -> Evaluation:
        """The sums of both partitions, made with equal settings."""
        if not isinstance(other, Evaluation):
            return NotImplemented
        same = self.settings == other.settings
        require(same, "evaluation", "settings", "must be equal in all partitions of a log")
        return Evaluation(
            self.settings,
            self.support + other.support,
            self.seen + other.seen,
            tuple(one + its for one, its in zip(self.moments, other.moments, strict=True)),
            tuple(one + its for one, its in zip(self.replicates, other.replicates, strict=True)),
        )

    def report(self) -> Report:
        """The support report, and the estimates unless it refuses them."""
        support = self.support
        require(support.n > 0, "evaluation", "rounds", "must not be empty")
        verdict, reasons, places = self._judged()
        told = tuple(map(self._told, places))
        strays = outside([one.estimator for one in told if _is_outside(one)], support.mean_ratio)
        return Report(
            n=support.n,
            effective_n=support.effective_n,
            max_weight=support.max_ratio,
            mean_weight=support.mean_ratio,
            lost_target_mass=support.lost_target_mass,
            on_policy_mean=self.seen.reward_sum / support.n,
            estimates=told,
            selected=self._selected(told),
            verdict="weak" if strays and verdict == "supported" else verdict,
            reasons=reasons + strays,
        )

    def tuned(self, families: Iterable[Sequence[int]]) -> Evaluation:
        """The same with one estimator of each family of places, such as DRos with several strengths.

        It is the one that SLOPE++ selects; estimators in no family stay. Ask when all partitions are summed.
        """
        dropped: set[int] = set()
        for places in families:
            told = [self._told(place) for place in places]
            sure = [Estimate(one.value, inf if one.stderr is None else one.stderr) for one in told]
            best = places[slope([candidate(one, self.settings.confidence) for one in sure])]
            dropped |= {*places} - {best}
        kept = [place for place in range(len(self.moments)) if place not in dropped]
        estimators = tuple(self.settings.estimators[place] for place in kept)
        return self._replace(
            settings=structs.replace(self.settings, estimators=estimators),
            moments=tuple(self.moments[place] for place in kept),
            replicates=tuple(self.replicates[place] for place in kept) if self.replicates else (),
        )

    def _selected(self, told: tuple[Told, ...]) -> str | None:
        """The name of SLOPE++'s choice."""
        confidence = self.settings.confidence
        sure = [(one.estimator, Estimate(one.value, one.stderr)) for one in told if one.stderr is not None]
        return sure[slope([candidate(one, confidence) for _, one in sure])][0] if sure else None

    def _judged(self) -> tuple[Verdict, tuple[str, ...], tuple[int, ...]]:
        """The verdict with its reasons, and the places of the estimators that may be told."""
        floors, doubts, every = self.settings.floors, self._doubts(), range(len(self.moments))
        verdict, reasons = self.support.verdict(floors, self.settings.labels)
        if verdict != "refused":
            return ("weak" if doubts else verdict), reasons + doubts, tuple(every)
        enough = tuple(i for i in every if _is_enough(self.moments[i], floors))
        if self.support.refusals(floors) or not enough:
            return verdict, reasons + doubts, ()
        kept = ", ".join(self.settings.estimators[i].name for i in enough)
        return "weak", (*reasons, f"Only {kept} may be told, by the weights of groups.", *doubts), enough

    def _doubts(self) -> tuple[str, ...]:
        """Why intervals or estimates may be worse than they say."""
        estimated = self.settings.propensities_estimated
        told = self.seen.doubts(bootstrapped=bool(self.replicates), propensities_estimated=estimated)
        blind = ", ".join(self._blind())
        reason = (
            f"of {blind} a bootstrap sees no error, because the rounds that count all have the same reward; "
            "take n_replicates = 0 (--replicates 0)."
        )
        return (*told, reason) if blind else told

    def _blind(self) -> Iterator[str]:
        """The estimators whose replicates are all the same."""
        if not self.replicates:
            return
        for one, moments, again in zip(self.settings.estimators, self.moments, self.replicates, strict=True):
            if moments.weight_range != (0.0, 0.0):
                values = again.values(self_normalised=one.self_normalised)
                if np.nanmax(values, initial=-np.inf) <= np.nanmin(values, initial=np.inf):
                    yield one.name

    def _told(self, place: int) -> Told:
        """Value and interval of one estimator."""
        estimator, moments = self.settings.estimators[place], self.moments[place]
        value, stderr = moments.estimate(self_normalised=estimator.self_normalised)
        if moments.weight_range == (0.0, 0.0):  # how customers vary is known, how far the model is off is not
            return Told(
                estimator=estimator.name, value=value, stderr=None, ci_low=None, ci_high=None, method=None
            )
        interval = self._interval(place, estimator.self_normalised)
        if self.replicates:  # the error of whole customers, as in the interval
            again = self.replicates[place].values(self_normalised=estimator.self_normalised)
            stderr = float(np.std(again[np.isfinite(again)], ddof=1))
        low, high, method = interval
        return Told(
            estimator=estimator.name, value=value, stderr=stderr, ci_low=low, ci_high=high, method=method
        )

    def _interval(self, place: int, self_normalised: bool) -> Interval:
        """The bootstrap's interval if there are replicates, else that of Cressie and Read."""
        if self.replicates:
            again = self.replicates[place].values(self_normalised=self_normalised)
            interval = percentile(again, self.settings.confidence)
        else:
            interval = cressie_read(self.moments[place], confidence=self.settings.confidence)
        stated = self.seen.stated  # what was observed bounds no value: a larger reward may come
        return interval if stated is None or isnan(interval.low) else interval.within(stated)


def _is_outside(told: Told) -> bool:
    """Whether a value is not in its own interval, but for rounding."""
    if told.ci_low is None or told.ci_high is None:
        return False
    room = 1e-9 * (told.ci_high - told.ci_low + abs(told.value))
    return not told.ci_low - room <= told.value <= told.ci_high + room


def _is_enough(moments: Moments, floors: Floors) -> bool:
    """Whether the weights of an estimator itself, such as those of groups, are supported."""
    if moments.n_rounds == 0 or moments.effective_n < floors.least_effective_n:
        return False
    return missing_mass(moments.mean_ratio, moments.ratio_error) <= floors.most_lost_mass
