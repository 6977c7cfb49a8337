"""From a campaign table to the fields of a world: the whole calibration, step by step."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np
from msgspec import structs
from scipy.stats import chi2

from nba.arrays import FloatArray, IntArray
from nba.errors import require
from nba.randomness import draw_generator
from simulator.calibrate.borrowed import Borrowed, borrowed_vector
from simulator.calibrate.columns import ColumnMap
from simulator.calibrate.direct import DirectMoments, direct_moments
from simulator.calibrate.ensemble import HISTORY, apply
from simulator.calibrate.fit import Fit, Goal, Simulate, distance, fit, goal, misses
from simulator.calibrate.history import Cast, cast, simulate
from simulator.calibrate.models import fit_calls
from simulator.calibrate.moments import Summary, covariance, summary, values
from simulator.calibrate.parameters import MIDDLES, NAMES, Vector, natural, world_vector
from simulator.calibrate.past import Calls, Logits, Past, Records, logits, observed, past, records
from simulator.calibrate.table import Campaign, expand, group

if TYPE_CHECKING:
    from simulator.world import World

METHOD = 1  # to be raised when the same inputs lead to other numbers: an old checkpoint is then no use
CONFIDENCE = 0.95
_TRIES_PER_MEMBER = 20
_RECASTS = 6
_ROUNDS = 3
_TURNS = 6  # fits between which the past is settled
_STILL = 0.1  # standard errors: a turn that moves no parameter by more is the last


class Problem(NamedTuple):
    """A table, a world, and everything that stays fixed while parameters are tried."""

    campaign: Campaign
    columns: ColumnMap
    direct: DirectMoments
    records: Records
    logits: Logits  # of the table
    used: Logits  # with which a simulated campaign has the table's
    cast: Cast
    summary: Summary
    errors: FloatArray  # (S,) standard errors of the table's statistics
    goal: Goal

    def vector(self, theta: FloatArray) -> Vector:
        """The fields of the world at a parameter vector (Q,)."""
        direct = self.direct
        return world_vector(
            natural(theta), self.columns.product, direct.weekday_effects, direct.month_effects
        )

    @property
    def stage(self) -> str:
        """A short name of what was settled so far."""
        return hashlib.sha256(b"".join(part.tobytes() for part in self.used)).hexdigest()[:16]

    @property
    def past(self) -> Past:
        """What the campaign is told again with."""
        return past(self.records, self.used)

    def calls(self, theta: FloatArray) -> Calls:
        """The campaign told again with parameters (Q,)."""
        config = apply(self.cast.config, self.vector(theta))
        return simulate(self.cast, self.past, config, natural(theta))

    def simulate(self, theta: FloatArray) -> FloatArray:
        """(S,) statistics of the campaign told again with parameters (Q,)."""
        return values(self.summary, self.calls(theta))


class Target(NamedTuple):
    """One statistic: of the table, of the simulation, and the difference in standard errors of the table."""

    name: str
    observed: float
    simulated: float
    stderr: float
    fitted: bool

    @property
    def z(self) -> float:
        """The difference in standard errors."""
        return (self.simulated - self.observed) / self.stderr


class Ensemble(NamedTuple):
    """Parameter vectors inside the confidence region, out of those drawn."""

    thetas: tuple[FloatArray, ...]
    distances: tuple[float, ...]
    statistics: tuple[FloatArray, ...]  # (S,) of each member
    tried: int
    limit: float  # largest distance Q inside the region
    short: bool  # fewer than were asked for


def problem(world: World, campaign: Campaign, columns: ColumnMap, seed: int) -> Problem:
    """Everything that is computed once: direct moments, the bank's policy, stand-ins, what is to be met."""
    fits = fit_calls(campaign, group(campaign, expand(campaign)))
    direct, calls = direct_moments(campaign, fits), observed(campaign)
    of = records(campaign, direct.month_effects)
    found = logits(of, calls)
    one = summary(campaign, calls, past(of, found).background, direct.weekday_effects)
    spread = covariance(one, calls, campaign.weight)
    fitted: IntArray = np.flatnonzero([statistic.fitted for statistic in one.statistics])
    rule = f"only {fitted.size} statistics have enough sales for {len(NAMES)} parameters; it is too small"
    require(fitted.size >= len(NAMES), campaign.source, "", rule)
    return Problem(
        campaign=campaign,
        columns=columns,
        direct=direct,
        records=of,
        logits=found,
        used=found,
        cast=cast(world, columns, campaign.sold.size, seed),
        summary=one,
        errors=np.sqrt(np.diag(spread)),
        goal=goal(values(one, calls), spread, fitted),
    )


def settled(of: Problem, theta: FloatArray, rounds: int = _ROUNDS) -> Problem:
    """The problem with background and policy such that parameters (Q,) give the table's own logits."""
    for _ in range(rounds):
        of = of._replace(used=of.used.moved(of.logits, logits(of.records, of.calls(theta))))
    return of


def search(
    of: Problem, remember: Callable[[str, Simulate], Simulate], budget: int | None = None
) -> tuple[Fit, Problem]:
    """Fit the parameters and settle the past, in turns; the problem returned is the settled one.

    `remember` may keep answers: it is given what a simulation depends on besides its parameters.
    """
    of, start, used = settled(of, MIDDLES), MIDDLES, 0
    for turn in range(_TURNS):
        of = settled(of, start) if turn else of
        left = None if budget is None else budget - used
        found = fit(remember(of.stage, of.simulate), of.goal, start, left)
        used += found.evaluations
        moved = np.abs(found.theta - start) / np.sqrt(np.diag(found.covariance))
        start = found.theta
        if moved.max() < _STILL or (budget is not None and used + 2 * len(NAMES) > budget):
            break
    still = bool(moved.max() < _STILL)
    return found._replace(evaluations=used, converged=found.converged and still), of


def simulation_noise(of: Problem, world: World, theta: FloatArray, seed: int) -> float:
    """Variance that other stand-ins would add to the statistics, as a share of the table's own variance.

    The coins are integrated out, the customers are not: with as many as the table has clients, their luck
    still moves the simulated statistics a little (McFadden 1989: 1 + 1 / R for plain simulation).
    """
    told = []
    for number in range(1, _RECASTS + 1):
        again = of._replace(cast=cast(world, of.columns, of.campaign.sold.size, seed + number))
        told.append(misses(of.goal, again.simulate(theta)))
    return float(np.var(told, axis=0, ddof=1).mean())


def targets(of: Problem, statistics: FloatArray) -> list[Target]:
    """Each statistic of the table beside its simulated value (S,)."""
    rows = zip(of.summary.statistics, of.goal.target, statistics, of.errors, strict=True)
    return [
        Target(one.name, float(seen), float(told), float(error), one.fitted)
        for one, seen, told, error in rows
    ]


def ensemble(of: Problem, found: Fit, n_members: int, seed: int, step: Simulate) -> Ensemble:
    """Draw from the asymptotic normal, simulate again, and keep what lies in the joint 95 % region.

    Were the distance quadratic, Q - min Q would be chi-square with one degree of freedom per parameter
    under the posterior, and 95 % of the draws would be kept. It bends, so every draw is simulated and
    judged by its true distance. `step` simulates.
    """
    limit = found.distance + float(chi2.ppf(CONFIDENCE, len(NAMES)))
    root = np.linalg.cholesky(found.covariance)
    kept: list[tuple[FloatArray, float, FloatArray]] = []
    tried = 0
    while len(kept) < n_members and tried < _TRIES_PER_MEMBER * n_members:
        theta = found.theta + root @ draw_generator(seed, tried).standard_normal(len(NAMES))
        statistics, tried = step(theta), tried + 1
        away = distance(of.goal, theta, statistics)
        if away <= limit:
            kept.append((theta, away, statistics))
    thetas, distances, told = zip(*kept, strict=True) if kept else ((), (), ())
    return Ensemble(thetas, distances, told, tried, limit, len(kept) < n_members)


def member_vectors(of: Problem, drawn: Ensemble, lent: Borrowed, seed: int) -> list[Vector]:
    """The fields of each member, what other studies lend drawn anew, and its past under `history.`."""
    vectors = []
    for number, theta in enumerate(drawn.thetas):
        noise = draw_generator(seed, 1_000_000 + number).standard_normal(3)
        past: Vector = {HISTORY + name: value for name, value in natural(theta).items()}
        vectors.append(of.vector(theta) | borrowed_vector(lent, of.cast, noise) | past)
    return vectors


def digest(world: World, columns: ColumnMap, data: bytes, seed: int) -> str:
    """A short name of everything that a simulated statistic depends on."""
    bare = structs.replace(world.config, calibration={}, ensemble=())
    parts = (data, msgspec.json.encode(columns), msgspec.json.encode(bare), f"{seed} {METHOD}".encode())
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
