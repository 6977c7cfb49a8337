"""The fatigue price of segments: by hand, to the bit where nothing is named, refused where it cannot be."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from small import open_strategy, small_contexts, small_rounds

from nba.arbitration import Arbitration, FatiguePrice
from nba.errors import InvalidConfig
from nba.fatigue import SegmentPrice
from nba.policies import Greedy
from nba.posteriors import FactoredModel
from nba.propensity import Floor
from nba.snapshot import Snapshot

IDS = np.array([f"d{i}" for i in range(40)], dtype=object)


def priced(price: FatiguePrice) -> Snapshot:
    arbitration = Arbitration(fatigue_price=price)
    strategy = open_strategy(policy=Greedy(), model=FactoredModel(), floor=Floor(), arbitration=arbitration)
    return Snapshot.start(strategy).learn(small_rounds(strategy, 400), 400)


def test_a_segment_pays_its_own_price_and_all_others_the_common_one() -> None:
    own = SegmentPrice(levels={"mail": 0.5}, otherwise=2.0, slopes={"call": 0.75}, slope=0.25)
    common = {"otherwise": 1.0, "slope": 0.125, "slopes": {"mail": 0.375}}
    free, dear = priced(FatiguePrice()), priced(FatiguePrice(**common, segments={"affluent": own}))
    contexts = free.strategy.encode(small_contexts(free.strategy, 40, seed=8))
    before, after = (one.decide(contexts, IDS).expected_values for one in (free, dear))
    codes = contexts.features[:, free.strategy.schema.segment_columns]
    is_affluent = codes[:, 1] == 1.0
    assert 0 < is_affluent.sum() < 40
    for action in range(1, before.shape[1]):
        channel = free.strategy.catalogue.channel_of[action]  # call, mail
        long = contexts.fatigue[:, channel, 1]
        theirs = (2.0, 0.5)[channel] + (0.75, 0.25)[channel] * long
        by_hand = np.where(is_affluent, theirs, 1.0 + (0.125, 0.375)[channel] * long)
        np.testing.assert_allclose(before[:, action] - after[:, action], by_hand, rtol=1e-4, atol=1e-3)
    assert not after[:, 0].any()


def test_a_customer_of_no_segment_pays_the_common_price() -> None:
    price = FatiguePrice(otherwise=1.0, segments={"mass": SegmentPrice(otherwise=3.0, slope=0.5)})
    strategy = open_strategy()
    surcharges = price.surcharges(strategy.catalogue, strategy.schema)
    assert surcharges is not None
    features, fatigue = np.zeros((2, strategy.schema.n_columns)), np.full((2, 2, 2), 4.0)
    features[1, strategy.schema.segment_columns[0]] = 1.0
    assert surcharges.of(features, fatigue).tolist() == [[0.0, 0.0], [4.0, 4.0]]


def test_a_segment_with_the_common_price_changes_no_bit() -> None:
    same = SegmentPrice(otherwise=0.3, slope=0.1)
    one = priced(FatiguePrice(otherwise=0.3, slope=0.1))
    other = priced(FatiguePrice(otherwise=0.3, slope=0.1, segments={"mass": same}))
    contexts = one.strategy.encode(small_contexts(one.strategy, 40, seed=8))
    for mine, its in zip(one.decide(contexts, IDS), other.decide(contexts, IDS), strict=True):
        np.testing.assert_array_equal(mine, its)


def test_a_price_written_before_there_were_segments_reads_the_same() -> None:
    old = msgspec.toml.decode(b"levels = { mail = 0.5 }\notherwise = 1.0\nslope = 0.2\n", type=FatiguePrice)
    assert old == FatiguePrice(levels={"mail": 0.5}, otherwise=1.0, slope=0.2)
    strategy = open_strategy()
    assert old.surcharges(strategy.catalogue, strategy.schema) is None


@pytest.mark.parametrize(
    ("price", "match"),
    [
        (FatiguePrice(segments={"mas": SegmentPrice()}), "segments.mas: is no segment .* mass, affluent"),
        (
            FatiguePrice(segments={"mass": SegmentPrice(levels={"fax": 1.0})}),
            "fatigue_price: .*fax",
        ),
        (FatiguePrice(slopes={"fax": 1.0}), "fatigue_price: .*fax"),
    ],
)
def test_a_price_for_what_does_not_exist_is_refused(price: FatiguePrice, match: str) -> None:
    with pytest.raises(InvalidConfig, match=match):
        open_strategy(arbitration=Arbitration(fatigue_price=price))


def test_a_price_below_nothing_is_refused() -> None:
    with pytest.raises(InvalidConfig, match=r"levels\.mail: must be finite and >= 0, got -1"):
        SegmentPrice(levels={"mail": -1.0})
