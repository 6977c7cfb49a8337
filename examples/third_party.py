"""Train somebody else's algorithm on the customers of a world: MaskablePPO of sb3-contrib, with the mask.

    pip install sb3-contrib            # brings stable-baselines3 and torch; torch for the CPU is enough
    python examples/third_party.py     # some minutes on one core; --help lists the settings

It learns on some customers and is judged on others, who meet the same noise under every policy: each
difference is paired. Nothing here knows more than a bank does; the only bridge is `StableBaselines`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
from gymnasium.vector import AutoresetMode
from msgspec import structs

from nba.arrays import AnyArray, FloatArray, IntArray
from simulator.config import only
from simulator.env import CustomersEnv
from simulator.world import World, load_world

FIRST_JUDGED = 10_000_000  # customers below are learnt from
Act = Callable[[dict[str, AnyArray]], IntArray]  # observation of S customers to their actions (S,)


def small_bank() -> World:
    """The retail bank with 24 actions and no-contact, and decisions on regular days only."""
    config = only(
        load_world("retail-bank").config,
        channels=("app_push", "sms", "call"),
        timings=("now", "evening"),
        products=("term-deposit", "credit-card", "card-instalment", "coupon"),
    )
    return World(structs.replace(config, name="small-bank", decide_on_events=False))


class Score(NamedTuple):
    """What a policy earned from the judged customers."""

    net: FloatArray  # (n,) account currency over a whole life
    contacts: FloatArray  # (n,)

    def line(self, name: str, control: Score) -> str:
        """One row of the table: mean, paired difference to the control and its standard error."""
        gain = self.net - control.net
        error = gain.std(ddof=1) / np.sqrt(gain.size)
        return (
            f"{name:<16}{self.net.mean():>10.2f}{gain.mean():>+12.2f}{error:>11.2f}"
            f"{self.contacts.mean():>10.1f}"
        )


def judge(act: Act, world: World, n_customers: int, **settings: Any) -> Score:
    """Let a policy decide for customers nobody has learnt from, each for one whole life."""
    envs = CustomersEnv(n_customers, world, on_ineligible="raise", **settings)
    ids = FIRST_JUDGED + np.arange(n_customers)
    observation, _ = envs.reset(options={"customers": ids})
    net, contacts = np.zeros(n_customers), np.zeros(n_customers)
    living = np.ones(n_customers, dtype=np.bool_)
    while living.any():
        actions = np.where(living, act(observation), 0)
        observation, rewards, terminations, truncations, infos = envs.step(actions)
        net += np.where(living, rewards, 0.0)
        contacts += living & infos["contacted"]
        living &= ~(terminations | truncations)
    return Score(net, contacts)


def silent(observation: dict[str, AnyArray]) -> IntArray:
    """No contact, ever."""
    return np.zeros(observation["action_mask"].shape[0], dtype=np.int64)


def at_random(seed: int) -> Act:
    """Any eligible action, no-contact among them, with equal chance."""
    rng = np.random.default_rng(seed)

    def act(observation: dict[str, AnyArray]) -> IntArray:
        mask = observation["action_mask"]
        return (rng.random(mask.shape) * mask).argmax(axis=1)

    return act


def stable_baselines(envs: CustomersEnv) -> Any:
    """The environment as a VecEnv of stable-baselines3: features observed, masks asked for by name."""
    from stable_baselines3.common.vec_env import VecEnv

    class StableBaselines(VecEnv):
        def __init__(self) -> None:
            self.render_mode = None
            features = envs.single_observation_space["features"]
            super().__init__(envs.num_envs, features, envs.single_action_space)

        def reset(self) -> AnyArray:
            seed = self._seeds[0]
            self._reset_seeds()
            return envs.reset(seed=seed)[0]["features"]

        def step_async(self, actions: IntArray) -> None:
            self.actions = actions

        def step_wait(self) -> tuple[AnyArray, AnyArray, AnyArray, list[dict[str, Any]]]:
            observation, rewards, terminations, truncations, infos = envs.step(self.actions)
            done = terminations | truncations
            each: list[dict[str, Any]] = [{} for _ in range(envs.num_envs)]
            for seat in np.flatnonzero(done):
                last = infos["final_obs"][seat]["features"]
                each[seat] = {"terminal_observation": last, "TimeLimit.truncated": bool(truncations[seat])}
            return observation["features"], rewards.astype(np.float32), done, each

        def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
            return list(getattr(envs, method_name)(*args, **kwargs))

        def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
            owner = self if attr_name == "render_mode" else envs
            return [getattr(owner, attr_name)] * envs.num_envs

        def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
            raise NotImplementedError("the settings of the customers are fixed")

        def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
            return [False] * envs.num_envs

        def close(self) -> None:
            envs.close()

    return StableBaselines()


def train(world: World, decisions: int, seed: int, n_envs: int = 512, **settings: Any) -> Act:
    """MaskablePPO after some decisions, as a policy that takes its likeliest action."""
    from sb3_contrib import MaskablePPO
    from stable_baselines3.common.vec_env import VecNormalize

    same_step = AutoresetMode.SAME_STEP
    envs = CustomersEnv(
        n_envs, world, n_customers=FIRST_JUDGED, on_ineligible="raise", autoreset_mode=same_step, **settings
    )
    # Rewards are rare and large: scaled, advantages have the size that PPO's defaults are made for.
    scaled = VecNormalize(stable_baselines(envs), norm_obs=False, gamma=0.98, clip_reward=50.0)
    model = MaskablePPO(
        "MlpPolicy",
        scaled,
        n_steps=16,
        batch_size=1024,
        n_epochs=4,
        gamma=0.98,
        gae_lambda=0.9,
        learning_rate=1e-3,
        ent_coef=0.005,
        policy_kwargs={"net_arch": [64, 64]},
        seed=seed,
        device="cpu",
    )
    model.learn(decisions)

    def act(observation: dict[str, AnyArray]) -> IntArray:
        masks = observation["action_mask"] > 0
        return model.predict(observation["features"], action_masks=masks, deterministic=True)[0]

    return act


def main(arguments: list[str] | None = None) -> None:
    """Train, judge and print."""
    parser = argparse.ArgumentParser(description="MaskablePPO on simulated bank customers")
    parser.add_argument("--world", help="a shipped world or the path of a TOML file; else a small bank")
    parser.add_argument("--decisions", type=int, default=300_000, help="to learn from")
    parser.add_argument("--customers", type=int, default=4_000, help="to judge on")
    parser.add_argument("--days", type=int, default=84, help="with decisions, of a life")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args(arguments)
    if find_spec("sb3_contrib") is None:
        sys.exit("this example needs sb3-contrib: pip install sb3-contrib")
    import torch

    torch.set_num_threads(1)
    start = time.perf_counter()
    world = load_world(chosen.world) if chosen.world else small_bank()
    trained = train(world, chosen.decisions, chosen.seed, days=chosen.days)
    print(f"learnt from {chosen.decisions} decisions in {time.perf_counter() - start:.0f} s\n")
    policies = {"no-contact": silent, "random eligible": at_random(chosen.seed), "MaskablePPO": trained}
    print(f"{'policy':<16}{'net value':>10}{'difference':>12}{'std error':>11}{'contacts':>10}")
    scores: dict[str, Score] = {}
    for name, act in policies.items():
        scores[name] = judge(act, world, chosen.customers, days=chosen.days)
        print(scores[name].line(name, scores["no-contact"]))


if __name__ == "__main__":
    main()
