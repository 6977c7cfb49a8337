"""A sweep's file: what it stands for, and what is refused, with the file, the place and the rule."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sweep_fixtures import HEAD, STRATEGIES, plan_in, written

from experiments.sweeps.config import JUDGING, Interval, Search
from experiments.sweeps.plan import Row, load_plan
from nba.errors import InvalidConfig

GRID = 'grid = { "floor.epsilon" = [0.1, 0.2], "policy.n_draws" = [4, 8] }\n'
SEARCH = "search = { draws = 3, seed = 7, over = { "
OVER = (
    '"floor.epsilon" = { low = 0.01, high = 1.0, log = true }, '
    '"policy.n_draws" = { low = 4, high = 8, whole = true } } }\n'
)


def test_a_grid_stands_for_all_combinations_and_tells_them_by_name(tmp_path: Path) -> None:
    plan = plan_in(tmp_path, strategies=STRATEGIES + GRID)
    assert list(plan.tables) == [
        "no-contact",
        "random",
        "thompson floor.epsilon=0.1 policy.n_draws=4",
        "thompson floor.epsilon=0.1 policy.n_draws=8",
        "thompson floor.epsilon=0.2 policy.n_draws=4",
        "thompson floor.epsilon=0.2 policy.n_draws=8",
    ]
    table = plan.tables["thompson floor.epsilon=0.2 policy.n_draws=4"]
    assert table["floor"] == {"epsilon": 0.2} and table["policy"] == {"type": "thompson", "n_draws": 4}


def test_a_search_draws_inside_its_intervals_and_more_draws_keep_the_first(tmp_path: Path) -> None:
    plan = plan_in(tmp_path, strategies=STRATEGIES + SEARCH + OVER)
    names = [name for name in plan.tables if "#" in name]
    assert names == ["thompson #1", "thompson #2", "thompson #3"]
    share = np.random.default_rng(7).random((3, 2))[0]
    first = plan.tables["thompson #1"]
    assert first["floor"]["epsilon"] == pytest.approx(0.01 * 100.0 ** share[0])
    assert first["policy"]["n_draws"] == round(4 + 4 * share[1])
    over = {"a": Interval(low=0.0, high=1.0)}
    few, many = (Search(draws=draws, over=over, seed=1).settings() for draws in (2, 5))
    assert many[:2] == few


def test_cells_share_noise_and_digests_follow_settings_not_names(tmp_path: Path) -> None:
    renamed = STRATEGIES.replace('"thompson"\nmodel', '"other"\nmodel')
    one, two = plan_in(tmp_path), plan_in(tmp_path, strategies=renamed)
    assert one.digests[Row("thompson", "clickbait")] == two.digests[Row("other", "clickbait")]
    assert len(set(sum(one.digests.values(), ()))) == 9  # 3 strategies x 3 seeds
    changed = plan_in(tmp_path, strategies=STRATEGIES + "floor = { epsilon = 0.5 }\n")
    same = {row for row in one.digests if one.digests[row] == changed.digests[row]}
    assert same == {Row("no-contact", "clickbait"), Row("random", "clickbait")}
    longer = plan_in(tmp_path, head=HEAD.replace("seeds = 3", "seeds = [1, 2, 3, 9]"))
    assert all(longer.digests[row][:3] == one.digests[row] for row in one.digests)
    assert one.id != changed.id != longer.id


def test_only_who_learns_is_trained_anew_when_training_changes(tmp_path: Path) -> None:
    one = plan_in(tmp_path)
    path = Path(written(tmp_path))
    path.write_text(path.read_text().replace("customers = 30", "customers = 31"))
    other = load_plan(str(path))
    kept = {row.strategy for row in one.digests if one.digests[row] == other.digests[row]}
    assert kept == {"no-contact", "random"}


def test_seeds_are_run_in_blocks(tmp_path: Path) -> None:
    plan = plan_in(tmp_path, head=HEAD.replace("seeds = 3", "seeds = 5\nseeds_per_cell = 2"))
    assert plan.sweep.seed_blocks == [(1, 2), (3, 4), (5,)]
    assert plan.sweep.train.phase(2).seed == 2 and JUDGING + 2 < 2**63


APPRENTICE = '[[strategies]]\nname = "new"\nmodel = { type = "factored" }\npolicy = { type = "thompson" }\n'
WRONG = {
    "world": (HEAD.replace("clickbait", "atlantis"), STRATEGIES, "atlantis: not found in simulator/worlds"),
    "no world": (HEAD.replace('"clickbait"', ""), STRATEGIES, "worlds: must not be empty"),
    "twice": (HEAD.replace('"clickbait"', '"clickbait", "clickbait"'), STRATEGIES, "worlds: must be unique"),
    "baseline": (HEAD.replace("random", "rules"), STRATEGIES, "baseline: 'rules' is not a strategy of it"),
    "metric": (HEAD + 'metrics = ["clicks"]\n', STRATEGIES, "'clicks' is no metric; use some of net_value"),
    "gate": (HEAD + 'gates = [{ metric = "silent", at_most = 1 }]\n', STRATEGIES, "gates[0].metric"),
    "bounds": (HEAD + 'gates = [{ metric = "cost" }]\n', STRATEGIES, "needs either at_least or at_most"),
    "stop": (HEAD + 'early_stopping = { metric = "regre" }\n', STRATEGIES, "early_stopping.metric: 'regre'"),
    "seeds": (HEAD.replace("seeds = 3", "seeds = []"), STRATEGIES, "seeds: must not be empty"),
    "names": (HEAD, STRATEGIES + STRATEGIES, "strategies[3].name: names must be unique, got 'no-contact'"),
    "grid": (HEAD, STRATEGIES + "grid = { x = [] }\n", "strategies[2].grid: must be a table of lists"),
    "both": (HEAD, STRATEGIES + GRID + SEARCH + OVER, "strategies[2]: has a grid or a search, not both"),
    "key": (HEAD, STRATEGIES + "colour = 1\n", "thompson: Object contains unknown field `colour`"),
    "place": (HEAD, STRATEGIES + 'grid = { "name.x" = [1] }\n', "strategies[2].name.x: 'name' is no table"),
    "value": (HEAD, STRATEGIES + 'grid = { "floor.epsilon" = [2] }\n', "thompson floor.epsilon=2"),
    "module": (HEAD.replace("clickbait", "nowhere.bank"), STRATEGIES, "nowhere: is no Python module beside"),
    "imitates": (HEAD, STRATEGIES + APPRENTICE + 'apprentice = { imitates = "x" }\n', "'x' is not another"),
}


@pytest.mark.parametrize(("head", "strategies", "told"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told_before_anything_runs(
    head: str, strategies: str, told: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidConfig) as caught:
        plan_in(tmp_path, head=head, strategies=strategies)
    assert told in str(caught.value)


def test_judging_does_not_learn(tmp_path: Path) -> None:
    path = Path(written(tmp_path))
    path.write_text(path.read_text().replace("settle_days = 1", "publish_every_days = 4"))
    with pytest.raises(
        InvalidConfig, match=r"sweep.toml.*evaluate.publish_every_days: judging learns nothing"
    ):
        load_plan(str(path))


def test_the_shipped_sweep_is_of_the_size_that_the_proof_asks_for() -> None:
    plan = load_plan("known-worlds")
    assert (len(plan.tables), len(plan.worlds), len(plan.sweep.all_seeds)) == (8, 3, 10)
    assert len(set(sum(plan.digests.values(), ()))) == 240
    with pytest.raises(
        InvalidConfig, match=r"nowhere: not found in experiments/specs/sweeps; use one of known"
    ):
        load_plan("nowhere")
