"""Customers: shares as configured, hidden traits with the right moments, nobody depends on anybody else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from msgspec import structs
from small import bank, small_world

from nba.arrays import BoolArray, IntArray
from simulator.config import STAGES
from simulator.population import Population, draw_population

N = 60_000


@pytest.fixture(scope="module")
def people() -> Population:
    return draw_population(bank().config, 5, np.arange(N))


def within(count: int, share: float, n: int = N) -> bool:
    """Is a count within 4 standard errors of a share of n?"""
    return abs(count - n * share) <= 4 * np.sqrt(n * share * (1 - share)) + 1e-9


def test_the_share_from_60_on_is_as_configured(people: Population) -> None:
    assert bank().config.population.share_60_plus == 0.30
    assert within(int((people.age >= 60).sum()), 0.30)
    assert people.age.min() >= 18 and people.age.max() <= 90
    np.testing.assert_array_equal(people.seen["is_60_plus"], people.age >= 60)


def test_segments_have_their_configured_shares(people: Population) -> None:
    names, shares = bank().config.schema.segments, bank().config.population.segment_shares
    for code, (name, share) in enumerate(zip(names, shares, strict=True)):
        assert within(int((people.segment == code).sum()), share), name


def test_silver_customers_are_60_and_students_are_not(people: Population) -> None:
    names = bank().config.schema.segments
    assert people.age[people.segment == names.index("silver")].min() >= 60
    assert people.age[people.segment == names.index("student")].max() < 60


@pytest.mark.parametrize(
    ("name", "rates"), [("initial_consents", "consent_rates"), ("initial_owned", "ownership_rates")]
)
def test_consents_and_holdings_have_their_configured_rates(people: Population, name: str, rates: str) -> None:
    table: BoolArray = getattr(people, name)
    for column, rate in enumerate(getattr(bank().config.population, rates)):
        assert within(int(table[:, column].sum()), rate), column


def test_decision_phases_spread_customers_evenly(people: Population) -> None:
    every = bank().config.decide_every_days
    counts = np.bincount(people.phase, minlength=every)
    assert counts.size == every and all(within(int(count), 1 / every) for count in counts)


def test_the_mean_factor_of_affinity_and_responsiveness_is_one(people: Population) -> None:
    for log_factor in (people.affinity, people.responsiveness[:, None]):
        factor = np.exp(log_factor)
        error = factor.std(axis=0, ddof=1) / np.sqrt(N)
        assert (np.abs(factor.mean(axis=0) - 1.0) < 4 * error).all()


def test_observed_activity_is_wrong_for_the_configured_share(people: Population) -> None:
    seen = np.stack([people.seen[f"active_{name}s"] for name in ("morning", "evening", "weekend")], axis=1)
    true = people.receptivity[:, None] == np.array([0, 2, 3])
    wrong = (seen != true).any(axis=1)
    assert within(int(wrong.sum()), bank().config.population.receptivity_error)


def test_seen_interests_are_standardised_and_noisy(people: Population) -> None:
    names = ("interest_saving", "interest_investing", "interest_borrowing", "interest_daily")
    for name in names:
        assert abs(people.seen[name].mean()) < 4 / np.sqrt(N)
        assert abs(people.seen[name].std() - 1.0) < 4 / np.sqrt(2 * N)
    saving = people.affinity[:, 0]  # term-deposit
    correlation = np.corrcoef(saving, people.seen["interest_saving"])[0, 1]
    assert 0.5 < correlation < 0.95, "informative, but not the truth itself"


@pytest.mark.parametrize(
    "ids", [np.arange(40), np.array([7]), np.array([39, 3, 12])], ids=["same", "one", "some"]
)
def test_a_customer_does_not_depend_on_who_else_is_drawn(ids: IntArray) -> None:
    everybody = draw_population(bank().config, 5, np.arange(1000))
    some = draw_population(bank().config, 5, ids)
    for name, part in some._asdict().items():
        if name == "seen":
            for key, column in part.items():
                assert column.tobytes() == everybody.seen[key][ids].tobytes(), key
        else:
            assert part.tobytes() == getattr(everybody, name)[ids].tobytes(), name


def test_another_seed_draws_other_customers() -> None:
    one, other = (draw_population(bank().config, seed, np.arange(1000)) for seed in (5, 6))
    assert abs(np.corrcoef(one.affinity[:, 0], other.affinity[:, 0])[0, 1]) < 4 / np.sqrt(1000)


def test_first_stages_are_known_stages(people: Population) -> None:
    assert set(np.unique(people.initial_stage)) == set(range(len(STAGES)))


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_bank_of_the_young_or_of_the_old_alone_can_be_drawn(share: float) -> None:
    shares: dict[str, Any] = {"share_60_plus": share}
    if share == 0.0:
        shares["segment_shares"] = (0.2, 0.4, 0.2, 0.1, 0.0, 0.1)
    config = small_world(population=shares).config
    drawn = draw_population(config, 1, np.arange(200))
    assert (drawn.age >= 60).mean() == share


def test_traits_of_new_channels_do_not_move_the_noise_of_old_ones() -> None:
    """One block of draws per trait and channel: a bank with fewer channels has the same customers."""
    narrow = draw_population(small_world(channels=("app_push",)).config, 5, np.arange(50))
    wide = draw_population(small_world(channels=("app_push", "sms")).config, 5, np.arange(50))
    np.testing.assert_array_equal(narrow.preference[:, 0], wide.preference[:, 0])
    np.testing.assert_array_equal(narrow.age, wide.age)


def test_structs_are_frozen() -> None:
    changed = structs.replace(bank().config.population, share_60_plus=0.5)
    assert bank().config.population.share_60_plus == 0.30 and changed.share_60_plus == 0.5
