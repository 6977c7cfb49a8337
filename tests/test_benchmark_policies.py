"""The policy benchmark: what it prints without peers, fair budgets, and players that match the product."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.benchmarks import decision, policies
from experiments.benchmarks.peers import methods as registry
from experiments.benchmarks.peers import speed, trials
from experiments.benchmarks.peers.methods import DISJOINT, N_SETTINGS, OURS, SHARED, methods
from experiments.benchmarks.peers.ours import OurPlayer
from experiments.benchmarks.peers.problems import (
    SIGNALS,
    Problem,
    _catalogue,
    _schema,
    digits,
    load,
    simulation,
)
from experiments.benchmarks.peers.results import runner
from experiments.benchmarks.peers.tournament import Budget, Interval, contest
from experiments.benchmarks.peers.trials import Trial, follows_from, play
from experiments.benchmarks.peers.vowpal import action_lines, arguments, shared_line
from nba.policies import LinUCB
from nba.posteriors.online import OnlineModel

PEERS = (registry.VOWPAL, registry.MABWISER)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "find_spec", lambda package: None)


@pytest.fixture
def bench(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[dict[str, Any], str]]:
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[dict[str, Any], str]:
        policies.main(["--quick", "--json", "--workers", "1", *arguments])
        told = capsys.readouterr()
        assert json.loads((tmp_path / "build/bench/policies.json").read_text()) == json.loads(told.out)
        return json.loads(told.out), told.err

    return run


@pytest.mark.usefixtures("alone")
def test_without_peers_the_ratios_are_left_out_and_a_sentence_says_so(
    bench: Callable[..., tuple[dict[str, Any], str]],
) -> None:
    figures, told = bench("--parts", "digits,simulation,classification")
    assert figures["benchmark"] == "policies" and figures["fresh_seeds"] == 2
    assert {"digits_mean_reward", "shared_over_disjoint", "shared_over_disjoint_low_half"} <= figures.keys()
    assert not {"digits_best_peer", "regcb_lead", "vw_ratio"} & figures.keys()
    assert not [key for key in figures if "vw" in key or "mabwiser" in key]
    for package in PEERS:
        assert (
            f"{package} is not installed, so its ratios are left out; `make bench-peers` installs it" in told
        )
    assert "mushroom is left out: there is no data" in told


@pytest.mark.usefixtures("alone")
def test_speed_without_peers(
    bench: Callable[..., tuple[dict[str, Any], str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decision, "N_FEATURES", (3, 4))
    monkeypatch.setattr(decision, "_TAUGHT_ROUNDS", 200)
    monkeypatch.setattr(speed, "_BATCH_ROUNDS", 50)
    figures, _ = bench("--parts", "speed", "--seeds", "1")
    assert figures["n_actions"] == 840 and figures["n_draws"] == 64
    for name in ("decision_p50_ms", "decision_p99_ms"):
        assert figures[name] == max(figures[f"{name}_3"], figures[f"{name}_4"]) > 0
    assert figures["batch_per_second"] == min(figures["batch_per_second_3"], figures["batch_per_second_4"])
    assert 0 < figures["gemm_share"] < 1
    assert figures["absorbed_per_second_factored_3"] > 0
    assert not {"vw_ratio", "absorb_ratio_mabwiser"} & figures.keys()


def test_an_unknown_part_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        policies.main(["--parts", "digits,poker"])
    assert "poker" in capsys.readouterr().err


def test_every_method_has_the_same_number_of_different_settings() -> None:
    for method in registry._ALL:
        assert len(set(map(str, method.settings))) == len(method.settings) == N_SETTINGS, method.name


@pytest.mark.parametrize("name", list(SIGNALS))
def test_the_simulation_gives_away_as_much_as_the_published_one(name: str) -> None:
    signal = SIGNALS[name]
    worlds = [simulation(signal._replace(rounds=1_000), seed) for seed in range(60)]
    oracle = np.mean([world.expected.max(axis=1).mean() for world in worlds])
    chance = np.mean([world.expected.mean() for world in worlds])
    # Worlds differ: the standard error of 60 is about a fortieth of the mean.
    assert oracle == pytest.approx(signal.oracle, rel=0.08)
    assert chance == pytest.approx(signal.random, rel=0.08)


def test_rewards_follow_the_probabilities_and_the_seed() -> None:
    signal = SIGNALS["rich"]._replace(rounds=20_000)
    one, again, other = (simulation(signal, seed) for seed in (3, 3, 4))
    assert one.rewards.mean() == pytest.approx(one.expected.mean(), rel=0.05)
    assert np.array_equal(one.rewards, again.rewards) and np.array_equal(one.features, again.features)
    assert not np.array_equal(one.features, other.features)
    assert one.catalogue.shape == (4, 3, 4) and one.features.shape[1] == one.schema.n_columns == 11


def test_a_shorter_simulation_is_the_beginning_of_a_longer_one() -> None:
    short, long = (load("low", Path(), 7, rounds) for rounds in (50, 200))
    for one, other in zip(short[2:], long.first(50)[2:], strict=True):
        assert np.array_equal(one, other)


def test_digits_are_three_epochs_of_the_same_images() -> None:
    problem = digits(0)
    assert problem.features.shape == (3 * 1_797, 62) and problem.rewards.shape[1] == 10
    assert problem.rewards.sum(axis=1).tolist() == [1] * problem.n_rounds


def test_our_player_plays_linucb_as_li_et_al_define_it() -> None:
    problem, alpha = load("rich", Path(), 5, 60), 0.3
    model = OnlineModel(design="disjoint", lift_mean=0.0, level_sd=1.0, slope_sd=1.0)
    chosen = play(problem, OurPlayer(problem, model, LinUCB(alpha=alpha), 1), 1)
    assert chosen == textbook_linucb(problem, alpha)


def textbook_linucb(problem: Problem, alpha: float) -> list[int]:
    """Algorithm 1 of Li et al. 2010 with the identity for a prior precision."""
    n_actions, k = problem.rewards.shape[1], problem.features.shape[1]
    gram, moment, chosen = np.tile(np.eye(k), (n_actions, 1, 1)), np.zeros((n_actions, k)), []
    for x, rewards in zip(problem.features, problem.rewards, strict=True):
        inverse = np.linalg.inv(gram)
        theta = np.einsum("aij,aj->ai", inverse, moment)
        upper = theta @ x + alpha * np.sqrt(np.einsum("i,aij,j->a", x, inverse, x))
        chosen.append(int(upper.astype(np.float32).argmax()))
        gram[chosen[-1]] += np.outer(x, x)
        moment[chosen[-1]] += rewards[chosen[-1]] * x
    return chosen


def test_a_contest_scores_what_tuned_best_on_the_same_seeds(tmp_path: Path) -> None:
    field, budget = methods([SHARED, DISJOINT]), Budget(2, tuning_seeds=1, tuning_rounds=50, rounds=80)
    with runner(1, tmp_path) as run:
        played = contest(run, "rich", Path(), field, budget, always=[SHARED, DISJOINT])
    assert set(played.fresh) == {SHARED, DISJOINT} and played.rewards(SHARED).shape == (2,)
    assert played.best([SHARED, DISJOINT]) == max(played.tuning, key=lambda name: played.tuning[name])
    assert {method.family for method in field} == {OURS}


def small_contest(folder: Path) -> Any:
    with runner(1, folder) as run:
        return contest(
            run, "rich", Path(), methods([DISJOINT]), Budget(1, 1, tuning_rounds=30, rounds=40), always=()
        )


def test_a_killed_contest_goes_on_where_it_stood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = small_contest(tmp_path)
    files = [file for file in sorted(tmp_path.iterdir()) if '"rich 0 ' in file.read_text()]  # of the tuning
    assert len(files) == N_SETTINGS and len(list(tmp_path.iterdir())) == N_SETTINGS + 1
    files[0].write_text("{")  # damaged, as by a full disk
    files[1].unlink()
    played = []
    monkeypatch.setattr(trials, "load", lambda *one, load=trials.load: played.append(one) or load(*one))
    again = small_contest(tmp_path)
    assert len(played) == 2
    assert f"tuning: {N_SETTINGS - 2} of {N_SETTINGS} runs are there" in capsys.readouterr().err
    for one, other in zip(whole.fresh[DISJOINT], again.fresh[DISJOINT], strict=True):
        assert one._replace(us_per_round=0.0) == other._replace(us_per_round=0.0)


def test_a_result_is_that_of_its_problem_setting_and_code(monkeypatch: pytest.MonkeyPatch) -> None:
    trial = Trial("rich", Path("here"), DISJOINT, 0, 7, 50)
    assert follows_from(trial) == follows_from(trial._replace(data=Path("there")))
    for other in (trial._replace(**{part: 1}) for part in ("setting", "seed", "rounds")):
        assert follows_from(other) != follows_from(trial)
    before = follows_from(trial)
    monkeypatch.setattr(trials, "code_digest", lambda *places: "another")
    assert follows_from(trial) != before


def test_the_interval_of_one_seed_is_infinite() -> None:
    assert Interval.of(np.array([1.0])).half == np.inf
    assert Interval.of(np.array([1.0, 3.0])).half == pytest.approx(1.96, abs=1e-3)


def test_vowpal_wabbit_gets_the_interactions_that_our_features_have() -> None:
    problem = simulation(SIGNALS["rich"]._replace(rounds=1), 0)
    asked = "--cb_explore_adf -q uc -q ut -q up -q ct -q cp -q tp"
    assert arguments(problem.catalogue) == asked
    assert arguments(digits(0).catalogue).endswith("adf -q up --ignore_linear u")
    lines = action_lines(problem.catalogue)
    assert len(lines) == len(set(lines)) == 48 and lines[0] == "|c c0 |t t0 |p p0"
    assert shared_line(np.array([1.0, 0.5, 0.0, -2.0])) == "shared |u 1:0.5 3:-2"


@pytest.mark.parametrize("method", [m for m in methods() if m.family != OURS], ids=lambda m: m.name)
def test_a_peer_that_is_installed_learns_an_obvious_action(method: registry.Method) -> None:
    features = np.column_stack([np.ones(150), np.linspace(-1, 1, 150)])
    rewards = np.zeros((150, 4), dtype=np.bool_)
    rewards[:, 2] = True
    sure = Problem(_catalogue(1, 1, 4), _schema(1), features, rewards, rewards)
    chosen = play(sure, method.player(sure, 1, seed=2), seed=2)
    assert np.mean(np.array(chosen[-50:]) == 2) > 0.5
