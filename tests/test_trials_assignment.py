"""Who is in which arm: by a hash that anybody can recompute, for ever, and that no two salts share."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
import pytest
from scipy.stats import chi2_contingency, chisquare

from nba.errors import InvalidConfig
from nba.trials import Arm, Assignment, four_arm_launch
from nba.trials.assignment import FOUR_ARMS, GLOBAL_CONTROL, NOBODY

CUSTOMERS = [f"customer-{number}" for number in range(20_000)]


def test_a_bucket_is_the_hash_that_the_docstring_tells() -> None:
    one = Assignment.of("spring", {"policy": 100})
    digest = blake2b(b"spring\ncustomer-7", digest_size=8).digest()
    assert one.buckets(["customer-7"]).tolist() == [int.from_bytes(digest[:7], "little") % 100]
    assert one.buckets([7]).tolist() == one.buckets(["7"]).tolist()  # type: ignore[list-item]
    assert one.buckets(CUSTOMERS[:9]).tolist() == one.buckets(CUSTOMERS)[:9].tolist()


def test_buckets_are_even_and_two_salts_independent() -> None:
    one, other = (Assignment.of(salt, {"policy": 100}).buckets(CUSTOMERS) for salt in ("spring", "autumn"))
    assert chisquare(np.bincount(one, minlength=100)).pvalue > 1e-3
    table = np.zeros((10, 10))
    np.add.at(table, (one // 10, other // 10), 1.0)
    assert chi2_contingency(table).pvalue > 1e-3


def test_ranges_become_arms() -> None:
    one = Assignment(salt="x", arms=(Arm(name="b", first=10, last=19), Arm(name="a", first=0, last=4)))
    buckets = one.buckets(CUSTOMERS)
    expected = np.where(buckets < 5, 1, np.where((buckets >= 10) & (buckets < 20), 0, NOBODY))
    assert (one.places(CUSTOMERS) == expected).all()
    assert [arm.share for arm in one.arms] == [0.1, 0.05]


def test_an_arm_grows_and_nobody_changes_sides() -> None:
    first = Assignment.of("x", {"policy": 10, "none": 10})
    grown = Assignment(
        salt="x",
        arms=(*first.arms[1:], Arm(name="policy", first=0, last=9), Arm(name="policy-2", first=20, last=89)),
    )
    first.check_successor(grown)
    with pytest.raises(InvalidConfig, match="bucket 10 must stay in 'none'"):
        first.check_successor(Assignment.of("x", {"policy": 20}))
    with pytest.raises(InvalidConfig, match="another one is another trial"):
        first.check_successor(Assignment.of("y", {"policy": 10, "none": 10}))


def test_a_launch_of_four_arms_beside_a_global_control() -> None:
    launch = four_arm_launch("card-2026")
    names = launch.names(CUSTOMERS)
    shares = {name: float(np.mean(names == name)) for name in (*FOUR_ARMS, GLOBAL_CONTROL)}
    expected = dict(zip((*FOUR_ARMS, GLOBAL_CONTROL), (0.679, 0.097, 0.097, 0.097, 0.03), strict=True))
    for name, share in expected.items():
        assert abs(shares[name] - share) < 4.0 * np.sqrt(share / len(CUSTOMERS)), name
    later = four_arm_launch("loan-2027").names(CUSTOMERS)
    assert ((later == GLOBAL_CONTROL) == (names == GLOBAL_CONTROL)).all()  # the control is in no trial


@pytest.mark.parametrize(
    ("percents", "rule"),
    [
        ({"a": 60, "b": 50}, "sum to at most 100, not 110"),
        ({"a": 2.5}, "a whole percentage of at least 1, got 2.5"),
        ({"a": 0}, "a whole percentage"),
    ],
)
def test_impossible_arms_are_refused(percents: dict[str, float], rule: str) -> None:
    with pytest.raises(InvalidConfig, match=rule):
        Assignment.of("x", percents)


def test_overlapping_arms_and_equal_salts_are_refused() -> None:
    with pytest.raises(InvalidConfig, match=r"a \(0..9\) and b \(9..12\) overlap"):
        Assignment(salt="x", arms=(Arm(name="b", first=9, last=12), Arm(name="a", first=0, last=9)))
    with pytest.raises(InvalidConfig, match="come up twice"):
        Assignment(salt="x", arms=(Arm(name="a", first=9, last=12), Arm(name="a", first=0, last=5)))
    with pytest.raises(InvalidConfig, match="must differ from the control's"):
        four_arm_launch("global-control")
