"""Tuning prices and drawing curves: on worths known by formula, and in the small world that tires."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
from experiment_fixtures import TOY_SPEC
from msgspec import structs

from experiments.executor import SerialExecutor
from experiments.longrun.cells import Cell, Ground, Played, play
from experiments.longrun.commands import frequency_curve as frequency_curve_command
from experiments.longrun.commands import tune_fatigue
from experiments.longrun.curve import ON, OVER, frequency_curve
from experiments.longrun.proof import School, against, capped, in_turn, proof
from experiments.longrun.tune import Search, believed, tune
from experiments.longrun.tuned_toml import toml
from experiments.spec import Phase, StrategySpec
from nba.arbitration import Arbitration
from nba.errors import InvalidConfig
from nba.fatigue import FatiguePrice, SegmentPrice
from nba.policies import Greedy
from nba.posteriors import SegmentRatesModel
from nba.snapshot import Snapshot
from simulator.world import load_world

PHASE = Phase(customers=150, days=28, seed=0)
TARGETS = {"student": 3.0, "payroll": 0.0, "family": 7.0, "wealth": 1.5, "silver": 4.0, "rural": 0.5}
SPEC = (
    TOY_SPEC
    + """
[[strategies]]
name = "greedy"
model = { type = "segment_rates" }
policy = { type = "greedy" }
"""
)


def ground(world: str = "fatigue-toy", price: FatiguePrice | None = None) -> Ground:
    arbitration = Arbitration(fatigue_price=price or FatiguePrice())
    spec = StrategySpec(name="greedy", model=SegmentRatesModel(), policy=Greedy(), arbitration=arbitration)
    here = load_world(world)
    return Ground(here, Snapshot.start(spec.strategy(here, seed=1)), PHASE)


def worth(level: float, target: float) -> float:
    return 100.0 - (level - target) ** 2


def by_formula(cells: Sequence[Cell]) -> list[Played]:
    """Six segments of 50 customers each, whose worth is best at a level of their own; silence is worth 0."""
    segment, found = np.repeat(np.arange(6), 50), []
    for cell in cells:
        noise = np.random.default_rng(cell.seed).normal(0.0, 50.0, 300)
        nets, contacts = np.zeros(300), np.zeros(300)
        if cell.price is not None:
            levels = [cell.price.segments.get(name, cell.price).otherwise for name in TARGETS]
            means = [worth(*pair) for pair in zip(levels, TARGETS.values(), strict=True)]
            nets, contacts = np.repeat(means, 50), np.repeat(20.0 / (1.0 + np.array(levels)), 50)
        found.append(Played(segment, nets + noise, contacts, np.zeros(300), np.ones(300)))
    return found


def test_every_segment_finds_its_own_price_under_common_noise() -> None:
    tuned = tune(ground("retail-bank"), Search(rounds=14), by_formula)
    for name, target in TARGETS.items():
        assert abs(tuned.price.segments[name].otherwise - target) < 0.15
    gains = {one.segment: one.gain for one in tuned.verdicts}
    for name, target in TARGETS.items():
        level = tuned.price.segments[name].otherwise
        exact = worth(level, target) - worth(0.0, target)
        assert np.isclose(gains[name].mean, exact) and gains[name].high - gains[name].low < 1e-6
    mean = np.mean([worth(tuned.price.segments[name].otherwise, target) for name, target in TARGETS.items()])
    assert np.isclose(tuned.verdicts[0].above_silence.mean, mean)
    assert tuned.holds and not tuned.verdicts[2].holds  # payroll has no price that is better than none


def test_a_curve_finds_who_is_contacted_too_often() -> None:
    curves = {one.segment: one for one in frequency_curve(ground("retail-bank"), (1, 2), by_formula)}
    student, payroll = curves["student"], curves["payroll"]
    assert (student.label, payroll.label) == (OVER, ON)
    assert (student.customers_over, payroll.customers_on) == (1.0, 1.0)
    assert student.points[student.best].price == 2.18125  # half of 87.25 for 20 contacts
    assert np.isclose(student.headroom.mean, 9.0 - 0.81875**2)
    often = [point.contacts_per_week for point in student.points]
    assert often == sorted(often, reverse=True) and np.isclose(often[0], 20.0 / 4.0)


def at_caps(here: Ground, cells: Sequence[Cell]) -> list[Played]:
    """A cap of 4 contacts in 30 days is worth most; rules are worth 50 less than the strategy."""
    (longest,) = (
        one for one in here.snapshot.strategy.contact_policy.limits if one.days == 30 and not one.channel
    )
    off = -50.0 * (here.snapshot.strategy.name == "rules") - 2.0 * (longest.contacts - 4) ** 2
    return [one._replace(net=one.net + off, opt_outs=np.ones(300)) for one in by_formula(cells)]


def test_a_price_is_proved_against_the_best_cap_and_not_the_first() -> None:
    bank = ground("retail-bank")
    named = structs.replace(bank.snapshot.strategy, name="rules")
    rules = bank._replace(snapshot=structs.replace(bank.snapshot, strategy=named))
    found = proof([School(bank, rules)], Search(rounds=14), at_caps)
    best = np.mean([worth(level, level) for level in TARGETS.values()])
    free = np.mean([worth(0.0, level) for level in TARGETS.values()])
    assert found.cap == 4 and list(capped(bank)) == [None, 5, 4, 3, 2, 1]
    assert list(found.caps) == [4]  # no noise in differences: all others are told from it
    over_caps, figures = found.caps[4].net, found.figures()
    assert over_caps.mean == pytest.approx(best - 8.0 - free, abs=0.05)  # the price keeps the bank's 6
    assert found.myopic.net.mean == pytest.approx(best - free, abs=0.05)
    assert found.rules.net.mean == pytest.approx(best - free + 50.0, abs=0.05)
    assert figures["gain_ci_low"] == over_caps.low and figures["opt_out_difference"] == 0.0
    with pytest.raises(InvalidConfig, match="no limit over all channels"):
        capped(ground())


def test_seeds_take_schools_in_turn_and_are_the_units_of_an_interval() -> None:
    asked: list[tuple[Ground, list[int]]] = []

    def by_ground(here: Ground, cells: Sequence[Cell]) -> list[Played]:
        asked.append((here, [cell.seed for cell in cells]))
        nets = [np.full(4, 10.0 * cell.seed + (here is grounds[1])) for cell in cells]
        return [Played(np.zeros(4, dtype=np.int64), net, net, net, net) for net in nets]

    grounds = [ground(), ground()]
    played = in_turn(grounds, [Cell(None, seed) for seed in (7, 4, 5)], by_ground)
    assert [one.net[0] for one in played] == [71.0, 40.0, 51.0] and [seeds for _, seeds in asked] == [
        [4],
        [7, 5],
    ]
    found = against(played, played[1:] + played[:1]).net  # 31, -11, -20: mean 0, sd 27.2213
    assert found.mean == 0.0 and found.high == pytest.approx(4.302653 * 27.221315 / 3**0.5)


def test_many_noisy_segments_are_believed_less_than_everybody() -> None:
    segment = np.repeat([0, 1, 2], 4)
    clear = np.repeat([1.0, 2.0, 6.0], 4)
    np.testing.assert_allclose(believed(clear[None], segment, 4), [[1.0, 2.0, 6.0, 3.0]])  # nobody: the mean
    noise = np.tile([-30.0, 30.0, -30.0, 30.0], 3)
    np.testing.assert_allclose(believed((clear + noise)[None], segment, 4), np.full((1, 4), 3.0))
    # Means 1, 2, 6 vary by 7; errors 4 / 3 of their own: weight (7 - 4 / 3) / 7.
    some = clear + np.tile([-2.0, 2.0, -2.0, 2.0], 3)
    drawn = 3.0 + (17.0 / 21.0) * (np.array([1.0, 2.0, 6.0]) - 3.0)
    np.testing.assert_allclose(believed(some[None], segment, 3), drawn[None])


def test_what_was_played_is_read_again_and_is_the_same(tmp_path: Path) -> None:
    here, cells = ground(), [Cell(FatiguePrice(otherwise=0.5), 3), Cell(None, 3)]
    first = play(here, cells, SerialExecutor(), tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    steps: list[int] = []
    again = play(here, cells[::-1], SerialExecutor(), tmp_path, steps.append)
    assert steps == [PHASE.customer_days] * 2  # reported, not played
    for mine, its in zip(first, again[::-1], strict=True):
        for one, other in zip(mine, its, strict=True):
            np.testing.assert_array_equal(one, other)
    play(pickle.loads(pickle.dumps(here)), cells, SerialExecutor(), tmp_path)
    assert len(list(tmp_path.iterdir())) == 2  # the same after a pickle
    assert not first[1].contacts.any() and first[0].contacts.any()
    longer = here._replace(phase=structs.replace(PHASE, days=29))
    play(longer, cells[1:], SerialExecutor(), tmp_path)
    assert len(list(tmp_path.iterdir())) == 3  # another phase is another cell
    next(tmp_path.iterdir()).write_bytes(b"not an archive")
    with pytest.raises(InvalidConfig, match="delete it, and it is run again"):
        for cell in (*cells,):
            play(here, [cell], SerialExecutor(), tmp_path)
        play(longer, cells[1:], SerialExecutor(), tmp_path)


def test_a_price_survives_being_written() -> None:
    own = SegmentPrice(levels={"sms": 0.25}, otherwise=1.0, slopes={"app_push": 0.125})
    price = FatiguePrice(otherwise=0.5, slope=0.1, segments={"wealth": own, "two words": SegmentPrice()})
    text = '[[strategies]]\nname = "one"\n' + toml(price)
    read = msgspec.toml.decode(text)["strategies"][0]["arbitration"]["fatigue_price"]
    assert msgspec.convert(read, FatiguePrice) == price


def test_seeds_that_chose_do_not_judge() -> None:
    with pytest.raises(InvalidConfig, match=r"fresh_seeds: must not be seeds .* \[2\] in both"):
        Search(seeds=(1, 2), fresh_seeds=(2, 3))


def test_the_commands_write_what_a_spec_can_hold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec, out, picture = tmp_path / "toy.toml", tmp_path / "price.toml", tmp_path / "curve.svg"
    spec.write_text(SPEC)
    small = {"experiment": str(spec), "strategy": "greedy", "customers": 100, "days": 14, "settle_days": 0}
    tune_fatigue(out, **small, train_days=4, rounds=1, seeds=1, fresh_seeds=2, as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert {"better", "price", "verdicts", "tuning_gain"} <= found.keys()
    read = msgspec.toml.decode(SPEC + out.read_text())["strategies"][1]["arbitration"]["fatigue_price"]
    assert msgspec.convert(read, FatiguePrice) == msgspec.convert(found["price"], FatiguePrice)
    frequency_curve_command(**small, train_days=4, seeds=2, out=picture, as_json=True)
    (curve,) = json.loads(capsys.readouterr().out)["curves"]
    assert len(curve["points"]) == 8 and curve["label"].endswith(("contacted", "target"))
    assert picture.read_text().startswith("<svg")
