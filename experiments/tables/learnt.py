"""What `nba learn` tells: about twenty lines for people, one JSON object for machines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np

from experiments.tables.learn import Learnt, Plan
from experiments.tables.lessons import effects
from experiments.tables.outcomes import ANY
from experiments.tables.words import settings, some

_STRONGEST = 3


def learnt_json(learnt: Learnt) -> dict[str, Any]:
    """The JSON line of `nba learn`."""
    plan, strategy = learnt.plan, learnt.snapshot.strategy
    parts = {name: msgspec.to_builtins(getattr(strategy, name)) for name in ("model", "policy", "floor")}
    return {
        "log": plan.order.log.name,
        "rows": plan.table.n_rows,
        "dropped_rows": plan.dropped,
        "columns": plan.reading.kinds,
        "left_out": plan.reading.left_out,
        "unknown_texts": plan.strange,
        "matrix_columns": strategy.schema.n_columns,
        "actions": {name: {"rows": rows, "mean_reward": mean} for name, rows, mean in _actions(plan)},
        "reward_scale": plan.lessons.scale,
        "no_contact_baseline": bool(plan.lessons.baseline.any()),
        "propensities": _propensities(plan),
        "weights": plan.order.weighing,
        "strength": plan.order.strength,
        "rounds": learnt.snapshot.posterior.rounds,
        "prequential": learnt.score._asdict() | {"gain": learnt.score.gain},
        "fit": learnt.fit._asdict(),
        "policy": {"name": strategy.name, **parts, "silence": strategy.silence},
        "example_attributes": plan.lessons.encoded.records([0])[0],
        "seconds": learnt.seconds,
        "out": str(plan.order.out),
    }


def learnt_lines(learnt: Learnt) -> Iterator[str]:
    """The same in words, with the columns that move each action most."""
    plan, strategy, score = learnt.plan, learnt.snapshot.strategy, learnt.score
    dropped = f", {plan.dropped:,} incomplete ones dropped" if plan.dropped else ""
    yield f"read      {plan.order.log}: {plan.table.n_rows:,} rows{dropped}"
    yield from _feature_lines(plan)
    actions = _actions(plan)
    yield f"actions   {len(actions)} in the log, of {strategy.catalogue.n_actions - 1} contacts"
    yield from some(
        f"          {name}: {rows:,} rows, mean reward {mean:.4g}" for name, rows, mean in actions
    )
    yield from _reward_lines(plan)
    yield from _weight_lines(plan)
    yield f"policy    {strategy.name}: {settings(strategy.model)} played by {settings(strategy.policy)}"
    yield (
        f"foretold  each row before learning it: {score.measure} {score.model:.5g}, by action means so far "
        f"{score.constant:.5g} ({100 * score.gain:.1f} % less)"
    )
    yield f"fitted    {_fit_words(learnt)}"
    yield from some(_strongest(learnt))
    out = plan.order.out
    yield f"wrote     {out} in {learnt.seconds:.1f} s; serve it: nba serve --bundle {out}"


def _fit_words(learnt: Learnt) -> str:
    if learnt.fit.method == "laplace":
        return f"to the mode of all rows together (Laplace), in {learnt.fit.passes} passes over them"
    return "row by row, in the order of the log"


def _feature_lines(plan: Plan) -> Iterator[str]:
    reading = plan.reading
    yield f"features  {len(reading.kinds)} columns of the table, {reading.schema.n_columns} of the model"
    yield from some(f"          {name}: {kind}" for name, kind in reading.kinds.items())
    yield from some(f"left out  {name}: {why}" for name, why in reading.left_out.items())
    for name, where in plan.strange.items():
        yield f"notice    {name}: {where} hold texts that the bundle does not know; they count as missing"


def _reward_lines(plan: Plan) -> Iterator[str]:
    lessons, rewards = plan.lessons, plan.lessons.rewards
    name = plan.order.names.reward
    yield f"rewards   {name}: {rewards.min():g} to {rewards.max():g}, mean {rewards.mean():.4g}"
    if lessons.scale != 1.0:
        yield f"          divided by {lessons.scale:g} for the model; that is the value of every product"
    if lessons.baseline.any():
        yield "          counted from what a ridge regression expects without contact; no-contact is worth 0"


def _weight_lines(plan: Plan) -> Iterator[str]:
    told, order = _propensities(plan), plan.order
    if told is not None:
        yield (
            f"chances   {told['least']:.4g} to {told['largest']:.4g}: weighted by 1 / chance, "
            f"{told['effective_rows']:,.0f} effective rows of {plan.table.n_rows:,}"
        )
    if order.weighing == "none":
        yield "weights   none: a regression on features and actions needs none, whoever chose the actions"
    else:
        cut = int((plan.lessons.weights >= order.most_weight * order.strength).sum())
        yield f"weights   1 / (actions x chance), at most {order.most_weight:g}: {cut:,} rows cut"
    if order.strength < 1.0:
        yield f"strength  each row counts as {order.strength:g} of a row"


def _actions(plan: Plan) -> list[tuple[str, int, float]]:
    """Id, rows and mean reward of the actions that the log holds."""
    catalogue, actions = plan.lessons.catalogue, plan.lessons.actions
    counts = np.bincount(actions, minlength=catalogue.n_actions)
    sums = np.bincount(actions, plan.lessons.rewards, minlength=catalogue.n_actions)
    rows = np.flatnonzero(counts).tolist()
    ids = [_short(name) for name in catalogue.action_ids]
    return [(ids[row], int(counts[row]), float(sums[row] / counts[row])) for row in rows]


def _propensities(plan: Plan) -> dict[str, float] | None:
    chances = plan.propensities
    if chances is None:
        return None
    weights = 1.0 / chances
    return {
        "least": float(chances.min()),
        "mean": float(chances.mean()),
        "largest": float(chances.max()),
        # Kish (1965): as many rows of equal weight would tell as much.
        "effective_rows": float(weights.sum() ** 2 / (weights**2).sum()),
    }


def _strongest(learnt: Learnt) -> Iterator[str]:
    """The columns that move each action's expected reward most, per standard deviation or level."""
    catalogue, labels = learnt.plan.lessons.catalogue, learnt.snapshot.strategy.schema.labels
    changes = effects(learnt.snapshot.posterior, learnt.plan.lessons)
    counts = np.bincount(learnt.plan.lessons.actions, minlength=catalogue.n_actions)
    order = np.argsort(-counts, kind="stable").tolist()
    for action in [row for row in order if row > 0 and counts[row] > 0]:
        column = changes[1:, action]
        first = np.argsort(-np.abs(column), kind="stable")[:_STRONGEST]
        told = ", ".join(f"{labels[1 + row]} {column[row]:+.3g}" for row in first)
        yield f"moved by  {_short(catalogue.action_ids[action])}: {told or 'nothing'}"


def _short(action_id: str) -> str:
    """A plain label without the channel and timing that all of them share."""
    return action_id.removeprefix(f"{ANY}/{ANY}/")
