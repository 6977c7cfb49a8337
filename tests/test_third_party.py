"""Algorithms that are not ours learn in the environment: scikit-learn's always, sb3-contrib's where it is."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor
from small import small_world

from nba.arrays import AnyArray, FloatArray, IntArray
from simulator.env import CustomersEnv
from simulator.world import World

EXAMPLE = Path(__file__).parent.parent / "examples" / "third_party.py"
DISCOUNT = 0.9
Act = Callable[[dict[str, AnyArray]], IntArray]


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("third_party", EXAMPLE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["third_party"] = module
    spec.loader.exec_module(module)
    return module


def lopsided_world() -> World:
    """One channel, and two products of which contacts sell only the second."""
    response = {"lift": (0.0, 3.0), "organic": (0.0, 0.0), "openness": (2.0,)}
    return small_world(("sms",), ("now",), ("coupon", "card-instalment"), response)


def pairs(features: AnyArray, actions: AnyArray, n_actions: int) -> FloatArray:
    return np.hstack([features, np.eye(n_actions)[actions]])


def fitted_q(world: World, act: Act, rounds: int) -> Act:
    """Fitted Q iteration (Ernst, Geurts, Wehenkel 2005) on one batch of a random policy."""
    envs = CustomersEnv(300, world, days=20, settle_days=4, on_ineligible="raise")
    n, log = world.config.catalogue.n_actions, []
    observation, _ = envs.reset(seed=0)
    for _ in range(5):
        actions = act(observation)
        after, rewards, terminations, truncations, _ = envs.step(actions)
        log.append((observation, actions, rewards, terminations | truncations, after))
        observation = after
    model: HistGradientBoostingRegressor | None = None
    for _ in range(rounds):
        targets = [
            rewards if model is None else rewards + DISCOUNT * ~over * values(model, after, n).max(axis=1)
            for _, _, rewards, over, after in log
        ]
        seen = np.vstack([pairs(before["features"], actions, n) for before, actions, *_ in log])
        model = HistGradientBoostingRegressor(max_iter=30).fit(seen, np.concatenate(targets))
    return lambda observation: values(model, observation, n).argmax(axis=1)


def values(model: HistGradientBoostingRegressor, observation: dict[str, AnyArray], n: int) -> FloatArray:
    """(S, A) what each action is believed to be worth, -inf where it is not allowed."""
    features, mask = observation["features"], observation["action_mask"]
    each = [model.predict(pairs(features, np.full(mask.shape[0], action), n)) for action in range(n)]
    return np.where(mask > 0, np.array(each).T, -np.inf)


def test_fitted_q_iteration_of_scikit_learn_finds_what_sells(example: ModuleType) -> None:
    world, lives = lopsided_world(), {"days": 20, "settle_days": 4}
    learnt = fitted_q(world, example.at_random(0), rounds=2)
    ours, theirs = (example.judge(act, world, 300, **lives) for act in (learnt, example.at_random(1)))
    gain = ours.net - theirs.net
    assert gain.mean() > 4 * gain.std() / np.sqrt(gain.size)


def test_maskable_ppo_of_sb3_contrib_trains_on_it(example: ModuleType) -> None:
    pytest.importorskip("sb3_contrib", reason="needs sb3-contrib, which is not in the locks")
    world, lives = example.small_bank(), {"days": 12, "settle_days": 4}
    act = example.train(world, 256, seed=1, n_envs=16, **lives)
    score = example.judge(act, world, 20, **lives)  # an action outside the mask would be an error
    assert np.isfinite(score.net).all()


def test_the_example_says_what_it_needs(example: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(example, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="pip install sb3-contrib"):
        example.main([])
