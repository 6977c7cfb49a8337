"""Families: what they have in common is found, a newcomer starts from it, and nobody else notices."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from learning_fixtures import (
    FAMILIES,
    FORECAST,
    SCHEMA,
    Truth,
    family_catalogue,
    family_rounds,
    family_truth,
    some_features,
)
from msgspec import json, structs
from small import open_strategy

from nba.arrays import FloatArray
from nba.bundle import load_bundle, posterior_bytes, save_bundle
from nba.catalogue import Catalogue, Channel
from nba.errors import InvalidConfig
from nba.learning import carried_over, empirical_bayes
from nba.posteriors import FactoredModel
from nba.posteriors.hierarchy import Block, Families, Hierarchy, learnt_hierarchy
from nba.snapshot import Snapshot

MODEL = FactoredModel(pair_sd=0.1)
PSEUDO = 50.0  # contacts; at a forecast of 10 % five conversions, as 500 are at 1 %


def prior_of(model: FactoredModel, catalogue: Catalogue) -> Any:
    return model.prior(catalogue, SCHEMA)


class Taught(NamedTuple):
    """A catalogue whose products are known well, and what they have in common."""

    catalogue: Catalogue
    truth: Truth
    posterior: Any
    model: FactoredModel  # with the hierarchy
    shared: Any  # the posterior with its prior


@cache
def taught(n_products: int, n_rows: int, seed: int, own_sd: float = 0.1, n_truth: int = 0) -> Taught:
    rng, catalogue = np.random.default_rng(seed), family_catalogue(n_products)
    truth = family_truth(rng, n_truth or n_products, own_sd)
    prior = prior_of(MODEL, catalogue)
    rounds = family_rounds(rng, catalogue, truth, rng.integers(0, catalogue.n_actions, n_rows))
    posterior = prior.absorb(prior.evidence(rounds))
    return Taught(
        catalogue,
        truth,
        posterior,
        *empirical_bayes(MODEL, posterior, catalogue, SCHEMA, pseudo_contacts=PSEUDO),
    )


# --- What families have in common ---


@pytest.mark.parametrize("own_sd", [0.05, 0.4])
def test_the_spread_within_families_is_found(own_sd: float) -> None:
    """30 products of 3 families; a spread is drawn towards the 0.22 that is expected a priori."""
    found = [taught(30, 60_000, seed, own_sd) for seed in range(4)]
    spreads = []
    for one in found:
        hierarchy = one.model.hierarchy
        assert hierarchy is not None
        levels = one.truth.products[:, 0]
        means = {name: levels[number::3].mean() for number, name in enumerate(FAMILIES)}
        start = {name: block.mean[0] for name, block in hierarchy.products.families.items()}
        # Levels are shared out between products and contacts by convention: differences are real.
        for name in FAMILIES[1:]:
            want = means[name] - means[FAMILIES[0]]
            assert start[name] - start[FAMILIES[0]] == pytest.approx(want, abs=0.25)
        spreads.append(hierarchy.products.families[FAMILIES[0]].sd[0])
    assert np.mean(spreads) == pytest.approx(own_sd, abs=0.12)


def test_without_data_nothing_is_learnt() -> None:
    catalogue = family_catalogue(6)
    flat = prior_of(MODEL, catalogue)
    hierarchy = learnt_hierarchy(flat, flat, catalogue)
    for families, mean in ((hierarchy.products, 0.5), (hierarchy.organic, 0.2), (hierarchy.channels, 0.0)):
        for block in families.families.values():
            np.testing.assert_allclose(block.mean, [mean, 0.0, 0.0], atol=1e-12)
    assert hierarchy.contact_level == pytest.approx(0.0, abs=1e-12)
    # The flat variance is made of equal shares: common, family, product (and what descriptors explain).
    sd = hierarchy.products.families["cards"].sd[0]
    assert sd == pytest.approx(0.5 * np.sqrt(3 / 5), rel=1e-9)
    unseen = hierarchy.products.otherwise.sd[0]
    assert unseen == pytest.approx(sd, rel=1e-9)


def test_products_of_a_family_are_never_taken_for_one() -> None:
    one = taught(12, 20_000, 1, 0.0)
    flat = prior_of(MODEL, one.catalogue)
    for tau_min in (0.1, 0.3):
        hierarchy = learnt_hierarchy(one.posterior, flat, one.catalogue, tau_min=tau_min)
        assert all(min(block.sd) >= tau_min for block in hierarchy.products.families.values())


def test_the_evidence_is_the_same_under_the_shared_prior() -> None:
    one = taught(9, 5_000, 2)
    flat, prior = prior_of(MODEL, one.catalogue), prior_of(one.model, one.catalogue)
    for name in ("precision", "shift"):
        gained = getattr(one.posterior, name) - getattr(flat, name)
        again = getattr(one.shared, name) - getattr(prior, name)
        np.testing.assert_allclose(again, gained, rtol=1e-9, atol=1e-9)


def test_a_hierarchy_is_saved_with_the_strategy(tmp_path: Path) -> None:
    one = taught(9, 5_000, 2)
    assert json.decode(json.encode(one.model), type=FactoredModel) == one.model
    strategy = open_strategy(catalogue=one.catalogue, schema=SCHEMA, model=one.model)
    again = load_bundle(save_bundle(Snapshot.start(strategy).at(one.shared, 7), tmp_path)).posterior
    assert posterior_bytes(again) == posterior_bytes(one.shared)
    forgotten = [structs.replace(two, half_life_days=5.0).decayed(3.0) for two in (one.shared, again)]
    assert posterior_bytes(forgotten[0]) == posterior_bytes(forgotten[1])


# --- Newcomers and leavers ---


def test_a_newcomer_starts_from_its_family_and_the_forecast() -> None:
    one, wider = taught(9, 20_000, 3), family_catalogue(10)
    hierarchy = one.model.hierarchy
    assert hierarchy is not None
    joined = carried_over(one.shared, prior_of(one.model, wider), one.catalogue, wider)
    block = joined.layout.block(2 + 2 + 9)
    family_mean, family_variance = hierarchy.products.start(
        "lending", {"risk_class": 1.0, "log_value": np.log(100.0)}
    )
    np.testing.assert_allclose(joined.parameters()[block][1:], family_mean[1:], rtol=1e-12)
    told = PSEUDO * FORECAST  # pseudo-contacts at the forecast: precision of a row is its forecast
    precision = 1.0 / family_variance[0] + told
    mean = (family_mean[0] / family_variance[0] + told * (1.0 - hierarchy.contact_level)) / precision
    assert joined.parameters()[block[0]] == pytest.approx(mean, rel=1e-9)
    assert joined.precision[block[0], block[0]] == pytest.approx(precision, rel=1e-12)
    none = structs.replace(one.model, hierarchy=structs.replace(hierarchy, pseudo_contacts=0.0))
    assert prior_of(none, wider).parameters()[block[0]] == pytest.approx(family_mean[0])


def test_nobody_else_notices_a_newcomer() -> None:
    one = taught(9, 5_000, 2)
    wider = structs.replace(
        one.catalogue, products=(family_catalogue(10).products[9], *one.catalogue.products)
    )
    joined = carried_over(one.shared, prior_of(one.model, wider), one.catalogue, wider)
    features = some_features(np.random.default_rng(0), 20)
    old = np.flatnonzero(wider.product_of[1:] > 0)
    np.testing.assert_array_equal(joined.mean(features)[:, 1:][:, old], one.shared.mean(features)[:, 1:])
    back = carried_over(joined, prior_of(one.model, one.catalogue), wider, one.catalogue)
    assert posterior_bytes(back) == posterior_bytes(one.shared), "it leaves as it came: nothing was learnt"


def test_who_leaves_is_integrated_out() -> None:
    one = taught(9, 20_000, 2)
    left = structs.replace(one.catalogue, products=one.catalogue.products[2:])
    after = carried_over(one.shared, prior_of(one.model, left), one.catalogue, left)
    features = some_features(np.random.default_rng(0), 20)
    stay = np.flatnonzero(one.catalogue.product_of[1:] >= 2)
    for what in ("mean", "stddev"):
        before = getattr(one.shared, what)(features)[:, 1:][:, stay]
        np.testing.assert_allclose(getattr(after, what)(features)[:, 1:], before, rtol=2e-5, atol=1e-7)


def test_a_new_channel_has_its_familys_mean_and_twice_its_variance() -> None:
    one = taught(9, 20_000, 3)
    hierarchy = one.model.hierarchy
    assert hierarchy is not None
    chat, fax = (
        Channel(name="chat", family="digital", cost=0.1),
        Channel(name="fax", family="paper", cost=0.1),
    )
    wider = structs.replace(one.catalogue, channels=(*one.catalogue.channels, chat, fax))
    joined = carried_over(one.shared, prior_of(one.model, wider), one.catalogue, wider)
    for number, block in ((2, hierarchy.channels.families["digital"]), (3, hierarchy.channels.otherwise)):
        rows = joined.layout.block(number)
        np.testing.assert_allclose(joined.parameters()[rows], block.mean, rtol=1e-9)
        np.testing.assert_allclose(np.diag(joined.precision)[rows], 0.5 / np.square(block.sd), rtol=1e-9)


# --- What it is worth ---


def errors(seed: int, rounds: tuple[int, ...]) -> FloatArray:
    """(2, rounds) error of a new product's lifts, from the flat prior and from its family's."""
    one, wider = taught(11, 30_000, seed, n_truth=12), family_catalogue(12)
    rng = np.random.default_rng(1000 + seed)
    actions = np.flatnonzero(wider.product_of == 11)
    stream = family_rounds(rng, wider, one.truth, rng.choice(actions, max(rounds)))
    features, found = some_features(rng, 300), []
    want = np.stack([one.truth.lifts(wider, features, np.full(300, action)) for action in actions], axis=1)
    for model, posterior in ((MODEL, one.posterior), (one.model, one.shared)):
        start = carried_over(posterior, prior_of(model, wider), one.catalogue, wider)
        for n in rounds:
            after = start.absorb(start.evidence(type(stream)(*(column[:n] for column in stream))))
            found.append(np.sqrt(np.mean((after.mean(features)[:, actions] / FORECAST - want) ** 2)))
    return np.reshape(found, (2, len(rounds)))


def test_a_new_product_of_a_known_family_needs_fewer_rounds() -> None:
    """From its family's prior a product is known without a round better than from the flat one with 200."""
    found = np.array([errors(seed, (0, 100, 200)) for seed in range(16)])
    gain = found[:, 0] - found[:, 1]
    error = gain.std(axis=0, ddof=1) / np.sqrt(len(gain))
    assert (gain.mean(axis=0) > 2.0 * error).all(), (found.mean(axis=0), error)
    assert found[:, 1, 0].mean() < found[:, 0, 2].mean()


# --- Refusals ---


def test_a_product_that_stays_keeps_its_forecast() -> None:
    one = taught(9, 5_000, 2)
    dearer = structs.replace(one.catalogue.products[4], forecast_rate=0.3)
    changed = structs.replace(one.catalogue, products=(*one.catalogue.products[:4], dearer))
    with pytest.raises(
        InvalidConfig, match=r"catalogue: products\[4\].forecast_rate: is 0.3, was 0.1 .* new name"
    ):
        carried_over(one.posterior, prior_of(MODEL, changed), one.catalogue, changed)


def test_numbers_that_mean_nothing_are_refused() -> None:
    one, block = taught(9, 5_000, 2), Block(mean=(0.0,), sd=(1.0,))
    families = Families(members=(), families={}, otherwise=block)
    parts: dict[str, Any] = {
        "products": families,
        "organic": families,
        "channels": families,
        "contact_level": 0.0,
    }
    with pytest.raises(
        InvalidConfig, match="hierarchy: speaks of 1 columns, the schema has 3; learn it again"
    ):
        prior_of(FactoredModel(hierarchy=Hierarchy(**parts)), one.catalogue)
    with pytest.raises(InvalidConfig, match="pseudo_contacts: must be finite and >= 0, got -1"):
        Hierarchy(**parts, pseudo_contacts=-1.0)
    with pytest.raises(InvalidConfig, match="hierarchy: sd: must be finite"):
        Block(mean=(0.0,), sd=(-1.0,))
    with pytest.raises(InvalidConfig, match="tau_min: must be finite and above 0, got 0"):
        learnt_hierarchy(one.posterior, one.posterior, one.catalogue, tau_min=0.0)
    with pytest.raises(InvalidConfig, match="must be the one the posterior was taught with"):
        learnt_hierarchy(one.posterior, one.posterior, family_catalogue(5))
