"""Customers: who they are (hidden and observed), drawn once from keyed uniforms."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import expit, ndtri

from nba.arrays import BoolArray, FloatArray, IntArray
from nba.randomness import Purpose, keyed_uniforms
from simulator.config import N_INTERESTS, N_RECEPTIVITY, WorldConfig

# One block of draws per trait, so that a new trait never shifts the noise of the others.
_AGE, _SEGMENT, _WEALTH, _DIGITAL, _TENURE, _PAYDAY, _RECEPTIVE, _SEEN_RECEPTIVE, _RISK, _APP, _STAGE = range(
    11
)
_RESPONSIVE, _PHASE = 11, 12
_INTEREST, _SEEN_INTEREST, _PREFERENCE, _SEEN_PREFERENCE = 100, 200, 300, 400
_CONSENT, _OWNED = 500, 600
_SILVER_AGE = 60.0
_TINY = 1e-12
_AFFINITY_SCALE = 0.6  # assumed: log factor on hazards per unit of loading times interest
_STAGE_SHARES = (0.08, 0.22, 0.45, 0.13, 0.12)  # assumed, order of STAGES
_PAYDAYS = (1, 10, 15, 25)  # assumed
_CONTACT_TRAITS = ("digital_engagement", "human_engagement")
_ACTIVE = (("active_mornings", 0), ("active_evenings", 2), ("active_weekends", 3))


class Population(NamedTuple):
    """Traits that do not change; `seen` are the observed columns of the feature schema."""

    ids: IntArray  # (N,) customer numbers
    age: FloatArray  # (N,)
    segment: IntArray  # (N,)
    digital: FloatArray  # (N,) 0 to 1
    payday: IntArray  # (N,) day of the month, 1 to 28
    receptivity: IntArray  # (N,) true activity class
    preference: FloatArray  # (N, C) true logit of engagement
    affinity: FloatArray  # (N, P) true log factor on organic conversions and on lift
    responsiveness: FloatArray  # (N,) true log factor on lift alone
    initial_stage: IntArray  # (N,)
    initial_consents: BoolArray  # (N, C)
    initial_owned: BoolArray  # (N, P)
    phase: IntArray  # (N,) day of the decision cycle on which the customer comes up
    seen: dict[str, FloatArray]  # name -> (N,)

    @property
    def n_customers(self) -> int:
        """N, the number of customers."""
        return int(self.ids.shape[0])


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


def draw_population(config: WorldConfig, seed: int, ids: IntArray) -> Population:
    """Draw the customers with the given numbers; each depends on (seed, number) only."""
    people, noise = config.population, _Noise(seed, ids)
    c, _, p = config.catalogue.shape
    age = _ages(noise.uniform(_AGE), people.share_60_plus)
    interests = noise.normals(_INTEREST, N_INTERESTS)
    digital: FloatArray = expit(1.0 - (age - 35.0) / 15.0 + 1.2 * noise.normal(_DIGITAL))
    population = Population(
        ids=ids,
        age=age,
        segment=_segments(config, noise.uniform(_SEGMENT), age >= _SILVER_AGE),
        digital=digital,
        payday=np.array(_PAYDAYS)[np.floor(len(_PAYDAYS) * noise.uniform(_PAYDAY)).astype(np.int64)],
        receptivity=np.floor(N_RECEPTIVITY * noise.uniform(_RECEPTIVE)).astype(np.int64),
        preference=people.preference_sd * noise.normals(_PREFERENCE, c),
        affinity=_affinity(config, interests),
        responsiveness=people.responsiveness_sd
        * (noise.normal(_RESPONSIVE) - 0.5 * people.responsiveness_sd),
        initial_stage=np.searchsorted(np.cumsum(_STAGE_SHARES)[:-1], noise.uniform(_STAGE), side="right"),
        initial_consents=noise.uniforms(_CONSENT, c) < np.array(people.consent_rates),
        initial_owned=noise.uniforms(_OWNED, p) < np.array(people.ownership_rates),
        phase=np.floor(config.decide_every_days * noise.uniform(_PHASE)).astype(np.int64),
        seen={},
    )
    return population._replace(seen=_seen(config, noise, population, interests))


def _seen(
    config: WorldConfig, noise: _Noise, people: Population, interests: FloatArray
) -> dict[str, FloatArray]:
    """What the bank observes: some traits as they are, others with noise."""
    silver = (people.age >= _SILVER_AGE).astype(np.float64)
    risk = np.round(3.2 - silver + 0.5 * interests[:, 1] + noise.normal(_RISK))
    tenure = 1.0 - 6.0 * np.log1p(-noise.uniform(_TENURE))
    return {
        "age": people.age,
        "is_60_plus": silver,
        "wealth_tier": np.minimum(np.floor(4.0 * noise.uniform(_WEALTH) ** 2 + 0.3 * silver), 3.0),
        "digital_index": people.digital,
        "tenure_years": np.where(people.initial_stage == 0, 0.15, tenure),
        "segment": people.segment.astype(np.float64),
        "has_app": (noise.uniform(_APP) < expit(4.0 * (people.digital - 0.35))).astype(np.float64),
        "risk_class": np.clip(risk, 1.0, 5.0),
        **_seen_interests(config, interests, noise.normals(_SEEN_INTEREST, N_INTERESTS)),
        **_seen_preferences(config, people.preference, noise.normals(_SEEN_PREFERENCE, len(_CONTACT_TRAITS))),
        **_seen_activity(config, people.receptivity, noise.uniform(_SEEN_RECEPTIVE)),
    }


def _affinity(config: WorldConfig, interests: FloatArray) -> FloatArray:
    """(N, P) log factor on hazards, with mean factor 1 over all customers."""
    loadings = np.array([config.population.loadings[product.family] for product in config.catalogue.products])
    # Not a matrix product: its bits would depend on how many customers are drawn together.
    affinity = np.zeros((interests.shape[0], loadings.shape[0]))
    for interest in range(N_INTERESTS):
        affinity += _AFFINITY_SCALE * interests[:, [interest]] * loadings[:, interest]
    affinity -= 0.5 * _AFFINITY_SCALE**2 * (loadings**2).sum(axis=1)
    return affinity


def _ages(uniforms: FloatArray, share_60_plus: float) -> FloatArray:
    """Ages 18 to 90 with a given share from 60 on, uniform below and falling above."""
    share_young = 1.0 - share_60_plus
    young = 18.0 + (_SILVER_AGE - 18.0) * uniforms / max(share_young, _TINY)
    above = np.clip((uniforms - share_young) / max(share_60_plus, _TINY), 0.0, 1.0)
    old = _SILVER_AGE + 30.0 * (1.0 - np.sqrt(1.0 - above))
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


def _seen_interests(config: WorldConfig, interests: FloatArray, noise: FloatArray) -> dict[str, FloatArray]:
    seen = (interests + config.population.interest_noise_sd * noise) / np.hypot(
        1.0, config.population.interest_noise_sd
    )
    names = ("interest_saving", "interest_investing", "interest_borrowing", "interest_daily")
    return dict(zip(names, seen.T, strict=True))


def _seen_preferences(
    config: WorldConfig, preference: FloatArray, noise: FloatArray
) -> dict[str, FloatArray]:
    """Past engagement, digital and human, as noisy averages of the true channel preferences."""
    digital = np.array([channel.family == "digital" for channel in config.catalogue.channels])
    sd = max(config.population.preference_sd, 1e-9)
    # A group without channels has mean 0: nothing is known of it.
    sums = [preference[:, group].sum(axis=1) / np.sqrt(max(group.sum(), 1)) for group in (digital, ~digital)]
    seen = [(total / sd + 0.5 * draw) / np.hypot(1.0, 0.5) for total, draw in zip(sums, noise.T, strict=True)]
    return dict(zip(_CONTACT_TRAITS, seen, strict=True))


def _seen_activity(config: WorldConfig, receptivity: IntArray, uniforms: FloatArray) -> dict[str, FloatArray]:
    """The observed activity class is wrong for a share of the customers."""
    error = config.population.receptivity_error
    shift = np.where(uniforms < error, 1 + np.floor(uniforms / max(error, 1e-12) * (N_RECEPTIVITY - 1)), 0)
    seen = (receptivity + shift.astype(np.int64)) % N_RECEPTIVITY
    return {name: (seen == code).astype(np.float64) for name, code in _ACTIVE}
