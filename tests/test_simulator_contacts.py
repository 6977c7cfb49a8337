"""What becomes of contacts: shares against the odds, and the odds against methods F2 by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from checks.worlds import (
    CALL,
    PUSH,
    SMS,
    N,
    agrees,
    answer_of,
    busy_bank,
    changed,
    clones,
    days_of,
    edited,
    everybody,
    fresh,
    lively,
    mixed,
    one,
    without,
)
from scipy.special import expit
from scipy.stats import gamma
from small import bank

from simulator.state import LONG_AGO

ACTIONS = (
    "app_push/evening/coupon",
    "sms/weekend/membership",
    "call/now/term-deposit",
    "sms/now/card-instalment",
)


# --- Chances ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("action_id", ACTIONS)
@pytest.mark.parametrize("fatigue", [0.0, 1.75], ids=["fresh", "tired"])
def test_repeated_responses_follow_the_odds(action_id: str, fatigue: float) -> None:
    world = lively()
    seen, odds = answer_of(world, fresh(world, 3, fatigue=fatigue), action_id)
    delivered, opened = one(odds.delivered), one(odds.delivered) * one(odds.seen)
    assert seen.contacted.all() and not seen.refused.any()
    assert agrees(seen.delivered, delivered)
    assert agrees(seen.seen, opened)
    assert agrees(seen.engaged, opened * one(odds.engaged))
    assert agrees(seen.opted_out, delivered * -np.expm1(-one(odds.opt_out)))
    assert agrees(seen.complained, delivered * -np.expm1(-one(odds.complaint)))
    assert agrees(seen.due >= 0, one(odds.converts(world.config.response.halo)))


def test_each_step_needs_the_one_before() -> None:
    world, rows, found = busy_bank(), np.arange(1_000), np.zeros(5, dtype=np.int64)
    for day in days_of(world, world.reset(3, rows), 8, mixed(rows)):
        seen = day.responses
        assert not (seen.contacted & seen.refused).any() and (seen.contacted | seen.refused).all()
        for later, earlier in (("delivered", "contacted"), ("seen", "delivered"), ("engaged", "seen")):
            assert not (getattr(seen, later) & ~getattr(seen, earlier)).any(), later
        assert not ((seen.opted_out | seen.complained) & ~seen.delivered).any()
        assert not ((seen.due >= 0) & ~seen.seen).any(), "an unseen contact causes nothing"
        assert (seen.due[seen.due >= 0] >= (day.before.day + seen.waits)[seen.due >= 0]).all()
        unmoved = seen.seen & ~seen.engaged
        flags = (seen.refused, unmoved, seen.opted_out, seen.complained, seen.due >= 0)
        found += [int(flag.sum()) for flag in flags]
    assert found.min() > 50, "all of it must have happened"


def test_a_decision_for_silence_brings_nothing() -> None:
    world = bank()
    seen = world.respond(world.reset(1, np.arange(50)), np.arange(50), np.zeros(50, dtype=np.int64))
    for name in ("contacted", "refused", "delivered", "seen", "engaged", "opted_out", "complained"):
        assert not getattr(seen, name).any(), name
    assert not seen.costs.any() and not seen.losses.any() and (seen.due == -1).all() and not seen.waits.any()


def test_engagement_is_the_logit_of_its_parts() -> None:
    """One customer of the shipped world, by hand from the numbers of its file."""
    world = bank()
    state = changed(
        world, world.reset(1, np.arange(1)), stage=1, digital=204, receptivity=2, week_class=0, fatigue=0,
        preference=16,
    )  # fmt: skip
    state.fatigue[0] = [(1.0, 2.0), (0.0, 0.5), *[(0.0, 0.0)] * 4, (3.0, 1.5)]
    channel, evening = 0, 3
    got = world.odds(state, np.array([0]), np.array([channel]), np.array([evening]), np.array([0])).engaged
    answer, life = world.config.response, world.config.life_cycle
    logit = answer.openness[0] + 16 / 32 + answer.digital_loading[0] * (204 / 255 - 0.5) + life.engagement[1]
    logit -= answer.short_fatigue * 1.0 + answer.long_fatigue * 2.0 + answer.cross_fatigue * (0.5 + 1.5)
    logit += answer.receptivity[2][evening] + answer.week_class[0][0] + answer.weekday[0] + answer.month[2]
    assert one(got) == pytest.approx(expit(logit), rel=1e-12)


def test_the_mass_of_a_contact_is_the_product_of_its_parts() -> None:
    """Lift, responsiveness, tastes, effect, stage, channel and habituation; nothing has happened yet."""
    world = without(bank(), "seasons", "payday", "holidays")
    state = changed(
        world, world.reset(1, np.arange(1)), stage=1, owned=0, fatigue=0, responsiveness=0.25, effect=-0.5
    )
    state.people.interests[0], state.fatigue[0, 5] = (0.5, -1.0, 0.25, 2.0), (0.0, 3.0)
    c, p = 5, 3
    config, answer = world.config, world.config.response
    got = one(world.odds(state, np.array([0]), np.array([c]), np.array([0]), np.array([p])).mass)
    family = config.families[p]
    loading = config.population.affinity_scale * np.array(config.population.loadings[family])
    tastes = loading @ np.array([0.5, -1.0, 0.25, 2.0]) - 0.5 * loading @ loading
    log_mass = np.log(answer.lift[p]) + 0.25 - 0.5 + tastes + np.log(config.life_cycle.organic[1])
    log_mass += answer.channel_strength[c] + answer.channel_fit[family][c] + answer.habituation[c] * 3.0
    assert got == pytest.approx(np.exp(log_mass), rel=1e-12)


def test_habituation_is_a_log_factor_on_the_mass() -> None:
    world = lively(habituation=(-0.3, -0.3, -0.3))
    state = clones(world, 3, 2, stage=3, owned=0)
    state.fatigue[1, SMS, 1] = 2.0
    odds = world.odds(state, np.arange(2), np.full(2, SMS), np.zeros(2, dtype=np.int64), np.full(2, 1))
    assert odds.mass[1] / odds.mass[0] == pytest.approx(np.exp(-0.6), rel=1e-12)


@pytest.mark.parametrize("kind", ["opt_out", "complaint"])
def test_hazards_of_leaving_and_complaining_by_hand(kind: str) -> None:
    world, c, p = bank(), 5, 4  # a call about the equity fund, of risk class 4
    law = getattr(world.config.response, kind)
    rows, columns = np.arange(4), {"age": [64, 65, 64, 64], "risk": [4, 4, 3, 4], "fatigue": 0.0}
    state = changed(world, world.reset(1, rows), **columns)
    state.people.interests[:] = ((0.0, 2.0, 0.0, 0.0),) * 3 + ((0.0, -2.0, 0.0, 0.0),)
    state.fatigue[:, c, 1] = 1.5
    got = getattr(world.odds(state, rows, np.full(4, c), np.zeros(4, dtype=np.int64), np.full(4, p)), kind)
    base = law.base[c] * np.exp(law.fatigue * 1.5)
    elderly, unsuitable = (law.elderly[c], law.unsuitable) if kind == "complaint" else (0.0, 0.0)
    loading = 0.6 * np.array(world.config.population.loadings["investment"])
    tastes = loading[1] * -2.0 - 0.5 * loading @ loading
    factors = np.exp([0.0, elderly, unsuitable, law.irrelevance * -tastes])
    assert tastes < 0
    np.testing.assert_allclose(got, base * factors, rtol=1e-12)


# --- Halo, delay, hand-off ----------------------------------------------------------------------------


def test_a_contact_that_was_seen_and_not_engaged_with_has_its_halo() -> None:
    world = lively(halo=0.4, lift=(3.0,) * 4)
    seen, odds = answer_of(world, fresh(world, 3), "sms/now/coupon")
    aside, drawn_in = seen.seen & ~seen.engaged, seen.engaged
    assert min(aside.sum(), drawn_in.sum()) > 1000
    assert agrees(seen.due[aside] >= 0, -np.expm1(-0.4 * one(odds.mass)))
    assert agrees(seen.due[drawn_in] >= 0, -np.expm1(-one(odds.mass)))
    none, _ = answer_of(without(world, "halo"), fresh(world, 3), "sms/now/coupon")
    assert not (none.due[aside] >= 0).any()
    np.testing.assert_array_equal(none.due[drawn_in], seen.due[drawn_in])


@pytest.mark.parametrize("shape", [1.0, 2.0, 5.0])
def test_a_contact_with_little_mass_converts_after_a_gamma_delay(shape: float) -> None:
    """With a mass m the clock rings by age a with probability 1 - exp(-m F(a)); days are whole."""
    world = lively(halo=1.0, delivery=(1.0,) * 3, seen=(1.0,) * 3, delay_shape=shape)
    seen, odds = answer_of(world, fresh(world, 3), "sms/now/term-deposit")
    mean = world.config.catalogue.products[0].decision_delay_days
    for age in (1, 2, 3, 5, 8, 13):
        by_then = (seen.due >= 0) & (seen.due < 3 + age)
        expected = -np.expm1(-one(odds.mass) * gamma.cdf(age, shape, scale=mean / shape))
        assert agrees(by_then, expected), age


def test_the_delay_counts_from_the_day_of_the_contact() -> None:
    world = without(lively(halo=1.0), "delay")
    seen, _ = answer_of(world, fresh(world, 3), "sms/weekend/coupon")  # on day 3, a Thursday
    assert set(seen.due) == {-1, 5} and (seen.waits == 2).all()


def test_without_delay_what_is_caused_comes_at_once_and_as_often() -> None:
    world = lively()
    slow, _ = answer_of(world, fresh(world, 3), "sms/now/coupon")
    fast, _ = answer_of(without(world, "delay"), fresh(world, 3), "sms/now/coupon")
    np.testing.assert_array_equal(slow.due >= 0, fast.due >= 0)
    assert (fast.due[fast.due >= 0] == 3).all() and slow.due.max() > 4


def test_a_pending_conversion_comes_on_its_day() -> None:
    world = lively()
    state, action = fresh(world, 3), world.config.catalogue.index("sms", "evening", "membership")
    first, *later = days_of(world, state, 40, _once(everybody(action)))
    due, found = first.responses.due, np.full(N, -1)
    for day in (first, *later):
        assert day.sold.caused.all() and (day.sold.products == 3).all()
        assert (found[day.sold.customers] == -1).all()
        found[day.sold.customers] = day.before.day
    np.testing.assert_array_equal(found, due)
    assert later[-1].after.pending.due.size == 0


def _once(choose: Any) -> Any:
    """A choice for day 3, then silence."""
    return lambda world, state: choose(world, state) if state.day == 3 else (np.arange(0), np.arange(0))


def test_a_lead_from_online_lifts_a_persons_contact_for_its_days() -> None:
    world = edited(
        lively(), response={"hand_off": 0.7, "hand_off_days": 14}, mechanisms=bank().config.mechanisms
    )
    config, days = world.config, np.array([LONG_AGO, 3 - 14, 3 - 13, 3, 4])
    family = np.unique(config.families, return_inverse=True)[1][0] + 1
    state = clones(world, 3, 5, stage=3, owned=0, lead=family, lead_day=days)
    rows, zeros = np.arange(5), np.zeros(5, dtype=np.int64)
    for channel, product, factors in (
        (CALL, 0, [1, 1, np.exp(0.7), np.exp(0.7), 1]),  # of the lead's family, by a person
        (SMS, 0, [1] * 5),
        (CALL, 1, [1] * 5),
    ):
        mass = world.odds(state, rows, np.full(5, channel), zeros, np.full(5, product)).mass
        np.testing.assert_allclose(mass / mass[0], factors, rtol=1e-12)


def test_after_a_person_has_spoken_digital_contacts_are_opened_more_for_some_days() -> None:
    world = edited(lively(), response={"return_flow": 0.4, "return_days": 7})
    days = np.array([LONG_AGO, 3 - 7, 3 - 6, 3, 4])  # the last is planned: nobody has spoken yet
    state = clones(world, 3, 5, human=days)
    rows, zeros = np.arange(5), np.zeros(5, dtype=np.int64)
    for channel, logits in ((PUSH, [0, 0, 0.4, 0.4, 0]), (SMS, [0] * 5), (CALL, [0] * 5)):
        engaged = world.odds(state, rows, np.full(5, channel), zeros, zeros).engaged
        np.testing.assert_allclose(
            np.log(engaged / (1 - engaged)), np.log(engaged[0] / (1 - engaged[0])) + logits
        )
