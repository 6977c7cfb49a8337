"""The action table: rows, ids, factors, exclusions and refusals."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from small import product, small_catalogue

from nba.catalogue import NO_ACTION, NO_ACTION_ID, Catalogue, Channel, Combination, Timing
from nba.errors import InvalidConfig, UnknownAction


def test_every_row_round_trips_through_its_id() -> None:
    catalogue = small_catalogue()
    assert catalogue.n_actions == 13 == len(set(catalogue.action_ids))
    for row, action_id in enumerate(catalogue.action_ids):
        assert catalogue.row_of(action_id) == row
        if row != NO_ACTION:
            assert catalogue.index(*action_id.split("/")) == row


def test_rows_follow_channel_timing_product() -> None:
    catalogue = small_catalogue()
    n_channels, n_timings, n_products = catalogue.shape
    assert (n_channels, n_timings, n_products) == (2, 2, 3)
    for c in range(n_channels):
        for t in range(n_timings):
            for p in range(n_products):
                row = 1 + (c * n_timings + t) * n_products + p
                factors = (catalogue.channel_of[row], catalogue.timing_of[row], catalogue.product_of[row])
                assert factors == (c, t, p)
                assert catalogue.costs[row] == catalogue.channels[c].cost
                assert catalogue.values[row] == catalogue.products[p].value
    assert catalogue.action_ids[1] == "call/morning/deposit"
    assert catalogue.action_ids[12] == "mail/evening/fund"


def test_row_zero_is_no_contact_and_costs_nothing() -> None:
    catalogue = small_catalogue(excluded=(Combination(),))
    assert catalogue.action_ids[NO_ACTION] == NO_ACTION_ID
    assert catalogue.channel_of[0] == catalogue.timing_of[0] == catalogue.product_of[0] == -1
    assert catalogue.costs[0] == catalogue.values[0] == 0.0
    assert not catalogue.resource_use[0].any()
    # The empty combination names everything, but never staying silent.
    assert catalogue.allowed.tolist() == [True] + [False] * 12


def test_a_contact_uses_one_unit_of_its_channel() -> None:
    catalogue = small_catalogue()
    np.testing.assert_array_equal(catalogue.resource_use[1:].sum(axis=1), 1.0)
    assert catalogue.resource_use[catalogue.index("mail", "morning", "card")].tolist() == [0.0, 1.0]


def test_excluded_combinations_remove_what_they_name() -> None:
    gone = (Combination(channel="call", product="card"), Combination(timing="evening", product="fund"))
    catalogue = small_catalogue(excluded=gone)
    for row, action_id in enumerate(catalogue.action_ids[1:], start=1):
        channel, timing, name = action_id.split("/")
        excluded = (channel, name) == ("call", "card") or (timing, name) == ("evening", "fund")
        assert catalogue.allowed[row] == (not excluded), action_id


@pytest.mark.parametrize(
    ("ask", "named"),
    [
        (lambda one: one.row_of("call/noon/deposit"), "call/noon/deposit"),
        (lambda one: one.row_of(""), "''"),
        (lambda one: one.index("fax", "morning", "card"), "fax"),
        (lambda one: one.level("product", "loan"), "deposit, card, fund"),
        (lambda one: one.matching(Combination(timing="noon")), "morning, evening"),
    ],
)
def test_unknown_names_are_refused_by_name(ask: Any, named: str) -> None:
    with pytest.raises(UnknownAction, match=named):
        ask(small_catalogue())


def bad(**changes: Any) -> tuple[Any, ...]:
    return (product("deposit", **changes),)


@pytest.mark.parametrize(
    ("parts", "pointer"),
    [
        ({"channels": ()}, "channels"),
        ({"timings": (Timing(name="a"), Timing(name="a"))}, "timings"),
        ({"products": (product("a/b"),)}, "products"),
        ({"products": (product(""),)}, "products"),
        ({"channels": (Channel(name="x", family="f", cost=-1.0),)}, "channels[0].cost"),
        ({"channels": (Channel(name="x", family="f", cost=float("nan")),)}, "channels[0].cost"),
        ({"products": bad(value=float("inf"))}, "products[0].value"),
        ({"products": bad(forecast_rate=0.0)}, "products[0].forecast_rate"),
        ({"products": bad(forecast_rate=1.01)}, "products[0].forecast_rate"),
        ({"products": bad(risk_class=6)}, "products[0].risk_class"),
        ({"products": bad(attribution_window_days=3)}, "products[0].attribution_window_days"),
        ({"products": bad(decision_delay_days=0.0)}, "products[0].decision_delay_days"),
    ],
)
def test_a_broken_catalogue_names_the_place(parts: dict[str, Any], pointer: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        small_catalogue(**parts)
    assert caught.value.pointer == pointer
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.pointer, str(again)) == (pointer, str(caught.value))


def test_pickling_keeps_the_fields_and_rebuilds_the_tables() -> None:
    catalogue = small_catalogue(excluded=(Combination(channel="call"),))
    plain = len(pickle.dumps(catalogue))
    assert catalogue.row_of("mail/evening/fund") == 12 and catalogue.allowed.sum() == 7
    assert len(pickle.dumps(catalogue)) == plain
    again = pickle.loads(pickle.dumps(catalogue))
    assert isinstance(again, Catalogue) and again == catalogue
    assert again.action_ids == catalogue.action_ids
    np.testing.assert_array_equal(again.allowed, catalogue.allowed)
