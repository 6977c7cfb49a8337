"""A bank and its customers: configuration here, all dynamics in the state that goes in and comes out."""

from __future__ import annotations

from functools import cached_property
from typing import get_args

import numpy as np
from msgspec import Struct

from nba.arrays import IntArray
from nba.context import ContextBatch
from nba.errors import require
from nba.fatigue import FatigueKernel
from simulator import observation
from simulator.behaviour import timing_types
from simulator.capacity import HORIZON
from simulator.config import LAST_DAY, WorldConfig
from simulator.contacts import contacted, respond
from simulator.day import passed, with_ceilings
from simulator.engine import EngineName, engine_of
from simulator.files import load_toml
from simulator.follow_up import taken_up
from simulator.laws import Laws
from simulator.memory import across, remembered
from simulator.population import draw_population
from simulator.response import Contacts, Odds, odds
from simulator.screen import Bounds
from simulator.state import Conversions, Responses, WorldState, first_state
from simulator.today import Today, today

ENGINES: tuple[str, ...] = get_args(EngineName)
_DAYS_KEPT = 256  # days whose calendar a world remembers


class World(Struct, frozen=True, dict=True):
    """A world that customers can be drawn from.

    `engine` says who runs the inner loops of a day: numpy, numba, or auto for numba where it is installed.
    The answers are the same, bit for bit.
    """

    config: WorldConfig
    engine: EngineName = "auto"

    def __post_init__(self) -> None:
        """Check the engine."""
        rule = f"must be one of {', '.join(ENGINES)}, got {self.engine!r}"
        require(self.engine in ENGINES, self.config.name, "engine", rule)

    @property
    def kernel(self) -> FatigueKernel:
        """How contact fatigue really works."""
        return self.config.fatigue

    @cached_property
    def laws(self) -> Laws:
        """The configuration as arrays, without what is switched off."""
        return Laws.of(self.config, engine_of(self.engine, self.config.name))

    def reset(self, seed: int, ids: IntArray) -> WorldState:
        """Customers with the given numbers, rising, on day 0.

        What customers of a branch share (people's time, invitations) they share with those who are here:
        results do not depend on the sharding as long as a shard holds whole branches.
        """
        rises = ids.size > 0 and bool((np.diff(ids) > 0).all()) and ids[0] >= 0
        require(rises, self.config.name, "ids", "customer numbers must be present, >= 0 and rise")
        people, first = draw_population(self.laws.config, seed, ids)
        size = self.config.population.branch_customers
        branches = int(ids[-1] // size - ids[0] // size) + 1
        state = first_state(seed, people, first, (branches, len(self.laws.capacity.pools), HORIZON))
        return with_ceilings(self.laws, state, np.arange(ids.size))

    def due(self, state: WorldState) -> IntArray:
        """(B,) rows of the customers that come up for a decision today."""
        up = state.people.phase == -state.day % self.config.decide_every_days
        if self.config.decide_on_events:
            up |= (state.event_day == state.day) & self.laws.behaviour.decides[state.event]
        return np.flatnonzero(up)

    def today(self, state: WorldState) -> Today:
        """The calendar and the market of the state's day."""
        key = (state.seed, state.day)
        if key not in self._days:
            if len(self._days) >= _DAYS_KEPT:
                self._days.pop(next(iter(self._days)))
            self._days[key] = today(self.laws.config, *key)
        return self._days[key]

    @cached_property
    def _days(self) -> dict[tuple[int, int], Today]:
        return {}

    def observe(self, state: WorldState, rows: IntArray) -> ContextBatch:
        """What the bank knows of customers `rows` today."""
        return observation.observe(self.laws, self.today(state), state, rows)

    def date(self, day: int) -> np.datetime64:
        """Calendar date of a day."""
        return np.datetime64(self.config.start, "D") + np.timedelta64(day, "D")

    def waits(self, state: WorldState, rows: IntArray) -> IntArray:
        """(B, T) days until a contact of each timing would be made, if somebody has time."""
        return observation.waits(self.laws, self.today(state), state, rows)

    def timing_types(self, state: WorldState, rows: IntArray) -> IntArray:
        """(B,) what brings customers `rows` up today, index in TIMING_TYPES."""
        return timing_types(self.laws.behaviour, self.today(state), state, rows)

    def odds(
        self, state: WorldState, rows: IntArray, channels: IntArray, timings: IntArray, products: IntArray
    ) -> Odds:
        """What may come of contacts with customers `rows`; the four index arrays broadcast.

        With rows (B,) and factors (B,) one contact each; with rows[:, None, None, None], arange(C)[:, None,
        None], arange(T)[:, None] and arange(P) the tables of every contact.
        """
        flat, index = rows.ravel(), np.arange(rows.size).reshape(rows.shape)
        memory = remembered(state, flat, state.day, self.laws.kernel, self.laws.spill)
        long = memory.fatigue[index, channels, 1]
        law, waits = self.laws.contact, self.waits(state, flat)[index, timings]
        possible = Contacts(
            rows=rows,
            channels=channels,
            timings=timings,
            products=products,
            waits=waits,
            short=memory.fatigue[index, channels, 0],
            long=long,
            other=across(memory.fatigue)[index] - long,
        )
        if law.follow_up[0]:
            takes_up = taken_up(law, state, flat, memory.contacts, index, channels, waits)
            possible = possible._replace(takes_up=takes_up)
        return odds(law, self.laws.hazards, self.today(state), state, possible)

    def respond(self, state: WorldState, rows: IntArray, actions: IntArray) -> Responses:
        """How customers `rows` (B,) answer `actions` (B,): noise keyed by (customer, day, purpose)."""
        return respond(self.laws, self.today(state), state, rows, actions)

    def advance(
        self, state: WorldState, rows: IntArray, actions: IntArray, responses: Responses
    ) -> tuple[WorldState, Conversions]:
        """The state at the start of the next day, and the conversions of this one."""
        rule = f"a world ends after {LAST_DAY} days"
        require(state.day < LAST_DAY, self.config.name, "day", rule)
        laws, now = self.laws, self.today(state)
        state = contacted(laws, state, rows, actions, responses)
        screened = laws.engine.screened(state, Bounds.of(now, laws.life, laws.behaviour))
        # A complaint about a contact that is still to come is no event of today.
        loud = rows[responses.complained & (responses.waits == 0)]
        return passed(laws, now, state, screened, loud)


def load_world(name: str) -> World:
    """A shipped world by name, or a TOML file by path."""
    return World(load_toml(name, "simulator", "worlds", WorldConfig))
