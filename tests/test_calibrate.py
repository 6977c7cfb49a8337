"""The direct moments repeat the measured statistics of UCI's calls; the logits and seasons behind them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from nba.arrays import FloatArray
from nba.errors import InvalidConfig, ShapeMismatch
from simulator.calibrate.design import controls
from simulator.calibrate.direct import DirectMoments, direct_moments, hazard_table
from simulator.calibrate.logit import Design, fit_logit
from simulator.calibrate.seasons import shrunk_months
from simulator.calibrate.table import Campaign, cells, expand, group, load

HAZARD = {  # percent, at the precision of the published table
    None: (5.58, 5.14, 4.42, 3.26, 2.41, 2.22, 1.58, 0.96, 1.23, 1.10),
    "cellular": (7.45, 7.09, 6.03, 4.59, 3.51, 2.80, 2.25),
    "telephone": (2.34, 2.08, 2.07, 1.45, 0.97, 1.54, 0.86),
}
REACHED = (41_188, 23_546, 12_976, 7_635, 4_984, 3_385, 2_406, 1_777)
RATES = {  # percent of clients
    **{"contact=cellular": 14.74, "contact=telephone": 5.23, "previous=failure": 14.23},
    **{"previous=nonexistent": 8.83, "previous=success": 65.11, "month=mar": 50.55, "month=apr": 20.48},
    **{"month=may": 6.43, "month=jun": 10.51, "month=jul": 9.05, "month=aug": 10.60, "month=sep": 44.91},
    **{"month=oct": 43.87, "month=nov": 10.14, "month=dec": 48.90, "weekday=mon": 9.95},
    **{"weekday=tue": 11.78, "weekday=wed": 11.67, "weekday=thu": 12.12, "weekday=fri": 10.81},
    **{"job=student": 31.43, "job=retired": 25.23, "job=admin.": 12.97, "job=blue-collar": 6.89},
}


@pytest.fixture(scope="module")
def campaign() -> Campaign:
    return load()


@pytest.fixture(scope="module")
def direct(campaign: Campaign) -> DirectMoments:
    return direct_moments(campaign)


def test_every_client_and_sale_is_read(campaign: Campaign) -> None:
    assert (campaign.sold.size, campaign.sold.sum()) == (41_188, 4_640)
    assert campaign.period.max() == 25  # May 2008 to November 2010, months without calls left out


def test_a_client_called_k_times_gives_k_rows_and_one_possible_sale(campaign: Campaign) -> None:
    rows = expand(campaign)
    assert (rows.calls.sum(), rows.sales.sum()) == (105_754, 4_640)
    sold = rows.sales == 1
    assert (rows.call_number[sold] == campaign.n_calls[rows.client[sold]]).all()
    assert (np.bincount(rows.client) == campaign.n_calls).all()


@pytest.mark.parametrize("contact", HAZARD)
def test_hazard_by_call_number(direct: DirectMoments, contact: str | None) -> None:
    rates = direct.hazard if contact is None else direct.hazard_by_contact[contact]
    assert tuple(np.round(100 * np.array(rates[: len(HAZARD[contact])]), 2)) == HAZARD[contact]


def test_hazard_of_contact_types_adds_up(campaign: Campaign) -> None:
    assert tuple(hazard_table(campaign).reached[:8]) == REACHED
    telephone = campaign.factors["contact"].codes == 1
    parts = [hazard_table(campaign, among).sales[:20] for among in (~telephone, telephone)]
    assert (parts[0] + parts[1] == hazard_table(campaign).sales[:20]).all()


def test_a_weight_counts_as_so_many_clients(campaign: Campaign) -> None:
    twice = campaign._replace(weight=2.0 * campaign.weight)
    np.testing.assert_allclose(hazard_table(twice).rate, hazard_table(campaign).rate)
    assert hazard_table(twice).reached[0] == 2 * 41_188


def test_grouping_keeps_the_fit(campaign: Campaign) -> None:
    rows = expand(campaign)
    merged = group(campaign, rows)
    assert len(merged.calls) < len(rows.calls) / 4
    assert (merged.calls.sum(), merged.sales.sum()) == (105_754, 4_640)
    design = controls(campaign)
    fits = [
        fit_logit(
            design.rows(part.client).extended(["log_call"], np.log(part.call_number)), part.sales, part.calls
        )
        for part in (rows, merged)
    ]
    np.testing.assert_allclose(fits[1].coefficients, fits[0].coefficients, atol=1e-9)
    np.testing.assert_allclose(fits[1].stderrs, fits[0].stderrs, rtol=1e-6)


def test_clients_of_a_cell_have_the_same_controls(campaign: Campaign) -> None:
    first, member = cells(campaign)
    design = controls(campaign).values
    np.testing.assert_array_equal(design[first[member]], design)
    assert len(np.unique(design, axis=0)) <= len(first)


def test_slopes_of_the_call_number(direct: DirectMoments) -> None:
    raw, adjusted = direct.log_call_slope_raw, direct.log_call_slope
    assert raw.value == pytest.approx(-0.533, abs=0.0005)
    assert (adjusted.value, adjusted.stderr) == pytest.approx((-0.225, 0.025), abs=0.0005)
    raw, adjusted = direct.per_contact_slope_raw, direct.per_contact_slope
    assert (raw.value, raw.stderr) == pytest.approx((-0.195, 0.010), abs=0.0005)
    # The memo gives -0.083 for controls that it does not list to the last one.
    assert (adjusted.value, adjusted.stderr) == pytest.approx((-0.083, 0.010), abs=0.002)
    assert np.exp([raw.value, adjusted.value]) == pytest.approx([0.82, 0.92], abs=0.005)


def test_fatigue_shows_from_the_fourth_call_on(direct: DirectMoments) -> None:
    expected = (1.0, 1.06, 1.05, 0.84, 0.66, 0.66, 0.53, 0.36, 0.31)
    assert direct.call_odds == pytest.approx(expected, abs=0.006)


def test_selection_between_periods_is_part_of_the_slope(direct: DirectMoments) -> None:
    within = direct.log_call_slope_within
    assert direct.log_call_slope.value < within.value < -4 * within.stderr


def test_client_level_logit_repeats_the_published_one(campaign: Campaign) -> None:
    design = controls(campaign).extended(["log_calls"], np.log(campaign.n_calls))
    fit = fit_logit(design, campaign.sold.astype(float), campaign.weight)
    assert fit.of("contact=telephone") == pytest.approx((-0.322, 0.056), abs=0.0005)
    assert fit.of("log_calls") == pytest.approx((-0.119, 0.028), abs=0.0005)


def test_effects_are_centred_where_they_were_seen(direct: DirectMoments) -> None:
    assert sum(direct.weekday_effects) == pytest.approx(0.0, abs=1e-12)
    assert direct.weekday_effects[5:] == (0.0, 0.0)
    assert direct.month_effects[:2] == (0.0, 0.0)
    assert sum(direct.month_effects) == pytest.approx(0.0, abs=1e-12)
    assert direct.period_sd > 2 * direct.month_sd


@pytest.mark.parametrize("cut", RATES)
def test_rates_of_clients(direct: DirectMoments, cut: str) -> None:
    assert 100 * direct.client_rates[cut] == pytest.approx(RATES[cut], abs=0.006)


def test_a_table_without_calendar_and_kinds_of_contact_is_enough(campaign: Campaign) -> None:
    bare = campaign._replace(factors={}, indicators={}, period=np.zeros(campaign.sold.size, np.int64))
    direct = direct_moments(bare)
    assert direct.weekday_effects == (0.0,) * 7 and direct.month_effects == (0.0,) * 12
    assert direct.contact_effect is None and direct.client_rates == {}
    assert direct.per_contact_slope.value == pytest.approx(direct.per_contact_slope_raw.value)


def test_factors_that_repeat_each_other_are_refused_by_the_table_s_name(campaign: Campaign) -> None:
    twice = campaign._replace(factors=campaign.factors | {"again": campaign.factors["job"]}, source="my.csv")
    with pytest.raises(InvalidConfig, match=r"my\.csv: factors and indicators: .*repeat each other"):
        direct_moments(twice)


def test_logit_of_a_two_by_two_table_is_the_log_odds_ratio() -> None:
    design = Design(("one", "x"), np.array([[1.0, 0.0], [1.0, 1.0]]))
    fit = fit_logit(design, np.array([10.0, 30.0]), np.array([50.0, 60.0]))
    assert fit.coefficients == pytest.approx([np.log(10 / 40), np.log(30 / 30) - np.log(10 / 40)])
    # The variance of a log odds ratio is the sum of the reciprocal cells (Woolf 1955).
    variances = np.array([1 / 10 + 1 / 40, 1 / 10 + 1 / 40 + 1 / 30 + 1 / 30])
    assert fit.stderrs == pytest.approx(np.sqrt(variances))
    assert fit.of("x") == pytest.approx((np.log(4), np.sqrt(variances[1])))


@pytest.mark.parametrize("ridge", [0.0, 2.0, np.array([0.0, 5.0, 0.5])], ids=["free", "ridge", "per column"])
def test_logit_agrees_with_a_general_optimiser(ridge: float | FloatArray) -> None:
    generator = np.random.default_rng(7)
    values = np.column_stack([np.ones(40), generator.normal(size=(40, 2))])
    trials = generator.integers(1, 6, 40).astype(float)
    successes = generator.binomial(trials.astype(int), 0.3).astype(float)

    def loss(beta: FloatArray) -> float:
        linear = values @ beta
        likelihood = successes @ linear - trials @ np.logaddexp(0, linear)
        return float(-likelihood + (ridge * beta**2).sum() / 2)

    fit = fit_logit(Design(("one", "a", "b"), values), successes, trials, ridge=ridge)
    expected = minimize(loss, np.zeros(3), method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-12})
    np.testing.assert_allclose(fit.coefficients, expected.x, atol=1e-6)
    # The curvature along each axis by central differences; its matrix is the inverse of the covariance.
    step = 1e-3 * np.eye(3)
    curvature = [(loss(expected.x + h) - 2 * expected.fun + loss(expected.x - h)) / 1e-6 for h in step]
    np.testing.assert_allclose(np.diag(np.linalg.inv(fit.covariance)), curvature, rtol=1e-4)


def test_logit_without_a_maximum_says_so() -> None:
    x = np.arange(6.0)
    design = Design(("one", "x"), np.column_stack([np.ones(6), x]))
    separated = (x > 2).astype(float)
    with pytest.raises(InvalidConfig, match="separate the outcomes; drop one, or pass a ridge"):
        fit_logit(design, separated, np.ones(6))
    assert fit_logit(design, separated, np.ones(6), ridge=0.1).of("x")[0] > 0
    twice = design.extended(["again"], 3 * x)
    with pytest.raises(InvalidConfig, match="singular"):
        fit_logit(twice, np.array([0, 1, 0, 1, 1, 0.0]), np.ones(6))
    with pytest.raises(ShapeMismatch, match="trials"):
        fit_logit(design, separated, np.ones(5))


def test_months_are_believed_as_far_as_the_years_agree() -> None:
    months = np.tile(np.arange(12), 3)
    pattern = np.sin(np.arange(12))
    pattern -= pattern.mean()
    certain, no_indicator = 1e-4 * np.eye(36), np.empty((36, 0))
    agreeing = shrunk_months(pattern[months], certain, months, no_indicator)
    np.testing.assert_allclose(agreeing.effects, pattern, atol=0.01)
    assert agreeing.month_sd > 5 * agreeing.campaign_month_sd
    noise = np.random.default_rng(3).normal(size=36)
    differing = shrunk_months(noise, certain, months, no_indicator)
    averages = noise.reshape(3, 12).mean(axis=0)
    assert np.abs(differing.effects).max() < 0.5 * np.abs(averages - averages.mean()).max()
    assert differing.campaign_month_sd == pytest.approx(noise.std(), abs=0.25)


def test_an_indicator_takes_its_share_before_the_months() -> None:
    months = np.tile(np.arange(2, 12), 3)
    economy = np.linspace(-1.0, 1.0, 30)
    found = shrunk_months(2 * economy + 1, 1e-4 * np.eye(30), months, economy[:, None])
    np.testing.assert_allclose(found.effects, np.zeros(12), atol=0.02)
    with pytest.raises(ShapeMismatch, match="indicators"):
        shrunk_months(economy, np.eye(30), months, economy[:5, None])
