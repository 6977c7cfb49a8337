"""The Gymnasium environments: their contract, the world behind them, other people's algorithms on top."""

from __future__ import annotations

from functools import cache
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env, data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import NormalizeReward, RecordEpisodeStatistics
from msgspec import structs
from small import small_world

from experiments.rollout import rollout
from experiments.spec import Phase, StrategySpec
from nba.arrays import AnyArray, FloatArray, IntArray
from nba.constraints import ContactLimit, ContactPolicy
from nba.errors import InvalidConfig, NBAError, ShapeMismatch, UnknownAction
from nba.policies import NoContact
from nba.posteriors import SegmentRatesModel
from nba.snapshot import Snapshot
from simulator.config import STAGES
from simulator.env import CustomerEnv, CustomersEnv, IneligibleAction
from simulator.world import World

LIMITS = ContactPolicy(limits=(ContactLimit(contacts=2, days=7),), product_rest_days=7)
IDS = np.array([41, 7, 1_003, 7, 12_345_678_901])


@cache
def busy_world(opt_out: float = 0.02) -> World:
    """A small bank in which much happens in a few days, on regular days and on those of events."""
    world = small_world(channels=("app_push", "sms", "call"), policy=LIMITS, off=("capacity", "referral"))
    answer = world.config.response
    rates = tuple(20.0 * rate for rate in answer.organic)
    left = structs.replace(answer.opt_out, base=(opt_out, opt_out, opt_out))
    response = structs.replace(answer, organic=rates, opt_out=left)
    assert world.config.decide_on_events
    return World(structs.replace(world.config, response=response))


def make(n: int = 5, **settings: Any) -> CustomersEnv:
    return CustomersEnv(n, **{"world": busy_world(), "days": 24, "settle_days": 6, **settings})


def last_allowed(mask: AnyArray) -> IntArray:
    return mask.shape[1] - 1 - mask[:, ::-1].argmax(axis=1)


def play(envs: Any, steps: int) -> list[Any]:
    """All that an environment says to random actions, one in ten of which does not look at the mask."""
    rng, said = np.random.default_rng(0), [envs.reset(seed=3)]
    over = np.zeros(envs.num_envs, dtype=np.bool_)
    for _ in range(steps):
        if envs.metadata["autoreset_mode"] is AutoresetMode.DISABLED and over.any():
            said.append(envs.reset(options={"reset_mask": over}))
        mask = said[-1][0]["action_mask"]
        blind = rng.random(envs.num_envs) < 0.1
        chances = rng.random(mask.shape) * np.where(blind[:, None], 1, mask)
        said.append(envs.step(chances.argmax(axis=1)))
        over = said[-1][2] | said[-1][3]
    return said


def lives(ids: IntArray, **settings: Any) -> FloatArray:
    """(n, most steps) rewards of customers who always get the last action that is allowed."""
    envs = make(ids.size, **settings)
    observation, _ = envs.reset(options={"customers": ids})
    living, rows = np.ones(ids.size, dtype=np.bool_), []
    while living.any():
        actions = last_allowed(observation["action_mask"])
        observation, rewards, terminations, truncations, _ = envs.step(actions)
        rows.append(np.where(living, rewards, 0.0))
        living &= ~(terminations | truncations)
    return np.array(rows).T


def life_by_hand(world: World, number: int, days: int, settle_days: int) -> float:
    """The net value of one such life, straight from the world."""
    bank = make(1, world=world).lives.bank
    state, net, one = world.reset(0, np.array([number])), 0.0, np.array([0])
    for day in range(days + settle_days):
        rows = world.due(state) if day < days else one[:0]
        actions = last_allowed(bank.eligible(world.observe(state, rows)).mask) if rows.size else rows
        responses = world.respond(state, rows, actions)
        state, sold = world.advance(state, rows, actions, responses)
        net += sold.amounts.sum()
        net -= responses.costs.sum() + responses.losses.sum()
    return net


@pytest.mark.parametrize("settings", [{}, {"ends_early": True, "world": busy_world(0.5), "days": 24}])
def test_the_checker_of_gymnasium_has_nothing_to_say(settings: dict[str, Any]) -> None:
    check_env(gymnasium.make("nba/Customer-v0", **settings).unwrapped)  # warnings are errors in our tests


def test_the_id_is_registered_for_one_customer_and_for_many() -> None:
    one = gymnasium.make("nba/Customer-v0", world=busy_world())
    many = gymnasium.make_vec("nba/Customer-v0", num_envs=3, world=busy_world())
    synced = gymnasium.make_vec("nba/Customer-v0", 2, "sync", world=busy_world())
    assert isinstance(one.unwrapped, CustomerEnv) and isinstance(synced, SyncVectorEnv)
    assert isinstance(many, CustomersEnv) and many.num_envs == 3
    assert many.single_observation_space == one.observation_space == synced.single_observation_space


@pytest.mark.parametrize(
    ("mode", "ends_early"), [(AutoresetMode.NEXT_STEP, False), *((mode, True) for mode in AutoresetMode)]
)
def test_many_are_to_the_bit_what_gymnasium_makes_of_single_ones(
    mode: AutoresetMode, ends_early: bool
) -> None:
    settings = {"world": busy_world(1.0), "days": 14, "settle_days": 4, "ends_early": ends_early}
    many = CustomersEnv(4, autoreset_mode=mode, **settings)
    synced = SyncVectorEnv([lambda: CustomerEnv(**settings)] * 4, autoreset_mode=mode)
    ours, theirs = play(many, 12), play(synced, 12)
    assert many.metadata["autoreset_mode"] is mode
    for mine, other in zip(ours, theirs, strict=True):
        assert data_equivalence(mine, other, exact=True)
    steps = [said for said in ours if len(said) == 5]
    assert any(said[2].any() for said in steps) == ends_early
    assert any(said[3].any() for said in steps)


def test_what_is_said_lies_in_the_spaces_and_holds_what_a_bank_sees() -> None:
    envs = make()
    said = play(envs, 8)
    for observation, *_ in said:
        assert observation in envs.observation_space
        assert (observation["action_mask"][:, 0] == 1).all()
    _, rewards, terminations, truncations, infos = said[1]
    assert (rewards.dtype, terminations.dtype, truncations.dtype) == (np.float64, np.bool_, np.bool_)
    names = {name for name in infos if not name.startswith("_")}
    # Neither who caused a conversion nor any trait that the bank does not know.
    assert names == {
        "customer", "day", "value", "cost", "loss", "contacted", "refused", "delivered", "engaged",
        "opted_out", "complained", "conversions", "ineligible",
    }  # fmt: skip
    assert all(infos[f"_{name}"].shape == (5,) for name in names)
    np.testing.assert_array_equal(rewards, infos["value"] - infos["cost"] - infos["loss"])


def test_a_first_observation_does_not_show_how_customers_respond() -> None:
    answer = structs.replace(busy_world().config.response, lift=(9.0,) * 3, openness=(1.0,) * 3)
    other = World(structs.replace(busy_world().config, response=answer))
    assert data_equivalence(make().reset(seed=1), make(world=other).reset(seed=1), exact=True)


@pytest.mark.parametrize("ends_early", [False, True])
def test_a_return_is_the_net_value_of_the_life(ends_early: bool) -> None:
    world = busy_world(0.5)
    returns = lives(IDS, world=world, ends_early=ends_early).sum(axis=1)
    by_hand = [life_by_hand(world, int(number), days=24, settle_days=6) for number in IDS]
    np.testing.assert_allclose(returns, by_hand, rtol=0, atol=1e-9)


def test_silence_earns_what_a_rollout_books() -> None:
    world, ids = busy_world(), np.arange(30)
    spec = StrategySpec(name="no-contact", model=SegmentRatesModel(), policy=NoContact())
    phase = Phase(customers=30, days=24, settle_days=6, seed=0)
    booked = rollout(world, Snapshot.start(spec.strategy(world, 0)), phase, with_oracle=False).totals.net
    envs, total = make(30), np.zeros(30)
    envs.reset(options={"customers": ids})
    over = np.zeros(30, dtype=np.bool_)
    while not over.all():
        _, rewards, _, truncations, _ = envs.step(np.zeros(30, dtype=np.int64))
        total += np.where(over, 0.0, rewards)
        over |= truncations
    np.testing.assert_allclose(total, booked, rtol=0, atol=1e-9)
    assert booked.any()


def test_a_life_does_not_depend_on_who_else_is_simulated() -> None:
    together = lives(IDS)
    np.testing.assert_array_equal(together[1], together[3])  # the same customer twice
    for row, number in zip(together, IDS, strict=True):
        alone = lives(np.array([number]))[0]
        np.testing.assert_array_equal(row[: alone.size], alone)


def test_a_customer_who_has_churned_for_good_ends_early() -> None:
    world = small_world(population={"consent_rates": (1.0, 1.0)}, off=("opt_out",))
    mature = tuple(float(stage == "mature") for stage in STAGES)
    life = structs.replace(world.config.life_cycle, shares=mature, transitions=(), drop_out=(1e6, 1.0))
    eager = structs.replace(world.config.response, organic=(0.02, 0.02, 0.02))
    world = World(structs.replace(world.config, life_cycle=life, response=eager))
    envs = make(world=world, ends_early=True)
    said = play(envs, 4)
    bought = np.zeros(5, dtype=np.bool_)
    for _, _, terminations, _, infos in said[1:]:
        bought |= infos["conversions"].any(axis=1)
        assert (bought | ~terminations).all()
    assert any(terminations.any() for _, _, terminations, _, _ in said[1:])


def test_an_action_outside_the_mask_is_no_contact_and_flagged() -> None:
    envs = make()
    observation, _ = envs.reset(options={"customers": IDS})
    forbidden = (observation["action_mask"] == 0).argmax(axis=1)  # no-contact for whom nothing is
    assert (forbidden > 0).any()
    ours = envs.step(forbidden)
    envs.reset(options={"customers": IDS})
    theirs = envs.step(np.zeros(5, dtype=np.int64))
    np.testing.assert_array_equal(ours[4].pop("ineligible"), forbidden > 0)
    assert not theirs[4].pop("ineligible").any()
    assert data_equivalence(ours, theirs, exact=True)


def test_or_it_is_an_error_that_names_customer_action_and_rule() -> None:
    envs = make(on_ineligible="raise")
    observation, _ = envs.reset(options={"customers": IDS})
    actions = last_allowed(observation["action_mask"])
    actions[2] = (observation["action_mask"][2] == 0).argmax()
    name = busy_world().config.catalogue.action_ids[actions[2]]
    with pytest.raises(IneligibleAction, match=rf"customer 1003, .*\({name}\) is not allowed by \w+"):
        envs.step(actions)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n": 0}, "num_envs: must be at least 1, got 0"),
        ({"days": 3}, "days: must be at least 4, got 3"),
        ({"settle_days": -1}, "settle_days: must be at least 0, got -1"),
        ({"days": 40_000}, "days and settle_days together must be at most 32000"),
        ({"first_customer": -1}, "first_customer: numbers must lie in 0"),
        ({"n_customers": 0}, "n_customers: must be at least 1, got 0"),
        ({"on_ineligible": "shrug"}, "on_ineligible: must be one of no-contact, raise"),
        ({"world": "no-such-bank"}, "no-such-bank: not found"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidConfig, match=message):
        make(**settings)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"customers": [1, 2]}, "must be 5 customer numbers"),
        ({"customers": [-1, 2, 3, 4, 5]}, "must be 5 customer numbers"),
        ({"reset_mask": np.zeros(5, dtype=np.bool_)}, "with at least one true"),
        ({"reset_mask": np.ones(5)}, "must be boolean"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidConfig, match=message):
        make().reset(options=options)


@pytest.mark.parametrize(
    ("actions", "error"),
    [(np.zeros(4, int), ShapeMismatch), (np.full(5, 99), UnknownAction), (np.zeros(5), UnknownAction)],
)
def test_wrong_actions_are_refused(actions: AnyArray, error: type[NBAError]) -> None:
    envs = make()
    envs.reset(seed=1)
    with pytest.raises(error):
        envs.step(actions)


def test_steps_need_a_reset_before() -> None:
    with pytest.raises(ResetNeeded, match="before the first step"):
        make().step(np.zeros(5, dtype=np.int64))
    one = CustomerEnv(busy_world(), days=4, settle_days=0)
    one.reset(seed=1)
    while not one.step(0)[3]:
        pass
    with pytest.raises(ResetNeeded, match="are over"):
        one.step(0)


def test_wrappers_of_gymnasium_work_on_it() -> None:
    envs = NormalizeReward(RecordEpisodeStatistics(make(4, days=8)))
    ended = [infos["episode"] for *_, infos in play(envs, 6)[1:] if "episode" in infos]
    assert ended and all(np.isfinite(episode["r"]).all() for episode in ended)
