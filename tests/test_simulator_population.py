"""Customers: shares as configured, hidden traits with the right moments, nobody depends on anybody else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from checks.worlds import edited
from msgspec import structs
from scipy.stats import chisquare, kstest, norm
from small import bank, small_world

from nba.arrays import FloatArray, IntArray
from simulator.config import N_RECEPTIVITY, N_WEALTH_TIERS, N_WEEK_CLASSES, STAGES
from simulator.hazards import HazardLaw, affinity
from simulator.observation import columns
from simulator.population import DIGITAL_LEVELS, STEPS, FirstDay, Population, draw_population

N = 60_000


@pytest.fixture(scope="module")
def drawn() -> tuple[Population, FirstDay]:
    return draw_population(bank().config, 5, np.arange(N))


@pytest.fixture(scope="module")
def people(drawn: tuple[Population, FirstDay]) -> Population:
    return drawn[0]


@pytest.fixture(scope="module")
def first(drawn: tuple[Population, FirstDay]) -> FirstDay:
    return drawn[1]


def within(count: int, share: float, n: int = N) -> bool:
    """Is a count within 4 standard errors of a share of n?"""
    return abs(count - n * share) <= 4 * np.sqrt(n * share * (1 - share)) + 1e-9


def correlation(one: Any, other: Any) -> float:
    return float(np.corrcoef(one, other)[0, 1])


# --- Shares -------------------------------------------------------------------------------------------


def test_the_share_from_60_on_is_as_configured(people: Population) -> None:
    assert bank().config.population.share_60_plus == 0.30
    assert within(int((people.age >= 60).sum()), 0.30)
    assert people.age.min() == 18 and 85 < people.age.max() <= 90


def test_ages_are_even_below_60_and_thin_out_above(people: Population) -> None:
    young, old = people.age[people.age < 60], people.age[people.age >= 60]
    assert chisquare(np.bincount(young, minlength=60)[18:]).pvalue > 1e-4
    # A falling straight line to 0 at 90: a third of the way up is a ninth of 25 less than linear.
    for age in (65, 70, 80):
        assert within(int((old < age).sum()), 1 - ((90 - age) / 30) ** 2, old.size), age


def test_segments_have_their_configured_shares(people: Population) -> None:
    names, shares = bank().config.schema.segments, bank().config.population.segment_shares
    for code, (name, share) in enumerate(zip(names, shares, strict=True)):
        assert within(int((people.segment == code).sum()), share), name


def test_silver_customers_are_60_and_students_are_not(people: Population) -> None:
    names = bank().config.schema.segments
    assert people.age[people.segment == names.index("silver")].min() >= 60
    assert people.age[people.segment == names.index("student")].max() < 60
    among_old = (people.segment == names.index("silver"))[people.age >= 60]
    assert within(int(among_old.sum()), 0.20 / 0.30, among_old.size)


def test_classes_have_their_shares(people: Population, first: FirstDay) -> None:
    population, life = bank().config.population, bank().config.life_cycle
    every = bank().config.decide_every_days
    for column, shares in (
        (people.wealth, population.wealth_shares),
        (first.stage, life.shares),
        (people.receptivity, (1 / N_RECEPTIVITY,) * N_RECEPTIVITY),
        (people.week_class, (1 / N_WEEK_CLASSES,) * N_WEEK_CLASSES),
        (people.phase, (1 / every,) * every),
    ):
        counts = np.bincount(column, minlength=len(shares))
        assert counts.size == len(shares)
        assert chisquare(counts, N * np.array(shares)).pvalue > 1e-4
    assert len(population.wealth_shares) == N_WEALTH_TIERS and len(life.shares) == len(STAGES)


def test_key_days_are_spread_over_the_month_and_the_year(people: Population) -> None:
    assert set(np.unique(people.payday)) == {1, 10, 15, 25}
    counts = np.bincount(people.birthday)
    assert counts[0] == 0 and counts.size == 366 and chisquare(counts[1:]).pvalue > 1e-4


def test_consents_and_holdings_have_their_configured_rates(first: FirstDay) -> None:
    population, customers = bank().config.population, first.stage != STAGES.index("acquisition")
    for column, rate in enumerate(population.consent_rates):
        assert within(int(first.consents[:, column].sum()), rate), column
    for column, rate in enumerate(population.ownership_rates):
        assert within(int(first.owned[customers, column].sum()), rate, int(customers.sum())), column
    assert not first.owned[~customers].any(), "who is no customer yet holds nothing"


def test_tenure_fits_the_stage_and_the_age(people: Population, first: FirstDay) -> None:
    of = {name: first.tenure_days[first.stage == code] for code, name in enumerate(STAGES)}
    assert not of["acquisition"].any()
    assert of["onboarding"].min() == 0 and of["onboarding"].max() == 99
    assert chisquare(np.bincount(of["onboarding"], minlength=100)).pvalue > 1e-4
    assert of["mature"].min() >= 365 and 4.5 < of["mature"].mean() / 365 < 7.0
    assert (first.tenure_days / 365 <= people.age).all(), "nobody joined before they were born"


# --- Hidden traits ------------------------------------------------------------------------------------


def test_traits_are_normal_and_do_not_hang_together(people: Population) -> None:
    population = bank().config.population
    traits = {
        **{f"interest {k}": people.interests[:, k].astype(float) for k in range(4)},
        **{f"channel {c}": people.preference[:, c] / STEPS / population.preference_sd for c in range(7)},
        "effect": people.effect.astype(float) / population.effect_sd + 0.5 * population.effect_sd,
        "responsive": people.responsiveness.astype(float) / population.responsiveness_sd
        + 0.5 * population.responsiveness_sd,
    }
    for name, trait in traits.items():
        rounded = trait + np.random.default_rng(0).uniform(-1, 1, N) * (
            1 / 64 / 0.6 if "channel" in name else 1e-4
        )
        assert kstest(rounded[:5_000], norm.cdf).pvalue > 1e-4, name
    together = np.corrcoef(np.array(list(traits.values()))) - np.eye(len(traits))
    assert np.abs(together).max() < 4.5 / np.sqrt(N)


def test_the_mean_factor_of_tastes_effect_and_responsiveness_is_one(people: Population) -> None:
    law, rows = HazardLaw.of(bank().config), np.arange(N)
    tastes = affinity(law, people, rows[:, None], np.arange(20))
    for log_factor in (tastes, people.effect[:, None], people.responsiveness[:, None]):
        factor = np.exp(log_factor.astype(np.float64))
        error = factor.std(axis=0, ddof=1) / np.sqrt(N)
        assert (np.abs(factor.mean(axis=0) - 1.0) < 4 * error).all()
    spread = bank().config.population.affinity_scale * np.linalg.norm(
        [bank().config.population.loadings[family] for family in bank().config.families], axis=1
    )
    np.testing.assert_allclose(tastes.std(axis=0), spread, rtol=4 / np.sqrt(2 * N))


@pytest.mark.parametrize("shape", [0.3, 2.0])
def test_the_effect_may_be_gamma(shape: float) -> None:
    config = edited(bank(), population={"effect_gamma_shape": shape}).config
    effect = draw_population(config, 5, np.arange(20_000))[0].effect
    factor = np.exp(effect.astype(np.float64))
    assert kstest(factor[:5_000], "gamma", (shape, 0, 1 / shape)).pvalue > 1e-4
    assert abs(factor.mean() - 1.0) < 4 / np.sqrt(shape * 20_000)


def test_young_customers_are_digital_and_have_the_app(people: Population) -> None:
    digital = people.digital / DIGITAL_LEVELS
    middle = [np.median(digital[(people.age >= low) & (people.age < low + 10)]) for low in (20, 40, 60, 80)]
    expected = [1 / (1 + np.exp(-(1.0 - (age - 35.0) / 15.0))) for age in (24.5, 44.5, 64.0, 82.5)]
    np.testing.assert_allclose(middle, expected, atol=0.03)
    chance = 1 / (1 + np.exp(-4.0 * (digital - 0.35)))
    for low in (0.0, 0.3, 0.6, 0.9):
        group = (digital >= low) & (digital < low + 0.1)
        assert within(int(people.has_app[group].sum()), float(chance[group].mean()), int(group.sum())), low


def test_who_is_older_or_less_interested_in_investing_risks_less(people: Population) -> None:
    assert people.risk.min() == 1 and people.risk.max() == 5
    old = people.age >= 60
    assert 0.7 < people.risk[~old].mean() - people.risk[old].mean() < 1.0
    assert 0.3 < correlation(people.risk[~old], people.interests[~old, 1].astype(float)) < 0.6


# --- What the bank sees of them -----------------------------------------------------------------------


def test_seen_interests_are_standardised_and_noisy(people: Population) -> None:
    noise = bank().config.population.interest_noise_sd
    for k in range(4):
        seen, true = people.seen_interests[:, k] / STEPS, people.interests[:, k].astype(float)
        assert abs(seen.mean()) < 4 / np.sqrt(N) and abs(seen.std() - 1.0) < 4 / np.sqrt(2 * N)
        assert abs(correlation(seen, true) - 1 / np.hypot(1.0, noise)) < 0.01


def test_seen_engagement_is_a_noisy_view_of_the_preferences_of_its_channels(people: Population) -> None:
    digital = np.array([one.family == "digital" for one in bank().config.catalogue.channels])
    true = people.preference / STEPS / bank().config.population.preference_sd
    for column, group in enumerate((digital, ~digital)):
        seen = people.seen_preference[:, column] / STEPS
        own = true[:, group].sum(axis=1) / np.sqrt(group.sum())
        assert abs(seen.std() - 1.0) < 0.02 and abs(correlation(seen, own) - 1 / np.hypot(1.0, 0.5)) < 0.01
        assert abs(correlation(seen, true[:, ~group].sum(axis=1))) < 4.5 / np.sqrt(N)


def test_the_seen_activity_class_is_wrong_for_the_configured_share(people: Population) -> None:
    wrong = people.seen_receptivity != people.receptivity
    assert within(int(wrong.sum()), bank().config.population.receptivity_error)
    shift = (people.seen_receptivity[wrong].astype(int) - people.receptivity[wrong]) % N_RECEPTIVITY
    assert chisquare(np.bincount(shift)[1:]).pvalue > 1e-4, "wrong in every way alike"


# --- Keys ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ids", [np.arange(40), np.array([7]), np.array([3, 12, 39])], ids=["same", "one", "some"]
)
def test_a_customer_does_not_depend_on_who_else_is_drawn(ids: IntArray) -> None:
    everybody, some = (draw_population(bank().config, 5, numbers) for numbers in (np.arange(1000), ids))
    for whole, part in zip(everybody, some, strict=True):
        for name, column in part._asdict().items():
            assert column.tobytes() == getattr(whole, name)[ids].tobytes(), name


def test_another_seed_draws_other_customers_and_neighbours_do_not_hang_together() -> None:
    one, other = (draw_population(bank().config, seed, np.arange(4_000))[0] for seed in (5, 6))

    def of(people: Population) -> FloatArray:
        return people.interests[:, 0].astype(np.float64)

    assert abs(correlation(of(one), of(other))) < 4 / np.sqrt(4_000)
    for lag in (1, 2, 2_000):
        assert abs(correlation(of(one)[lag:], of(one)[:-lag])) < 4 / np.sqrt(4_000 - lag), lag


def test_traits_of_new_channels_do_not_move_the_noise_of_old_ones() -> None:
    """One block of draws per trait and channel: a bank with fewer channels has the same customers."""
    narrow = draw_population(small_world(channels=("app_push",)).config, 5, np.arange(50))[0]
    wide = draw_population(small_world(channels=("app_push", "sms")).config, 5, np.arange(50))[0]
    np.testing.assert_array_equal(narrow.preference[:, 0], wide.preference[:, 0])
    for name in ("age", "interests", "effect", "risk", "seen_interests", "has_app"):
        np.testing.assert_array_equal(getattr(narrow, name), getattr(wide, name), err_msg=name)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_bank_of_the_young_or_of_the_old_alone_can_be_drawn(share: float) -> None:
    shares: dict[str, Any] = {"share_60_plus": share}
    if share == 0.0:
        shares["segment_shares"] = (0.2, 0.4, 0.2, 0.1, 0.0, 0.1)
    config = small_world(population=shares).config
    assert (draw_population(config, 1, np.arange(200))[0].age >= 60).mean() == share


def test_structs_are_frozen() -> None:
    changed = structs.replace(bank().config.population, share_60_plus=0.5)
    assert bank().config.population.share_60_plus == 0.30 and changed.share_60_plus == 0.5


def test_branch_and_manager_follow_from_the_number_and_the_wealth() -> None:
    """Home branch and relationship manager are no columns of the state: observation names them."""
    world = bank()
    state, rows = world.reset(3, np.arange(3_900, 4_100)), np.arange(200)
    seen = columns(world.laws, world.today(state), state, rows, ("branch", "manager", "has_manager"))
    people = world.config.population
    np.testing.assert_array_equal(seen["branch"], state.people.ids // people.branch_customers)
    managed = state.people.wealth >= people.managed_from_tier
    np.testing.assert_array_equal(seen["has_manager"], managed)
    assert (seen["manager"][~managed] == -1).all() and 0.1 < managed.mean() < 0.4
    # A manager works in one branch.
    np.testing.assert_array_equal(
        seen["manager"][managed] // people.managers_per_branch, seen["branch"][managed]
    )
