"""The one place where propensities are made: win shares, the floor, and the choice by one uniform."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nba.arrays import FloatArray
from nba.errors import InvalidConfig, ShapeMismatch
from nba.propensity import Floor, choose, win_shares

QUICK = settings(max_examples=150, deadline=None, derandomize=True, database=None)
COSTS = np.array([0.0, 0.5, 1.0, 4.0])


def one_row(*shares: float) -> FloatArray:
    return np.array([shares])


def test_choosing_walks_the_cumulative_sum() -> None:
    shares = np.tile(one_row(0.25, 0.0, 0.5, 0.25), (6, 1))
    uniforms = np.array([0.0, 0.2499, 0.25, 0.7499, 0.75, 1.0 - 2.0**-53])
    assert choose(shares, uniforms).tolist() == [0, 0, 2, 2, 3, 3]


WEIGHTS = arrays(np.float64, (1, 9), elements=st.one_of(st.just(0.0), st.floats(1e-12, 1.0)))


@QUICK
@given(WEIGHTS.filter(lambda weights: weights.sum() > 0))
def test_probability_zero_is_never_chosen(weights: FloatArray) -> None:
    """Uniforms at, just below and just above every edge of the cumulative sum."""
    distribution = weights / weights.sum()
    edges = np.cumsum(distribution)
    uniforms = np.concatenate([edges, np.nextafter(edges, 0), np.nextafter(edges, 2), [0.0, 1 - 2.0**-53]])
    uniforms = np.clip(uniforms, 0.0, 1 - 2.0**-53)
    actions = choose(np.repeat(distribution, uniforms.size, axis=0), uniforms)
    assert (distribution[0, actions] > 0).all()


def test_a_sum_below_one_by_rounding_chooses_the_last_possible_action() -> None:
    shares = one_row(0.1, 0.2, 0.3, 0.4 - 1e-9, 0.0)
    assert choose(shares, np.array([1 - 2.0**-53])).tolist() == [3]


def test_uniforms_of_another_length_are_refused() -> None:
    with pytest.raises(ShapeMismatch, match="uniforms"):
        choose(np.full((3, 4), 0.25), np.zeros(2))


def test_win_shares_count_winners_among_the_eligible() -> None:
    utilities = np.array([[[0.0, 3, 5]], [[0, 4, 1]], [[0, -1, 9]], [[0, -2, -1]]], dtype=np.float32)
    everything, no_two = np.array([[True, True, True]]), np.array([[True, True, False]])
    assert win_shares(utilities, everything).tolist() == [[0.25, 0.25, 0.5]]
    assert win_shares(utilities, no_two).tolist() == [[0.5, 0.5, 0.0]]


def test_no_contact_wins_ties() -> None:
    utilities = np.zeros((4, 2, 3), dtype=np.float32)
    assert win_shares(utilities, np.ones((2, 3), dtype=np.bool_)).tolist() == [[1, 0, 0], [1, 0, 0]]


def test_eligibility_of_another_shape_is_refused() -> None:
    with pytest.raises(ShapeMismatch, match="eligible"):
        win_shares(np.zeros((1, 2, 3), dtype=np.float32), np.ones((3, 2), dtype=np.bool_))


def test_the_floor_by_hand() -> None:
    eligible = np.array([[True, True, True, True], [True, False, True, True], [True, False, False, True]])
    floor = Floor(epsilon=0.1, no_contact_share=0.4, max_cost=1.0)
    expected = [[0.4, 0.3, 0.3, 0.0], [0.4, 0.0, 0.6, 0.0], [1.0, 0.0, 0.0, 0.0]]
    np.testing.assert_allclose(floor.distribution(eligible, COSTS), expected)
    base = one_row(0, 0, 0, 1.0).repeat(3, axis=0)
    np.testing.assert_allclose(floor.mix(base, eligible, COSTS), 0.9 * base + 0.1 * np.array(expected))


def test_without_epsilon_the_floor_leaves_the_bits_alone() -> None:
    base = one_row(0.1, 0.2, 0.7, 0.0)
    np.testing.assert_array_equal(Floor().mix(base, base > 0, COSTS), base)


@pytest.mark.parametrize("name", ["epsilon", "no_contact_share"])
@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_a_floor_that_is_no_probability_is_refused(name: str, value: float) -> None:
    with pytest.raises(InvalidConfig) as caught:
        Floor(**{name: value})
    assert caught.value.pointer == name


def test_a_utility_that_is_not_a_number_is_refused_and_never_wins() -> None:
    eligible = np.array([[True, True, False, False]])
    for place in range(4):
        utilities = np.zeros((2, 1, 4), dtype=np.float32)
        utilities[1, 0, place] = np.nan
        with pytest.raises(FloatingPointError, match="not a number"):
            win_shares(utilities, eligible)
