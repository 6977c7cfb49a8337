"""Stages of the customer life cycle: daily multinomial logits, and the ways out that are no chance."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
from scipy.special import betaincinv

from nba.arrays import FloatArray, IntArray
from nba.randomness import Purpose, keyed_uniforms
from simulator.config import STAGES, WorldConfig
from simulator.hazards import ACQUISITION
from simulator.memory import across
from simulator.population import Bytes
from simulator.state import Days, Memory, WorldState

ONBOARDING, GROWTH, CHURNED = (STAGES.index(name) for name in ("onboarding", "growth", "churned"))
_MEMORY_DAYS = 30  # of purchases and complaints
_BALANCE_HALF_LIFE_DAYS = 30.0
_LONGEST_TREND_DAYS = 2**16  # the days of a world and those before it
_BALANCE_LEFT = np.exp2(-np.arange(_LONGEST_TREND_DAYS + 1) / _BALANCE_HALF_LIFE_DAYS)
_MOST_YEARS, _MOST_MONTHS_ABSENT = 5.0, 3.0
_N_COVARIATES = 7
_NEVER_DAYS = 1_000_000
_NEVER = -1e9  # log-odds of a way that does not exist
_DROP_OUT_CHANCE, _DROPS_OUT = 0, 1  # blocks


class LifeCycleLaw(NamedTuple):
    """Log-odds of leaving each stage (8) for each other (8), against staying."""

    intercept: FloatArray  # (8, 8)
    slopes: FloatArray  # (_N_COVARIATES, 8, 8)
    limit: float
    bound: FloatArray  # (8,) most likely that a customer of the stage moves on a day
    onboarding_days: int
    drop_out: tuple[float, float] | None

    @staticmethod
    def of(config: WorldConfig) -> LifeCycleLaw:
        """Read a configuration."""
        life, n = config.life_cycle, len(STAGES)
        intercept, slopes = np.full((n, n), _NEVER), np.zeros((_N_COVARIATES, n, n))
        for move in life.transitions:
            way = STAGES.index(move.source), STAGES.index(move.to)
            intercept[way] = move.intercept
            slopes[:, *way] = (
                move.tenure,
                move.engagement,
                move.conversion,
                move.fatigue,
                move.complaint,
                move.balance,
                move.absence,
            )
        most = np.exp(intercept + life.index_limit).sum(axis=1)
        # Without any way between stages time does not move customers on either.
        onboarding_days = life.onboarding_days if life.transitions else _NEVER_DAYS
        return LifeCycleLaw(
            intercept, slopes, life.index_limit, most / (1.0 + most), onboarding_days, life.drop_out
        )


MoveLogs: TypeAlias = Callable[[LifeCycleLaw, Bytes, FloatArray], FloatArray]


def move_logs(law: LifeCycleLaw, source: Bytes, covariates: FloatArray) -> FloatArray:
    """(n, 8) log-odds of leaving stages `source` (n,) for each other, by covariates (_N_COVARIATES, n)."""
    index = np.zeros((source.size, len(STAGES)))
    for slopes, column in zip(law.slopes, covariates, strict=True):
        # Not a matrix product: its bits would depend on how many customers are asked together.
        index += slopes.take(source, axis=0) * column[:, None]
    total: FloatArray = law.intercept.take(source, axis=0) + np.clip(index, -law.limit, law.limit)
    return total


def moved(
    law: LifeCycleLaw,
    state: WorldState,
    rows: IntArray,
    memory: Memory,
    uniforms: FloatArray,
    logs: MoveLogs = move_logs,
) -> Bytes:
    """(n,) stage of customers `rows` after today, each moved by its uniform."""
    source = state.stage.take(rows)
    logits = logs(law, source, np.array(_covariates(state, rows, memory)))
    # There are few ways out of a stage, and an exponential that comes to nothing takes longest.
    odds = np.exp(logits, out=np.zeros(logits.shape), where=logits > 0.5 * _NEVER)
    cumulative = np.cumsum(odds, axis=1) / (1.0 + odds.sum(axis=1, keepdims=True))
    target = (cumulative <= uniforms[:, None]).sum(axis=1)
    stage = np.where(target < len(STAGES), target, source)
    tenure = state.day + 1 - state.joined.take(rows).astype(np.int64)
    ripe = (source == ONBOARDING) & (tenure >= law.onboarding_days)
    after: Bytes = np.where(ripe & (stage == ONBOARDING), GROWTH, stage).astype(np.uint8)
    return after


def _covariates(state: WorldState, rows: IntArray, memory: Memory) -> tuple[FloatArray, ...]:
    """What transitions depend on, in the order of Transition's slopes."""

    def since(days: Days) -> IntArray:
        return state.day - days.take(rows).astype(np.int64)

    return (
        np.minimum(since(state.joined) / 365.0, _MOST_YEARS),
        memory.engagement,
        _lately(since(state.bought_day)),
        across(memory.fatigue),
        _lately(since(state.complaint)),
        balance_trend(state, rows, state.day),
        np.minimum(since(state.login) / 30.0, _MOST_MONTHS_ABSENT),
    )


def _lately(days: IntArray) -> FloatArray:
    """(n,) 1 where something was in the last days; what is planned has not been yet."""
    return ((days >= 0) & (days <= _MEMORY_DAYS)).astype(np.float64)


def balance_trend(state: WorldState, rows: IntArray, day: int) -> FloatArray:
    """(n,) balance trend of customers `rows` on a day."""
    age = day - state.event_day.take(rows).astype(np.int64)
    left = _BALANCE_LEFT.take(np.clip(age, 0, _LONGEST_TREND_DAYS))
    trend: FloatArray = state.balance.take(rows).astype(np.float64) * left
    return trend


def after_purchase(law: LifeCycleLaw, state: WorldState, rows: IntArray) -> Bytes:
    """(n,) stage of customers `rows` (each once) who have just bought something.

    Newcomers become customers; with a drop-out chance each buyer leaves for good with a probability of
    their own, drawn from Beta(a, b) once (Fader, Hardie, Lee 2005: the BG/NBD model).
    """
    stage = np.where(state.stage[rows] == ACQUISITION, ONBOARDING, state.stage[rows])
    if law.drop_out is not None:
        ids = state.people.ids[rows]
        own = keyed_uniforms(state.seed, Purpose.DROP_OUT, ids, block=_DROP_OUT_CHANCE)
        chance = betaincinv(*law.drop_out, own)
        drops = keyed_uniforms(state.seed, Purpose.DROP_OUT, ids, state.day, _DROPS_OUT) < chance
        stage = np.where(drops, CHURNED, stage)
    after: Bytes = stage.astype(np.uint8)
    return after
