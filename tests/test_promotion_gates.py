"""The gates applied to made-up evidence, by hand; and the intervals behind them."""

from __future__ import annotations

from math import inf, log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import structs
from scipy.special import stdtrit

from experiments.promotion.evidence import METRICS, Evidence, Measured, paired, percentile_99, unseen_rate
from experiments.promotion.from_world import fresh_seeds, spent
from experiments.promotion.gates import Gates, load_gates
from experiments.promotion.judge import judged
from experiments.promotion.records import markdown, tags_of
from nba.errors import InvalidConfig
from nba.trials.planning import Design, pairs


def around(value: float, reach: float = 0.1) -> Measured:
    return Measured(value=value, low=value - reach, high=value + reach, stderr=reach / 2.0)


def evidence(**changes: Any) -> Evidence:
    """Evidence that passes the usual gates."""
    differences = {name: around(0.0) for name in METRICS} | {"value": around(1.0)}
    made = Evidence(
        kind="world",
        source="world made-up",
        method="by hand",
        confidence=0.95,
        units=16,
        differences=dict(differences),
        latency_ms=Measured(value=3.0, low=2.0, high=4.0),
        days=28.0,
        rounds=5_000,
    )
    return structs.replace(made, **changes)


def reasons(gates: Gates | None = None, **changes: Any) -> tuple[str, ...]:
    return judged(evidence(**changes), gates or Gates(), "nba-policy/2", "nba-policy/1").reasons


def with_figure(name: str, value: float, reach: float = 0.1) -> dict[str, Any]:
    return {"differences": evidence().differences | {name: around(value, reach)}}


def test_evidence_within_all_limits_passes() -> None:
    assert reasons() == ()


def test_a_point_estimate_promotes_nobody() -> None:
    """A large figure whose interval touches the limit is refused, a small one above it passes."""
    assert reasons(**with_figure("value", 0.1, 0.09)) == ()
    (told,) = reasons(**with_figure("value", 5.0, 5.0))
    assert told.startswith("value: the lower end, +0, must lie above 0; if the figure is right, about ")


@pytest.mark.parametrize("name", METRICS[1:])
def test_every_guardrail_is_held_by_its_upper_end(name: str) -> None:
    limit = Gates().limit(name)
    assert reasons(**with_figure(name, limit - 0.2)) == ()
    (told,) = reasons(**with_figure(name, limit - 0.05))
    assert told.startswith(f"{name}: the upper end, {limit + 0.05:+.4g}, must lie below {limit:g}; if the ")
    (told,) = reasons(**with_figure(name, limit + 1.0))
    assert "the figure itself is not on the right side" in told
    assert reasons(structs.replace(Gates(), **{f"most_{name}": inf}), **with_figure(name, 99.0)) == ()


def test_what_is_not_told_is_refused_unless_nothing_is_asked() -> None:
    lacks: dict[str, Any] = {"differences": evidence().differences | {"complaints": None}}
    (told,) = reasons(missing={"complaints": "the log has no column 'complained'"}, **lacks)
    assert told == "complaints: the log has no column 'complained'; or ask for none: most_complaints = inf"
    assert reasons(Gates(most_complaints=inf), **lacks) == ()
    assert len(reasons(differences={})) == len(METRICS)


def test_the_other_gates_each_have_their_reason() -> None:
    slow = Measured(value=3.0, low=2.0, high=50.0)
    assert reasons(latency_ms=slow)[0].startswith("latency_ms: the upper end, +50, must lie below 50")
    assert reasons(support=("effective_n is 7.",)) == ("support: effective_n is 7.",)
    assert reasons(audit=("arm 3 strays.",)) == ("propensity_audit: arm 3 strays.",)
    assert reasons(broken_limits=2) == ("broken_limits: 2 contacts broke a limit or an opt-out",)
    assert reasons(days=13.0) == ("days: 13 is too short a look; at least 14 are asked for",)
    assert reasons(rounds=999) == ("rounds: 999 is too short a look; at least 1000 are asked for",)


def test_the_way_out_is_the_planned_size() -> None:
    """16 pairs with standard error 0.5 spread by 2; a mean of 1 then takes `pairs(2, 1)` of them."""
    (told,) = reasons(**with_figure("value", 1.0, 1.0))
    assert f"about {pairs(2.0, 1.0, Design())} seeds (--seeds) would show it in 80 % of trials" in told


def test_what_happened_to_nobody_takes_more_customers() -> None:
    rare = {"complaints": Measured(value=0.0, low=-4.0, high=4.0, stderr=0.0)}
    (told,) = reasons(differences=evidence().differences | rare)
    assert told.endswith("it happened to nobody, and more customers have to show that it is rare")


def test_tags_and_verdict_hold_every_figure() -> None:
    from experiments.registry import PolicyVersion

    found = judged(evidence(), Gates(), "nba-policy/2", "nba-policy/1")
    names = dict.fromkeys(PolicyVersion.__struct_fields__, "") | {"name": "nba-policy", "version": 1}
    tags = tags_of(found, PolicyVersion(**names))
    assert tags["nba.gate"] == "passed" and tags["nba.gate.baseline"] == "nba-policy/1"
    for check in found.checks:
        assert tags[f"nba.gate.{check.gate}"] == "passed"
    for name in (*METRICS, "latency_ms"):
        assert {f"nba.gate.{name}.{part}" for part in ("figure", "low", "high", "limit")} <= set(tags)
    text = "\n".join(markdown(found))
    assert "| value | yes | +1 | +0.9 to +1.1 | 0 | net value per customer and 30 days |" in text


def test_students_interval_by_hand() -> None:
    """Of 1, 2, 3: mean 2, standard error 1/sqrt(3), t(2, 0.975) = 4.302653."""
    found = paired(np.array([1.0, 2.0, 3.0]), 0.95)
    assert (found.value, found.stderr) == pytest.approx((2.0, 3.0**-0.5))
    assert (found.low, found.high) == pytest.approx((2.0 - 2.484138, 2.0 + 2.484138), abs=1e-6)
    nothing = paired(np.zeros(5), 0.95, unseen=unseen_rate(100, 0.95))
    assert (nothing.low, nothing.high) == pytest.approx((log(0.025) / 100.0, -log(0.025) / 100.0))
    with pytest.raises(InvalidConfig, match="must be at least 2"):
        paired(np.zeros(1), 0.95)


def test_the_percentile_is_bounded_by_order_statistics() -> None:
    """Of 1,000 values a binomial number, 990 on average, lies below: 4 to 16 above it in 95 %."""
    found = percentile_99(np.arange(1_000.0), 0.95)
    assert 980.0 <= found.low < found.value < found.high <= 997.0
    assert percentile_99(np.arange(100.0), 0.95).high == inf
    rng = np.random.default_rng(7)
    covered = [
        one.low <= -np.log(0.01) <= one.high
        for one in (percentile_99(rng.exponential(size=1_000), 0.95) for _ in range(400))
    ]
    assert np.mean(covered) >= 0.95 - 3.0 * (0.05 * 0.95 / 400) ** 0.5


def test_attempts_spend_no_more_than_there_is() -> None:
    assert spent(0.95, 1) == pytest.approx(0.975)
    assert sum(1.0 - spent(0.95, attempt) for attempt in range(1, 10_000)) <= 0.05
    once, again = fresh_seeds("a", "b", 1, 20), fresh_seeds("a", "b", 2, 20)
    assert once == fresh_seeds("a", "b", 1, 20) and len({*once, *again}) == 40


@pytest.mark.parametrize("power", [0.8, 0.9])
def test_pairs_have_their_power(power: float) -> None:
    """Found by simulation at the planned number, and not with two pairs fewer."""
    design = Design(power=power)
    n, rng = pairs(2.0, 1.5, design), np.random.default_rng(3)

    def share(size: int) -> float:
        trials = rng.normal(1.5, 2.0, size=(20_000, size))
        steps = trials.mean(axis=1) / trials.std(axis=1, ddof=1) * size**0.5
        return float(np.mean(steps > stdtrit(size - 1, 0.975)))

    assert share(n) >= power - 3.0 * (power * (1.0 - power) / 20_000) ** 0.5
    assert share(n - 2) < power
    assert pairs(1.0, 0.01, Design()) == pytest.approx(7.849 * 10_000, rel=1e-3)
    with pytest.raises(InvalidConfig, match="must be finite and not 0"):
        pairs(1.0, 0.0, Design())


def test_noise_promotes_nobody_and_a_difference_of_the_planned_size_is_found() -> None:
    """The gate by Student's interval on pairs without and with a difference, 2,000 trials each."""
    n, rng = pairs(2.0, 1.5, Design(power=0.9)), np.random.default_rng(5)

    def promoted(mean: float) -> float:
        trials = rng.normal(mean, 2.0, size=(2_000, n))
        made = ({"differences": evidence().differences | {"value": paired(t, 0.95)}} for t in trials)
        return float(np.mean([not reasons(**one) for one in made]))

    assert promoted(0.0) <= 0.025 + 3.0 * (0.025 * 0.975 / 2_000) ** 0.5
    assert promoted(1.5) >= 0.9 - 3.0 * (0.9 * 0.1 / 2_000) ** 0.5


def test_gates_from_toml(tmp_path: Path) -> None:
    file = tmp_path / "gates.toml"
    file.write_text("most_complaints = inf\nleast_days = 7\n[floors]\nleast_effective_n = 50\n")
    found = load_gates(file)
    assert (found.most_complaints, found.least_days, found.floors.least_effective_n) == (inf, 7.0, 50.0)
    assert load_gates(None) == Gates()
    for text, rule in (
        ("most_cots = 1", "unknown field `most_cots`"),
        ("least_value = nan", "gates: least_value: must be a number, not nan"),
        ("confidence = 2", "confidence"),
        ("least_rounds = 0", "gates: least_rounds: must be at least 1, got 0"),
    ):
        file.write_text(text)
        with pytest.raises(InvalidConfig, match=rule):
            load_gates(file)
    with pytest.raises(InvalidConfig, match="cannot be read: No such file"):
        load_gates(tmp_path / "none.toml")
