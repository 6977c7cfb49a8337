"""Customers: who they are (hidden and observed), drawn once from keyed uniforms."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, gammaincinv, ndtri

from nba.arrays import BoolArray, FloatArray, IntArray
from nba.randomness import Purpose, keyed_uniforms
from simulator.config import N_INTERESTS, N_RECEPTIVITY, N_WEEK_CLASSES, STAGES, WorldConfig

Bytes: TypeAlias = NDArray[np.uint8]
Halves: TypeAlias = NDArray[np.float16]

# One block of draws per trait, so that a new trait never shifts the noise of the others.
_AGE, _SEGMENT, _WEALTH, _DIGITAL, _TENURE, _PAYDAY, _RECEPTIVE, _SEEN_RECEPTIVE, _RISK, _APP, _STAGE = range(
    11
)
_RESPONSIVE, _PHASE, _BIRTHDAY, _WEEK_CLASS, _EFFECT = range(11, 16)
_INTEREST, _SEEN_INTEREST, _PREFERENCE, _SEEN_PREFERENCE = 100, 200, 300, 400
_CONSENT, _OWNED = 500, 600
SILVER_AGE = 60
_YOUNGEST = 16.0  # years, of an account holder
_TINY = 1e-12
_PAYDAYS = (1, 10, 15, 25)  # assumed
_CONTACT_TRAITS = 2  # past engagement: digital, human
STEPS = 32.0  # traits are kept as bytes, in steps of a 32nd
DIGITAL_LEVELS = 255


class Population(NamedTuple):
    """Traits that do not change, as small as they are precise: about 50 bytes a customer."""

    ids: IntArray  # (N,) customer numbers
    age: Bytes  # (N,) years
    segment: Bytes  # (N,)
    wealth: Bytes  # (N,) tier
    digital: Bytes  # (N,) index, in 255ths
    payday: Bytes  # (N,) day of the month, 1 to 28
    birthday: NDArray[np.uint16]  # (N,) day of the year, 1 to 365
    receptivity: Bytes  # (N,) true activity class
    week_class: Bytes  # (N,) true class of weekdays
    preference: NDArray[np.int8]  # (N, C) true logit of engagement, in steps
    interests: Halves  # (N, N_INTERESTS) true latent interests, standard normal
    effect: Halves  # (N,) true log factor on organic hazards and on lift
    responsiveness: Halves  # (N,) true log factor on lift alone
    risk: Bytes  # (N,) class 1 to 5
    has_app: BoolArray  # (N,)
    phase: Bytes  # (N,) day of the decision cycle on which the customer comes up
    seen_interests: NDArray[np.int8]  # (N, N_INTERESTS) in steps
    seen_preference: NDArray[np.int8]  # (N, 2) digital and human, in steps
    seen_receptivity: Bytes  # (N,)

    @property
    def n_customers(self) -> int:
        """N, the number of customers."""
        return int(self.ids.shape[0])


class FirstDay(NamedTuple):
    """What customers are on day 0 and may not stay."""

    stage: Bytes  # (N,)
    tenure_days: IntArray  # (N,)
    consents: BoolArray  # (N, C)
    owned: BoolArray  # (N, P)


class _Noise(NamedTuple):
    """Keyed noise of some customers; every trait has blocks of its own."""

    seed: int
    ids: IntArray  # (N,)

    def uniform(self, block: int) -> FloatArray:
        """(N,) one uniform per customer."""
        return keyed_uniforms(self.seed, Purpose.POPULATION, self.ids, block=block)

    def uniforms(self, first_block: int, width: int) -> FloatArray:
        """(N, width) uniforms."""
        blocks = np.arange(first_block, first_block + width)
        return keyed_uniforms(self.seed, Purpose.POPULATION, self.ids[:, None], block=blocks[None, :])

    def normals(self, first_block: int, width: int) -> FloatArray:
        """(N, width) standard normals."""
        normal: FloatArray = ndtri(self.uniforms(first_block, width) + 2.0**-54)
        return normal

    def normal(self, block: int) -> FloatArray:
        """(N,) one standard normal per customer."""
        return self.normals(block, 1)[:, 0]


def draw_population(config: WorldConfig, seed: int, ids: IntArray) -> tuple[Population, FirstDay]:
    """Draw the customers with the given numbers; each depends on (seed, number) only."""
    people, noise = config.population, _Noise(seed, ids)
    c, _, p = config.catalogue.shape
    age = _ages(noise.uniform(_AGE), people.share_60_plus)
    silver = age >= SILVER_AGE
    interests = noise.normals(_INTEREST, N_INTERESTS)
    digital = expit(1.0 - (age - 35.0) / 15.0 + 1.2 * noise.normal(_DIGITAL))
    preference = people.preference_sd * noise.normals(_PREFERENCE, c)
    receptivity = _classes(noise.uniform(_RECEPTIVE), N_RECEPTIVITY)
    risk = 3.2 - silver + 0.5 * interests[:, 1] + noise.normal(_RISK)  # assumed: silver people risk less
    first = _first_day(config, noise, age)
    population = Population(
        ids=ids,
        age=age.astype(np.uint8),
        segment=_segments(config, noise.uniform(_SEGMENT), silver).astype(np.uint8),
        wealth=_from_shares(people.wealth_shares, noise.uniform(_WEALTH)),
        digital=np.round(DIGITAL_LEVELS * digital).astype(np.uint8),
        payday=np.array(_PAYDAYS, dtype=np.uint8)[_classes(noise.uniform(_PAYDAY), len(_PAYDAYS))],
        birthday=(1 + _classes(noise.uniform(_BIRTHDAY), 365)).astype(np.uint16),
        receptivity=receptivity.astype(np.uint8),
        week_class=_classes(noise.uniform(_WEEK_CLASS), N_WEEK_CLASSES).astype(np.uint8),
        preference=_in_steps(preference),
        interests=interests.astype(np.float16),
        effect=_effect(config, noise).astype(np.float16),
        responsiveness=(
            people.responsiveness_sd * (noise.normal(_RESPONSIVE) - 0.5 * people.responsiveness_sd)
        ).astype(np.float16),
        risk=np.clip(np.round(risk), 1, 5).astype(np.uint8),
        has_app=noise.uniform(_APP) < expit(4.0 * (digital - 0.35)),
        phase=_classes(noise.uniform(_PHASE), config.decide_every_days).astype(np.uint8),
        seen_interests=_seen_interests(config, interests, noise),
        seen_preference=_seen_preferences(config, preference, noise),
        seen_receptivity=_seen_activity(config, receptivity, noise.uniform(_SEEN_RECEPTIVE)).astype(np.uint8),
    )
    return population, first


def _first_day(config: WorldConfig, noise: _Noise, age: FloatArray) -> FirstDay:
    """Stage, tenure, consents and products; who is no customer yet holds nothing."""
    people, (c, _, p) = config.population, config.catalogue.shape
    stage = _from_shares(config.life_cycle.shares, noise.uniform(_STAGE))
    years = 1.0 - 6.0 * np.log1p(-noise.uniform(_TENURE))  # assumed: exponential after the first year
    years = np.minimum(years, np.maximum(age - _YOUNGEST, 1.0))
    new = stage == STAGES.index("onboarding")
    days_new = np.floor(config.life_cycle.onboarding_days * noise.uniform(_TENURE))
    prospect = stage == STAGES.index("acquisition")
    tenure = np.where(prospect, 0.0, np.where(new, days_new, 365.0 * years))
    owned = noise.uniforms(_OWNED, p) < np.array(people.ownership_rates)
    return FirstDay(
        stage=stage,
        tenure_days=tenure.astype(np.int64),
        consents=noise.uniforms(_CONSENT, c) < np.array(people.consent_rates),
        owned=owned & ~prospect[:, None],
    )


def _effect(config: WorldConfig, noise: _Noise) -> FloatArray:
    """(N,) log factor with mean factor 1: normal, or the log of a gamma variable."""
    people = config.population
    if people.effect_gamma_shape > 0.0:
        shape = people.effect_gamma_shape
        gamma = gammaincinv(shape, noise.uniform(_EFFECT)) / shape
        factor: FloatArray = np.log(np.maximum(gamma, 1e-26))
        return factor
    return people.effect_sd * (noise.normal(_EFFECT) - 0.5 * people.effect_sd)


def _from_shares(shares: tuple[float, ...], uniforms: FloatArray) -> Bytes:
    """(N,) class of each uniform when classes have these shares."""
    code = np.searchsorted(np.cumsum(shares)[:-1], uniforms, side="right")
    return code.astype(np.uint8)


def _classes(uniforms: FloatArray, n: int) -> IntArray:
    """(N,) one of n equally likely classes."""
    classes: IntArray = np.floor(n * uniforms).astype(np.int64)
    return classes


def _in_steps(values: FloatArray) -> NDArray[np.int8]:
    return np.clip(np.round(STEPS * values), -127, 127).astype(np.int8)


def _ages(uniforms: FloatArray, share_60_plus: float) -> FloatArray:
    """Ages 18 to 90 with a given share from 60 on, uniform below and falling above."""
    share_young = 1.0 - share_60_plus
    young = 18.0 + (SILVER_AGE - 18.0) * uniforms / max(share_young, _TINY)
    above = np.clip((uniforms - share_young) / max(share_60_plus, _TINY), 0.0, 1.0)
    old = SILVER_AGE + 30.0 * (1.0 - np.sqrt(1.0 - above))
    return np.floor(np.where(uniforms < share_young, young, old))


def _segments(config: WorldConfig, uniforms: FloatArray, silver: BoolArray) -> IntArray:
    """Segment codes: the silver segment only from 60 on, the others by their shares."""
    names, shares = config.schema.segments, np.array(config.population.segment_shares)
    if "silver" not in names:
        return np.searchsorted(np.cumsum(shares), uniforms, side="right").clip(max=len(names) - 1)
    code = names.index("silver")
    others = np.where(np.arange(len(names)) == code, 0.0, shares)
    elder = others.copy()
    elder[[i for i, name in enumerate(names) if name == "student"]] = 0.0
    share_silver = min(1.0, shares[code] / max(config.population.share_60_plus, _TINY))
    among_elder = (1.0 - share_silver) * elder / max(elder.sum(), _TINY)
    among_elder[code] = share_silver
    # What the older customers take of a segment, the younger ones must not: shares hold over all ages.
    share_old = config.population.share_60_plus
    among_young = np.clip(
        others - share_old * np.where(np.arange(len(names)) == code, 0.0, among_elder), 0.0, None
    )
    below = np.searchsorted(np.cumsum(among_young / max(among_young.sum(), _TINY)), uniforms, side="right")
    above = np.searchsorted(np.cumsum(among_elder), uniforms, side="right")
    return np.where(silver, above, below).clip(max=len(names) - 1)


def _seen_interests(config: WorldConfig, interests: FloatArray, noise: _Noise) -> NDArray[np.int8]:
    sd = config.population.interest_noise_sd
    return _in_steps((interests + sd * noise.normals(_SEEN_INTEREST, N_INTERESTS)) / np.hypot(1.0, sd))


def _seen_preferences(config: WorldConfig, preference: FloatArray, noise: _Noise) -> NDArray[np.int8]:
    """Past engagement, digital and human, as noisy averages of the true channel preferences."""
    digital = np.array([channel.family == "digital" for channel in config.catalogue.channels])
    sd = max(config.population.preference_sd, 1e-9)
    # A group without channels has mean 0: nothing is known of it.
    sums = [preference[:, group].sum(axis=1) / np.sqrt(max(group.sum(), 1)) for group in (digital, ~digital)]
    draws = noise.normals(_SEEN_PREFERENCE, _CONTACT_TRAITS)
    return _in_steps((np.stack(sums, axis=1) / sd + 0.5 * draws) / np.hypot(1.0, 0.5))


def _seen_activity(config: WorldConfig, receptivity: IntArray, uniforms: FloatArray) -> IntArray:
    """The observed activity class is wrong for a share of the customers."""
    error = config.population.receptivity_error
    shift = np.where(uniforms < error, 1 + np.floor(uniforms / max(error, 1e-12) * (N_RECEPTIVITY - 1)), 0)
    return (receptivity + shift.astype(np.int64)) % N_RECEPTIVITY
