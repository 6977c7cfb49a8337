"""d3rlpy's side of a comparison: run by its own Python, it imports nothing of ours.

Arguments: a folder with observations, actions, rewards and timeouts as .npy, and the settings as JSON:
algorithm (dqn or cql), n_actions, discount, steps, batch, learning_rate, update_every, alpha and seed. It
trains, prints a line of JSON with CPU and wall seconds, and then answers every line that names an .npy of
observations with one that names an .npy of Q, of all actions.
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from importlib import import_module
from pathlib import Path
from time import perf_counter, process_time
from typing import Any


def main(folder: Path, settings: dict[str, Any]) -> None:
    """Train, say what it took, and answer."""
    warnings.simplefilter("ignore")
    structlog = import_module("structlog")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    np, torch = import_module("numpy"), import_module("torch")
    torch.set_num_threads(1)
    told, sys.stdout = sys.stdout, sys.stderr  # Gym, d3rlpy and its progress print
    d3rlpy = import_module("d3rlpy")
    d3rlpy.seed(settings["seed"])
    algorithm, seconds = _trained(d3rlpy, np, folder, settings)
    print(json.dumps(seconds), file=told, flush=True)
    for line in sys.stdin:
        path = Path(line.strip())
        answer = path.with_suffix(".q.npy")
        np.save(answer, _q(np, algorithm, np.load(path), settings["n_actions"]))
        print(answer, file=told, flush=True)


def _trained(d3rlpy: Any, np: Any, folder: Path, settings: dict[str, Any]) -> tuple[Any, dict[str, float]]:
    """The algorithm that has learnt from the log of a folder, and the seconds that it took."""
    observations, actions, rewards, timeouts = (
        np.load(folder / f"{name}.npy") for name in ("observations", "actions", "rewards", "timeouts")
    )
    begun = process_time(), perf_counter()
    dataset = d3rlpy.dataset.MDPDataset(
        observations,
        actions,
        rewards,
        np.zeros_like(timeouts),
        timeouts,
        action_space=d3rlpy.ActionSpace.DISCRETE,
        action_size=settings["n_actions"],
    )
    algorithm = _algorithm(d3rlpy, settings)
    algorithm.fit(
        dataset,
        n_steps=settings["steps"],
        n_steps_per_epoch=settings["steps"],
        logger_adapter=d3rlpy.logging.NoopAdapterFactory(),
        show_progress=False,
    )
    return algorithm, {"seconds": process_time() - begun[0], "wall_seconds": perf_counter() - begun[1]}


def _q(np: Any, algorithm: Any, seen: Any, n_actions: int) -> Any:
    """(n, A) Q of all actions in n states."""
    asked = [np.full((len(seen), 1), number) for number in range(n_actions)]
    return np.stack([algorithm.predict_value(seen, actions) for actions in asked], axis=1)


def _algorithm(d3rlpy: Any, settings: dict[str, Any]) -> Any:
    """A DQN of two estimators or a discrete CQL; rewards are standardised, for they are rare and large."""
    common = {
        "gamma": settings["discount"],
        "batch_size": settings["batch"],
        "learning_rate": settings["learning_rate"],
        "target_update_interval": settings["update_every"],
        "reward_scaler": d3rlpy.preprocessing.StandardRewardScaler(),
    }
    if settings["algorithm"] == "cql":
        return d3rlpy.algos.DiscreteCQLConfig(**common, alpha=settings["alpha"]).create(device="cpu:0")
    return d3rlpy.algos.DoubleDQNConfig(**common).create(device="cpu:0")


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
