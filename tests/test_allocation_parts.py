"""The parts of an allocation: both forms of the kernels, pruning, lottery, pacing, prices of rules."""

from __future__ import annotations

import numpy as np
import pytest
from allocation_fixtures import dense, optimum, random_problem, rows_of
from msgspec import structs

from nba.allocation import choices
from nba.allocation.allocate import Solver, allocate
from nba.allocation.choices import margins, regrets_numpy, respond, respond_numpy
from nba.allocation.frame import Entry
from nba.allocation.lottery import Drawn, draw, reserved
from nba.allocation.pacing import Pacer
from nba.allocation.problem import BLOCK, Kinds, Problem, problem_of
from nba.allocation.pruning import problem_of_pruned, prune
from nba.allocation.rule_prices import caps_given_up, rule_prices
from nba.allocation.shards import Population, Shard, Units
from nba.arrays import FloatArray
from nba.errors import InvalidConfig, ShapeMismatch
from nba.propensity import choose


def wide(seed: int, n: int = 2 * BLOCK + 5) -> tuple[Problem, FloatArray]:
    """Customers of more than two blocks, nested caps, 32-bit values, and prices."""
    rng = np.random.default_rng(seed)
    starts = np.concatenate([[0], np.cumsum(rng.integers(1, 9, n))])
    uses = rng.random((12, 5)) * (rng.random((12, 5)) < 0.5)
    kinds = np.arange(12)
    groups = np.stack([0 * kinds, 1 + kinds // 4, 4 + kinds // 2], axis=1)
    caps = np.array([3, 2, 2, 1, 1, 1, 2, 1, 2, 1])
    values = np.round(rng.normal(1.0, 1.0, starts[-1]), 1).astype(np.float32)  # with ties
    kind_of = rng.integers(0, 12, starts[-1]).astype(np.uint8)
    keys = np.arange(n, dtype=np.uint64)
    problem = problem_of(keys, starts, kind_of, values, Kinds.of(uses, groups), rows_of([1.0] * 5), caps)
    return problem, np.round(rng.random(5) * 0.4, 1)


@pytest.mark.parametrize(("seed", "stride"), [(0, 1), (1, 3), (2, 7)])
def test_kernels_and_numpy_agree_bit_for_bit(seed: int, stride: int) -> None:
    pytest.importorskip("numba")
    problem, prices = wide(seed)
    for part in (problem, *problem.shards(2)):
        fused, chosen = respond(part, prices, stride, mark=True)
        plain, expected = respond_numpy(part, prices, stride, mark=True)
        for one, other in zip(fused, plain, strict=True):
            np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(chosen, expected)
    _, chosen = respond(problem, prices, mark=True)
    least = np.minimum.reduceat(regrets_numpy(problem, prices, chosen), problem.starts[:-1])
    np.testing.assert_array_equal(margins(problem, prices, chosen), least)


@pytest.mark.parametrize("seed", range(12))
def test_greedy_is_exact_under_nested_caps(seed: int) -> None:
    problem = random_problem(seed, most_customers=6)
    prices = np.random.default_rng(seed).exponential(0.3, problem.rows.limits.size)
    gain, _ = respond(problem, prices)[0].total()
    free = problem._replace(rows=rows_of(np.full(prices.size, 1e6)))
    reduced = problem.values - choices.kind_prices(problem, prices)[problem.kind_of]
    assert gain == pytest.approx(optimum(free._replace(values=reduced)), abs=1e-9)


def test_an_allocation_without_numba_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = random_problem(5)
    fused = allocate(Population.here(problem), Solver(tolerance=1e-3))
    monkeypatch.setattr(choices, "compiled", lambda name: None)
    plain = allocate(Population.here(problem), Solver(tolerance=1e-3))
    for one, other in zip(fused.certificate, plain.certificate, strict=True):
        np.testing.assert_array_equal(one, other)


def test_pruning_loses_nothing() -> None:
    """Twelve actions of three kinds and two groups; the pruned problem has the same best plan."""
    for seed in range(8):
        rng = np.random.default_rng(seed)
        values, kind_of = rng.normal(1.0, 1.0, (6, 12)), np.arange(12) % 3
        values[rng.random((6, 12)) < 0.2] = -np.inf
        values[:, 0] = 0.1  # everybody has a candidate
        kinds = Kinds.of(np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 2.0]]), np.array([[0, 1], [0, 1], [0, 2]]))
        caps, rows = np.array([3, 2, 1]), rows_of([4.0, 3.0])
        pruned = prune(values, kind_of, kinds, caps)
        assert pruned.values.shape == (6, 2 + 2 + 1), "two of each kind of the first group, one of the last"
        keys = np.arange(6, dtype=np.uint64)
        small, actions = problem_of_pruned(keys, pruned, kinds, rows, caps)
        np.testing.assert_array_equal(values[small.customer_of, actions], small.values)
        there = values > -np.inf
        starts = np.concatenate([[0], np.cumsum(there.sum(axis=1))])
        kinds_there = np.tile(kind_of, (6, 1))[there]
        whole = problem_of(keys, starts, kinds_there, values[there], kinds, rows, caps)
        assert optimum(small) == pytest.approx(optimum(whole), abs=1e-9)
    with pytest.raises(ShapeMismatch, match="values"):
        prune(values[:, :3], kind_of, kinds, caps)


USES = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 2.0], [0.0, 1.0]])
LIMITS = np.array([2.0, 3.0])


def test_the_lottery_logs_what_it_does() -> None:
    """Enumerate all draws of four customers: given the others' draws, the logged law is the real one."""
    rng = np.random.default_rng(0)
    pi = rng.dirichlet(np.ones(4), size=4)
    edges = np.concatenate([np.zeros((4, 1)), np.cumsum(pi, axis=1)], axis=1)
    n_ranks = 240
    ranks = rng.random((n_ranks, 4))
    for others in [(1, 1, 2), (2, 2, 2), (3, 1, 3)]:
        counts, told = np.zeros(4), None
        for own in range(4):
            drawn = np.array([own, *others])
            uniforms = (edges[np.arange(4), drawn] + edges[np.arange(4), drawn + 1]) / 2
            for rank in ranks:
                found = draw(pi, USES, LIMITS, uniforms, rank)
                counts[found.actions[0]] += pi[0, own] / len(ranks)
                told = found.distribution[0] if told is None else told
                np.testing.assert_allclose(found.distribution[0], told, atol=1e-12)
        assert told is not None
        np.testing.assert_allclose(counts, told, atol=4 * 0.5 / np.sqrt(len(ranks)))


def test_the_lottery_never_overshoots_and_leaves_room_alone() -> None:
    for seed in range(40):
        rng = np.random.default_rng(seed)
        pi, uses = rng.dirichlet(np.ones(6), size=200), rng.integers(0, 3, (6, 3)).astype(float)
        uses[0], limits = 0.0, rng.integers(0, 250, 3).astype(float)
        found = draw(pi, uses, limits, rng.random(200), rng.random(200))
        assert (uses[found.actions].sum(axis=0) <= limits).all()
        np.testing.assert_allclose(found.distribution.sum(axis=1), 1.0)
        assert (found.propensities > 0.0).all()
    free = draw(pi, uses, np.full(3, 1e6), rng.random(200), rng.random(200))
    np.testing.assert_allclose(free.distribution, pi)


def test_rows_of_some_customers_are_a_lottery_among_them() -> None:
    """Two managers who share nothing: each one's customers fare as if the other were not there."""
    rng = np.random.default_rng(3)
    pi, uniforms, ranks = rng.dirichlet(np.ones(4), size=90), rng.random(90), rng.random(90)
    first = rng.random(90) < 0.4
    members = np.stack([first, ~first], axis=1)
    uses = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [0.0, 0.0]])
    found = draw(pi, uses, np.array([7.0, 20.0]), uniforms, ranks, members)
    for own, limit in ((first, 7.0), (~first, 20.0)):
        alone = draw(pi[own], uses[:, :1], np.array([limit]), uniforms[own], ranks[own])
        np.testing.assert_array_equal(found.actions[own], alone.actions)
        np.testing.assert_allclose(found.distribution[own], alone.distribution, atol=1e-12)
        assert uses[alone.actions, 0].sum() <= limit < uses[choose(pi, uniforms)[own], 0].sum()


def test_the_lottery_logs_what_it_does_where_owners_share_a_row_as_well() -> None:
    """As above, two customers of one owner and two of another, and a third row that all of them use."""
    rng = np.random.default_rng(0)
    pi = rng.dirichlet(np.ones(3), size=4)
    uses = np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [1.0, 1.0, 2.0]])
    members = np.array([[1, 0, 1], [1, 0, 1], [0, 1, 1], [0, 1, 1]], dtype=np.bool_)
    edges = np.concatenate([np.zeros((4, 1)), np.cumsum(pi, axis=1)], axis=1)
    ranks = rng.random((240, 4))
    for others in [(1, 2, 0), (2, 1, 1), (1, 1, 2)]:
        counts, told = np.zeros(3), np.zeros(3)
        for own in range(3):
            drawn = np.array([own, *others])
            uniforms = (edges[np.arange(4), drawn] + edges[np.arange(4), drawn + 1]) / 2
            for rank in ranks:
                found = draw(pi, uses, np.array([1.0, 1.0, 3.0]), uniforms, rank, members)
                counts[found.actions[0]] += pi[0, own] / len(ranks)
                told = found.distribution[0]
                used = (uses[found.actions] * members).sum(axis=0)
                assert (used <= [1.0, 1.0, 3.0]).all()
        np.testing.assert_allclose(counts, told, atol=4 * 0.5 / np.sqrt(len(ranks)))


def test_weights_of_lottery_decisions_average_one() -> None:
    """The mean importance weight of a target that never contacts, under overflow, is one."""
    rng, weights = np.random.default_rng(1), []
    pi = np.tile([0.2, 0.5, 0.2, 0.1], (60, 1))
    for _ in range(400):
        found: Drawn = draw(pi, USES, np.array([20.0, 15.0]), rng.random(60), rng.random(60))
        target = np.array([0.25, 0.25, 0.25, 0.25])
        weights.append((target[found.actions] / found.propensities).mean())
    assert np.mean(weights) == pytest.approx(1.0, abs=4 * np.std(weights) / np.sqrt(400))


def test_a_lottery_refuses_floors_and_busy_silence() -> None:
    pi, uniforms = np.full((1, 4), 0.25), np.zeros(1)
    with pytest.raises(InvalidConfig, match="uses: must be >= 0"):
        draw(pi, -USES, LIMITS, uniforms, uniforms)
    with pytest.raises(InvalidConfig, match=r"uses\[0\]: no-contact must use nothing"):
        draw(pi, USES[::-1], LIMITS, uniforms, uniforms)
    np.testing.assert_allclose(reserved(np.array([100.0, 4.0])), [70.0, 0.0])


def arrivals(n: int, seed: int, rise: float = 1.0) -> FloatArray:
    """(n, 6) values of a day's customers; in the second half they are worth `rise` times as much."""
    rng = np.random.default_rng(seed)
    values = rng.gamma(2.0, 1.0, (n, 6)) * np.exp(rng.normal(0.0, 0.5, (n, 1)))
    values *= np.where(np.arange(n) < n // 2, 1.0, rise)[:, None]
    return values - 0.3


PACED = np.hstack([np.repeat(np.eye(3), 2, axis=0), [[0.1], [0.2], [0.5], [1.0], [2.0], [3.0]]])


def paced(values: FloatArray, budgets: FloatArray, pacer: Pacer, every: int = 200) -> float:
    """Value of greedy decisions at the pacer's prices, none of which overshoots."""
    total, used = 0.0, np.zeros(budgets.size)
    for first in range(0, len(values), every):
        batch, now = values[first : first + every], np.zeros(budgets.size)
        reduced = batch - PACED @ pacer.prices
        for customer in range(len(batch)):
            fits = (now + PACED <= pacer.left).all(axis=1)
            best = int(np.argmax(np.where(fits, reduced[customer], -np.inf)))
            if fits[best] and reduced[customer, best] > 0.0:
                total, now = total + batch[customer, best], now + PACED[best]
        pacer, used = pacer.after(now, len(batch)), used + now
    assert (used <= budgets + 1e-9).all() and pacer.version == -(-len(values) // every)
    return total


@pytest.mark.parametrize(("rise", "share"), [(1.0, 0.995), (1.5, 0.97)])
def test_pacing_reaches_the_hindsight_bound(rise: float, share: float) -> None:
    n = 60_000
    budgets = n * np.array([0.15, 0.1, 0.05, 0.12])
    last_night = Population.here(dense(arrivals(20_000, 0), PACED, budgets / 3.0))
    prices = allocate(last_night, Solver()).certificate.prices
    today = arrivals(n, 1, rise)
    bound = allocate(Population.here(dense(today, PACED, budgets)), Solver()).certificate.upper_bound
    pacer = Pacer.start(prices, budgets, last_night.units, n)
    assert paced(today, budgets, pacer) >= share * bound


ONE = Units(1.0, np.array([1.0]))


def test_a_pacer_step_by_hand_and_its_refusals() -> None:
    pacer = structs.replace(Pacer.start(np.array([2.0]), np.array([50.0]), ONE, 100.0), step=1.0)
    # Half a unit per decision is left; ten decisions used eight units where 42 / 90 of ten were to come by.
    after, wanted = pacer.after(np.array([8.0]), 10), 10 * 42.0 / 90.0
    assert after.prices == pytest.approx([2.0 + (8.0 - wanted) / np.sqrt(50.0)])
    assert after.left.tolist() == [42.0] and after.traffic == 90.0 and after.version == 1
    assert after.drift == pytest.approx([8.0 - wanted]) and after.noise == pytest.approx([wanted])
    assert pacer.after(np.array([50.0]), 1).prices[0] <= 8.0, "the leash holds"
    assert after.anchored().anchors is after.prices
    with pytest.raises(InvalidConfig, match="must not exceed what was left"):
        pacer.after(np.array([51.0]), 10)
    with pytest.raises(InvalidConfig, match="left: must be finite and >= 0"):
        Pacer.start(np.array([2.0]), np.array([np.nan]), ONE, 100.0)


def test_a_row_whose_errors_persist_gains_speed_and_loses_it_with_the_sign() -> None:
    pacer = Pacer.start(np.array([2.0]), np.array([500.0]), ONE, 1_000.0)
    once = pacer.after(np.array([12.0]), 10)
    twice = once.after(np.array([12.0]), 10)
    # 12 used where 4.93 and 4.86 were to come by: z is 3.18, and then 4.52 of the smoothed error.
    wanted = 10 * np.array([488.0 / 990.0, 476.0 / 980.0])
    drift = 12.0 - wanted[0], 0.8 * (12.0 - wanted[0]) + 12.0 - wanted[1]
    z = drift[0] / np.sqrt(wanted[0]), drift[1] / np.sqrt(0.64 * wanted[0] + wanted[1])
    steps = 0.7 * np.array(z) / 2.0 * (12.0 - wanted) / np.sqrt(500.0)
    assert z == pytest.approx([3.18, 4.52], abs=0.01)
    assert np.diff([2.0, once.prices[0], twice.prices[0]]) == pytest.approx(steps)
    back = twice.after(np.array([0.0]), 10)
    assert back.prices - twice.prices == pytest.approx(-0.7 * 10 * 476.0 / 970.0 / np.sqrt(500.0)), "alone"
    lumps = pacer.after(np.array([12.0]), 10, squares=np.array([48.0]))  # four at a time: chance does that
    assert lumps.noise == pytest.approx(4.0 * once.noise) and lumps.prices < once.prices


@pytest.mark.parametrize("times", [0.01, 100.0])
def test_a_pacer_step_is_the_same_money_whatever_a_row_counts(times: float) -> None:
    """Two units of a price of 3, or `times` as many of as much less each."""
    units = Units(4.0, np.array([2.0]))
    pacer = Pacer.start(np.array([3.0]), np.array([50.0]), units, 100.0).after(np.array([8.0]), 10)
    assert pacer.prices == pytest.approx([3.0 + 0.7 * 2.0 * (4.0 - 5 * 42.0 / 90.0) / np.sqrt(25.0)])
    other = Units(4.0, np.array([2.0]) / times)
    again = Pacer.start(np.array([3.0]) / times, np.array([50.0]) * times, other, 100.0)
    again = again.after(np.array([8.0]) * times, 10, squares=np.array([16.0]) * times**2)
    assert again.prices * times == pytest.approx(pacer.prices)
    assert again.drift == pytest.approx(pacer.drift) and again.noise == pytest.approx(pacer.noise)


def test_the_price_of_a_rule_by_hand() -> None:
    """Without the limit all three get the call; the plan at hand gives two of them a push."""
    problem = dense([[9.0, 1.0], [7.0, 2.0], [6.0, 4.0]], [[1.0, 1.0], [0.0, 1.0]], [1.0, 3.0])
    solver = Solver(tolerance=1e-9)
    plan = allocate(Population.here(problem), solver)
    entries = (Entry("calls", 0, 1.0, 1.0, False, "calls"), Entry("all", 1, 1.0, 3.0, True, "all"))
    (price,) = rule_prices(problem, entries, plan, solver)
    assert price.name == "calls" and price.given_up == pytest.approx((9 + 7 + 6) - (9 + 2 + 4))
    assert price.at_least <= price.given_up <= price.at_most + 1e-9
    caps = caps_given_up(problem._replace(rows=rows_of([1.0, 4.0])), plan, solver)
    assert caps.given_up == pytest.approx(1.0), "the fourth contact: a push for whoever got the call"


def test_a_shard_answers_by_its_arguments_only() -> None:
    problem, prices = wide(4)
    shard = Shard(problem)
    first = shard.respond(prices, 1, [None])[0].total()
    shard.respond(prices * 2.0, 3, [None])
    again = shard.respond(prices, 1, [None])[0].total()
    assert first[0] == again[0] and (first[1] == again[1]).all()
