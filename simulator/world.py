"""A bank and its customers: configuration here, all dynamics in the state that goes in and comes out."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from msgspec import Struct
from scipy.special import gammaincinv

from nba.arrays import BoolArray, FloatArray, IntArray, TimeArray, join_rows, take_rows
from nba.context import ContextBatch
from nba.fatigue import FatigueKernel
from nba.randomness import Purpose, keyed_uniforms
from nba.timing import waits_days
from simulator.calibrate import Calibration, calibrate
from simulator.config import HISTORY_DAYS, LONGEST_WAIT_DAYS, WorldConfig
from simulator.files import load_toml
from simulator.life_cycle import next_stage
from simulator.observation import columns, observe
from simulator.population import draw_population
from simulator.response import Coefficients, ResponseTables, Situation, response_tables
from simulator.state import Conversions, Pending, Responses, SmallArray, WorldState, first_state

_ENGAGEMENT_HALF_LIFE_DAYS = 15.0


class World(Struct, frozen=True, dict=True):
    """A world that customers can be drawn from; `kernel` is how contact fatigue really works."""

    config: WorldConfig
    calibration: Calibration
    kernel: FatigueKernel = FatigueKernel()

    @cached_property
    def coefficients(self) -> Coefficients:
        """The response coefficients as arrays."""
        return Coefficients.of(self.config, self.calibration)

    @cached_property
    def _spill(self) -> FloatArray:
        return self.kernel.spill(self.config.catalogue)

    @cached_property
    def _families(self) -> IntArray:
        names = [product.family for product in self.config.catalogue.products]
        return np.unique(names, return_inverse=True)[1].astype(np.int64)

    def reset(self, seed: int, ids: IntArray) -> WorldState:
        """Customers with the given numbers on day 0."""
        return first_state(seed, draw_population(self.config, seed, ids), self.config.catalogue)

    def due(self, state: WorldState) -> IntArray:
        """(B,) rows of the customers that come up for a decision today."""
        return np.flatnonzero((state.day + state.people.phase) % self.config.decide_every_days == 0)

    def observe(self, state: WorldState, rows: IntArray) -> ContextBatch:
        """What the bank knows of customers `rows` today."""
        return observe(self.config, state, rows, self.date(state.day))

    def date(self, day: int) -> np.datetime64:
        """Calendar date of a day."""
        return np.datetime64(self.config.start, "D") + np.timedelta64(day, "D")

    def waits(self, state: WorldState, rows: IntArray) -> IntArray:
        """(B, T) days until a contact of each timing would be made."""
        date = self.date(state.day)
        at = np.full(rows.size, date.astype("datetime64[s]"))
        return waits_days(self.config.catalogue, at, columns(self.config, state, rows, date))

    def tables(self, state: WorldState, rows: IntArray) -> ResponseTables:
        """Response probabilities of every possible contact of customers `rows` today."""
        at: TimeArray = self.date(state.day) + self.waits(state, rows).astype("timedelta64[D]")
        now = Situation(state.stage[rows], state.fatigue[rows])
        return response_tables(self.config, self.coefficients, state.people, rows, now, at)

    def respond(self, state: WorldState, rows: IntArray, actions: IntArray) -> Responses:
        """How customers `rows` (B,) answer `actions` (B,): noise keyed by (customer, day, purpose)."""
        catalogue, answer = self.config.catalogue, self.config.response
        tables, index = self.tables(state, rows), np.arange(rows.size)
        contacted = actions > 0
        c, t, p = (
            np.where(contacted, f[actions], 0)
            for f in (catalogue.channel_of, catalogue.timing_of, catalogue.product_of)
        )
        ids, day = state.people.ids[rows], state.day

        def happens(purpose: Purpose, probability: FloatArray) -> BoolArray:
            return keyed_uniforms(state.seed, purpose, ids, day) < probability

        delivered = contacted & happens(Purpose.DELIVERY, tables.delivered[c])
        engaged = delivered & happens(Purpose.ENGAGEMENT, tables.engaged[index, c, t])
        opted_out = delivered & happens(Purpose.OPT_OUT, tables.opt_out[index, c, p])
        complained = delivered & happens(Purpose.COMPLAINT, tables.complaint[index, c])
        mass = tables.mass[index, c, p] * delivered * np.where(engaged, 1.0, answer.halo)
        waits = np.where(contacted, self.waits(state, rows)[index, t], 0)
        due = self._due_days(state, rows, p, mass, waits)
        lost = np.array(answer.opt_out.cost)[c] * opted_out + answer.complaint.cost * complained
        costs = catalogue.costs[actions]
        return Responses(contacted, delivered, engaged, opted_out, complained, waits, due, costs, lost)

    def _due_days(
        self, state: WorldState, rows: IntArray, products: IntArray, mass: FloatArray, waits: IntArray
    ) -> IntArray:
        """(B,) day on which a contact's own hazard clock rings, -1 if never.

        The cumulative hazard of a contact rises to `mass` along the completion curve of its product,
        so it rings at the curve's quantile E / mass for an exponential E (competing hazards have
        independent clocks; the first one counts).
        """
        delays = np.array([product.decision_delay_days for product in self.config.catalogue.products])
        uniforms = keyed_uniforms(state.seed, Purpose.CONVERSION, state.people.ids[rows], state.day)
        clock = -np.log1p(-uniforms)
        rings = clock < mass
        share = np.where(rings, clock / np.maximum(mass, 1e-300), 0.0)
        delay = gammaincinv(2.0, np.minimum(share, 1 - 1e-12)) * delays[products] / 2.0
        return np.where(rings, state.day + waits + np.floor(delay).astype(np.int64), -1)

    def advance(
        self, state: WorldState, rows: IntArray, actions: IntArray, responses: Responses
    ) -> tuple[WorldState, Conversions]:
        """The state at the start of the next day, and the conversions of this one."""
        state = self._contacted(state, rows, actions, responses)
        conversions = self._conversions(state)
        owned = state.owned.copy()
        owned[conversions.customers, conversions.products] |= ~self.config.catalogue.repeatable[
            conversions.products
        ]
        stage = next_stage(self.config.life_cycle, state)
        after = state._replace(
            day=state.day + 1,
            stage=stage,
            owned=owned,
            fatigue=state.fatigue * self.kernel.recovery(1.0),
            engagement=state.engagement * 0.5 ** (1.0 / _ENGAGEMENT_HALF_LIFE_DAYS),
            pending=self._still_pending(state, conversions),
        )
        return after, conversions

    def _contacted(self, state: WorldState, rows: IntArray, actions: IntArray, seen: Responses) -> WorldState:
        """Book the day's contacts: history, fatigue, offers, consents, engagement, pending conversions."""
        catalogue = self.config.catalogue
        hit, acts = rows[seen.contacted], actions[seen.contacted]
        channels, products = catalogue.channel_of[acts], catalogue.product_of[acts]
        history, planned, offered = state.history.copy(), state.planned.copy(), state.offered.copy()
        today, wait = state.day % HISTORY_DAYS, seen.waits[seen.contacted]
        history[:, today] = 0
        history[hit, today] = channels + 1
        planned[hit, today] = wait
        offered[hit, products] = state.day + wait
        fatigue, consents, engagement = state.fatigue.copy(), state.consents.copy(), state.engagement.copy()
        rows_made, made = _made_today(history, planned, state.day)
        np.add.at(fatigue, rows_made, self._spill[made][:, :, None])
        gone = seen.opted_out[seen.contacted]
        consents[hit[gone], channels[gone]] = False
        engagement[rows] += seen.engaged
        coming = seen.due[seen.contacted] >= 0
        new = Pending(hit[coming], products[coming], seen.due[seen.contacted][coming])
        return state._replace(
            history=history,
            planned=planned,
            offered=offered,
            fatigue=fatigue,
            consents=consents,
            engagement=engagement,
            pending=join_rows([state.pending, new]),
        )

    def _conversions(self, state: WorldState) -> Conversions:
        """At most one conversion per customer and day: what contacts caused first, else an organic one."""
        due = take_rows(state.pending, state.pending.due == state.day)
        possible = ~state.owned[due.customers, due.products] | self.config.catalogue.repeatable[due.products]
        caused = take_rows(due, possible)
        _, first = np.unique(caused.customers, return_index=True)
        caused_rows, caused_products = caused.customers[first], caused.products[first]
        organic = self._organic(state)
        free = ~np.isin(organic.customers, caused_rows)
        return Conversions(
            np.concatenate([caused_rows, organic.customers[free]]),
            np.concatenate([caused_products, organic.products[free]]),
            np.concatenate([np.ones(first.size, dtype=np.bool_), np.zeros(int(free.sum()), dtype=np.bool_)]),
        )

    def _organic(self, state: WorldState) -> Conversions:
        """Competing organic hazards: one clock per customer, the product drawn by its share."""
        stage = np.array(self.config.life_cycle.organic)[state.stage]
        hazard = np.array(self.config.response.organic) * np.exp(state.people.affinity) * stage[:, None]
        hazard *= ~state.owned | self.config.catalogue.repeatable
        cumulative = np.cumsum(hazard, axis=1)
        uniforms = keyed_uniforms(state.seed, Purpose.ORGANIC, state.people.ids, state.day)
        clock = -np.log1p(-uniforms)
        rows = np.flatnonzero(clock < cumulative[:, -1])
        # Given that it rang, the position of the clock below the total is uniform: it names the product.
        products = (cumulative[rows] <= clock[rows, None]).sum(axis=1)
        return Conversions(rows, products, np.zeros(rows.size, dtype=np.bool_))

    def _still_pending(self, state: WorldState, done: Conversions) -> Pending:
        """Later clocks, without those of a family in which the customer has just converted (substitutes)."""
        later = take_rows(state.pending, state.pending.due > state.day)
        family = self._families
        n_families = int(family.max()) + 1
        served = np.isin(
            later.customers * n_families + family[later.products],
            done.customers * n_families + family[done.products],
        )
        return take_rows(later, ~served)


def _made_today(history: SmallArray, planned: SmallArray, day: int) -> tuple[IntArray, IntArray]:
    """(n,) customers and (n,) channels of the contacts that are made today, decided today or before."""
    waits = np.arange(LONGEST_WAIT_DAYS + 1)
    decided = (day - waits) % HISTORY_DAYS
    rows, columns = np.nonzero((history[:, decided] > 0) & (planned[:, decided] == waits))
    return rows, history[rows, decided[columns]].astype(np.int64) - 1


def load_world(name: str) -> World:
    """A shipped world by name, or a TOML file by path, with its constants fitted from the UCI calls."""
    return World(load_toml(name, "simulator", "worlds", WorldConfig), calibrate())
