"""Completion curves: from a log to the schedule of exposure, without the bias of late conversions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer
from msgspec import structs
from test_posteriors_delay import (
    ROWS,
    SEEDS,
    WINDOW,
    Delays,
    Simulated,
    bank,
    exponential,
    mixture,
    naive,
    ratio,
    simulated,
)
from test_posteriors_delay import rounds as as_rounds
from typer.testing import CliRunner

from experiments.dataset import Settings, write_json
from experiments.delays import Columns, Contacts, Curve, curves, read_contacts, simulated_contacts
from experiments.delays_command import delays as command
from experiments.spec import Phase
from nba.catalogue import Catalogue, Product
from nba.errors import InvalidConfig
from nba.feedback import N_INTERVALS, ExposureSchedule
from nba.posteriors.glm_delay import PooledDelays
from nba.posteriors.glm_models import HazardModel

HALF = ((2.0, 0.5), (28.0, 1.0))


def loan(**fields: object) -> Product:
    return structs.replace(bank()[0].products[0], **fields)


def catalogue(product: Product) -> Catalogue:
    return structs.replace(bank()[0], products=(product,))


def test_a_stated_completion_is_what_exposure_follows() -> None:
    schedule = ExposureSchedule.of(catalogue(loan(completion=HALF)))
    one, begins, ends = np.zeros(3, dtype=np.int64), np.array([0.0, 1.0, 2.0]), np.array([1.0, 2.0, 28.0])
    exposure, uplift, organic = schedule.watched(one, begins, ends, np.ones(3))
    np.testing.assert_allclose(exposure * uplift, [0.25, 0.25, 0.5])
    np.testing.assert_allclose(exposure * organic, np.array([1, 1, 26]) / 28)
    assert schedule.cuts_days.tolist() == [[1, 2, 15, 28]]  # near the quarters


def test_a_product_without_one_is_as_before() -> None:
    products = (loan(completion=HALF), structs.replace(loan(), name="card"))
    both = ExposureSchedule.of(structs.replace(bank()[0], products=products))
    alone = ExposureSchedule.of(catalogue(loan()))
    intervals, contacted = np.arange(N_INTERVALS), np.ones(N_INTERVALS)
    for one, other in zip(
        both.shares(np.full(4, 1), intervals, contacted), alone.shares(np.full(4, 0), intervals, contacted),
        strict=True,
    ):  # fmt: skip
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("points", "rule"),
    [
        (((2.0, 0.5), (2.0, 1.0)), "days must rise"),
        (((2.0, 0.5), (9.0, 0.4), (28.0, 1.0)), "shares must not fall"),
        (((2.0, 0.5), (28.0, 0.9)), r"must end with the window, at \[28, 1\]"),
        (((float("nan"), 0.5), (28.0, 1.0)), "days must rise"),
    ],
)
def test_a_completion_that_cannot_be_is_refused(points: tuple[tuple[float, float], ...], rule: str) -> None:
    with pytest.raises(InvalidConfig, match=rule) as told:
        catalogue(loan(completion=points))
    assert "products[0].completion" in str(told.value)


def in_contacts(data: Simulated) -> Contacts:
    """What a log knows: who has converted by now."""
    seen = np.where(data.delays <= data.ages, data.delays, np.inf)
    none = np.zeros(1)
    return Contacts(
        ("loan",), np.array([WINDOW]), np.zeros(ROWS, dtype=np.int64), data.ages, seen, none, none
    )


def with_schedule(data: Simulated, product: Product) -> float:
    """The hazard model on rows of the product's exposure schedule, as the ledger emits them."""
    schedule = ExposureSchedule.of(catalogue(product))
    edges = np.concatenate([[0.0], schedule.cuts_days[0]])
    contacts, intervals = np.nonzero(data.ages[:, None] > edges[:-1])
    begins, ends = edges[intervals], np.minimum(edges[intervals + 1], data.ages[contacts])
    exposure, uplift, _ = schedule.watched(np.zeros(contacts.size, int), begins, ends, np.ones(contacts.size))
    delays = data.delays[contacts]
    came = ((begins < delays) & (delays <= ends)).astype(np.float64)
    return ratio(HazardModel(organic=False), data, as_rounds(data, contacts, came, exposure * uplift))


@pytest.mark.parametrize(
    "delays",
    [
        pytest.param(exponential, marks=pytest.mark.slow, id="exponential"),
        pytest.param(mixture, id="mixture"),
    ],
)
def test_an_estimated_completion_removes_the_bias_of_naive_labels(delays: Delays) -> None:
    worlds, ratios = [simulated(delays, seed) for seed in range(SEEDS)], []
    for world in worlds:
        (curve,) = curves(in_contacts(world), least=100, seed=0)
        points = tuple(zip(curve.days, curve.shares, strict=True))[:-1]
        ratios.append(with_schedule(world, loan(completion=(*points, (WINDOW, 1.0)))))
    error, before = np.std(ratios, ddof=1) / np.sqrt(SEEDS), naive(worlds[0])
    print(f"\nnaive {before:.3f}, estimated completion {np.mean(ratios):.3f} +- {error:.3f}")
    assert 0.72 < before < 0.86
    assert 0.97 < np.mean(ratios) < 1.03 and error < 0.012


def test_organic_conversions_are_taken_off() -> None:
    # Of 40 conversions in the second interval 10 are organic: 0.01 a person-day, 10 days, 100 contacts.
    found = PooledDelays(
        conversions=np.array([30.0, 40.0]), exposed=np.array([100.0, 100.0]),
        widths_days=np.array([0.0, 10.0]), organic_conversions=20.0, organic_days=2000.0,
    )  # fmt: skip
    np.testing.assert_allclose(found.shares(), [0.5, 0.5])


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng, covered = np.random.default_rng(0), []
    for _ in range(300):
        came = rng.poisson([40.0, 30.0, 30.0]).astype(np.float64)
        low, high = PooledDelays(came, np.full(3, 1000.0), np.ones(3)).interval(rng)
        covered.append((low[:2] <= [0.4, 0.7]) & ([0.4, 0.7] <= high[:2]))
    assert abs(np.mean(covered) - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 300)


def table(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(["product,sent,bought,quiet", *rows]) + "\n")
    return path


COLUMNS = Columns("product", "sent", "bought", silent="quiet")


def test_dates_of_whole_days_count_from_the_middle_of_the_day(tmp_path: Path) -> None:
    rows = ("card,2026-01-01,2026-01-01,0", "card,2026-01-03,,0", "loan,2026-01-02,2026-01-09,1")
    found = read_contacts(table(tmp_path / "log.csv", *rows), COLUMNS, 7.0)
    assert found.names == ("card", "loan") and found.windows.tolist() == [7, 7]
    assert found.delays.tolist() == [0.5, np.inf] and found.ages.tolist() == [9, 7]
    assert found.organic.tolist() == [0, 1] and found.silent_days.tolist() == [0, 8]


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        ("card,5,4,0", "convert before their contact"),
        ("card,,4,0", "have no time of the contact"),
        ("card,soon,4,0", "must hold numbers of days or dates"),
    ],
)
def test_a_time_that_cannot_be_is_refused_with_its_row(tmp_path: Path, row: str, rule: str) -> None:
    with pytest.raises(InvalidConfig, match=rule):
        read_contacts(table(tmp_path / "log.csv", "card,1,2,0", row), COLUMNS, 7.0)


def run(*arguments: str) -> str:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(command)
    done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_the_command_prints_toml_that_a_catalogue_takes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [f"card,{n % 30},{n % 30 + (n * 7) % 9 if rng.random() < 0.4 else ''},0" for n in range(1_500)]
    log, drawing = table(tmp_path / "log.csv", *rows), tmp_path / "curve.svg"
    asked = ("--log", str(log), "--contact", "sent", "--conversion", "bought", "--window", "10")
    told = run(*asked, "--out", str(drawing))
    (line,) = (one for one in told.splitlines() if one.startswith("completion = "))
    points = tuple(map(tuple, json.loads(line.removeprefix("completion = ").partition("#")[0])))
    made = catalogue(loan(completion=points, attribution_window_days=10))
    assert made.products[0].completion[-1] == (10, 1)
    assert drawing.read_text().startswith('<svg xmlns="')
    (curve,) = json.loads(run(*asked, "--json"))["curves"]
    assert Curve(**curve).toml() == line


@pytest.mark.parametrize(
    ("contact", "conversion", "delay"),
    [
        ("2026-01-01T12:00:00", "2026-01-01T18:00:00", 0.25),
        ("2026-01-01", "2026-01-01", 0.5),
        ("2026-01-01T09:30:00", "2026-01-01", 0.5),  # sold some time that day
        ("2026-01-01", "2026-01-01T06:00:00", 0.25),
    ],
)
def test_times_may_be_days_or_seconds_each(
    tmp_path: Path, contact: str, conversion: str, delay: float
) -> None:
    found = read_contacts(table(tmp_path / "log.csv", f"card,{contact},{conversion},0"), COLUMNS, 28.0)
    assert found.delays == pytest.approx([delay]) and found.ages[0] >= 0.0


def test_a_row_without_a_product_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match=r"have no product"):
        read_contacts(table(tmp_path / "log.csv", "card,1,2,0", ",2,5,0"), COLUMNS, 28.0)


def test_a_window_that_nobody_watched_to_its_end_is_refused(tmp_path: Path) -> None:
    rows = [f"card,{n % 5},{n % 5 + 1},0" for n in range(300)]
    contacts = read_contacts(table(tmp_path / "log.csv", *rows), COLUMNS, 28.0)
    with pytest.raises(InvalidConfig, match=r"after day 22 was watched of 0 contacts only.*window of 6 days"):
        curves(contacts, least=100, seed=0)


def test_a_product_with_few_conversions_has_no_curve(tmp_path: Path) -> None:
    rows = [f"{'card' if n % 3 else 'loan'},{n % 30},{n % 30 + n % 5},0" for n in range(300)]
    contacts = read_contacts(table(tmp_path / "log.csv", *rows), COLUMNS, 7.0)
    (curve,) = curves(contacts, least=150, seed=0)
    assert curve.product == "card" and curve.conversions == 200 == curve.contacts
    with pytest.raises(InvalidConfig, match="300 conversions of a product are asked for, the most are 200"):
        curves(contacts, least=300, seed=0)


def write_log(folder: Path, decisions: pd.DataFrame, outcomes: pd.DataFrame, days: int) -> None:
    """A folder in the form of `nba simulate`."""
    settings = Settings(
        world="retail-bank", strategy="", phase=Phase(customers=2_000, days=days, seed=1), oracle=False,
        world_sha256="", strategy_sha256="", code_sha256="", numpy="",
    )  # fmt: skip
    write_json(folder / "run.json", settings)
    for name, rows in (("decisions", decisions), ("outcomes", outcomes)):
        (folder / name).mkdir()
        rows.to_parquet(folder / name / "part-00000.parquet")


def test_the_folder_of_a_simulation_is_a_log(tmp_path: Path) -> None:
    # Delays of 0 to 3 days; of a customer's two contacts about the product the newer closes the older.
    dates = np.datetime64("2026-01-01", "ms") + np.arange(43).astype("timedelta64[D]")
    n, rng = 4_000, np.random.default_rng(0)
    sent, late, number = rng.integers(0, 28, n), rng.integers(0, 4, n), np.arange(n)
    sent[-1] = 42  # the last day of the run
    made = pd.DataFrame({"decision_id": [f"d{row}" for row in number], "customer": number // 2})
    made = made.assign(refused=False, date=dates[sent], contact_date=dates[sent], product="term-deposit")
    came = made.assign(date=dates[np.minimum(sent + late, 42)])[["decision_id", "product", "date"]]
    write_log(tmp_path, made, came[rng.random(n) < 0.3], days=43)
    (curve,) = curves(simulated_contacts(tmp_path), least=100, seed=0)
    ends = dict(zip(curve.days, zip(curve.lowest, curve.highest, strict=True), strict=True))
    assert curve.product == "term-deposit" and curve.days[-1] == 14 and curve.contacts == n
    for day, share in ((1, 0.25), (2, 0.5), (4, 1.0)):
        low, high = ends[day]
        assert low - 0.01 <= share <= high + 0.01
    with pytest.raises(InvalidConfig, match="cannot be read"):
        simulated_contacts(tmp_path / "nowhere")
