"""Worlds as TOML: what is broken is named by file, key and rule; calendar helpers against plain Python."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from small import bank

from nba.errors import InvalidConfig
from simulator.life_cycle import next_stage
from simulator.observation import days_until
from simulator.world import load_world

TEXT = (resources.files("simulator") / "worlds" / "retail-bank.toml").read_text()


@pytest.fixture(autouse=True)
def calibrated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fitting the calls takes a second, and no case here is about it."""
    calibration = bank().calibration
    monkeypatch.setattr("simulator.world.calibrate", lambda: calibration)


def replaced(old: str, new: str) -> str:
    assert TEXT.count(old) == 1, f"{old!r} must stand once in the shipped world"
    return TEXT.replace(old, new)


BROKEN = {
    "unknown field": (replaced("halo = 0.15", "halo = 0.15\nglow = 1"), ["glow", "response"]),
    "unknown top field": ("colour = 'red'\n" + TEXT, ["colour"]),
    "missing field": (replaced("decide_every_days = 4 ", "# "), ["decide_every_days"]),
    "wrong type": (replaced("halo = 0.15", "halo = 'much'"), ["halo", "float"]),
    "malformed": (replaced("[population]", "[population"), ["line"]),
    "wrong length": (replaced("lift = [0.20, ", "lift = ["), ["response.lift", "20", "19"]),
    "row too long": (replaced("[0.0, -0.2, 0.6,", "[0.0, 0.0, -0.2, 0.6,"), ["receptivity", "6"]),
    "probability": (replaced("share_60_plus = 0.30", "share_60_plus = 1.3"), ["share_60_plus", "[0, 1]"]),
    "delivery": (replaced("delivery = [0.90,", "delivery = [9.0,"), ["response.delivery", "[0, 1]"]),
    "shares": (replaced("segment_shares = [0.08,", "segment_shares = [0.18,"), ["segment_shares", "sum"]),
    "cost": (replaced("cost = 0.05 }", "cost = -1 }"), ["channels[3].cost"]),
    "rule type": (replaced('type = "not_owned"', 'type = "not_known"'), ["not_known", "rules"]),
    "family": (replaced("service = [0.2, 0.0, 0.0, 0.3]\n", ""), ["population.loadings", "service"]),
    "every": (replaced("decide_every_days = 4", "decide_every_days = 0"), ["decide_every_days", ">= 1"]),
    "no date": (replaced("2026-03-02", "next spring"), ["start"]),
    "flag of a rule": (replaced('flag = "has_app"', 'flag = "has_fax"'), ["has_fax"]),
    "timing of a rule": (replaced('timing = "next_key_day", attr', 'timing = "noon", attr'), ["noon"]),
    "channel of a limit": (replaced('channel = "branch", contacts', 'channel = "fax", contacts'), ["fax"]),
    "long limit": (replaced("contacts = 6, days = 30", "contacts = 6, days = 60"), ["days"]),
    "unseen column": (replaced('name = "tenure_years"', 'name = "shoe_size"'), ["shoe_size"]),
    "not finite": (replaced("lift = [0.20,", "lift = [inf,"), ["response.lift"]),
    "negative": (replaced("lift = [0.20,", "lift = [-0.2,"), ["response.lift"]),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_world_names_file_key_and_rule(case: str, tmp_path: Path) -> None:
    text, named = BROKEN[case]
    path = tmp_path / "my-bank.toml"
    path.write_text(text)
    with pytest.raises(InvalidConfig) as caught:
        load_world(str(path))
    message = str(caught.value)
    assert "my-bank.toml" in message and "\n" not in message
    for part in named:
        assert part in message


def write_bytes(path: Path) -> None:
    path.write_bytes(b'name = "\xff\xfe"')


@pytest.mark.parametrize(
    "prepare",
    [lambda path: None, lambda path: path.mkdir(), write_bytes],
    ids=["missing", "folder", "bytes"],
)
def test_a_file_that_cannot_be_read_is_named(prepare: Callable[[Path], None], tmp_path: Path) -> None:
    prepare(tmp_path / "odd.toml")
    with pytest.raises(InvalidConfig, match=r"odd\.toml"):
        load_world(str(tmp_path / "odd.toml"))


def test_an_unknown_world_lists_the_known_ones() -> None:
    with pytest.raises(InvalidConfig, match="retail-bank"):
        load_world("village-bank")


def test_the_shipped_world_loads_by_path_as_by_name(tmp_path: Path) -> None:
    (tmp_path / "copy.toml").write_text(TEXT)
    assert load_world(str(tmp_path / "copy.toml")).config == bank().config


def test_the_bank_has_the_documented_actions() -> None:
    catalogue = bank().config.catalogue
    assert catalogue.shape == (7, 6, 20) and catalogue.n_actions == 841


def test_days_until_a_day_of_the_month() -> None:
    for start in (date(2026, 2, 20), date(2028, 2, 25), date(2026, 12, 25), date(2026, 4, 1)):
        for day_of_month in (1, 10, 15, 25, 28):
            expected = next(n for n in range(40) if (start + timedelta(days=n)).day == day_of_month)
            got = days_until(np.array([day_of_month]), np.datetime64(start.isoformat()))
            assert got.tolist() == [expected], (start, day_of_month)


def test_waits_reach_the_weekend_and_the_payday() -> None:
    world = bank()
    state = world.reset(1, np.arange(20))
    timings = [timing.name for timing in world.config.catalogue.timings]
    for day in range(40):
        today = state._replace(day=day)
        waits = world.waits(today, np.arange(20))
        start = date(2026, 3, 2) + timedelta(days=day)
        ahead = 0 if start.weekday() >= 5 else 5 - start.weekday()
        assert (waits[:, timings.index("weekend")] == ahead).all()
        for row, wait in enumerate(waits[:, timings.index("next_key_day")]):
            assert (start + timedelta(days=int(wait))).day == state.people.payday[row]
        others = [i for i, name in enumerate(timings) if name not in ("weekend", "next_key_day")]
        assert not waits[:, others].any()


def test_customers_come_up_every_few_days() -> None:
    world = bank()
    state = world.reset(1, np.arange(400))
    days = np.zeros((400, 20), dtype=np.bool_)
    for day in range(20):
        days[world.due(state._replace(day=day)), day] = True
    gaps = [np.diff(np.flatnonzero(row)) for row in days]
    assert all((gap == world.config.decide_every_days).all() and gap.size == 4 for gap in gaps)


def test_stages_move_with_their_daily_hazards() -> None:
    world, n = bank(), 40_000
    state = world.reset(1, np.arange(n))
    worse, better = (np.array(row) for row in (world.config.life_cycle.worse, world.config.life_cycle.better))
    to_worse, to_better = [3, 3, 3, 4, 4], [1, 2, 2, 1, 3]
    for stage in range(5):
        moved = next_stage(world.config.life_cycle, state._replace(stage=np.full(n, stage)))
        leave = {to_worse[stage]: -np.expm1(-worse[stage])}
        leave[to_better[stage]] = np.exp(-worse[stage]) - np.exp(-worse[stage] - better[stage])
        for target, share in leave.items():
            if target != stage:
                error = np.sqrt(share * (1 - share) / n)
                assert abs((moved == target).mean() - share) <= 4 * error, (stage, target)
        assert set(np.unique(moved)) <= {stage, *leave}
