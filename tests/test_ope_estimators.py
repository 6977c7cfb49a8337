"""Every one-step estimator against four rounds worked by hand, and what must hold on any log."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest
from ope_fixtures import by_hand, mild_problem

from nba.errors import InvalidConfig
from nba.ope.estimators import (
    MRDR,
    USUAL,
    AdaptiveBlending,
    DirectMethod,
    DoublyRobust,
    Estimator,
    InversePropensity,
)
from nba.ope.groups import (
    GroupedDoublyRobust,
    MarginalInversePropensity,
    channel_family_groups,
    counted_embedding,
    embedded_ratios,
)
from nba.ope.logged import BadLog, pooled
from nba.ope.selection import select
from nba.ope.terms import Moments, Range, difference
from nba.ope.weighting import Clipped, OptimisticShrinkage, Plain, SubGaussian, Switched, Weighting
from simulator.world import load_world

ONE, HALVES = (0, 0), (0, 1)


@pytest.mark.parametrize(
    ("estimator", "value"),
    [
        (InversePropensity(), (2.0 + 1.5) / 4),
        (InversePropensity(self_normalised=True), 3.5 / 6.0),
        (InversePropensity(weighting=Clipped(1.75)), (1.75 + 1.5) / 4),
        (InversePropensity(weighting=Clipped(2.0), self_normalised=True), 3.5 / 5.5),
        (DirectMethod(), (0.6 + 0.4 + 0.3 + 0.2) / 4),
        (DoublyRobust(), 0.375 + (2 * 0.4 - 2.5 * 0.2 + 1.5 * 0.8) / 4),
        (DoublyRobust(self_normalised=True), 0.375 + 1.5 / 6.0),
        (DoublyRobust(weighting=Switched(2.0)), 0.375 + (0.8 + 1.2) / 4),
        (DoublyRobust(weighting=Switched(0.0)), 0.375),
        (DoublyRobust(weighting=OptimisticShrinkage(4.0)), 0.375 + (0.4 - 0.5 / 2.5625 + 0.96 * 0.8) / 4),
        (DoublyRobust(weighting=OptimisticShrinkage(0.0)), 0.375),
        (DoublyRobust(weighting=OptimisticShrinkage(inf)), 0.75),
        (DoublyRobust(weighting=SubGaussian(0.5)), 0.375 + (1.6 / 3 - 0.2 / 0.7 + 0.96) / 4),
        (AdaptiveBlending(most=2.0), (2.0 + 1.5) / 4 + (0.5 * 0.2 * 0.2 + 0.6 * 0.2) / 4),
        (AdaptiveBlending(most=0.0), 0.375),
        (AdaptiveBlending(most=inf), 0.875),
        (MarginalInversePropensity(groups=ONE), 0.75),
        (MarginalInversePropensity(groups=HALVES), 0.875),
        (GroupedDoublyRobust(groups=ONE), 0.375 + (0.4 - 0.2 + 0.8 + 0.4) / 4),
        (GroupedDoublyRobust(groups=HALVES), 0.75),
    ],
)
def test_by_hand(estimator: Estimator, value: float) -> None:
    rounds, target, predicted = by_hand()
    terms = estimator.terms(rounds, target, predicted)
    assert Moments.of(terms).value(self_normalised=estimator.self_normalised) == pytest.approx(value)


def test_the_standard_error_is_that_of_the_scores() -> None:
    rounds, target, predicted = by_hand()
    terms = DoublyRobust().terms(rounds, target, predicted)
    value, stderr = Moments.of(terms).estimate(self_normalised=False)
    assert value == pytest.approx(terms.scores.mean())
    assert stderr == pytest.approx(terms.scores.std(ddof=1) / 2.0)


def test_the_standard_error_of_a_ratio_is_the_delta_method() -> None:
    rounds, target, _ = by_hand()
    moments = Moments.of(InversePropensity().terms(rounds, target))
    weights, value = np.array([2.0, 2.5, 1.5, 0.0]), 3.5 / 6.0
    influence = weights / weights.mean() * (rounds.rewards - value)
    assert moments.estimate(self_normalised=True).stderr == pytest.approx(influence.std(ddof=1) / 2.0)


@pytest.mark.parametrize("estimator", [*USUAL, MRDR, AdaptiveBlending(most=3.0)], ids=lambda one: one.name)
def test_the_logging_policy_as_target_is_the_mean_reward(estimator: Estimator) -> None:
    rounds, _, _ = mild_problem(1).log(500, np.random.default_rng(2))
    assert rounds.logging is not None
    predicted = np.random.default_rng(3).random(rounds.logging.shape)
    terms = estimator.terms(rounds, rounds.logging, predicted)
    assert (terms.ratios == 1.0).all()
    if not estimator.model:
        assert Moments.of(terms).value(self_normalised=estimator.self_normalised) == rounds.rewards.mean()


@pytest.mark.parametrize(
    "weighting", [Plain(), Clipped(3.0), Switched(5.0), OptimisticShrinkage(9.0), SubGaussian(0.2)]
)
def test_a_weighting_keeps_zero_and_stays_in_its_range(weighting: Weighting) -> None:
    ratios = np.linspace(0.0, 40.0, 4_001)
    weights = weighting(ratios)
    low, high = weighting.weights_of(Range(0.0, 40.0))
    assert weights[0] == 0.0 and (weights <= ratios + 1e-12).all() or isinstance(weighting, SubGaussian)
    assert low <= weights.min() and weights.max() <= high + 1e-12
    assert high == pytest.approx(weights.max(), rel=1e-2)


def test_of_two_logs_the_mixture_is_weighed() -> None:
    rounds, target, _ = by_hand()
    first, second = np.tile([0.5, 0.5], (4, 1)), np.tile([0.9, 0.1], (4, 1))
    both = pooled(rounds, [first, second], np.array([0, 0, 0, 1]))
    assert both.propensities == pytest.approx([0.6, 0.4, 0.4, 0.6])
    assert both.ratios(target) == pytest.approx([1 / 0.6, 0.5 / 0.4, 0.75 / 0.4, 0.0])


def test_the_balanced_weight_is_unbiased_and_smaller() -> None:
    problem, rng = mild_problem(4), np.random.default_rng(5)
    even = problem._replace(logging=np.full_like(problem.logging, 1 / 6))
    (one, _, x), (other, _, y) = problem.log(6_000, rng), even.log(2_000, rng)
    stacked = one._replace(
        actions=np.append(one.actions, other.actions),
        rewards=np.append(one.rewards, other.rewards),
        propensities=np.append(one.propensities, other.propensities),
        clusters=np.arange(8_000, dtype=np.uint64),
    )
    contexts, logger = np.append(x, y), np.repeat([0, 1], [6_000, 2_000])
    both = pooled(stacked, [problem.logging[contexts], even.logging[contexts]], logger)
    wanted = problem.target[contexts]
    value, stderr = Moments.of(InversePropensity().terms(both, wanted)).estimate(self_normalised=False)
    assert abs(value - problem.truth) < 4 * stderr
    assert both.ratios(wanted).var() < stacked.ratios(wanted).var()


def test_groups_are_enough_where_the_reward_knows_only_groups() -> None:
    problem, groups = mild_problem(6, rate=0.2), (0, 0, 0, 1, 1, 1)
    shared = problem._replace(rates=problem.rates[:, [0, 0, 0, 3, 3, 3]])
    rounds, target, _ = shared.log(20_000, np.random.default_rng(7))
    plain = Moments.of(InversePropensity().terms(rounds, target)).estimate(self_normalised=False)
    moments = Moments.of(MarginalInversePropensity(groups=groups).terms(rounds, target))
    value, stderr = moments.estimate(self_normalised=False)
    assert abs(value - shared.truth) < 4 * stderr and stderr < 0.8 * plain.stderr
    assert moments.ratio_range.high < rounds.all_ratios(target).max()


def test_groups_need_no_support_of_their_single_actions() -> None:
    """OffCEM: the model knows the difference within the group, the rewards of its sibling the level."""
    problem = mild_problem(8, n_actions=4, rate=0.3)
    logging = problem.logging.copy()
    logging[:, 1] = 0.0  # never chosen; its group has action 0
    logging /= logging.sum(axis=1, keepdims=True)
    thin = problem._replace(logging=logging)
    rounds, target, contexts = thin.log(20_000, np.random.default_rng(9))
    wrong_level = thin.rates[contexts] + 0.1  # differences within groups are right
    grouped = GroupedDoublyRobust(groups=(0, 0, 1, 1)).terms(rounds, target, wrong_level)
    value, stderr = Moments.of(grouped).estimate(self_normalised=False)
    assert abs(value - thin.truth) < 4 * stderr
    single = Moments.of(DoublyRobust().terms(rounds, target, wrong_level)).estimate(self_normalised=False)
    assert abs(single.value - thin.truth) > 4 * single.stderr


def test_an_embedding_that_the_action_does_not_determine() -> None:
    rounds, target, _ = by_hand()
    table = np.array([[0.75, 0.25], [0.25, 0.75]])
    ratios, spread, _ = embedded_ratios(rounds, target, table, np.array([0, 1, 1, 0]))
    assert ratios == pytest.approx([0.75 / 0.5, 0.5 / 0.35, 0.625 / 0.5, 0.25 / 0.65])
    assert spread.high == pytest.approx(0.75 / 0.35)
    counted = counted_embedding(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]), (3, 2), prior=1.0)
    assert counted == pytest.approx(np.array([[2.5 / 4, 1.5 / 4], [0.25, 0.75], [0.5, 0.5]]))


def test_groups_of_a_catalogue_are_channel_and_product_family() -> None:
    catalogue = load_world("retail-bank").config.catalogue
    groups = channel_family_groups(catalogue)
    assert len(groups) == catalogue.n_actions and groups[0] == 0 and groups.count(0) == 1
    families = len({product.family for product in catalogue.products})
    assert len(set(groups)) == 1 + len(catalogue.channels) * families
    same = [i for i in range(1, catalogue.n_actions) if groups[i] == groups[1]]
    assert {int(catalogue.channel_of[i]) for i in same} == {0}
    assert len({catalogue.products[catalogue.product_of[i]].family for i in same}) == 1


def test_slope_finds_that_a_coarse_embedding_is_enough_and_when_it_is_not() -> None:
    problem = mild_problem(12, rate=0.3)
    fine, coarse = (
        MarginalInversePropensity(groups=groups) for groups in ((0, 1, 2, 3, 4, 5), (0, 0, 0, 1, 1, 1))
    )
    shared = problem._replace(rates=problem.rates[:, [0, 0, 0, 3, 3, 3]])
    apart = problem._replace(rates=problem.rates * np.array([0.2, 1.0, 2.0, 0.2, 1.0, 2.0]))
    for world, choice in ((shared, 1), (apart, 0)):
        skewed = world._replace(target=tilted(world.rates))
        rounds, target, _ = skewed.log(40_000, np.random.default_rng(13))
        assert select([fine, coarse], rounds, target, None) == choice


def tilted(rates: np.ndarray) -> np.ndarray:
    """A target that prefers what converts."""
    shares = np.exp(6.0 * rates)
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def test_the_difference_of_two_targets_is_sharper_than_either() -> None:
    problem = mild_problem(10)
    rounds, target, _ = problem.log(5_000, np.random.default_rng(11))
    near = 0.9 * target + 0.1 / 6
    predicted = np.full_like(target, 0.05)
    one, other = (DoublyRobust().terms(rounds, policy, predicted) for policy in (target, near))
    value, stderr = Moments.of(difference(one, other)).estimate(self_normalised=False)
    assert value == pytest.approx(one.scores.mean() - other.scores.mean())
    assert stderr < 0.3 * Moments.of(one).estimate(self_normalised=False).stderr


def test_what_is_missing_is_named() -> None:
    rounds, target, predicted = by_hand()
    with pytest.raises(InvalidConfig, match=r"dr: predicted: needs the predictions \(n, A\)"):
        DoublyRobust().terms(rounds, target, None)
    with pytest.raises(BadLog, match="logging: the log has propensities of the chosen actions only"):
        AdaptiveBlending(most=2.0).terms(rounds._replace(logging=None), target, predicted)
    with pytest.raises(InvalidConfig, match=r"sub_gaussian: strength: must lie in \[0, 1\], got 2"):
        SubGaussian(2.0)
    with pytest.raises(InvalidConfig, match="groups: must name 2 actions' groups"):
        MarginalInversePropensity(groups=(0, 1, 1)).terms(rounds, target)
