"""Revenue given conversion: the closed form, what it recovers, and where it stops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from msgspec import structs
from small import open_strategy, product, small_catalogue, small_contexts, small_strategy

from nba.arrays import take_rows
from nba.errors import InvalidConfig
from nba.outcomes import RevenueModel, RevenuePosterior, SaleRows

STRATEGY = open_strategy()
MARGINS = STRATEGY.catalogue.margins
LOG_FACTORS = np.array([0.4, -0.3, 0.1])  # of the products below
SLOPE, NOISE = 0.2, 0.5  # per standard deviation of age, and the spread of amounts


def prior(**changes: Any) -> RevenuePosterior:
    return RevenueModel(**changes).prior(STRATEGY.catalogue, STRATEGY.schema)


def sales(n: int, seed: int = 0) -> SaleRows:
    rng = np.random.default_rng(seed)
    features, products = STRATEGY.encode(small_contexts(STRATEGY, n, seed)).features, rng.integers(0, 3, n)
    logs = LOG_FACTORS[products] + SLOPE * features[:, 1] + NOISE * rng.standard_normal(n)
    return SaleRows(features, products, MARGINS[products] * np.exp(logs))


def test_mean_and_noise_are_those_of_least_squares_with_the_prior_as_rows() -> None:
    model, rows = RevenueModel(), sales(300)
    mean, variance = prior().absorb(prior().evidence(rows)).state.solved()
    n_columns = rows.features.shape[1]
    sds = np.array([model.level_sd] + [model.slope_sd] * (n_columns - 1) + [model.product_sd] * 3)
    centre = np.zeros(sds.size)
    centre[0] = -(model.noise_sd**2) / 2
    design = np.concatenate([rows.features, np.eye(3)[rows.products]], axis=1)
    logs = np.log(rows.amounts / MARGINS[rows.products])
    weights = model.noise_sd / sds
    stacked = np.concatenate([np.diag(weights), design]), np.concatenate([weights * centre, logs])
    expected, residual, *_ = np.linalg.lstsq(*stacked, rcond=None)
    np.testing.assert_allclose(mean, expected, rtol=0, atol=1e-8)
    pooled = (model.pseudo_sales * model.noise_sd**2 + residual[0]) / (model.pseudo_sales + 300)
    assert variance == pytest.approx(pooled, rel=1e-8)


def test_before_any_sale_an_amount_is_the_margin() -> None:
    np.testing.assert_allclose(prior().amounts(sales(4).features), np.tile(MARGINS, (4, 1)), rtol=1e-12)


def test_amounts_are_recovered_within_their_standard_errors() -> None:
    rows, fresh = sales(4_000, 1), sales(2_000, 2)
    found = (
        prior()
        .fold(take_rows(rows, slice(0, 2_000)))
        .absorb(prior().evidence(take_rows(rows, slice(2_000, None))))
    )
    ratios = found.frozen().ratios(fresh.features)
    truth = np.exp(LOG_FACTORS + SLOPE * fresh.features[:, [1]] + NOISE**2 / 2)
    # A mean log over n sales of a product has standard error 0.5 / sqrt(n / 3), n = 4000; slopes add as much.
    assert np.abs(np.log(ratios / truth)).mean() < 2 * NOISE / np.sqrt(4_000 / 3)
    gaps = fresh.amounts / (MARGINS * ratios)[np.arange(2_000), fresh.products] - 1.0
    assert abs(gaps.mean()) < 3 * gaps.std() / np.sqrt(2_000)
    assert found.state.solved()[1] == pytest.approx(NOISE**2, rel=3 * np.sqrt(2 / 4_000))


def test_products_without_sales_take_the_common_level() -> None:
    rows = sales(900)
    known = take_rows(rows, rows.products < 2)
    raised = known._replace(amounts=known.amounts * 2.0)
    ratios = prior().absorb(prior().evidence(raised)).frozen().ratios(rows.features)
    assert 1.1 < np.median(ratios[:, 2]) < np.median(ratios[:, 0]), "half way, because others sell for more"


def test_evidence_adds_and_folding_does_not_depend_on_cuts() -> None:
    rows = sales(90)
    parts = [take_rows(rows, part) for part in (slice(0, 31), slice(31, 32), slice(32, None))]
    one, two, three = (prior().evidence(part) for part in parts)
    for got, wanted in zip(one + two + three, prior().evidence(rows), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-11)
    whole, cut = prior().fold(rows), prior()
    for part in parts:
        cut = cut.fold(part)
    for got, wanted in zip(cut.state, whole.state, strict=True):
        assert np.array_equal(got, wanted)


def test_wild_amounts_are_winsorised_and_expectations_stay_in_their_range() -> None:
    rows = sales(60)
    wild, edge = (rows._replace(amounts=factor * MARGINS[rows.products]) for factor in (1e9, 20.0))
    for got, wanted in zip(prior().evidence(wild), prior().evidence(edge), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-14)
    ratios = prior().absorb(prior().evidence(wild)).frozen().ratios(rows.features)
    assert ratios.max() == pytest.approx(5.0, rel=1e-14)


def test_forgetting_ends_at_the_prior() -> None:
    start = prior(half_life_days=10.0)
    taught = start.absorb(start.evidence(sales(200)))
    for got, wanted in zip(taught.decayed(1_000.0).state, start.state, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-12)
    half = taught.decayed(10.0).state.sales[0]
    assert half == pytest.approx((taught.state.sales[0] + start.state.sales[0]) / 2)
    assert prior().decayed(5.0).state is not None and start.decayed(0.0) is start


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("noise_sd", 0.0),
        ("pseudo_sales", -1.0),
        ("slope_sd", float("nan")),
        ("winsor", 1.0),
        ("least", 0.0),
        ("most", 0.5),
        ("half_life_days", 0.0),
    ],
)
def test_numbers_that_mean_nothing_are_refused(name: str, value: float) -> None:
    with pytest.raises(InvalidConfig) as caught:
        RevenueModel(**{name: value})
    assert (caught.value.source, caught.value.pointer) == ("revenue", name)


def test_amounts_need_a_margin_to_compare_with() -> None:
    free = small_catalogue(products=(*small_catalogue().products, product("leaflet", value=0.0)))
    with pytest.raises(InvalidConfig, match=r"products\.leaflet\.value: must be above 0"):
        small_strategy(catalogue=free, revenue=RevenueModel())
    assert structs.asdict(small_strategy(catalogue=free))["revenue"] is None
