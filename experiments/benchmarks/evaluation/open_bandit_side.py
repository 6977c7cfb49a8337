"""Open Bandit Pipeline's side of a comparison: run by its own Python, it imports nothing of ours.

Arguments: a folder with rewards, actions, propensities, target and predicted as .npy, and a number of
bootstrap resamples. Prints a line of JSON: value, ends of its interval, CPU seconds of both.
"""

from __future__ import annotations

import json
import sys
import warnings
from importlib import import_module
from pathlib import Path
from time import process_time

_TIMES = 3  # the first one finds its memory cold


def main(folder: Path, n_resamples: int) -> None:
    """Time its doubly robust estimator on the arrays."""
    import numpy as np

    warnings.simplefilter("ignore")
    names = ("rewards", "actions", "propensities", "target", "predicted")
    rewards, actions, propensities, target, predicted = (np.load(folder / f"{name}.npy") for name in names)
    estimator = import_module("obp.ope").DoublyRobust()
    given = {
        "reward": rewards,
        "action": actions,
        "pscore": propensities,
        "action_dist": target[:, :, None],
        "estimated_rewards_by_reg_model": predicted[:, :, None],
    }
    value, value_seconds = 0.0, float("inf")
    for _ in range(_TIMES):
        begun = process_time()
        value = float(estimator.estimate_policy_value(**given))
        value_seconds = min(value_seconds, process_time() - begun)
    begun = process_time()
    told = estimator.estimate_interval(**given, alpha=0.05, n_bootstrap_samples=n_resamples, random_state=0)
    seconds = process_time() - begun
    ends = told["95.0% CI (lower)"], told["95.0% CI (upper)"]
    print(json.dumps({"value": value, "ends": ends, "value_seconds": value_seconds, "seconds": seconds}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
