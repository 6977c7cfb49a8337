"""How many customers a trial takes: by hand, by the memo's figure, and by trying."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nba.errors import InvalidConfig
from nba.trials import ArmSums, Binary, Design, Money, lift_of, plan


def test_the_global_control_of_the_memo() -> None:
    # p = 1 % a month, 0.05 points, control far smaller than the treated: 310 k customers in control.
    told = plan(Binary(rate=0.01), Design(control_share=0.001), effect=0.0005)
    assert told.control == pytest.approx(310_000, rel=0.005)
    # A million customers with 3 % in control must accept 0.16 points.
    assert plan(Binary(rate=0.01), Design(control_share=0.03), customers=1_000_000).effect == pytest.approx(
        0.0016, abs=0.0001
    )


def test_by_hand() -> None:
    # 2 (1.96 + 0.8416)^2 (0.05 0.95 + 0.055 0.945) / 0.005^2, half in each arm
    told = plan(Binary(rate=0.05), Design(), effect=0.005)
    assert told.customers == pytest.approx(2 * 7.848879734 * (0.0475 + 0.051975) / 0.005**2, abs=1)
    assert told.treated + told.control == told.customers and told.relative == pytest.approx(0.1)


def test_money_of_one_value_is_the_rate_scaled() -> None:
    rate = plan(Binary(rate=0.05), Design(), effect=0.005)
    value = plan(Money(rate=0.05, amount=80.0), Design(), effect=0.4)
    assert value.customers == rate.customers
    assert (
        plan(Money(rate=0.05, amount=80.0, spread=80.0), Design(), effect=0.4).customers > 2 * rate.customers
    )


def test_cuped_saves_rho_squared_and_a_sequence_costs_its_price() -> None:
    plain, sharp = (
        plan(Binary(rate=0.05), Design(correlation=rho, per_day=1_000), effect=0.005) for rho in (0, 0.7)
    )
    assert sharp.customers == pytest.approx(0.51 * plain.customers, abs=1)
    # Its ends are 3.035 standard errors wide at the planned size: ((3.035 + 0.842) / 2.802)^2
    assert plain.customers_with_sequence == pytest.approx(1.915 * plain.customers, rel=1e-3)
    assert plain.days == 63 and plain.days_with_sequence == 120


def test_the_least_effect_is_the_one_that_takes_these_customers() -> None:
    for sample in (Binary(rate=0.02), Money(rate=0.02, amount=50.0, spread=30.0)):
        effect = plan(sample, Design(control_share=0.1), customers=40_000).effect
        assert plan(sample, Design(control_share=0.1), effect=effect).customers == pytest.approx(
            40_000, abs=1
        )


def test_the_power_is_what_was_stated() -> None:
    rng, rate = np.random.default_rng(9), 0.05
    told = plan(Binary(rate=rate), Design(control_share=0.3), effect=0.02)
    arms = (told.treated, rate + 0.02), (told.control, rate)
    found = []
    for _ in range(1_000):
        sums = []
        for n, p in arms:
            ones = float(rng.binomial(n, p))
            sums.append(ArmSums(np.array([[n, ones, 0.0], [ones, ones, 0.0], [0.0, 0.0, 0.0]])))
        found.append(lift_of(*sums).low > 0.0)
    assert np.mean(found) == pytest.approx(0.8, abs=4 * np.sqrt(0.16 / 1_000))


@pytest.mark.parametrize(
    ("sample", "given", "rule"),
    [
        (Binary(rate=0.05), {"effect": 0.96}, "must leave the treated rate within"),
        (Binary(rate=0.05), {}, "give either the effect to find or the customers"),
        (Binary(rate=0.05), {"effect": 0.01, "customers": 10}, "give either"),
        (Binary(rate=0.05), {"effect": 0.0}, "finite and not 0"),
        (Binary(rate=0.5), {"customers": 4}, "too few to find any rise"),
        (Binary(rate=0.05), {"effect": 1e-12}, "take a larger effect"),
        (Money(rate=0.5, amount=10.0), {"effect": 5.1}, "more customers than all"),
    ],
)
def test_what_cannot_be_planned_is_told(sample: Binary | Money, given: dict[str, float], rule: str) -> None:
    with pytest.raises(InvalidConfig, match=rule):
        plan(sample, Design(), **given)  # type: ignore[arg-type]


def test_impossible_numbers_are_refused() -> None:
    for make in (
        lambda: Binary(rate=1.0),
        lambda: Money(rate=1.0, amount=3.0),
        lambda: Design(power=1.0),
        lambda: Design(correlation=1.0),
        lambda: Design(per_day=0.0),
    ):
        with pytest.raises(InvalidConfig):
            make()


def test_where_everybody_buys_the_effect_is_in_the_amount() -> None:
    sample = Money(rate=1.0, amount=50.0, spread=30.0)
    told = plan(sample, Design(), effect=2.5)
    assert told.customers == math.ceil((1.959963985 + 0.841621234) ** 2 * 4.0 * 900.0 / 2.5**2)
    assert plan(sample, Design(), customers=told.customers).effect == pytest.approx(2.5, rel=1e-3)
    assert plan(sample, Design(), customers=4).effect > sample.mean  # twice the amount and more is possible
