"""Numbers that mean nothing are refused where they are configured, not where they break."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from nba.arbitration import Arbitration, FatiguePrice, Lever
from nba.constraints import ContactPolicy
from nba.errors import InvalidConfig
from nba.fatigue import FatigueKernel
from nba.policies import LinUCB, ThompsonSampling
from nba.posteriors import DisjointModel, FactoredModel, SegmentRatesModel
from nba.propensity import Floor

NAN = float("nan")


@pytest.mark.parametrize(
    ("make", "name", "value"),
    [
        (ThompsonSampling, "n_draws", 0),
        (ThompsonSampling, "scale", -1.0),
        (LinUCB, "alpha", NAN),
        (LinUCB, "alpha", -0.1),
        (FactoredModel, "slope_sd", 0.0),
        (FactoredModel, "pair_sd", -1.0),
        (FactoredModel, "half_life_days", 0.0),
        (DisjointModel, "level_sd", NAN),
        (DisjointModel, "half_life_days", -3.0),
        (SegmentRatesModel, "pseudo_contacts", 0.0),
        (SegmentRatesModel, "half_life_days", 0.0),
        (FatigueKernel, "short_half_life_days", 0.0),
        (FatigueKernel, "long_half_life_days", NAN),
        (ContactPolicy, "product_rest_days", -1),
        (FatiguePrice, "otherwise", NAN),
        (FatiguePrice, "slope", -0.1),
        (Floor, "epsilon", 1.5),
        (Floor, "max_cost", NAN),
    ],
)
def test_a_number_that_means_nothing_is_refused(make: Callable[..., Any], name: str, value: float) -> None:
    with pytest.raises(InvalidConfig, match=name):
        make(**{name: value})


@pytest.mark.parametrize("factor", [-1.0, NAN, float("inf")])
def test_a_lever_without_meaning_is_refused(factor: float) -> None:
    with pytest.raises(InvalidConfig) as caught:
        Arbitration(levers=(Lever(factor=1.0), Lever(factor=factor)))
    assert caught.value.pointer == "levers[1].factor"
