"""A compared sweep: intervals and fronts by hand, what is printed, drawn and logged, and own parts."""

from __future__ import annotations

import json
import re
import sys
from math import inf, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from experiment_fixtures import empty_store
from sweep_fixtures import HEAD, STRATEGIES, plan_in, swept_in
from typer.testing import CliRunner

from experiments.results import Interval
from experiments.store import open_store
from experiments.sweeps.commands import compare_kept, sweep
from experiments.sweeps.compared import Compared, compare_sweep, interval_of, judged, pareto_front
from experiments.sweeps.config import Gate
from experiments.sweeps.measures import METRICS
from experiments.sweeps.page import page_html
from experiments.sweeps.plan import Row
from experiments.sweeps.record import DIGEST, RecordedSweep, record_sweep
from experiments.sweeps.run import Stopped
from experiments.sweeps.shelved import UnknownSweepError, keep, kept_sweep
from experiments.sweeps.tables import TABLES
from experiments.sweeps.told import lines, verdict
from nba.errors import InvalidConfig
from nba.ope.sequences import t_reach

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
PAGE = "<p>not drawn</p>"
GATES = '[[gates]]\nmetric = "net_value"\nat_least = 0.0\n[[gates]]\nmetric = "opt_outs"\nat_most = 0.01\n'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep of three strategies, two worlds and three seeds."""
    made = tmp_path_factory.mktemp("sweeps")
    head = HEAD.replace('["clickbait"]', '["clickbait", "fatigue-toy"]')
    keep(swept_in(made, plan_in(made, head, STRATEGIES, GATES)), made)
    return made


@pytest.fixture(scope="module")
def compared(folder: Path) -> Compared:
    return compare_sweep(kept_sweep(folder, "small"))


def test_intervals_are_students_over_seeds_and_normal_over_customers() -> None:
    found = interval_of([np.array([1.0, 3.0]), np.array([3.0, 5.0]), np.array(6.0)])
    # Means 2, 4, 6: deviation 2, and t of 2 degrees is 4.3027.
    assert (found.mean, found.high - found.mean) == (4.0, pytest.approx(4.302653 * 2 / sqrt(3)))
    one = interval_of([np.array([1.0, 2.0, 3.0, 4.0])])
    assert one.high - one.mean == pytest.approx(1.959964 * np.std([1, 2, 3, 4], ddof=1) / 2)
    assert interval_of([np.array(2.0)]) == Interval(mean=2.0, low=-inf, high=inf)
    looked = interval_of([np.array(float(n)) for n in range(6)], any_time=True)
    assert looked.high - looked.mean == pytest.approx(t_reach(float(np.std(range(6), ddof=1)), 6))
    assert np.isnan(interval_of([]).mean)


def test_the_front_is_of_those_whom_nobody_dominates() -> None:
    spots = {"a": (3.0, 0.2), "b": (2.0, 0.1), "c": (2.0, 0.2), "d": (0.0, 0.0), "e": (2.0, 0.1)}
    assert pareto_front(spots) == {"a", "b", "d", "e"}


def test_gates_are_judged_by_the_end_that_is_against_them() -> None:
    gap = Interval(mean=1.0, low=-0.1, high=2.1)
    assert not judged(Gate(metric="net_value", at_least=0.0), gap).passed
    assert judged(Gate(metric="net_value", at_least=-0.1), gap).passed
    assert not judged(Gate(metric="cost", at_most=2.0), gap).passed
    assert judged(Gate(metric="cost", at_most=2.1), gap).end == 2.1
    nothing = Interval(mean=float("nan"), low=float("nan"), high=float("nan"))
    assert not judged(Gate(metric="regret", at_most=1.0), nothing).passed


def test_differences_are_paired_by_seed_and_customer(compared: Compared) -> None:
    for line in compared.lines:
        runs, base = compared.runs[line.row], compared.runs[Row("random", line.world)]
        gaps = [run.net.mean() - base[seed].net.mean() for seed, run in runs.items()]
        figure = line.figures["net_value"]
        assert figure.difference.mean == pytest.approx(np.mean(gaps))
        assert figure.mean == pytest.approx(np.mean([run.net.mean() for run in runs.values()]))
        # Everybody met the same customers.
        assert all((run.segment == base[seed].segment).all() for seed, run in runs.items())
    best = compared.of_world("clickbait")[0].figures["net_value"].mean
    assert best == max(line.figures["net_value"].mean for line in compared.of_world("clickbait"))


def test_metrics_of_a_silent_and_a_talking_run(compared: Compared) -> None:
    silent, talking = (compared.runs[Row(name, "fatigue-toy")][1] for name in ("no-contact", "thompson"))
    measured = {
        name: [np.mean(one.measure(run)) for run in (silent, talking)] for name, one in METRICS.items()
    }
    assert measured["contacts"] == [0.0, talking.contacts.mean()] and measured["silent"][0] == 1.0
    assert measured["fatigue"][0] == 0.0 < measured["fatigue"][1]
    assert measured["regret"][0] == 1.0 and np.isnan(measured["calibration"][0])
    assert measured["channels_left"][1] == pytest.approx(1 - talking.opt_outs.sum() / talking.reach.sum())
    np.testing.assert_allclose(measured["net_value"][1], (talking.value - talking.cost - talking.loss).mean())


def test_fatigue_is_what_the_world_remembers(compared: Compared) -> None:
    """One channel, contacts on every day: the counters by the kernel's recovery, by hand."""
    run = compared.runs[Row("thompson", "fatigue-toy")][1]
    always = run.contacts == run.contacts.max()
    assert run.contacts.max() == 5  # one a day
    from simulator.world import load_world

    kernel = load_world("fatigue-toy").kernel
    expected = kernel.recovery(np.arange(1.0, 6.0)).sum()
    assert run.fatigue[always] == pytest.approx(expected)


def test_all_is_printed_and_the_page_holds_the_same_figures(compared: Compared) -> None:
    told, one_world = "\n".join(lines(compared)), tuple(compared.of_world("clickbait"))
    page = page_html(compared._replace(lines=one_world))
    for part in ("decisions by channel", "while learning", "by tenth of customers", "Pareto front"):
        assert part in told
    figure = compared.of_world("clickbait")[0].figures["net_value"]
    assert f"{figure.difference.mean:+.2f}"[:4] in told and "Action mix, clickbait" in page
    assert "http" not in page and "<script" not in page
    assert "fails the gate" in told or all(line.passed for line in compared.lines)
    assert verdict(compared).count("| --- |") == 2


def test_tables_are_long_and_whole(compared: Compared) -> None:
    found = {name: list(table(compared)) for name, table in TABLES.items()}
    assert len(found["figures"]) == 6 * len(compared.metrics) and len(found["gates"]) == 12
    shares = [row["share"] for row in found["mixes"] if row["factor"] == "channel"]
    assert sum(shares) == pytest.approx(6.0)
    days = [row for row in found["learning"] if (row["strategy"], row["world"]) == ("thompson", "clickbait")]
    runs = compared.runs[Row("thompson", "clickbait")].values()
    assert [row["day"] for row in days] == [1, 2, 3, 4] and len(list(runs)) == 3


def test_a_stopped_row_says_by_whom_and_has_the_wider_interval(folder: Path) -> None:
    swept = kept_sweep(folder, "small")
    row = Row("thompson", "clickbait")
    stopped = compare_sweep(swept._replace(stopped={row: Stopped(3, "no-contact")}))
    line = next(one for one in stopped.lines if one.row == row)
    usual = next(one for one in compare_sweep(swept).lines if one.row == row)
    assert line.figures["net_value"].high > usual.figures["net_value"].high
    assert "thompson was stopped after 3 seeds: no-contact is surely better." in "\n".join(lines(stopped))


def test_a_sweep_is_found_by_id_and_name_and_a_lost_cell_is_told(folder: Path, tmp_path: Path) -> None:
    found = kept_sweep(folder, "small")
    assert kept_sweep(folder, found.plan.id[:6]).digest == found.digest
    with pytest.raises(
        UnknownSweepError, match=rf"no finished sweep is 'x'; it has: {found.plan.id} \(small\)"
    ):
        kept_sweep(folder, "x")
    (tmp_path / f"{found.plan.id}.json").write_bytes((folder / f"{found.plan.id}.json").read_bytes())
    with pytest.raises(InvalidConfig, match="the cell .* is gone; run `nba sweep` again"):
        kept_sweep(tmp_path, "small")


@pytest.fixture(scope="module")
def recorded(compared: Compared, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RecordedSweep]:
    """A store that the sweep was logged to."""
    store = empty_store(tmp_path_factory)
    return store, record_sweep(compared, PAGE, store)


def test_mlflow_holds_each_row_once_however_often_it_is_recorded(
    compared: Compared, recorded: tuple[Path, RecordedSweep]
) -> None:
    store, first = recorded
    client = open_store(store)
    assert first.added == 7 and record_sweep(compared, PAGE, store).added == 0
    runs = client.search_runs([first.experiment_id])
    assert len(runs) == 7 and len({run.data.tags[DIGEST] for run in runs}) == 7
    # A run that broke off is replaced, and no other is touched.
    victim = first.run_ids["thompson in clickbait"]
    client.set_terminated(victim, "FAILED")
    again = record_sweep(compared, PAGE, store)
    assert again.added == 1 and again.run_ids["random in clickbait"] == first.run_ids["random in clickbait"]
    run = client.get_run(again.run_ids["thompson in clickbait"])
    assert len(run.data.metrics) <= 20 and not any(tag.startswith("mlflow.parent") for tag in run.data.tags)
    line = next(one for one in compared.lines if one.row == Row("thompson", "clickbait"))
    assert run.data.metrics["difference/net_value"] == line.figures["net_value"].difference.mean
    names = {one.path for one in client.list_artifacts(again.run_ids["summary"])}
    assert names == {"report", "tables", "verdict.md"}
    assert again.sweep_id in again.compare_link() and again.report_link().endswith("report/index.html")


def app_of(command: Any) -> typer.Typer:
    app = typer.Typer()
    app.command()(command)
    return app


def test_the_example_of_ones_own_parts_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In two worlds, one of them its own; a policy, a rule and a metric that are its own too."""
    monkeypatch.delitem(sys.modules, "own_parts", raising=False)
    config = tmp_path / "own_parts.toml"
    small = (EXAMPLES / "own_parts.toml").read_text().replace("customers = 100", "customers = 40")
    small = re.sub(r"days = \d+", "days = 4", small.replace("publish_every_days = 4", ""))
    config.write_text(re.sub(r"seeds = \d", "seeds = 2", small))
    monkeypatch.setattr("experiments.sweeps.page.charts", lambda compared: [])  # drawn elsewhere
    (tmp_path / "own_parts.py").write_text((EXAMPLES / "own_parts.py").read_text())
    words = [
        "--config",
        str(config),
        "--out",
        str(tmp_path / "out"),
        "--workers",
        "1",
        "--no-track",
        "--json",
    ]
    done = CliRunner().invoke(app_of(sweep), words, catch_exceptions=False)
    assert done.exit_code == 0
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["cells"], told["failed"]) == (16, 0)
    found = {(line["strategy"], line["world"]): line["figures"] for line in told["lines"]}
    assert {world for _, world in found} == {"clickbait", "harder"}
    runs = compare_sweep(kept_sweep(tmp_path / "out", told["id"])).runs
    assert all(run.channel_counts[1] == 0 for run in runs[Row("serious", "harder")].values())  # no game
    thompson = runs[Row("thompson", "clickbait")].values()
    worst = np.mean([np.sort(run.net)[:4].mean() for run in thompson])
    assert found[("thompson", "clickbait")]["own_parts.worst_tenth"]["mean"] == pytest.approx(worst)
    assert len((EXAMPLES / "own_parts.py").read_text().splitlines()) <= 50


def test_compare_finds_the_sweep_again_and_writes_its_page(
    folder: Path,
    recorded: tuple[Path, RecordedSweep],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, page = recorded[0], tmp_path / "here" / "page.html"
    monkeypatch.setattr("experiments.sweeps.page.charts", lambda compared: [])  # drawn elsewhere
    # The rows are there already, the report is another one.
    compare_kept("small", folder, page, store, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["runs_added"] == 1 and page.read_text().startswith("<!doctype html>")
    compare_kept("small", folder, page, store, as_json=False)
    assert "in MLflow, 0 runs were added" in capsys.readouterr().out
