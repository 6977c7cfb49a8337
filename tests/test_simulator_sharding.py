"""The same bank however it is cut: shards of whole branches, any order, pickled and continued."""

from __future__ import annotations

import pickle
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest
from checks.worlds import SHARED, any_action, assert_same, busy_bank, days_of, facts
from small import bank

from nba.arrays import AnyArray, FloatArray, IntArray
from nba.errors import InvalidConfig
from simulator.config import LAST_DAY
from simulator.state import Responses, WorldState
from simulator.world import World

BRANCH, BRANCHES, SEED = 25, 64, 11  # busy_bank has 25 customers in a branch
IDS = np.arange(BRANCH * BRANCHES)


class Log(NamedTuple):
    """What became of some customers, by their numbers."""

    ids: IntArray
    columns: dict[str, Any]  # (N, ...) of the last morning
    answers: dict[str, Any]  # of all decisions, in the order of (day, number)
    sold: FloatArray  # (n, 5) day, number, product, caused, amount
    pending: IntArray  # (n, 3) number, product, due
    books: Any  # (branches, pools, days)


def lived(world: World, ids: IntArray, days: int, seed: int = SEED) -> Log:
    answers: dict[str, list[Any]] = {name: [] for name in ("day", "id", *Responses._fields[:12])}
    sold = []
    for day in days_of(world, world.reset(seed, ids), days, any_action):
        numbers = day.before.people.ids
        answers["day"].append(np.full(day.rows.size, day.before.day))
        answers["id"].append(numbers[day.rows])
        for name in Responses._fields[:12]:
            answers[name].append(getattr(day.responses, name))
        customers, products, caused, amounts = day.sold
        sold.append(
            np.stack([day.before.day + 0 * customers, numbers[customers], products, caused, amounts], axis=1)
        )
    state = day.after
    columns = {name: part for name, part in state._asdict().items() if name not in SHARED}
    columns |= {f"people.{name}": part for name, part in state.people._asdict().items()}
    pending = facts(state)["pending"].T
    joined = {name: np.concatenate(parts) for name, parts in answers.items()}
    return Log(ids, columns, joined, np.concatenate(sold), pending, state.book)


def joined(logs: list[Log]) -> Log:
    """Shards put together, in the order of the customers' numbers."""
    logs = sorted(logs, key=lambda log: int(log.ids[0]))
    columns = {name: np.concatenate([log.columns[name] for log in logs]) for name in logs[0].columns}
    answers = {name: np.concatenate([log.answers[name] for log in logs]) for name in logs[0].answers}
    order = np.lexsort((answers["id"], answers["day"]))
    return Log(
        np.concatenate([log.ids for log in logs]),
        columns,
        {name: part[order] for name, part in answers.items()},
        _sorted(np.concatenate([log.sold for log in logs])),
        _sorted(np.concatenate([log.pending for log in logs])),
        np.concatenate([log.books for log in logs]),
    )


def _sorted(rows: AnyArray) -> AnyArray:
    return rows[np.lexsort(rows.T[::-1])]


@cache
def whole(days: int) -> Log:
    return joined([lived(busy_bank(), IDS, days)])


def assert_logs_equal(one: Log, other: Log) -> None:
    for left, right in ((one.columns, other.columns), (one.answers, other.answers)):
        for name, part in left.items():
            assert part.dtype == right[name].dtype, name
            np.testing.assert_array_equal(part, right[name], err_msg=name)
    for name in ("ids", "sold", "pending", "books"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


@pytest.mark.parametrize(("n_shards", "days"), [(7, 16), (64, 4)])
def test_shards_of_whole_branches_live_the_same_lives(n_shards: int, days: int) -> None:
    """Last shard first, of unequal sizes; capacity is short, people invite each other, events decide."""
    cuts = np.sort(np.random.default_rng(n_shards).permutation(np.arange(1, BRANCHES))[: n_shards - 1])
    shards = np.split(IDS, BRANCH * cuts)
    assert len(shards) == n_shards
    logs = [lived(busy_bank(), ids, days) for ids in shards[::-1]]
    assert_logs_equal(joined(logs), whole(days))


def test_the_lives_that_are_compared_are_eventful() -> None:
    log = whole(16)
    assert log.answers["refused"].sum() > 500 and log.answers["queued"].max() > 3
    for name in ("opted_out", "complained", "engaged", "delivered"):
        assert log.answers[name].sum() > 50, name
    assert 0.02 < log.sold[:, 3].mean() < 0.9 and len(log.pending) > 20
    assert len(np.unique(log.columns["event"])) > 8 and len(np.unique(log.columns["stage"])) == 8


def test_some_branches_live_as_they_do_among_the_others() -> None:
    """Numbers need not begin at 0 nor be without gaps, as long as branches are whole."""
    some = np.concatenate([np.arange(BRANCH * n, BRANCH * (n + 1)) for n in (3, 4, 40)])
    log, among = lived(busy_bank(), some, 4), whole(4)
    for name, part in log.columns.items():
        np.testing.assert_array_equal(part, among.columns[name][some], err_msg=name)


def test_customers_decided_in_another_order_answer_the_same() -> None:
    world = busy_bank()
    *_, last = days_of(world, world.reset(SEED, IDS[:500]), 9, any_action)
    state, rows = last.after, np.arange(500)
    actions = 1 + (rows * 37) % 840
    shuffled = np.random.default_rng(1).permutation(500)
    one = world.respond(state, rows, actions)
    other = world.respond(state, rows[shuffled], actions[shuffled])
    for name in Responses._fields[:12]:
        np.testing.assert_array_equal(getattr(one, name)[shuffled], getattr(other, name), err_msg=name)
    np.testing.assert_array_equal(one.book, other.book)
    after, sold = world.advance(state, rows, actions, one)
    again, same = world.advance(state, rows[shuffled], actions[shuffled], other)
    assert_same(after, again)
    one_by_one, others = (sorted(zip(*map(np.ndarray.tolist, part), strict=True)) for part in (sold, same))
    assert one_by_one == others


def test_nothing_that_is_given_is_ever_changed() -> None:
    world = busy_bank()
    *_, last = days_of(world, world.reset(SEED, IDS[:300]), 12, any_action)
    state, rows = last.after, np.arange(300)
    actions = 1 + (rows * 37) % 840
    kept: Any = pickle.loads(pickle.dumps((state, rows, actions)))
    responses = world.respond(state, rows, actions)
    answered = pickle.loads(pickle.dumps(responses))
    world.observe(state, rows), world.due(state), world.waits(state, rows), world.timing_types(state, rows)
    world.advance(state, rows, actions, responses)
    assert_same(state, kept[0])
    np.testing.assert_array_equal(rows, kept[1])
    np.testing.assert_array_equal(actions, kept[2])
    for left, right in zip(_arrays(responses), _arrays(answered), strict=True):
        np.testing.assert_array_equal(left, right)


def _arrays(responses: Responses) -> tuple[Any, ...]:
    assert responses._fields[-1] == "memory"
    return (*responses[:-1], *responses.memory)


def test_a_day_asked_for_twice_is_the_same_day() -> None:
    world = busy_bank()
    state = world.reset(SEED, IDS[:200])
    one, other = (list(days_of(world, state, 6, any_action))[-1] for _ in range(2))
    assert_same(one.after, other.after)


def test_a_world_and_its_state_may_be_sent_elsewhere_and_go_on() -> None:
    world = busy_bank()
    *_, last = days_of(world, world.reset(SEED, IDS[:300]), 6, any_action)
    there, state = pickle.loads(pickle.dumps((world, last.after)))
    assert there == world and there.config == world.config
    *_, here = days_of(world, last.after, 6, any_action)
    *_, far = days_of(there, state, 6, any_action)
    assert_same(here.after, far.after)


@pytest.mark.parametrize("engine", ["numpy", "numba"])
def test_engines_agree_to_the_bit(engine: Any) -> None:
    if engine == "numba":
        pytest.importorskip("numba")
    world = World(busy_bank().config, engine)
    assert_logs_equal(joined([lived(world, IDS, 4)]), whole(4))


def test_two_strategies_meet_the_same_noise() -> None:
    """Who is treated alike in two runs lives alike, whatever happens to others in other branches."""
    world, rows = busy_bank(), np.arange(200)
    state = world.reset(SEED, rows)
    some = rows < 100  # four branches are called every day in one of the runs
    call = world.config.catalogue.index("call", "now", "coupon")

    def calling(world: World, state: WorldState) -> tuple[IntArray, IntArray]:
        due, actions = any_action(world, state)
        return due, np.where(some[due], call, actions)

    *_, one = days_of(world, state, 14, any_action)
    *_, other = days_of(world, state, 14, calling)
    differ = np.zeros(200, dtype=np.bool_)
    for name in one.after._asdict().keys() - {*SHARED}:
        left, right = getattr(one.after, name), getattr(other.after, name)
        differ |= (left != right).reshape(200, -1).any(axis=1)
    assert not differ[~some].any() and differ[some].mean() > 0.5
    np.testing.assert_array_equal(one.after.book[4:], other.after.book[4:])


def test_noise_is_of_the_seed() -> None:
    one, other = (lived(busy_bank(), IDS[:200], 3, seed) for seed in (SEED, SEED + 2**32))
    assert (one.columns["people.age"] != other.columns["people.age"]).mean() > 0.9


@pytest.mark.parametrize("ids", [[], [3, 2], [1, 1], [-1, 4]], ids=["none", "falling", "twice", "negative"])
def test_customer_numbers_must_be_there_and_rise(ids: list[int]) -> None:
    with pytest.raises(InvalidConfig, match=r"retail-bank: ids: .* must be present, >= 0 and rise"):
        bank().reset(1, np.array(ids, dtype=np.int64))


def test_a_world_ends_before_its_days_no_longer_fit() -> None:
    world = bank()
    none = np.zeros(0, dtype=np.int64)
    state = world.reset(1, np.arange(10))._replace(day=LAST_DAY - 1)
    after, _ = world.advance(state, none, none, world.respond(state, none, none))
    assert after.day == LAST_DAY
    with pytest.raises(InvalidConfig, match=rf"ends after {LAST_DAY} days"):
        world.advance(after, none, none, world.respond(after, none, none))


@pytest.mark.parametrize("engine", ["numpy", "auto"])
def test_nobody_may_be_asked_about(engine: Any) -> None:
    world, none = World(bank().config, engine), np.zeros(0, dtype=np.int64)
    state = world.reset(1, np.arange(3))
    assert world.observe(state, none).features.shape[0] == 0
    assert world.waits(state, none).shape == (0, 6) and world.timing_types(state, none).size == 0
    assert world.odds(state, none, none, none, none).mass.shape == (0,)
    assert world.respond(state, none, none).contacted.size == 0


def test_a_state_is_small() -> None:
    """Less than 200 bytes a customer with seven channels and twenty products (issue 3)."""
    n = 10_000
    state = bank().reset(1, np.arange(n))
    book = state.book.nbytes + state.queue.nbytes
    assert 150 < state.n_bytes / n < 200 and book / n < 2
