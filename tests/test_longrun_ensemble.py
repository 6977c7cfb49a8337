"""The ranking of a tuned price over the worlds of the calibrated ensemble: by hand, and once through."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from experiments.benchmarks.ensemble import caps_of, price_of, ranked
from experiments.longrun.bank import Ranking, fitting_worlds, over_worlds, retail_bank
from experiments.longrun.proof import Against, Proof
from experiments.longrun.tuned_toml import toml
from experiments.results import Interval
from experiments.spec import Phase
from nba.errors import InvalidConfig
from nba.fatigue import FatiguePrice, SegmentPrice
from simulator.world import load_world

PRICE = FatiguePrice(otherwise=0.5, slope=1.5, segments={"rural": SegmentPrice(slope=2.6)})


def above(gain: float) -> Against:
    one = Interval(mean=gain, low=gain - 1.0, high=gain + 1.0)
    return Against(one, one)


def test_worlds_are_counted_and_averaged_by_hand() -> None:
    found = [
        Proof(PRICE, {4: above(2.0), 3: above(1.0)}, above(3.0), above(5.0)),
        Proof(PRICE, {4: above(-1.0), 3: above(4.0)}, above(1.0), above(2.0)),
    ]
    figures = over_worlds(found)
    assert figures["members"] == 2.0 and figures["members_ahead"] == 0.5
    assert figures["members_gain_over_caps"] == 0.0, "1 and -1, over the best cap of each world"
    half = (
        12.706204736 * np.sqrt(2.0) / np.sqrt(2.0)
    )  # Student with one degree of freedom, spread of 1 and -1
    assert figures["members_gain_over_caps_low"] == pytest.approx(-half)
    assert figures["members_gain_over_myopic"] == 2.0 and figures["members_ahead_of_rules"] == 1.0


def test_members_are_other_worlds_and_no_more_than_there_are() -> None:
    world = load_world("retail-bank")
    one, other = fitting_worlds(world, 2)
    assert one.config.response.lift != other.config.response.lift and not one.config.ensemble
    assert one.config.catalogue == world.config.catalogue
    for members in (-1, 25):
        with pytest.raises(InvalidConfig, match="--members: must be 1 to 24, the worlds of the ensemble"):
            retail_bank(Path("nowhere"), 1, quick=True, members=members)


def test_a_price_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "price.toml"
    file.write_text("# told above\n\n" + toml(PRICE))
    assert price_of(file) == PRICE
    file.write_text("[[strategies]]\nname = 'demo'\n" + toml(PRICE))
    assert price_of(file) == PRICE
    file.write_text("level = 3")
    with pytest.raises(InvalidConfig, match=r"fatigue_price: holds no price .*`nba tune-fatigue --out FILE`"):
        price_of(file)
    with pytest.raises(InvalidConfig, match="--price: cannot be read"):
        price_of(tmp_path / "gone.toml")
    assert caps_of("4, 3") == (4, 3)
    with pytest.raises(InvalidConfig, match="--caps: must be numbers"):
        caps_of("4,x")


@pytest.mark.slow
def test_the_ranking_runs_through_and_is_kept(tmp_path: Path) -> None:
    train = Phase(customers=60, days=8, seed=101, publish_every_days=4)
    judge = Phase(customers=60, days=12, settle_days=4, seed=0)
    ranking = Ranking(PRICE, (4, 3), (11, 12), members=2)
    figures = ranked(ranking, train, judge, tmp_path, 1)
    files = sorted(tmp_path.iterdir())
    assert len(files) == 2 * 2 * 5, "worlds, seeds; price, no price, two caps and the rules"
    assert figures["members"] == 2.0 and np.isfinite(figures["member_2_gain_over_rules"])
    assert ranked(ranking, train, judge, tmp_path, 1) == figures


@pytest.mark.slow
def test_the_proof_ranks_in_members_too(tmp_path: Path) -> None:
    figures = retail_bank(tmp_path, 1, quick=True, members=1)
    assert figures["members"] == 1.0 and 0.0 <= figures["members_ahead"] <= 1.0
    assert np.isfinite(figures["members_gain_over_caps"]) and np.isfinite(figures["gain_over_caps"])
