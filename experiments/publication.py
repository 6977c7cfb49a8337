"""Between two stretches of a run: learn what was taught, and publish it where the policy says so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from experiments.aftermath import Observed
from experiments.bagging import fitted
from experiments.executor import Executor
from experiments.spec import DAY_BITS
from nba.apprentice import Comparison, Decider, Tutored
from nba.arrays import IntArray, join_rows, take_rows
from nba.errors import require
from nba.feedback import RoundBatch, watched
from nba.outcomes import Aftermath
from nba.posteriors import FittedQModel
from nba.snapshot import Snapshot


class Lesson(NamedTuple):
    """What a stretch of days has taught, in an order that does not depend on who simulated what."""

    days: int
    rounds: RoundBatch
    compared: Comparison | None = None  # what an apprentice would have done; `decisions` are numbers
    aftermath: Aftermath | None = None  # stages and amounts, if anybody learns from them
    customers: IntArray | None = None  # (n,) whose rounds these are

    @staticmethod
    def of(
        days: int,
        keys: IntArray,
        rounds: RoundBatch,
        parts: Sequence[Comparison | None],
        observed: Sequence[Observed] = (),
    ) -> Lesson:
        """Rounds in the order of their keys (n, 3) day, customer, product; comparisons by day, customer."""
        order = np.lexsort((keys[:, 2], keys[:, 1], keys[:, 0]))
        taught, customers = take_rows(rounds, order), keys[order, 1]
        aftermath = Observed.joined(observed).ordered() if observed else None
        made = [part for part in parts if part is not None]
        if not made:
            return Lesson(days, taught, None, aftermath, customers)
        compared = join_rows(made)
        whose, on_days = np.divmod(compared.decisions, 1 << DAY_BITS)
        in_order = take_rows(compared, np.lexsort((whose, on_days)))
        return Lesson(days, taught, in_order, aftermath, customers)


Teach: TypeAlias = Callable[[Decider, Lesson, int], Decider]  # with the position in the log that it leads to


def at_once(decider: Decider, lesson: Lesson, seq: int) -> Decider:
    """Learn all rounds of a lesson as one batch."""
    return decider.learn(lesson.rounds, seq, lesson.aftermath)


class Apprenticeship(NamedTuple):
    """How far an apprentice has come in a run."""

    tutored: Tutored
    switched_after: int | None  # days of the run after which it was put in charge


class Learning(NamedTuple):
    """A run in the middle of learning: who decides, and what is known beyond."""

    decides: Decider  # published
    knows: Decider  # with all that was taught so far
    rounds: float  # watched in all, forgotten ones too
    published_at: float  # rounds when `decides` was published
    days: int = 0  # that have passed
    switched_after: int | None = None

    @staticmethod
    def start(decider: Decider, run: Executor) -> Learning:
        """At the beginning of a run: what decides is all that is known."""
        ready = fitted_decider(decider, run)
        return Learning(ready, ready, decider.posterior.rounds, decider.posterior.rounds)

    def after(self, lesson: Lesson, run: Executor, teach: Teach = at_once) -> Learning:
        """Forget for the days that have passed, add what they taught, and publish if it is time.

        An apprentice that has shown its match is put in charge at once, with what it had published.
        """
        seq = self.knows.posterior_seq + lesson.rounds.n_rows
        knows = teach(self.knows.decayed(lesson.days), lesson, seq)
        days, switched = self.days + lesson.days, self.switched_after
        if isinstance(knows, Tutored) and lesson.compared is not None:
            was_in_charge, knows = knows.apprentice.in_charge, knows.observe(lesson.compared)
            switched = days if knows.apprentice.in_charge and not was_in_charge else switched
        rounds = self.rounds + float(watched(lesson.rounds)[0])
        if _learner(knows).strategy.policy.publishes(self.published_at, rounds):
            knows = fitted_decider(knows, run)
            return Learning(knows, knows, rounds, rounds, days, switched)
        return Learning(_held(self.decides, knows), knows, rounds, self.published_at, days, switched)

    @property
    def snapshot(self) -> Snapshot:
        """All that is known, as the snapshot that follows the run."""
        return _learner(self.knows)

    @property
    def apprenticeship(self) -> Apprenticeship | None:
        """How far the apprentice has come, if there is one."""
        return Apprenticeship(self.knows, self.switched_after) if isinstance(self.knows, Tutored) else None


def check_teachable(decider: Decider) -> None:
    """InvalidConfig unless rounds teach the model something."""
    strategy = _learner(decider).strategy
    rule = "fitted_q learns from whole journeys and not from rounds; `nba fit-q` fits it"
    require(not isinstance(strategy.model, FittedQModel), f"strategy {strategy.name}", "model", rule)


def _learner(decider: Decider) -> Snapshot:
    return decider.learner if isinstance(decider, Tutored) else decider


def fitted_decider(decider: Decider, run: Executor) -> Decider:
    """The same with everything fitted that workers would otherwise fit each for themselves."""
    posterior = fitted(decider.posterior, run)
    return decider if posterior is decider.posterior else decider.at(posterior, decider.posterior_seq)


def _held(decides: Decider, knows: Decider) -> Decider:
    """What was published before; whether an apprentice is in charge is not a matter of publication."""
    if isinstance(decides, Tutored) and isinstance(knows, Tutored):
        return decides.being(knows.apprentice)
    return decides
