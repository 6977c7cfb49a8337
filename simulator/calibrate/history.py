"""A past campaign told again inside a world: its clients, its calendar, and whom the bank called again.

Clients are the rows of the table. A simulated customer stands in for each (same number, same draws for
every parameter vector: common random numbers), with the client's background, weekday, month and kind of
contact on top. How a contact is answered is the world's own `simulator.response.odds`, with fatigue
counters of the world's own kernel; nothing of the response is modelled here.

**Why the policy must select.** In UCI's calls the odds of a sale fall by 18 % with every further call, but
by 8 % only once month, economy, client and kind of contact are held fixed. A world whose bank calls again
blindly cannot have both: the best one has 16 % and 10 % (1.8 and -2.2 standard errors away, J = 230 where
10 are expected). The gap between the slopes is the bank's choice of whom it called again, so that choice is
part of the simulation. By period, client and call number it is estimated directly, and both slopes are
met. But then the first call sells too often and the second and third too rarely (4, -5 and -5 standard
errors, J = 108): the bank also knew what the table does not hold, who asked to be called back and who hung
up. So the log-odds of one more call move with the client's hidden promise, by one coefficient for the
calls after the first two and by another for later ones (J = 16).

**Expectations instead of coins.** Given the customers, the chance that a client is still called at call k
and buys then is a product of probabilities. The moments are computed from these expected calls and sales,
not from drawn ones: the same expectation with the noise of the coins integrated out (Rao-Blackwell), and
smooth in the parameters, so that derivatives exist.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from msgspec import structs
from scipy.special import expit

from nba.arrays import BoolArray, FloatArray, IntArray
from nba.errors import require
from nba.randomness import Purpose, keyed_uniforms
from simulator.calibrate.columns import ColumnMap
from simulator.calibrate.past import Calls, Past
from simulator.config import STAGES, WorldConfig
from simulator.config.names import Mechanism
from simulator.config.world import MechanismsConfig
from simulator.hazards import HazardLaw
from simulator.mechanisms import switched
from simulator.population import STEPS
from simulator.response import ContactLaw, Contacts, odds
from simulator.state import WorldState
from simulator.today import Today, today

if TYPE_CHECKING:
    from simulator.world import World

# The market of the table's years is in the clients' background; what else a world adds to a day is off.
_QUIET: tuple[Mechanism, ...] = (
    *("capacity", "competitors", "cross_sell", "drift", "events", "follow_up", "hand_off", "holidays"),
    *("payday", "platform_limits", "recency", "regime_breaks", "return_flow", "seasons"),
)
_FIRST_CALLS = 2  # calls after which `first_selection` says who is called again
_STEPS, _CLOSE = 30, 1e-9
_STEEPER = (16.0 * np.sqrt(3.0) / (15.0 * np.pi)) ** 2  # logistic against normal


class Cast(NamedTuple):
    """Customers of a world who stand in for the clients."""

    config: WorldConfig  # without what the background replaces
    state: WorldState
    luck: FloatArray  # (N,) standard normal behind responsiveness
    hazards: HazardLaw
    now: Today
    channel: int
    product: int
    answered: bool


def cast(world: World, columns: ColumnMap, n_clients: int, seed: int) -> Cast:
    """Draw one customer for each client; all of them are customers already and do not hold the product."""
    channel = world.config.catalogue.level("channel", columns.channel)
    rule = f"must be above 0 for {columns.channel}, the channel of the table"
    require(world.config.response.delivery[channel] > 0.0, world.config.name, "response.delivery", rule)
    off = (*world.config.mechanisms.off, *_QUIET)
    mechanisms = MechanismsConfig(off=tuple(dict.fromkeys(off)))
    config = switched(structs.replace(world.config, mechanisms=mechanisms))
    unit = structs.replace(config, population=structs.replace(config.population, responsiveness_sd=1.0))
    state = type(world)(unit).reset(seed, np.arange(n_clients))
    product = config.catalogue.level("product", columns.product)
    outside = np.isin(state.stage, [STAGES.index("acquisition"), STAGES.index("churned")])
    state = state._replace(
        stage=np.where(outside, STAGES.index("mature"), state.stage).astype(np.uint8),
        owned=state.owned & ~(np.uint32(1) << np.uint32(product)),
    )
    return Cast(
        config=config,
        state=state,
        luck=state.people.responsiveness.astype(np.float64) + 0.5,
        hazards=HazardLaw.of(config),
        now=today(config, seed, 0),
        channel=channel,
        product=product,
        answered=columns.answered,
    )


def chances(one: Cast, past: Past, config: WorldConfig, values: dict[str, float]) -> FloatArray:
    """(K, N) probability that call k sells, if it is made; `config` has the world's part of `values`."""
    answer = config.response
    noticed = np.array(answer.weekday)[past.weekday] + np.array(answer.month)[past.month]
    noticed += values["other_contact"] * past.other + values["background_engagement"] * past.background
    contacts = _contacts(one, config, past.reached.size, values["gap_days"])
    return _chances(one, config, contacts, noticed, values["background_lift"] * past.background)


def promise(one: Cast, config: WorldConfig) -> FloatArray:
    """(N,) hidden log chance that a first call sells in neutral conditions, mean 0, standard deviation 1."""
    nothing = np.zeros(one.luck.size)
    log_chance = np.log(_chances(one, config, _contacts(one, config, 1, 1.0), nothing, nothing)[0])
    # Without heterogeneity nobody is more promising than others.
    hidden: FloatArray = (log_chance - log_chance.mean()) / max(float(log_chance.std()), _CLOSE)
    return hidden


def _chances(
    one: Cast, config: WorldConfig, contacts: Contacts, noticed: FloatArray, lifted: FloatArray
) -> FloatArray:
    """Probabilities of a sale with (N,) further log-odds of engagement and log factors on the lift."""
    answer, people = config.response, one.state.people
    preference = people.preference.astype(np.float64)
    preference[:, one.channel] += STEPS * noticed
    sd = config.population.responsiveness_sd
    responsiveness = sd * (one.luck - 0.5 * sd) + lifted
    # Not rounded to the state's small numbers: the fit takes derivatives.
    exact: dict[str, Any] = {"preference": preference, "responsiveness": responsiveness}
    made = odds(
        ContactLaw.of(config),
        one.hazards,
        one.now,
        one.state._replace(people=people._replace(**exact)),
        contacts,
    )
    sells = made.converts(answer.halo)
    chance: FloatArray = sells / made.delivered if one.answered else sells
    return chance


def simulate(one: Cast, past: Past, config: WorldConfig, values: dict[str, float]) -> Calls:
    """The campaign told again: expected calls and sales of every client."""
    sells, again = told(one, past, config, values)
    trials = np.empty_like(sells)
    trials[0] = past.weight
    for call in range(1, len(sells)):
        trials[call] = trials[call - 1] * (1.0 - sells[call - 1]) * again[call - 1]
    return Calls(trials, trials * sells)


def drawn(
    one: Cast, past: Past, config: WorldConfig, values: dict[str, float], seed: int
) -> tuple[IntArray, BoolArray]:
    """The campaign told once with coins: (N,) calls of each client, the last included, and who bought."""
    sells, again = told(one, past, config, values)
    n_calls, sold = np.ones(one.luck.size, np.int64), np.zeros(one.luck.size, np.bool_)
    ids, open_ = one.state.people.ids, np.ones(one.luck.size, np.bool_)
    for call in range(len(sells)):
        sold |= open_ & (keyed_uniforms(seed, Purpose.CONVERSION, ids, call) < sells[call])
        if call < len(again):
            open_ &= ~sold & (keyed_uniforms(seed, Purpose.CONTACT, ids, call) < again[call])
            n_calls += open_
    return n_calls, sold


def told(
    one: Cast, past: Past, config: WorldConfig, values: dict[str, float]
) -> tuple[FloatArray, FloatArray]:
    """Probability that call k sells (K, N), and that another one follows if it does not (K - 1, N)."""
    sells, hidden = chances(one, past, config, values), promise(one, config)
    again, alive = np.empty((len(sells) - 1, one.luck.size)), past.weight
    for call in range(len(again)):
        left = alive * (1.0 - sells[call])
        again[call] = called_again(past, values, call, left, hidden)
        alive = left * again[call]
    return sells, again


def called_again(
    past: Past, values: dict[str, float], call: int, left: FloatArray, hidden: FloatArray
) -> FloatArray:
    """(N,) probability of one more call after the unsuccessful `call` (from 0) of `left` clients.

    The level is such that as many clients are reached as in the table: a direct moment, whatever the
    selection. What was estimated over clients of all hidden sorts is steeper within one sort: Zeger, Liang
    and Albert (1988), Biometrics 44.
    """
    selection = values["first_selection" if call < _FIRST_CALLS else "later_selection"]
    log_odds = past.again[call] * np.sqrt(1.0 + _STEEPER * selection**2) + selection * hidden
    wanted, level = past.reached[call + 1], 0.0
    for _ in range(_STEPS):
        chance = expit(log_odds + level)
        excess = left @ chance - wanted
        slope = left @ (chance * (1.0 - chance))
        if abs(excess) <= _CLOSE * wanted or slope <= 0.0:
            break
        # At most a unit at a time: far out the curve is flat and Newton's step too long.
        level -= float(np.clip(excess / slope, -1.0, 1.0))
    again: FloatArray = expit(log_odds + level)
    return again


def _contacts(one: Cast, config: WorldConfig, n_calls: int, gap_days: float) -> Contacts:
    """Call k of every client, shapes (K, 1) and (1, N), with the fatigue of the calls before it."""
    spill = config.fatigue.spill(config.catalogue)
    counters = np.zeros((n_calls, *spill.shape[:1], 2))
    for call in range(1, n_calls):
        ages = gap_days * np.arange(1.0, call + 1)
        counters[call] = config.fatigue.of_contacts(np.full(call, one.channel), ages, spill)
    own, everyone = counters[:, one.channel, :], counters[:, :, 1].sum(axis=1)
    nothing = np.zeros((1, 1), np.int64)
    return Contacts(
        rows=np.arange(one.luck.size)[None, :],
        channels=nothing + one.channel,
        timings=nothing,
        products=nothing + one.product,
        waits=nothing,
        short=own[:, [0]],
        long=own[:, [1]],
        other=(everyone - own[:, 1])[:, None],
    )
