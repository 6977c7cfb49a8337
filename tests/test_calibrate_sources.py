"""Shipped constants are what their files say; readers of files refuse what they cannot use."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs
from scipy.stats import gamma

from nba.errors import InvalidConfig
from simulator.calibrate import sources
from simulator.calibrate.borrowed import MAIL, VISIT, borrowed, borrowed_vector
from simulator.calibrate.columns import load_map
from simulator.calibrate.ensemble import apply
from simulator.calibrate.history import cast
from simulator.calibrate.sources import Estimate
from simulator.world import load_world

PLACE = os.environ.get("NBA_DATA")
needs_data = pytest.mark.skipif(not PLACE, reason="NBA_DATA does not name the folder of the source files")
HEART_STEPS = Path(PLACE or "") / "heartsteps-v1" / "HS1_cleaned.csv.gz"
JOURNEY = Path(PLACE or "") / "complete-journey"
TURNOUT = Path(PLACE or "") / "gerber-green-1998" / "GerberGreen_full.csv.gz"


def same(found: Estimate, shipped: Estimate) -> None:
    assert (found.value, found.stderr) == pytest.approx((shipped.value, shipped.stderr), abs=6e-4)


@needs_data
def test_habituation_is_what_heart_steps_says() -> None:
    published = sources.push_effects(HEART_STEPS)
    assert published["average"] == pytest.approx((0.131, 0.066), abs=0.001)
    # The trial's own errors have a correction for few clusters: 0.148 and 0.0060.
    assert published["day 0"] == pytest.approx((0.507, 0.146), abs=0.001)
    assert published["per day"] == pytest.approx((-0.0185, 0.0059), abs=1e-4)
    same(sources.habituation(HEART_STEPS), sources.HABITUATION)


@needs_data
def test_the_delay_is_what_complete_journey_says() -> None:
    delay, _ = sources.redemption_delays(JOURNEY)
    assert (delay.size, *np.quantile(delay, [0.25, 0.5, 0.75])) == (792, 6, 13, 23)
    same(sources.delay_shape(JOURNEY), sources.DELAY_SHAPE)


@needs_data
def test_the_order_of_channels_is_what_gerber_and_green_say() -> None:
    fit = sources.turnout_effects(TURNOUT)
    assert 100 * fit.coefficients == pytest.approx([2.77, -1.35, 0.68], abs=0.006)
    assert 100 * fit.stderrs == pytest.approx([0.63, 0.61, 0.23], abs=0.006)
    same(sources.visit_against_mail(TURNOUT), sources.VISIT_AGAINST_MAIL)


def test_a_fading_effect_is_found_again(tmp_path: Path) -> None:
    generator = np.random.default_rng(4)
    lines = ["user,study.day.nogap,sugg.select.slot,avail,send,jbsteps30pre.log,jbsteps30.log"]
    for user in range(60):
        sent = generator.random(42 * 5) < 0.6
        days = np.arange(42 * 5) / 5.0
        for at, (day, send) in enumerate(zip(days, sent, strict=True)):
            counter = (2.0 ** (-(day - days[:at]) / 15.0))[sent[:at]].sum()
            steps = 2.0 + 0.8 * np.exp(-0.06 * counter) * (send - 0.6) + 0.3 * generator.normal()
            lines.append(f"{user},{int(day)},{at % 5 + 1},True,{send},{generator.normal():.3f},{steps:.4f}")
    path = tmp_path / "trial.csv"
    path.write_text("\n".join(lines))
    found = sources.habituation(path)
    assert abs(found.value + 0.06) < 3 * found.stderr < 0.03


def test_a_truncated_gamma_delay_is_found_again(tmp_path: Path) -> None:
    generator = np.random.default_rng(6)
    delays = np.floor(gamma.rvs(1.8, scale=12.0, size=4000, random_state=generator)).astype(int)
    seen = np.flatnonzero(delays <= 40)
    days = np.datetime64("2017-03-01") + delays
    rows = [f"{i},1,{days[i]}" for i in seen]
    (tmp_path / "coupon_redemptions.csv.gz").write_bytes(
        zipped("household_id,campaign_id,redemption_date", rows)
    )
    (tmp_path / "campaign_descriptions.csv.gz").write_bytes(
        zipped("campaign_id,start_date,end_date", ["1,2017-03-01,2017-04-10"])
    )
    found = sources.delay_shape(tmp_path)
    assert abs(found.value - 1.8) < 3 * found.stderr < 0.4


def zipped(header: str, rows: list[str]) -> bytes:
    return gzip.compress("\n".join([header, *rows]).encode())


def test_clustered_errors_are_larger_than_plain_ones_when_rows_repeat() -> None:
    generator = np.random.default_rng(8)
    columns = np.column_stack([np.ones(50), generator.normal(size=50)])
    outcome = generator.normal(size=50)
    plain = sources.regression(columns, outcome, np.arange(50))
    twice = sources.regression(
        np.repeat(columns, 2, axis=0), np.repeat(outcome, 2), np.repeat(np.arange(50), 2)
    )
    np.testing.assert_allclose(twice.coefficients, plain.coefficients)
    np.testing.assert_allclose(twice.stderrs, plain.stderrs)


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        ("user,send\n1,2\n", "study.day.nogap, .*: column missing"),
        ("", "cannot be read to its end"),
        ("user,study.day.nogap,sugg.select.slot,avail,send,jbsteps30pre.log,jbsteps30.log\n", "has no rows"),
    ],
)
def test_a_source_file_that_is_none_is_refused(tmp_path: Path, content: str, rule: str) -> None:
    path = tmp_path / "trial.csv"
    path.write_text(content)
    with pytest.raises(InvalidConfig, match=rule):
        sources.habituation(path)
    with pytest.raises(InvalidConfig, match="cannot be read: No such file"):
        sources.habituation(tmp_path / "nothing.csv")


def test_what_other_studies_lend_is_put_where_a_world_has_a_place_for_it() -> None:
    world = load_world("retail-bank")
    one = cast(world, load_map(), 2000, seed=1)
    lent = borrowed(one.config)
    calm = borrowed_vector(lent, one, np.zeros(3))
    config = apply(world.config, calm)
    names = [channel.name for channel in config.catalogue.channels]
    for channel, rate in zip(config.catalogue.channels, config.response.habituation, strict=True):
        if channel.family == "digital":
            assert rate == sources.HABITUATION.value
    assert config.response.delay_shape == pytest.approx(sources.DELAY_SHAPE.value)
    strength = dict(zip(names, config.response.channel_strength, strict=True))
    assert strength[VISIT] == -strength[MAIL]
    # One standard error more of the ratio moves the two channels apart by as much.
    more = borrowed_vector(lent, one, np.array([50.0, 0.0, 1.0]))
    apart = [vector[f"response.channel_strength.{VISIT}"] for vector in (more, calm)]
    assert 2 * (apart[0] - apart[1]) == pytest.approx(sources.VISIT_AGAINST_MAIL.stderr)
    assert max(more["response.habituation"]) <= 0.0


def test_a_world_without_digital_channels_borrows_no_habituation() -> None:
    config = load_world("retail-bank").config
    people = tuple(structs.replace(channel, family="human") for channel in config.catalogue.channels)
    lent = borrowed(structs.replace(config, catalogue=structs.replace(config.catalogue, channels=people)))
    assert lent.habituation is None and lent.visit_against_mail is not None
