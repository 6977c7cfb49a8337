"""The exposure ledger: who is credited, what is watched, and that censoring does not bias what is learnt."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from small import small_catalogue

from nba.arrays import IntArray, take_rows
from nba.exposure import OpenRounds, Taught, probe_products
from nba.feedback import N_INTERVALS, ExposureSchedule, completion
from nba.randomness import decision_keys

CATALOGUE = small_catalogue()
SCHEDULE = ExposureSchedule.of(CATALOGUE)
CARD = 1  # window 20 days, mean delay 2 days
WINDOW, DELAY = 20, 2.0
CONTACT = CATALOGUE.index("mail", "morning", "card")


def rounds(*rows: tuple[int, int, int, int], action: int = CONTACT) -> OpenRounds:
    """Rounds from (number, customer, product, day opened)."""
    number, customer, product, opened = np.array(rows, dtype=np.int64).T
    return OpenRounds(
        rounds=number,
        customers=customer,
        actions=np.full(len(rows), action),
        products=product,
        opened=opened,
        interval=np.zeros(len(rows), dtype=np.int64),
        conversions=np.zeros(len(rows)),
        features=np.ones((len(rows), 1)),
    )


def opened(*rows: tuple[int, int, int, int], action: int = CONTACT) -> OpenRounds:
    return OpenRounds.none(1).opening(rounds(*rows, action=action), 0, SCHEDULE)[0]


def credit(ledger: OpenRounds, customer: int, product: int, day: int) -> int:
    _, credited = ledger.credit(np.array([customer]), np.array([product]), day)
    return int(credited[0])


def run(ledger: OpenRounds, first: int, last: int) -> tuple[OpenRounds, list[tuple[int, Taught]]]:
    """Let days pass; the rows taught, with their day."""
    taught = []
    for day in range(first, last + 1):
        ledger, rows = ledger.passing(day, SCHEDULE)
        taught += [(day, rows)] if rows.customers.size else []
    return ledger, taught


def test_a_full_window_has_exposure_one_and_all_of_both_shares() -> None:
    intervals = np.arange(N_INTERVALS)
    for product in range(3):
        exposure, uplift, organic = SCHEDULE.shares(np.full(4, product), intervals, np.ones(4))
        assert exposure.sum() == pytest.approx(1.0)
        assert (exposure * uplift).sum() == pytest.approx(1.0)
        assert (exposure * organic).sum() == pytest.approx(1.0)
        exposure, uplift, organic = SCHEDULE.shares(np.full(4, product), intervals, np.zeros(4))
        assert exposure.sum() == pytest.approx(1.0) and not uplift.any()
        np.testing.assert_allclose(organic, 1.0)


def test_intervals_rise_to_the_window_and_follow_the_completion_curve() -> None:
    for product, cuts in zip(CATALOGUE.products, SCHEDULE.cuts_days, strict=True):
        assert (np.diff([0, *cuts]) >= 1).all() and cuts[-1] == product.attribution_window_days
    ages, products = np.array([0.5, 1, 2, 3, 20, 20.5]), np.full(6, CARD)
    cuts = SCHEDULE.cuts_days[CARD]
    by_hand = [sum(age > cut for cut in cuts) for age in ages]
    assert SCHEDULE.interval(products, ages).tolist() == by_hand
    assert by_hand[-1] == N_INTERVALS


def test_completion_is_a_gamma_distribution_of_shape_two() -> None:
    drawn = np.random.default_rng(0).gamma(2.0, DELAY / 2, 100_000)
    for age in (0.5, 2.0, 6.0):
        share = completion(np.array([age]), DELAY)[0]
        assert abs((drawn <= age).mean() - share) < 4 * np.sqrt(share * (1 - share) / drawn.size)


@pytest.mark.parametrize("interval", range(N_INTERVALS))
@pytest.mark.parametrize("is_contact", [True, False])
def test_the_moment_of_a_share_is_when_that_share_has_been_watched(interval: int, is_contact: bool) -> None:
    product, ends = np.array([CARD]), SCHEDULE.cuts_days[[CARD], interval].astype(np.float64)
    begins = SCHEDULE.begins(product, np.array([interval]))
    whole = SCHEDULE.watched(product, begins, ends, np.array([is_contact]))[0]
    for share in (0.001, 0.1, 0.5, 0.9, 0.999):
        age = np.array([SCHEDULE.moment(CARD, interval, share, is_contact)])
        seen = SCHEDULE.watched(product, begins, age, np.array([is_contact]))[0]
        np.testing.assert_allclose(seen / whole, share, atol=1e-4)
    assert SCHEDULE.moment(CARD, interval, 0.0, is_contact) == begins[0]


def test_a_conversion_is_credited_to_the_open_contact_about_the_product() -> None:
    ledger = opened((70, 1, CARD, 0), (71, 1, 0, 0), (72, 2, CARD, 0))
    assert credit(ledger, 1, CARD, 3) == 70
    assert credit(ledger, 1, 0, 3) == 71
    assert credit(ledger, 2, CARD, 3) == 72
    assert credit(ledger, 2, 0, 3) == -1 and credit(ledger, 3, CARD, 3) == -1
    assert credit(OpenRounds.none(1), 1, CARD, 3) == -1


@pytest.mark.parametrize(("day", "credited"), [(0, 70), (WINDOW - 1, 70), (WINDOW, -1)])
def test_a_conversion_outside_the_window_is_organic(day: int, credited: int) -> None:
    ledger, _ = run(opened((70, 1, CARD, 0)), 0, day - 1)
    assert credit(ledger, 1, CARD, day) == credited


def test_a_newer_contact_takes_over() -> None:
    ledger, _ = opened((70, 1, CARD, 0), (71, 1, 0, 0)).opening(rounds((80, 1, CARD, 4)), 4, SCHEDULE)
    assert ledger.rounds.tolist() == [71, 80]
    assert credit(ledger, 1, CARD, 4) == 80 and credit(ledger, 1, 0, 4) == 71


def test_a_contact_planned_for_a_later_day_is_not_credited_before() -> None:
    ledger, _ = OpenRounds.none(1).opening(rounds((70, 1, CARD, 5)), 2, SCHEDULE)
    assert credit(ledger, 1, CARD, 4) == -1
    assert credit(ledger, 1, CARD, 5) == 70
    _, taught = run(ledger, 2, 40)
    assert taught[0][0] == 5 + SCHEDULE.cuts_days[CARD, 0] - 1


def test_a_conversion_on_a_probe_is_organic_but_teaches() -> None:
    ledger = opened((70, 1, CARD, 0), action=0)
    ledger, credited = ledger.credit(np.array([1]), np.array([CARD]), 0)
    assert credited.tolist() == [-1]
    _, taught = run(ledger, 0, 30)
    assert sum(rows.rounds.rewards.sum() for _, rows in taught) == 1.0
    assert all(not rows.rounds.uplift_share.any() for _, rows in taught)


def test_many_conversions_of_one_day_are_each_credited_once() -> None:
    ledger = opened(*((100 + n, n, n % 3, 0) for n in range(30)))
    customers = np.arange(29, -5, -1)
    _, credited = ledger.credit(customers, customers % 3, 1)
    assert credited.tolist() == [100 + n if n >= 0 else -1 for n in customers]


def test_every_interval_is_taught_once_and_the_round_then_ends() -> None:
    ledger, taught = run(opened((70, 1, CARD, 0)), 0, 60)
    assert [day + 1 for day, _ in taught] == SCHEDULE.cuts_days[CARD].tolist()
    assert sum(rows.rounds.exposure.sum() for _, rows in taught) == pytest.approx(1.0)
    assert ledger.rounds.size == 0


def test_a_conversion_is_taught_once_with_the_interval_that_holds_it() -> None:
    for day in range(WINDOW):
        ledger, before = run(opened((70, 1, CARD, 0)), 0, day - 1)
        ledger, _ = ledger.credit(np.array([1]), np.array([CARD]), day)
        _, after = run(ledger, day, 60)
        rewards = [float(rows.rounds.rewards.sum()) for _, rows in before + after]
        expected = np.zeros(N_INTERVALS)
        expected[(day + 1 > SCHEDULE.cuts_days[CARD]).sum()] = 1.0
        assert rewards == expected.tolist()
        assert sum(rows.rounds.exposure.sum() for _, rows in before + after) == pytest.approx(1.0)


def test_closing_a_round_teaches_what_was_watched() -> None:
    ledger, taught = run(opened((70, 1, CARD, 0)), 0, 6)
    _, closed = ledger.opening(rounds((80, 1, CARD, 7)), 7, SCHEDULE)
    parts = [rows.rounds for _, rows in taught] + [closed.rounds]
    watched = completion(np.array([7.0, WINDOW]), DELAY)
    uplift = sum(float((part.exposure * part.uplift_share).sum()) for part in parts)
    organic = sum(float((part.exposure * part.organic_share).sum()) for part in parts)
    assert uplift == pytest.approx(watched[0] / watched[1])
    assert organic == pytest.approx(7 / WINDOW)


def test_probes_are_even_over_products_and_keyed_by_the_decision() -> None:
    keys = decision_keys([f"d{n}" for n in range(30_000)])
    probes = probe_products(keys, 3, 3)
    counts = np.bincount(probes, minlength=3)
    assert (np.abs(counts - 10_000) < 4 * np.sqrt(30_000 * 2 / 9)).all()
    np.testing.assert_array_equal(probe_products(keys[5:9], 3, 3), probes[5:9])
    assert (probe_products(keys, 4, 3) != probes).any()


# Unbiasedness: contacts with a known conversion rate, cut off at random ages in two ways.

N, RATE = 40_000, 0.2


class Truth(NamedTuple):
    """Contacts with their delayed conversions."""

    opened: IntArray
    due: IntArray  # -1: never
    closed: IntArray  # day on which a newer contact comes


def contacts(seed: int, arrivals: int, closing: bool) -> Truth:
    rng = np.random.default_rng(seed)
    opened = rng.integers(0, arrivals, N)
    delay = rng.gamma(2.0, DELAY / 2, N)
    # The rate is that of converting within the window.
    converts = (rng.random(N) < RATE / completion(np.array([float(WINDOW)]), DELAY)[0]) & (delay < WINDOW)
    closed = opened + rng.integers(1, WINDOW, N) if closing else np.full(N, 10_000)
    return Truth(opened, np.where(converts, opened + np.floor(delay).astype(np.int64), -1), closed)


def estimate(truth: Truth, days: int) -> tuple[float, float]:
    """Conversions per uplift exposure after some days, and its standard error."""
    ledger, n = OpenRounds.none(1), np.arange(N)
    rewards, watched = np.zeros(N), np.zeros(N)
    for day in range(days):
        new = np.flatnonzero(truth.opened == day)
        newer = np.flatnonzero(truth.closed == day)
        # A newer contact belongs to somebody else here, so that only the closing is felt.
        fresh = rounds(*((int(i), int(i), CARD, day) for i in new)) if new.size else OpenRounds.none(1)
        ledger, closed = ledger.opening(fresh, day, SCHEDULE)
        gone = np.isin(ledger.customers, newer)
        _, cut = take_rows(ledger, gone).opening(
            take_rows(ledger, gone)._replace(opened=np.full(gone.sum(), day)), day, SCHEDULE
        )
        ledger = take_rows(ledger, ~gone)
        due = n[truth.due == day]
        ledger, _ = ledger.credit(due, np.full(due.size, CARD), day)
        ledger, passed = ledger.passing(day, SCHEDULE)
        for taught in (closed, cut, passed):
            np.add.at(rewards, taught.customers, taught.rounds.rewards)
            np.add.at(watched, taught.customers, taught.rounds.exposure * taught.rounds.uplift_share)
    rate = rewards.sum() / watched.sum()
    return rate, float(np.sqrt(((rewards - rate * watched) ** 2).sum()) / watched.sum())


def naive(truth: Truth, days: int) -> float:
    """Not yet converted counts as a failure."""
    seen = (truth.due >= 0) & (truth.due < np.minimum(days, truth.closed))
    return float(seen.sum() / (truth.opened < days).sum())


@pytest.mark.parametrize(
    ("closing", "days"), [(False, 3 * WINDOW), (False, 12), (True, 12), (True, 3 * WINDOW)]
)
def test_the_exposure_scheme_is_unbiased_whenever_it_is_read(closing: bool, days: int) -> None:
    truth = contacts(days, arrivals=12, closing=closing)
    rate, error = estimate(truth, days)
    assert abs(rate - RATE) < 4 * error
    assert error < 0.006


def test_counting_not_yet_as_no_is_biased() -> None:
    truth = contacts(1, arrivals=12, closing=True)
    error = np.sqrt(RATE * (1 - RATE) / N)
    assert naive(truth, 12) < RATE - 15 * error
    rate, error = estimate(truth, 12)
    assert abs(rate - RATE) < 4 * error
