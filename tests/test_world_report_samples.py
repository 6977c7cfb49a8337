"""Customer-weeks, two-sample tests and rankings of the world report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import structs

from experiments.executor import SerialExecutor, silent
from experiments.logs import DecisionLog, OutcomeLog
from experiments.spec import CONTROL, Phase
from experiments.world_report.assumptions import VARIED, doubted
from experiments.world_report.ranking import OWN, n_rollouts, rank
from experiments.world_report.samples import SampleWork, compare_samples, sample
from experiments.world_report.two_samples import compare_weeks
from experiments.world_report.weeks import (
    WEEKS_BEFORE,
    Weeks,
    count_names,
    customer_weeks,
    is_given,
    one_week_each,
    read_weeks,
    write_weeks,
)
from nba.errors import InvalidConfig
from simulator.world import World
from tests.small import bank, small_world

WEEKS_OF = ("contacts_sms", "engaged_sms", "sales_benefit")


def drawn(seed: int, n: int, contacts: float = 1.0, answers: float = 0.3, sales: float = 0.1) -> Weeks:
    """Customers with one week each, who answer their contacts with some probability."""
    rng = np.random.default_rng(seed)
    made = rng.poisson(contacts, n)
    counts = np.stack([made, rng.binomial(made, answers), rng.poisson(sales, n)], axis=1)
    return Weeks(WEEKS_OF, np.arange(n), np.zeros(n, dtype=np.int64), counts.astype(np.float64))


def empty_log(log: Any, n: int, **columns: Any) -> Any:
    """A log of n rows that are 0 where nothing is given."""
    flags = ("refused", "delivered", "seen", "engaged", "opted_out", "complained", "caused")
    nothing = {name: np.zeros(n, bool if name in flags else int) for name in log._fields}
    return log(**(nothing | columns))


def test_customer_weeks_count_by_the_day_of_the_contact() -> None:
    catalogue = small_world().config.catalogue
    sms = int(np.flatnonzero(catalogue.channel_of == catalogue.level("channel", "sms"))[0])
    decisions = empty_log(
        DecisionLog,
        5,
        customer=np.array([4, 4, 4, 9, 9]),
        day=np.array([0, 6, 6, 8, 20]),
        contact_day=np.array([0, 7, 6, 8, 22]),  # the last is made after the log ends
        action=np.array([sms, sms, 0, sms, sms]),
        refused=np.array([False, False, False, True, False]),
        engaged=np.array([False, True, False, False, True]),
    )
    outcomes = empty_log(OutcomeLog, 2, customer=np.array([9, 9]), day=np.array([13, 14]))
    found = customer_weeks(decisions, outcomes, catalogue, np.array([2, 4, 9]), 21)
    assert found.names == count_names(catalogue)
    table = dict(zip(found.names, found.counts.reshape(3, 3, -1).transpose(2, 0, 1), strict=True))
    assert table["contacts_sms"].tolist() == [[0, 0, 0], [1, 1, 0], [0, 0, 0]]
    assert table["engaged_sms"].tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert table["contacts_before"].tolist() == [[0, 0, 0], [0, 1, 2], [0, 0, 0]]
    family = catalogue.products[0].family
    assert table[f"sales_{family}"].tolist() == [[0, 0, 0], [0, 0, 0], [0, 1, 1]]
    assert WEEKS_BEFORE == 4 and is_given("contacts_before") and not is_given("sales_before")


def test_customer_weeks_survive_a_file_and_bad_ones_are_refused(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet as parquet

    world, place = small_world(), tmp_path / "weeks.parquet"
    weeks = sample(SampleWork(world, Phase(customers=30, days=14, seed=1), 0), silent)
    write_weeks(weeks, place)
    again = read_weeks(place, world.config.catalogue)
    assert all(np.array_equal(one, other) for one, other in zip(weeks, again, strict=True))
    good = parquet.read_table(place).to_pydict()
    for name, change, rule in (
        ("visits", {"visits": good["week"]}, "visits: no count of this world; use contacts_app_push"),
        ("week", {"week": None}, "week: column missing"),
        ("opt_outs", {"opt_outs": [-1] + good["opt_outs"][1:]}, "0 or more, got -1 in row 1"),
        ("opt_outs", {"opt_outs": [0.5] + good["opt_outs"][1:]}, "whole numbers"),
        ("opt_outs", {"opt_outs": ["a"] * len(good["week"])}, "opt_outs: must be numbers"),
        ("week", {"week": [0] * len(good["week"])}, "a customer must have a week only once"),
    ):
        kept = {key: value for key, value in (good | change).items() if value is not None}
        parquet.write_table(pyarrow.table(kept), place)
        with pytest.raises(InvalidConfig, match=re_escape(rule)) as error:
            read_weeks(place, world.config.catalogue)
        assert str(place) in str(error.value) and name in str(error.value)
    place.write_text("no table")
    with pytest.raises(InvalidConfig, match="cannot be read as Parquet"):
        read_weeks(place, world.config.catalogue)


def re_escape(text: str) -> str:
    import re

    return re.escape(text)


def test_one_week_each_takes_every_customer_once() -> None:
    weeks = Weeks(("a",), np.repeat(np.arange(50), 4), np.tile(np.arange(4), 50), np.zeros((200, 1)))
    one = one_week_each(weeks, np.random.default_rng(1))
    assert one.customer.tolist() == list(range(50)) and set(one.week.tolist()) == {0, 1, 2, 3}


def test_the_same_weeks_are_not_told_apart_and_others_are() -> None:
    own = drawn(1, 3_000)
    same = compare_weeks("same", own, drawn(2, 3_000), 1, "same")
    other = compare_weeks("other", own, drawn(3, 3_000, answers=0.6), 1, "different")
    assert not same.rejected and same.as_expected and same.auc < 0.55
    assert other.rejected and other.as_expected and other.telling[0].name == "engaged_sms"
    assert not compare_weeks("hidden", own, drawn(4, 3_000), 1, "different").as_expected


def test_matching_asks_about_answers_only() -> None:
    own, busier = drawn(1, 4_000, contacts=0.6), drawn(2, 4_000, contacts=1.4)
    assert compare_weeks("all", own, busier, 1).rejected
    assert not compare_weeks("answers", own, busier, 1, matched=True).rejected
    keener = drawn(3, 4_000, contacts=1.4, answers=0.7)
    found = compare_weeks("answers", own, keener, 1, matched=True)
    assert found.rejected and "have a partner with the same contacts" in found.note


def test_too_few_customers_are_refused() -> None:
    with pytest.raises(InvalidConfig, match="rows: needs 200 customers in either sample, found 50"):
        compare_weeks("few", drawn(1, 50), drawn(2, 3_000), 1)


@pytest.mark.slow
def test_the_self_test_has_power_and_takes_a_log(tmp_path: Path) -> None:
    world, place = bank(), tmp_path / "weeks.parquet"
    write_weeks(sample(SampleWork(world, Phase(customers=800, days=21, seed=9), 0), silent), place)
    found = compare_samples(world, Phase(customers=1_200, days=28, seed=2), place, SerialExecutor(), silent)
    assert found.has_power and found.real is not None and found.passes
    assert [one.expected for one in found.self_tests] == ["same", "different", "", ""]


def test_assumptions_are_drawn_anew_and_within_their_kind() -> None:
    config = bank().config
    one, other = doubted(config, 1), doubted(config, 2)
    assert one == doubted(config, 1) != other
    for path in VARIED:
        section: object = config
        drawn_anew: object = one
        for name in path.split("."):
            section, drawn_anew = getattr(section, name), getattr(drawn_anew, name)
        assert section != drawn_anew
    assert structs.replace(one, response=config.response) == config
    logs = [np.log(np.array(doubted(config, k).response.lift) / config.response.lift) for k in range(200)]
    assert np.mean(np.abs(logs) < np.log(2.0)) == pytest.approx(0.9, abs=0.02)


@pytest.mark.slow
def test_policies_are_ranked_in_every_member() -> None:
    world = small_world(population={"branch_customers": 100})
    generous = {"response.lift.coupon": 3.0, "response.lift.membership": 3.0}
    world = World(structs.replace(world.config, ensemble=({"response.lift.coupon": 0.0}, generous)))
    phase = Phase(customers=100, days=8, seed=4, settle_days=7)
    heard: list[int] = []
    found = rank(world, 2, phase, SerialExecutor(), heard.append)
    one = found.ensemble
    assert one.members == (OWN, "member 1", "member 2") and len(found.assumptions.members) == 3
    assert sum(heard) == n_rollouts(world, 2)
    control = next(row for row in one.policies if row.name == CONTROL)
    assert control.low == control.high and control.contacts == 0.0  # common noise, and no contact to lift
    assert len(one.taus) == 3 and np.array(one.agreement).shape == (3, 3)
    assert [row.mean_rank for row in one.policies] == sorted(row.mean_rank for row in one.policies)
    assert found == rank(world, 2, phase, SerialExecutor(), silent)


def test_a_world_without_an_ensemble_is_ranked_over_seeds() -> None:
    world = small_world(population={"branch_customers": 50})
    found = rank(world, 2, Phase(customers=50, days=4, seed=4), SerialExecutor(), silent)
    assert found.ensemble.over == "seeds" and found.ensemble.members == (OWN, "seed 5", "seed 6")
