"""The world "follow-up": its programme against the simulator, and what is learnt of sequences."""

from __future__ import annotations

import json

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from experiments.benchmarks.sequences import bank, known_answer
from experiments.longrun.commands import fit_q
from experiments.longrun.sequence import (
    CALL,
    MESSAGE,
    TEXT,
    Programme,
    Sequence,
    State,
    every_day,
    in_order,
)
from simulator.oracle import expected_values
from simulator.world import load_world

WORLD = load_world("follow-up")


def programme(discount: float = 0.995) -> Programme:
    return Programme.of(Sequence.of(WORLD.config, discount))


def test_the_best_sequence_by_hand() -> None:
    """Push; call on interest the next day; text the others on the third day; push again."""
    of = programme()
    best = of.greedy()
    assert of.worth(best) == pytest.approx(of.worth(of.by_rule(in_order(3))), rel=1e-9)
    one, d = of.problem, 0.995
    push, call, text = (one.gain(state, action) for state, action in (
        (State(0, False, 0, 0), MESSAGE), (State(1, True, 0, 0), CALL), (State(3, False, 0, 0), TEXT)
    ))  # fmt: skip
    round_, back = push + d * 0.15 * call + d**3 * 0.85 * text, 0.15 * d**2 + 0.85 * d**4
    assert of.worth(best) == pytest.approx(round_ / (1.0 - back), rel=1e-9)
    assert push < 0.0 < text < one.gain(State(1, True, 0, 0), CALL), "a push costs, what follows it pays"
    myopic = of.greedy(0.0)
    assert set(myopic[[0]]) == {TEXT} and of.worth(myopic) < 0.14 * of.worth(best)
    for rule in (in_order(1), in_order(2), in_order(4), in_order(3, calls=False), every_day(MESSAGE)):
        assert of.worth(of.by_rule(rule)) < 0.82 * of.worth(best)


def test_the_simulator_and_the_programme_are_one() -> None:
    """Every gain and every feature of 300 customers on 25 days of random contacts, exactly."""
    of, rows, rng = programme(), np.arange(300), np.random.default_rng(3)
    place = {state: number for number, state in enumerate(of.states)}
    features, before = of.features(WORLD.config.schema), [State(0, False, 0, 0)] * rows.size
    state = WORLD.reset(1, rows)
    for _ in range(25):
        numbers = [place[one] for one in before]
        np.testing.assert_allclose(expected_values(WORLD, state, rows), of.gains[numbers], atol=1e-9)
        np.testing.assert_array_equal(WORLD.observe(state, rows).features, features[numbers])
        actions = rng.choice(4, rows.size, p=[0.6, 0.2, 0.1, 0.1])
        seen = WORLD.respond(state, rows, actions)
        after = []
        for one, action, engaged in zip(before, actions.tolist(), seen.engaged.tolist(), strict=True):
            ways = [to for _, to in of.problem.after(one, action)]
            after.append(ways[0 if engaged or action != MESSAGE else 1])
        state, _ = WORLD.advance(state, rows, actions, seen)
        before = after
    assert len(set(before)) > 30


@pytest.mark.slow
def test_fit_q_sees_follow_ups_by_command() -> None:
    app = typer.Typer()
    app.command()(fit_q)
    words = ("--experiment", "follow-up", "--customers", "150", "--judged", "50", "--days", "15")
    ended = CliRunner().invoke(app, [*words, "--settle-days", "1", "--follow-ups", "--json"])
    assert ended.exit_code == 0, ended.output
    found = json.loads(ended.stdout.strip().splitlines()[-1])
    assert found["world"] == "follow-up" and found["decisions"] == 150 * 14
    assert np.isfinite(found["above_silence"]["mean"])


@pytest.mark.slow
def test_what_is_learnt_is_the_best_sequence_and_the_day_alone_is_not() -> None:
    found = known_answer(seeds=1, customers=2_000)
    assert found["fitted_q_min"] > 0.98
    assert found["short_sighted_max"] < 0.45 and found["rule_text_next_day"] < 0.3


@pytest.mark.slow
def test_the_bank_is_lived_with_and_without_eyes_for_follow_ups() -> None:
    found = bank(seeds=2, customers=200)
    assert all(np.isfinite(value) for value in found.values())
    lead = found["bank_seeing_above_silent"] - found["bank_blind_above_silent"]
    assert found["bank_seeing_above_blind"] == pytest.approx(lead)
