"""Follow-ups as decisions, solved exactly: the world "follow-up" as a dynamic programme over its few states.

A customer's state is what the bank may know of the sequence so far: days since the last message (the digital
channel), whether it brought interest online, and the days since each of the other two channels was used after
it. Written down from the TOML fields, without the simulator's code. Shape letters: n states, A = 4 actions.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import exp
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix, eye_array
from scipy.sparse.linalg import spsolve

from nba.arrays import FloatArray, IntArray
from nba.features import FeatureSchema
from simulator.config import WorldConfig

SILENCE, MESSAGE, TEXT, CALL = range(4)
_LONGEST = 6  # days after which nothing of the sequence is left, and the schema's bands end


class State(NamedTuple):
    """A customer in the morning; days are 0 where it was never, or longer ago than matters."""

    message: int  # days since the last one
    interested: bool  # it brought interest
    text: int  # days since the last text after it
    call: int  # days since the last call after it


class Sequence(NamedTuple):
    """What a contact brings and costs, by action, and how long a message echoes."""

    brings: tuple[float, float, float, float]  # log of expected conversions, nothing else being the case
    costs: tuple[float, float, float, float]
    value: float  # account currency of a conversion
    interests: float  # chance of a message to bring interest
    hand_off: float  # log factor on a call about interest
    hand_off_days: int
    follow_up: float  # log factor on the first text, or call, that takes up a message without interest
    follow_up_days: tuple[int, int]
    discount: float  # per day

    @staticmethod
    def of(config: WorldConfig, discount: float = 0.995) -> Sequence:
        """The problem behind a world of three channels, a message first, and one product."""
        answer, catalogue = config.response, config.catalogue
        (fit,) = answer.channel_fit.values()
        lift = float(np.log(answer.lift[0]))
        return Sequence(
            (-np.inf, *(lift + one for one in fit)),  # type: ignore[arg-type]
            (0.0, *(one.cost for one in catalogue.channels)),  # type: ignore[arg-type]
            catalogue.products[0].value,
            1.0 / (1.0 + exp(-answer.openness[0])),
            answer.hand_off,
            answer.hand_off_days,
            answer.follow_up,
            answer.follow_up_days,
            discount,
        )

    def gain(self, state: State, action: int) -> float:
        """Expected margin of an action today less its cost."""
        first, until = self.follow_up_days
        unanswered = not state.interested and first <= state.message <= until
        fresh = {TEXT: state.text == 0, CALL: state.call == 0}.get(action, False)
        wanted = action == CALL and state.interested and 0 < state.message < self.hand_off_days
        log = self.brings[action] + self.follow_up * (unanswered and fresh) + self.hand_off * wanted
        reached = self.interests if action == MESSAGE else 1.0
        return self.value * reached * -float(np.expm1(-exp(log))) - self.costs[action]

    def after(self, state: State, action: int) -> list[tuple[float, State]]:
        """Tomorrow's states with their chances."""
        if action == MESSAGE:
            return [
                (self.interests, State(1, True, 0, 0)),
                (1.0 - self.interests, State(1, False, 0, 0)),
            ]
        message = _older(state.message)
        text = 1 if action == TEXT else _older(state.text)
        call = 1 if action == CALL else _older(state.call)
        return [(1.0, State(message, state.interested and message > 0, text, call))]


class Programme(NamedTuple):
    """All states with what each action gains there and where it leads."""

    problem: Sequence
    states: tuple[State, ...]  # the first is that of a customer whom nobody has ever contacted
    gains: FloatArray  # (n, A)
    moves: tuple[csr_matrix, ...]  # by action, (n, n) chances of tomorrow's states

    @staticmethod
    def of(problem: Sequence) -> Programme:
        """Write a problem out."""
        days = range(_LONGEST + 1)
        states = tuple(
            State(*one) for one in product(days, (False, True), days, days) if one[0] or not one[1]
        )
        place = {state: number for number, state in enumerate(states)}
        gains = np.array([[problem.gain(state, action) for action in range(4)] for state in states])
        moves = []
        for action in range(4):
            cells = [
                (row, place[to], share)
                for row, state in enumerate(states)
                for share, to in problem.after(state, action)
            ]
            rows, columns, shares = zip(*cells, strict=True)
            moves.append(csr_matrix((shares, (rows, columns)), shape=(len(states), len(states))))
        return Programme(problem, states, gains, tuple(moves))

    def values(self, policy: IntArray) -> FloatArray:
        """(n,) discounted gain over never contacting, for ever, of one action (n,) per state."""
        rows = np.arange(policy.size)
        move = sum(
            csr_matrix((policy == action).astype(float)[:, None]).multiply(one)
            for action, one in enumerate(self.moves)
        )
        values: FloatArray = spsolve(
            (eye_array(policy.size) - self.problem.discount * move).tocsc(), self.gains[rows, policy]
        )
        return values

    def worth(self, policy: IntArray) -> float:
        """That of a customer whom nobody has ever contacted."""
        return float(self.values(policy)[0])

    def by_rule(self, rule: Callable[[State], int]) -> IntArray:
        """(n,) actions of a rule."""
        return np.array([rule(state) for state in self.states])

    def greedy(self, discount: float | None = None) -> IntArray:
        """(n,) the best actions for ever, by policy iteration; with a discount of 0 the best of the day."""
        ahead = self.problem.discount if discount is None else discount
        policy: IntArray = self.gains.argmax(axis=1)
        while True:
            values = self.values(policy) if ahead else np.zeros(policy.size)
            worth = self.gains + ahead * np.stack([one @ values for one in self.moves], axis=1)
            better = worth.argmax(axis=1)
            rows = np.arange(policy.size)
            better = np.where(worth[rows, better] > worth[rows, policy] + 1e-9, better, policy)
            if np.array_equal(better, policy):
                return policy
            policy = better

    def features(self, schema: FeatureSchema) -> FloatArray:
        """(n, K) what models see of each state under the schema of the world "follow-up"."""
        message, interested, text, call = (
            np.array(part, dtype=np.float64) for part in zip(*self.states, strict=True)
        )
        days = {
            "push_unanswered": np.where((interested == 0) & (text == 0) & (call == 0), message, 0.0),
            "interest": np.where((interested == 1) & (call == 0), message, 0.0),
        }
        raw = {name: np.where(of > 0, of, np.nan) for name, of in days.items()}
        raw["segment"] = np.zeros(message.size)
        n = message.size
        return schema.matrix(raw, np.zeros((n, 3, 2)), np.full(n, np.datetime64("2026-03-02", "s")))


def in_order(wait_days: int, calls: bool = True) -> Callable[[State], int]:
    """A fixed rule: message, call on interest, text whoever showed none after a wait, and again."""

    def rule(state: State) -> int:
        if state.message == 0 or state.text or (state.interested and state.message > 1):
            return MESSAGE
        if state.interested:
            return CALL if calls else MESSAGE
        return TEXT if state.message >= wait_days else SILENCE

    return rule


def every_day(action: int) -> Callable[[State], int]:
    """A fixed rule: always the same, but that interest is called."""
    return lambda state: CALL if state.interested and state.message == 1 else action


def _older(days: int) -> int:
    return days + 1 if 0 < days < _LONGEST else 0
