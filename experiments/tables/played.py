"""What `nba bandit-test` tells: a few lines for people, one JSON object for machines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np

from experiments.tables.bandit import LAST_SHARE
from experiments.tables.play import Played
from experiments.tables.words import settings, some


def played_json(played: Played) -> dict[str, Any]:
    """The JSON line: means over seeds, the standard error of the mean reward, the settings used."""
    (order, table, reading, game), runs = played
    rewards = np.array([run.mean_reward for run in runs])
    used = {"model": game.model, "policy": game.player, "floor": game.floor}
    return {
        "policy": order.preset.name,
        "data": order.data.name,
        "rows": table.n_rows,
        "columns": game.schema.n_columns,
        "actions": game.catalogue.n_actions - 1,
        "rounds": game.rounds,
        "seeds": rewards.size,
        "mean_reward": float(rewards.mean()),
        "mean_reward_se": float(rewards.std(ddof=1) / rewards.size**0.5) if rewards.size > 1 else None,
        "last_reward": float(np.mean([run.last_reward for run in runs])),
        "us_per_round": float(np.mean([run.us_per_round for run in runs])),
        "per_seed": [run._asdict() for run in runs],
        "left_out": reading.left_out,
        "settings": msgspec.to_builtins(used | {"batch": game.batch, "last_share": LAST_SHARE}),
    }


def played_lines(played: Played) -> Iterator[str]:
    """The same in words."""
    told, (order, _, reading, game) = played_json(played), played.setup
    yield f"read          {order.data}: {told['rows']:,} rows, {told['actions']} labels"
    yield f"features      {told['columns']} columns of the model; numbers standardised over the whole table"
    yield from some(f"left out      {name}: {why}" for name, why in reading.left_out.items())
    yield f"policy        {told['policy']}: {settings(game.model)} played by {settings(game.player)}"
    yield f"learns        every {game.batch} round{'s' if game.batch > 1 else ''}"
    error = "" if told["mean_reward_se"] is None else f" +- {told['mean_reward_se']:.4f} (standard error)"
    yield f"mean_reward   {told['mean_reward']:.4f}{error}, {told['seeds']} seeds x {told['rounds']:,} rounds"
    yield f"last_reward   {told['last_reward']:.4f} over the last {100 * LAST_SHARE:.0f} % of the rounds"
    yield f"us_per_round  {told['us_per_round']:.0f} CPU microseconds to decide and learn"
