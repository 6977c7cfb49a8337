"""From a campaign table to the fields of a world: the whole calibration, step by step."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np
from msgspec import structs
from scipy.stats import chi2

from nba.arrays import FloatArray, IntArray
from nba.errors import InvalidConfig, require
from nba.randomness import draw_generator
from simulator.calibrate.borrowed import Borrowed, borrowed_vector
from simulator.calibrate.columns import ColumnMap
from simulator.calibrate.direct import DirectMoments, direct_moments
from simulator.calibrate.ensemble import HISTORY, apply
from simulator.calibrate.fit import Fit, Goal, Simulate, distance, goal, misses
from simulator.calibrate.history import Cast, cast, simulate
from simulator.calibrate.models import fit_calls
from simulator.calibrate.moments import Summary, covariance, summary, values
from simulator.calibrate.parameters import NAMES, PARAMETERS, Vector, natural, world_vector
from simulator.calibrate.past import Past, observed, past
from simulator.calibrate.table import Campaign, expand, group

if TYPE_CHECKING:
    from simulator.world import World

METHOD = 1  # to be raised when the same inputs lead to other numbers: an old checkpoint is then no use
CONFIDENCE = 0.95
_TRIES_PER_MEMBER = 20
_RECASTS = 6


class Problem(NamedTuple):
    """A table, a world, and everything that stays fixed while parameters are tried."""

    campaign: Campaign
    columns: ColumnMap
    direct: DirectMoments
    past: Past
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

    def simulate(self, theta: FloatArray) -> FloatArray:
        """(S,) statistics of the campaign told again with parameters (Q,)."""
        config = apply(self.cast.config, self.vector(theta))
        return values(self.summary, simulate(self.cast, self.past, config, natural(theta)))


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
    told = past(campaign, fits.within, direct.month_effects)
    one = summary(campaign, calls, told.background, direct.weekday_effects)
    spread = covariance(one, calls, campaign.weight)
    fitted: IntArray = np.flatnonzero([statistic.fitted for statistic in one.statistics])
    rule = f"only {fitted.size} statistics have enough sales for {len(NAMES)} parameters; it is too small"
    require(fitted.size >= len(NAMES), campaign.source, "", rule)
    return Problem(
        campaign=campaign,
        columns=columns,
        direct=direct,
        past=told,
        cast=cast(world, columns, campaign.sold.size, seed),
        summary=one,
        errors=np.sqrt(np.diag(spread)),
        goal=goal(values(one, calls), spread, fitted),
    )


def replayed(world: World, campaign: Campaign, columns: ColumnMap) -> tuple[Problem, FloatArray]:
    """The problem that a calibrated world was the answer to, and the parameters (Q,) of the answer.

    Raises InvalidConfig for a world that `nba calibrate` has not written.
    """
    table = world.config.calibration
    try:
        theta = [one.fitted_scale(float(table[HISTORY + one.name])) for one in PARAMETERS]
        of = problem(world, campaign, columns, int(table["seed"]))
    except KeyError as error:
        rule = f"{error.args[0]!r} is missing: not written by this version of nba calibrate"
        raise InvalidConfig(world.config.name, "calibration", rule) from None
    return of, np.array(theta)


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
    return [Target(one.name, float(a), float(b), float(error), one.fitted) for one, a, b, error in rows]


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
        told: Vector = {HISTORY + name: value for name, value in natural(theta).items()}
        vectors.append(of.vector(theta) | borrowed_vector(lent, of.cast, noise) | told)
    return vectors


def digest(world: World, columns: ColumnMap, data: bytes, seed: int) -> str:
    """A short name of everything that a simulated statistic depends on."""
    bare = structs.replace(world.config, calibration={}, ensemble=())
    parts = (data, msgspec.json.encode(columns), msgspec.json.encode(bare), f"{seed} {METHOD}".encode())
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
