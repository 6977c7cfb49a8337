"""The factored precision taken product by product: the same mean and the same precision of the draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from checks.posteriors import checks_of, features_of, strategy_of, taught
from msgspec import structs

from nba.arrays import FloatArray
from nba.bundle import posterior_bytes, posterior_from_bytes
from nba.posteriors import FactoredModel
from nba.posteriors.by_product import ByProduct, Order
from nba.posteriors.layout import Layout

MODEL = FactoredModel(factoring="by_product")


@pytest.fixture(scope="module")
def posterior() -> Any:
    return taught(MODEL)


def parts(posterior: Any) -> ByProduct:
    found = ByProduct.of(posterior.layout, posterior.precision)
    assert found is not None
    return found


@pytest.mark.parametrize("check", checks_of(FactoredModel()), ids=lambda check: check.__name__)
def test_it_is_a_posterior_as_any_other(check: Any) -> None:
    check(MODEL)


def test_every_parameter_is_a_products_own_or_shared() -> None:
    layout = Layout(2, 3, 4, 5)
    order = Order.of(layout)
    together = np.concatenate([order.own.ravel(), order.shared])
    assert sorted(together.tolist()) == list(range(layout.n_parameters))
    for number, product in enumerate(layout.product_of.tolist()):
        told = set(layout.parameters_of(number + 1, product).tolist())
        assert told <= {*order.own[product].tolist(), *order.shared.tolist()}


def test_the_mean_is_that_of_the_whole(posterior: Any) -> None:
    whole = structs.replace(posterior, factoring="whole")
    np.testing.assert_allclose(posterior.parameters(), whole.parameters(), rtol=1e-10, atol=1e-12)
    features = features_of(MODEL)
    assert np.allclose(posterior.scores(posterior.mean_draw(), features), whole.mean(features), rtol=1e-5)


def test_draws_have_the_precision_exactly(posterior: Any) -> None:
    # With Q columns of noise Z = I, draws X = L'^-1 are a root of the covariance: X X' = precision^-1.
    root = parts(posterior).spread(np.eye(posterior.layout.n_parameters))
    product = posterior.precision @ root @ root.T
    np.testing.assert_allclose(product, np.eye(len(root)), atol=1e-9)


def test_a_draw_is_the_mean_and_its_spread(posterior: Any) -> None:
    noise = np.random.default_rng(4).standard_normal((posterior.layout.n_parameters, 3))
    theta = posterior.parameters() + 0.5 * parts(posterior).spread(noise).T
    drawn = posterior.draw(3, np.random.default_rng(4), 0.5)
    expected = posterior._draws_of(theta)
    assert all(np.array_equal(one, two) for one, two in zip(drawn, expected, strict=True))


def test_tied_products_are_factored_as_a_whole(posterior: Any) -> None:
    layout = posterior.layout
    tied: FloatArray = posterior.precision.copy()
    first, second = layout.organic_block(0)[0], layout.organic_block(1)[0]
    tied[first, second] = tied[second, first] = 1e-3
    assert ByProduct.of(layout, tied) is None
    one = structs.replace(posterior, precision=tied)
    two = structs.replace(one, factoring="whole")
    assert np.array_equal(one.parameters(), two.parameters())


def test_a_saved_one_comes_back_and_who_asks_for_nothing_draws_as_before(posterior: Any) -> None:
    again: Any = posterior_from_bytes(posterior_bytes(posterior), strategy_of(MODEL))
    assert again.factoring == "by_product"
    one, two = (each.draw(2, np.random.default_rng(1)) for each in (again, posterior))
    assert all(np.array_equal(left, right) for left, right in zip(one, two, strict=True))
    assert FactoredModel().factoring == "whole"
