"""Conversions: what contacts have caused, what customers do on their own, and what follows from both."""

from __future__ import annotations

import numpy as np

from nba.arrays import FloatArray, IntArray, join_rows, take_rows
from nba.randomness import Purpose, words_to_uniforms
from simulator.behaviour import ACCOUNT_OPENED, INVITED, Happening
from simulator.hazards import ACQUISITION, HazardLaw, available, organic_hazards
from simulator.laws import Laws
from simulator.life_cycle import CHURNED, after_purchase
from simulator.state import Conversions, Pending, WorldState
from simulator.today import Today


def conversions(
    laws: Laws, now: Today, state: WorldState, rows: IntArray, uniforms: FloatArray
) -> Conversions:
    """At most one conversion per customer and day: what contacts caused first, else an organic one.

    `rows` (n,) are the customers whose organic clock may ring today, by their uniform.
    """
    due = take_rows(state.pending, np.flatnonzero(state.pending.due == state.day))
    possible = available(laws.hazards, state, due.customers, due.products)
    caused = take_rows(due, possible & (state.stage[due.customers] != CHURNED))
    _, first = np.unique(caused.customers, return_index=True)
    caused_rows, caused_products = caused.customers[first], caused.products[first]
    organic_rows, organic_products = _organic(laws, now, state, rows, uniforms)
    taken = np.zeros(state.people.n_customers, dtype=np.bool_)
    taken[caused_rows] = True
    free = np.flatnonzero(~taken.take(organic_rows))
    buyers = np.concatenate([caused_rows, organic_rows[free]])
    products = np.concatenate([caused_products, organic_products[free]])
    return Conversions(
        buyers,
        products,
        caused=np.arange(buyers.size) < first.size,
        amounts=laws.amounts.drawn(state.seed, state.day, state.people, buyers, products),
    )


def _organic(
    laws: Laws, now: Today, state: WorldState, rows: IntArray, uniforms: FloatArray
) -> tuple[IntArray, IntArray]:
    """Competing organic hazards: one clock per customer, the product drawn by its share."""
    hazards = organic_hazards(laws.hazards, now, state, rows, laws.engine.organic_logs)
    # Given that a clock rings, its position below the total is uniform: it names the product.
    products = laws.engine.picked(hazards, -np.log1p(-uniforms))
    rings = np.flatnonzero(products < hazards.shape[1])
    return rows[rings], products[rings]


def bought(laws: Laws, state: WorldState, sold: Conversions) -> tuple[WorldState, Happening]:
    """What follows from a day's conversions: ownership, stage, cancelled clocks, and events for tomorrow."""
    rows, products = sold.customers, sold.products
    owned, stage, joined = state.owned.copy(), state.stage.copy(), state.joined.copy()
    lasting = ~laws.hazards.repeatable[products]
    owned[rows[lasting]] |= np.uint32(1) << products[lasting].astype(np.uint32)
    stage[rows] = after_purchase(laws.life, state, rows)
    new = state.stage[rows] == ACQUISITION
    joined[rows[new]] = state.day
    last, last_day = state.bought.copy(), state.bought_day.copy()
    last[rows], last_day[rows] = laws.hazards.family[products] + 1, state.day
    after = state._replace(owned=owned, stage=stage, joined=joined, bought=last, bought_day=last_day)
    after = after._replace(pending=_still_pending(laws.hazards, after))
    opened = Happening(
        rows[new], np.full(int(new.sum()), ACCOUNT_OPENED, dtype=np.uint8), products[new].astype(np.uint8)
    )
    invited = _invited(laws, state, rows, products)
    return after, join_rows([opened, invited])


def _still_pending(hazards: HazardLaw, after: WorldState) -> Pending:
    """Later clocks, without those of a family in which the customer has just converted (substitutes)."""
    rows, products, due = after.pending
    just = after.bought_day.take(rows) == after.day
    served = just & (after.bought.take(rows) == hazards.family.take(products) + 1)
    return take_rows(after.pending, np.flatnonzero((due > after.day) & ~served))


def _invited(laws: Laws, state: WorldState, rows: IntArray, products: IntArray) -> Happening:
    """Buyers invite somebody of their branch to what they have bought."""
    share, ids = laws.config.referral.per_conversion, state.people.ids
    if share == 0.0:
        none = np.zeros(0, dtype=np.uint8)
        return Happening(np.zeros(0, dtype=np.int64), none, none)
    size = laws.config.population.branch_customers
    words = laws.engine.words(state.seed, Purpose.REFERRAL, ids[rows], state.day)
    refers = words_to_uniforms(words[:, :2]) < share
    rows, products, place = rows[refers], products[refers], words_to_uniforms(words[refers, 2:])
    friends = ids[rows] // size * size + np.floor(size * place).astype(np.int64)
    # Two may invite the same friend: the one with the higher number is heard, whatever the order of rows.
    order = np.lexsort((-ids[rows], friends))
    friends, first = np.unique(friends[order], return_index=True)
    found = np.minimum(np.searchsorted(ids, friends), ids.size - 1)
    there = (ids[found] == friends) & (ids[rows][order][first] != friends)  # nobody invites themselves
    about = products[order][first][there].astype(np.uint8)
    return Happening(found[there], np.full(about.size, INVITED, dtype=np.uint8), about)
