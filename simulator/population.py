"""Customers: who they are (hidden and observed), drawn once from keyed uniforms."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import expit, ndtri

from nba.arrays import BoolArray, FloatArray, IntArray
from nba.randomness import Purpose, keyed_uniforms
from simulator.config import N_INTERESTS, N_RECEPTIVITY, STAGES, WorldConfig

# One block of draws per trait, so that a new trait never shifts the noise of the others.
_AGE, _SEGMENT, _WEALTH, _DIGITAL, _TENURE, _PAYDAY, _RECEPTIVE, _SEEN_RECEPTIVE, _RISK, _APP, _STAGE = range(11)
_RESPONSIVE, _PHASE = 11, 12
_INTEREST, _SEEN_INTEREST, _PREFERENCE, _SEEN_PREFERENCE = 100, 200, 300, 400
_CONSENT, _OWNED = 500, 600
_SILVER_AGE = 60
_AFFINITY_SCALE = 0.6  # assumed: log factor on hazards per unit of loading times interest
_STAGE_SHARES = (0.08, 0.22, 0.45, 0.13, 0.12)  # assumed, order of STAGES
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


def draw_population(config: WorldConfig, seed: int, ids: IntArray) -> Population:
    """Draw the customers with the given numbers; each depends on (seed, number) only."""
    people = config.population
    c, _, p = config.catalogue.shape

    def uniform(block: int) -> FloatArray:
        return keyed_uniforms(seed, Purpose.POPULATION, ids, block=block)

    def normals(first_block: int, width: int) -> FloatArray:
        blocks = np.arange(first_block, first_block + width)
        return ndtri(keyed_uniforms(seed, Purpose.POPULATION, ids[:, None], block=blocks[None, :]) + 2.0**-54)

    def table(first_block: int, width: int) -> FloatArray:
        return keyed_uniforms(
            seed, Purpose.POPULATION, ids[:, None], block=np.arange(first_block, first_block + width)[None, :]
        )

    age = _ages(uniform(_AGE), people.share_60_plus)
    silver = age >= _SILVER_AGE
    segment = _segments(config, uniform(_SEGMENT), silver)
    wealth = np.minimum(np.floor(4.0 * uniform(_WEALTH) ** 2 + 0.3 * silver), 3.0)
    digital = expit(1.0 - (age - 35.0) / 15.0 + 1.2 * ndtri(uniform(_DIGITAL) + 2.0**-54))
    interests = normals(_INTEREST, N_INTERESTS)
    preference = people.preference_sd * normals(_PREFERENCE, c)
    receptivity = np.floor(N_RECEPTIVITY * uniform(_RECEPTIVE)).astype(np.int64)
    loadings = np.array([people.loadings[product.family] for product in config.catalogue.products])
    # Not a matrix product: its bits would depend on how many customers are drawn together.
    affinity = _AFFINITY_SCALE * sum(interests[:, [i]] * loadings[:, i] for i in range(N_INTERESTS))
    responsiveness = people.responsiveness_sd * ndtri(uniform(_RESPONSIVE) + 2.0**-54)
    stage = np.searchsorted(np.cumsum(_STAGE_SHARES), uniform(_STAGE), side="right")
    risk = np.clip(np.round(3.2 - 1.0 * silver + 0.5 * interests[:, 1] + ndtri(uniform(_RISK) + 2.0**-54)), 1, 5)
    tenure = np.where(stage == 0, 0.15, 1.0 - 6.0 * np.log1p(-uniform(_TENURE)))
    has_app = uniform(_APP) < expit(4.0 * (digital - 0.35))
    return Population(
        ids=ids,
        age=age,
        segment=segment,
        digital=digital,
        payday=np.array([1, 10, 15, 25])[np.floor(4 * uniform(_PAYDAY)).astype(np.int64)],
        receptivity=receptivity,
        preference=preference,
        # Minus half the variance: the mean factor exp(affinity) over all customers is then 1.
        affinity=affinity - 0.5 * _AFFINITY_SCALE**2 * (loadings**2).sum(axis=1),
        responsiveness=responsiveness - 0.5 * people.responsiveness_sd**2,
        initial_stage=np.minimum(stage, len(STAGES) - 1),
        initial_consents=table(_CONSENT, c) < np.array(people.consent_rates),
        initial_owned=table(_OWNED, p) < np.array(people.ownership_rates),
        phase=np.floor(config.decide_every_days * uniform(_PHASE)).astype(np.int64),
        seen={
            "age": age,
            "is_60_plus": silver.astype(np.float64),
            "wealth_tier": wealth,
            "digital_index": digital,
            "tenure_years": tenure,
            "segment": segment.astype(np.float64),
            **_seen_interests(config, interests, normals(_SEEN_INTEREST, N_INTERESTS)),
            "has_app": has_app.astype(np.float64),
            **_seen_preferences(config, preference, normals(_SEEN_PREFERENCE, 2)),
            **_seen_activity(config, receptivity, uniform(_SEEN_RECEPTIVE)),
            "risk_class": risk,
        },
    )


def _ages(uniforms: FloatArray, share_60_plus: float) -> FloatArray:
    """Ages 18 to 90 with a given share from 60 on, uniform below and falling above."""
    young = 18.0 + (60.0 - 18.0) * uniforms / (1.0 - share_60_plus)
    above = np.clip((uniforms - (1.0 - share_60_plus)) / share_60_plus, 0.0, 1.0)
    old = 60.0 + 30.0 * (1.0 - np.sqrt(1.0 - above))
    return np.floor(np.where(uniforms < 1.0 - share_60_plus, young, old))


def _segments(config: WorldConfig, uniforms: FloatArray, silver: BoolArray) -> IntArray:
    """Segment codes: the silver segment only from 60 on, the others by their shares."""
    names, shares = config.schema.segments, np.array(config.population.segment_shares)
    if "silver" not in names:
        return np.searchsorted(np.cumsum(shares), uniforms, side="right").clip(max=len(names) - 1)
    code = names.index("silver")
    others = np.where(np.arange(len(names)) == code, 0.0, shares)
    elder = others.copy()
    elder[[i for i, name in enumerate(names) if name == "student"]] = 0.0
    share_silver = min(1.0, shares[code] / config.population.share_60_plus)
    among_elder = (1.0 - share_silver) * elder / elder.sum()
    among_elder[code] = share_silver
    # What the older customers take of a segment, the younger ones must not: shares hold over all ages.
    share_old = config.population.share_60_plus
    among_young = np.clip(others - share_old * np.where(np.arange(len(names)) == code, 0.0, among_elder), 0.0, None)
    below = np.searchsorted(np.cumsum(among_young / among_young.sum()), uniforms, side="right")
    above = np.searchsorted(np.cumsum(among_elder), uniforms, side="right")
    return np.where(silver, above, below).clip(max=len(names) - 1)


def _seen_interests(config: WorldConfig, interests: FloatArray, noise: FloatArray) -> dict[str, FloatArray]:
    seen = (interests + config.population.interest_noise_sd * noise) / np.hypot(
        1.0, config.population.interest_noise_sd
    )
    names = ("interest_saving", "interest_investing", "interest_borrowing", "interest_daily")
    return dict(zip(names, seen.T, strict=True))


def _seen_preferences(config: WorldConfig, preference: FloatArray, noise: FloatArray) -> dict[str, FloatArray]:
    """Past engagement, digital and human, as noisy averages of the true channel preferences."""
    digital = np.array([channel.family == "digital" for channel in config.catalogue.channels])
    sd = max(config.population.preference_sd, 1e-9)
    means = [preference[:, group].mean(axis=1) * np.sqrt(group.sum()) / sd for group in (digital, ~digital)]
    names = ("digital_engagement", "human_engagement")
    return {name: (mean + 0.5 * noise[:, i]) / np.hypot(1, 0.5) for i, (name, mean) in enumerate(zip(names, means, strict=True))}


def _seen_activity(config: WorldConfig, receptivity: IntArray, uniforms: FloatArray) -> dict[str, FloatArray]:
    """The observed activity class is wrong for a share of the customers."""
    error = config.population.receptivity_error
    shift = np.where(uniforms < error, 1 + np.floor(uniforms / max(error, 1e-12) * (N_RECEPTIVITY - 1)), 0)
    seen = (receptivity + shift.astype(np.int64)) % N_RECEPTIVITY
    return {name: (seen == code).astype(np.float64) for name, code in _ACTIVE}
