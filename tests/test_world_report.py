"""The world report: its statistics by hand and against SciPy, its samples, its page and its command."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import msgspec
import numpy as np
import pytest
from scipy.stats import mannwhitneyu, norm
from typer.testing import CliRunner

from experiments.executor import silent
from experiments.world_command import app
from experiments.world_report.sources import ASSUMED, DATA, DOCUMENT, PARTLY, UNSAID, sources
from experiments.world_report.statistics import (
    agreement,
    auc,
    auc_p_value,
    kendall,
    mean_ranks,
    pairs,
    predictive_tails,
    two_sided,
)
from experiments.world_report.targets import Targets, compare_targets
from nba.errors import InvalidConfig
from simulator.world import load_world
from tests.small import bank


def test_predictive_tails_are_those_of_the_normal_mixture() -> None:
    observed, errors = np.array([0.0, 0.0, 1.0]), np.array([1.0, 1.0, 2.0])
    one = predictive_tails(observed, np.array([[0.0, 1.959964, -3.0]]), errors)
    assert one == pytest.approx([0.5, 0.975, norm.cdf(-2.0)], abs=1e-6)
    two = predictive_tails(observed, np.array([[-1.0, 1.0, 1.0], [1.0, 3.0, 1.0]]), errors)
    assert two == pytest.approx([0.5, (norm.cdf(1) + norm.cdf(3)) / 2, 0.5])
    assert two_sided(np.array([0.5, 0.975, 0.01])) == pytest.approx([1.0, 0.05, 0.02])


def test_predictive_tails_of_a_true_world_are_uniform() -> None:
    rng = np.random.default_rng(1)
    truth = rng.normal(size=4_000)
    tails = predictive_tails(truth + rng.normal(size=truth.size), truth[None], np.ones(truth.size))
    assert np.mean((tails >= 0.05) & (tails <= 0.95)) == pytest.approx(0.9, abs=0.02)


def test_auc_by_hand_with_ties_and_against_mann_whitney() -> None:
    labels = np.array([False, False, True, True])
    assert auc(np.array([0.1, 0.4, 0.35, 0.8]), labels) == 0.75
    assert auc(np.array([0.3, 0.3, 0.3, 0.9]), labels) == 0.75
    rng = np.random.default_rng(2)
    scores, labels = rng.integers(0, 20, 500).astype(np.float64), rng.random(500) < 0.3
    u = mannwhitneyu(scores[labels], scores[~labels]).statistic
    assert auc(scores, labels) == pytest.approx(u / (labels.sum() * (~labels).sum()))


def test_the_p_value_of_an_auc_is_the_share_of_all_relabellings() -> None:
    scores = np.array([0.1, 0.2, 0.5, 0.4, 0.7, 0.6])
    labels = np.array([False, False, False, True, True, True])
    as_large = [
        auc(scores, np.isin(np.arange(6), chosen)) >= auc(scores, labels)
        for chosen in combinations(range(6), 3)
    ]
    p = auc_p_value(scores, labels, 19_999, np.random.default_rng(3))
    assert p == pytest.approx(np.mean(as_large), abs=0.01)
    assert auc_p_value(scores, labels, 0, np.random.default_rng(3)) == 1.0


def test_the_p_value_is_exact_under_the_null_however_few_the_rows() -> None:
    rng = np.random.default_rng(4)
    labels = np.repeat([False, True], 10)
    found = np.array([auc_p_value(rng.normal(size=20), labels, 99, rng) for _ in range(1_500)])
    for level in (0.05, 0.2, 0.5):
        assert np.mean(found <= level) == pytest.approx(level, abs=3.5 * np.sqrt(level * (1 - level) / 1_500))


def test_kendall_by_hand() -> None:
    order = np.arange(4.0)
    assert kendall(order, order) == pytest.approx(1.0)
    assert kendall(order, -order) == pytest.approx(-1.0)
    assert kendall(order, np.array([0.0, 2.0, 1.0, 3.0])) == pytest.approx((5 - 1) / 6)
    values = np.array([[3.0, 2.0, 1.0], [3.0, 1.0, 2.0]])
    assert agreement(values) == pytest.approx(np.array([[1.0, 1 / 3], [1 / 3, 1.0]]))
    assert mean_ranks(values).tolist() == [1.0, 2.5, 2.5]


def test_pairs_that_flip_are_found_and_ties_count_half() -> None:
    found = pairs(np.array([[3.0, 2.0, 1.0], [3.0, 1.0, 2.5], [3.0, 1.0, 1.0]]))
    by_name = {(pair.first, pair.second): pair for pair in found}
    assert by_name[0, 2].ahead == 1.0 and not by_name[0, 2].flips
    assert by_name[2, 1].ahead == pytest.approx(0.5) and by_name[2, 1].flips


def test_sources_are_read_from_comments_behind_above_and_of_the_section() -> None:
    text = """
[response]  # rows in the order of the channels, assumed
lift = [0.1,
  0.2, # behind an entry [UCI]
]
# Above: [HeartSteps].
habituation = [0.0]
note = "no # comment [UCI]"
delay = 2.0  # methods F2
[[link]]  # said once [UCI]
owns = "a"
[[link]]
lifts = "b"
[bare]
x = 1
"""
    kinds = {name: one.kind for name, one in sources(text).items()}
    assert kinds == {
        "response.lift": ASSUMED,
        "response.habituation": DATA,
        "response.note": ASSUMED,
        "response.delay": DOCUMENT,
        "link.owns": DATA,
        "link.lifts": DATA,
        "bare.x": UNSAID,
    }


def test_every_number_of_the_bank_says_where_it_comes_from() -> None:
    from simulator.calibrate.written import world_text

    known = sources(world_text("retail-bank"))
    assert known["response.long_fatigue"].kind == DATA
    assert known["response.lift"].kind == PARTLY
    assert known["response.opt_out.base"].kind == ASSUMED
    assert known["life_cycle.transitions"].kind == ASSUMED


def test_a_world_without_a_calibration_has_no_targets(tmp_path: Path) -> None:
    found = compare_targets(load_world("organic-only"), None, None, silent)
    assert "nba calibrate" in found.absent and not found.rows and not found.passes


def test_targets_are_those_of_the_table_that_the_world_was_fitted_to(tmp_path: Path) -> None:
    import simulator.world as worlds

    fitted = msgspec.structs.replace(bank().config, calibration={"data": "own.csv", "columns": "own"})
    world = worlds.World(fitted)
    assert "own.csv" in compare_targets(world, None, None, silent).absent
    with pytest.raises(InvalidConfig, match=r"calibration\.data: the world was fitted to 'own.csv', not to"):
        compare_targets(world, tmp_path / "other.csv", None, silent)


@pytest.mark.slow
def test_the_shipped_world_meets_its_targets() -> None:
    world = load_world("retail-bank")
    if not world.config.calibration:
        pytest.skip("the shipped world has not been calibrated")
    found: Targets = compare_targets(world, None, None, silent)
    assert found.passes and found.edited == ()
    assert {row.name for row in found.rows} >= {"log odds per call, raw", "log odds per call, adjusted"}


def test_the_command_writes_a_page_that_asks_for_nothing(tmp_path: Path) -> None:
    out = tmp_path / "report" / "world.html"
    asked = f"report --world organic-only --members 1 --customers 400 --days 7 --out {out} --json"
    done = CliRunner().invoke(app, asked.split())
    assert done.exit_code == 0, done.output
    page, found = out.read_text(encoding="utf-8"), msgspec.json.decode(done.stdout.splitlines()[-1])
    assert not re.findall(r"(?:src|href)=[\"'](?!#)|https?:|url\((?!#)", page)
    for heading in ("Targets", "Two-sample", "Conservation", "Ranking", "Mechanisms"):
        assert heading in page
    assert [one["name"] for one in found["sections"]][2] == "conservation"
    assert found["sections"][2]["passes"] is True
    assert found["rankings"]["ensemble"]["over"] == "seeds" and "Over seeds" in page
    assert {one["key"] for one in found["curves"]} >= {"by-call", "stage-flow", "season"}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--out {}/page.txt", "--out: must end in .html"),
        ("--out {}", "--out: must end in .html"),
        ("--out {}/a.html --data {}/none.parquet", "none.parquet: no such file"),
        ("--out {}/a.html --world {}/none.toml", "none.toml"),
    ],
)
def test_bad_input_is_refused_before_anything_is_simulated(tmp_path: Path, options: str, told: str) -> None:
    asked = [
        "report",
        "--world",
        "organic-only",
        *options.replace("{0}", "{}").format(*[tmp_path] * 2).split(),
    ]
    done = CliRunner().invoke(app, asked)
    assert told in str(done.exception) and done.exit_code != 0
