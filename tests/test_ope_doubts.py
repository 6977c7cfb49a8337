"""What speaks against an interval: rewards that were not seen yet, customers that come back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ope_fixtures import UNIT, mild_problem

from nba.errors import InvalidConfig
from nba.ope.compare import Comparison, Match
from nba.ope.doubts import Returning, Seen
from nba.ope.estimators import InversePropensity
from nba.ope.evaluate import Evaluation, Settings
from nba.ope.logged import BadLog, LoggedRounds, check_log, log_faults, merged_faults
from nba.ope.reward_models import Ridge, cross_fitted

IPS = Settings(estimators=(InversePropensity(),))


@pytest.mark.parametrize("n_replicates", [0, 50])
def test_rewards_that_are_all_zero_support_nothing_unless_their_range_is_stated(n_replicates: int) -> None:
    rounds, target, _ = mild_problem(1).log(4_000, np.random.default_rng(1))
    silent = rounds._replace(rewards=np.zeros(4_000))
    how = Settings(estimators=IPS.estimators, n_replicates=n_replicates)
    unstated = Evaluation.of(how, silent._replace(reward_range=None), target).report()
    assert unstated.verdict == "weak" and "their range is not stated" in " ".join(unstated.reasons)
    stated = Evaluation.of(how, silent, target).report()
    if n_replicates:
        assert stated.verdict == "weak" and "take n_replicates = 0" in stated.reasons[0]
    else:  # a reward of 1 that was not seen yet is in the interval
        assert stated.verdict == "supported" and stated.estimates[0].ci_high > 0.0


def test_an_interval_is_cut_to_a_stated_range_and_not_to_an_observed_one() -> None:
    rounds, target, _ = mild_problem(1, rate=0.02).log(4_000, np.random.default_rng(1))
    settings = Settings(estimators=IPS.estimators, confidence=1.0 - 1e-12)
    stated = Evaluation.of(settings, rounds, target).report().estimates[0]
    cut = Evaluation.of(settings, rounds._replace(reward_range=None), target).report().estimates[0]
    assert stated.ci_low == 0.0 and cut.ci_low is not None and cut.ci_low < 0.0


def test_one_huge_reward_says_that_others_may_come() -> None:
    rounds, target, _ = mild_problem(1).log(4_000, np.random.default_rng(1))
    money = rounds._replace(rewards=np.ones(4_000) + 600.0 * (np.arange(4_000) == 7), reward_range=None)
    (reason,) = Evaluation.of(IPS, money, target).report().reasons
    assert reason.startswith("one reward is 0.131 of the size of all")
    even = money._replace(rewards=np.tile([1.0, 2.0], 2_000))
    assert Evaluation.of(IPS, even, target).report().verdict == "supported"


def test_customers_are_seen_again_in_other_partitions() -> None:
    rounds, target, _ = mild_problem(1).log(4_000, np.random.default_rng(1))
    same = rounds._replace(clusters=np.arange(4_000, dtype=np.uint64) % np.uint64(2_000))
    parts = [Evaluation.of(IPS, same.take(s), target[s]) for s in (slice(2_000), slice(2_000, None))]
    assert "customers" not in " ".join(parts[0].report().reasons)
    assert "50 % of rounds are of customers who had one before" in " ".join(
        (parts[0] + parts[1]).report().reasons
    )


@pytest.mark.parametrize(("customers", "doubted"), [(2, True), (39, True), (40, False)])
def test_a_bootstrap_of_few_customers_is_doubted(customers: int, doubted: bool) -> None:
    rounds, _, _ = mild_problem(1).log(2_000, np.random.default_rng(1))
    again = rounds._replace(clusters=np.arange(2_000, dtype=np.uint64) % np.uint64(customers))
    doubts = Seen.of(again).doubts(bootstrapped=True, propensities_estimated=False)
    assert any(f"draws {customers} customers" in doubt for doubt in doubts) == doubted


@given(st.integers(1, 60_000), st.lists(st.integers(1, 20_000), min_size=1, max_size=4), st.randoms())
@settings(deadline=None, max_examples=25)
def test_the_sample_of_customers_does_not_depend_on_partitions(
    n: int, cuts: list[int], order: object
) -> None:
    clusters = np.random.default_rng(n).integers(0, max(n // 3, 1), n).astype(np.uint64)
    parts = [Returning.of(part) for part in np.split(clusters, sorted(cut % n for cut in cuts))]
    whole = Returning.of(clusters)
    order.shuffle(parts)  # type: ignore[attr-defined]
    merged = parts[0]
    for part in parts[1:]:
        merged = merged + part
    assert merged.level == whole.level
    assert np.array_equal(merged.hashes, whole.hashes) and np.array_equal(merged.counts, whole.counts)
    assert merged.hashes.size <= 4_096 and abs(merged.share - (1.0 - np.unique(clusters).size / n)) < 0.05


def test_a_range_is_stated_where_all_partitions_state_it() -> None:
    rounds, _, _ = mild_problem(1).log(100, np.random.default_rng(1))
    assert (Seen.of(rounds) + Seen.of(rounds)).stated == UNIT
    assert (Seen.of(rounds) + Seen.of(rounds._replace(reward_range=None))).stated is None


def test_a_comparison_has_the_same_doubts() -> None:
    rounds, target, _ = mild_problem(1).log(4_000, np.random.default_rng(1))
    again = rounds._replace(clusters=rounds.clusters // np.uint64(2), reward_range=None)
    again = again._replace(rewards=np.zeros(4_000))
    match = Match(estimator=InversePropensity(), propensities_estimated=True)
    told = Comparison.of(match, again, (target, np.full_like(target, 1.0 / 6.0))).report()
    assert told.verdict == "weak"
    for words in ("range is not stated", "50 % of rounds are of customers", "propensities were estimated"):
        assert words in " ".join(told.reasons)


def test_a_small_propensity_has_to_agree_in_its_own_size() -> None:
    rounds, _, _ = mild_problem(1).log(3, np.random.default_rng(1))
    logging = np.array([[1.0 - 1e-7, 1e-7], [0.5, 0.5], [0.5, 0.5]])
    rounds = rounds._replace(
        actions=np.array([1, 0, 1]), propensities=np.array([5e-7, 0.5, 0.5]), logging=logging, eligible=None
    )
    with pytest.raises(BadLog, match=r"must equal the logging distribution.*1 of 3 rows do not \(rows 0\)"):
        check_log(rounds)
    check_log(rounds._replace(propensities=np.array([1e-7, 0.5, 0.5])))


def test_faults_of_partitions_make_those_of_the_log() -> None:
    rounds, _, _ = mild_problem(1).log(12, np.random.default_rng(1))
    bad = rounds._replace(propensities=np.zeros(12), rewards=np.r_[np.zeros(9), [np.nan] * 3], logging=None)
    parts = [log_faults(bad.take(slice(start, start + 4)), start) for start in (0, 4, 8)]
    assert merged_faults(parts, 12) == log_faults(bad)


def test_rounds_of_one_customer_leave_no_model_and_the_message_says_so() -> None:
    rounds, _, _ = mild_problem(1).log(50, np.random.default_rng(1))
    alone = rounds._replace(clusters=np.zeros(50, dtype=np.uint64))
    with pytest.raises(InvalidConfig, match="all rounds fall into one fold.*log more customers"):
        cross_fitted(Ridge(), np.ones((50, 1)), alone, 6)


def test_mass_on_what_is_next_to_never_chosen_is_missing() -> None:
    """The weights are right on average, but a log of this size has none of those that make up for it."""
    rng, n = np.random.default_rng(1), 5_000
    logging = np.tile([1.0 - 1e-9, 1e-9], (n, 1))
    rounds = LoggedRounds(
        actions=np.zeros(n, dtype=np.int64),
        rewards=(rng.random(n) < 0.2).astype(np.float64),
        propensities=logging[:, 0],
        clusters=np.arange(n, dtype=np.uint64),
        logging=logging,
        reward_range=UNIT,
    )
    report = Evaluation.of(IPS, rounds, np.full((n, 2), 0.5)).report()
    assert report.lost_target_mass == 0.0 and report.effective_n == pytest.approx(n)
    assert report.verdict == "refused" and report.estimates == ()
    assert report.reasons[0].startswith("mean_weight is 0.5000 instead of 1.0000")


def test_a_value_outside_its_own_interval_is_told() -> None:
    n = 4_000
    drawn = (
        np.arange(n) < 0.485 * n
    )  # of two even actions the first came up a little too seldom, and always pays
    rounds = LoggedRounds(
        np.where(drawn, 0, 1), drawn * 1.0, np.full(n, 0.5), np.arange(n, dtype=np.uint64),
        logging=np.full((n, 2), 0.5), reward_range=UNIT,
    )  # fmt: skip
    told = Evaluation.of(IPS, rounds, np.tile([1.0, 0.0], (n, 1))).report()
    (one,) = told.estimates
    assert one.value == pytest.approx(0.97) and one.ci_low is not None and one.ci_low > one.value
    assert told.verdict == "weak" and told.reasons == (
        "ips: the value is outside the interval; the mean weight is 0.9700, and the interval knows that it "
        "is 1: read the interval.",
    )
