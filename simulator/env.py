"""Gymnasium environments: the customers of a world, asked decision after decision by anybody's algorithm.

    import gymnasium, simulator.env
    envs = gymnasium.make_vec("nba/Customer-v0", num_envs=256, world="retail-bank")

Sub-environment: the life of one customer. Step: one decision, on the customer's own day; the days until
the next one pass underneath. Reward: net value in account currency since the last decision, that is
amounts of all conversions, organic ones included, minus contact costs and the losses of opt-outs and
complaints. Observation: `features`, the schema's columns as policies see them, and `action_mask`, what
the bank allows today; no-contact, action 0, always is. Episodes are truncated after `days` days; the
last reward also holds `settle_days` days without decisions, in which late conversions come in, so that a
return is what `nba simulate` books for this customer in a world where customers share nothing. With
`ends_early` an episode is terminated, and the rest of its days paid at once, when no decision can reach
the customer any more. Simulation takes longer so: new lives begin while others are half over.
What the bank cannot see is simulator.oracle's alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, SupportsInt, TypeAlias, get_args

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from nba.arrays import AnyArray, BoolArray, FloatArray, IntArray, check_shape
from nba.catalogue import NO_ACTION
from nba.errors import NBAError, UnknownAction, require
from simulator.lives import MOST_CUSTOMERS, Cohort, Ledger, Lives
from simulator.world import World, load_world

Observation: TypeAlias = dict[str, AnyArray]
Infos: TypeAlias = dict[str, Any]
OnIneligible = Literal["no-contact", "raise"]

_FEATURE_BOUND = 16.0  # encoded columns end at 4, and nobody has the fatigue of e^16 contacts
_SOURCE = "simulator.env"


class IneligibleAction(NBAError, ValueError):
    """An action that the bank does not allow for this customer today."""


class CustomersEnv(VectorEnv[Observation, IntArray, AnyArray]):
    """Many customers at once; the same trajectories, to the bit, as a SyncVectorEnv of `CustomerEnv`.

    `world_seed` fixes who the customers are and all noise, so that a customer met again under another
    policy meets the same noise. A reset draws each sub-environment's customer from the `n_customers`
    numbers from `first_customer` on (learn on some, judge on others), or takes those that
    `options={"customers": ids}` names. An action outside the mask counts as no-contact, with
    infos["ineligible"] set, or is an IneligibleAction if `on_ineligible` is "raise".
    """

    metadata: dict[str, Any] = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(
        self,
        num_envs: int = 1,
        world: str | World = "retail-bank",
        *,
        days: int = 84,
        settle_days: int = 28,
        ends_early: bool = False,
        world_seed: int = 0,
        first_customer: int = 0,
        n_customers: int = 1_000_000,
        on_ineligible: OnIneligible = "no-contact",
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
    ) -> None:
        rule = f"must be one of {', '.join(get_args(OnIneligible))}, got {on_ineligible!r}"
        require(on_ineligible in get_args(OnIneligible), _SOURCE, "on_ineligible", rule)
        world = load_world(world) if isinstance(world, str) else world
        self.lives = Lives(
            world=world, seed=world_seed, days=days, settle_days=settle_days, ends_early=ends_early
        )
        self.num_envs, self.on_ineligible = num_envs, on_ineligible
        self.customers = range(first_customer, first_customer + n_customers)
        for name, value in (("num_envs", num_envs), ("n_customers", n_customers)):
            require(value >= 1, _SOURCE, name, f"must be at least 1, got {value}")
        rule = f"numbers must lie in 0..{MOST_CUSTOMERS - 1}, got {self.customers}"
        fits = 0 <= self.customers.start and self.customers.stop <= MOST_CUSTOMERS
        require(fits, _SOURCE, "first_customer", rule)
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {**self.metadata, "autoreset_mode": self.autoreset_mode}
        n_actions, n_columns = world.config.catalogue.n_actions, world.config.schema.n_columns
        features = spaces.Box(-_FEATURE_BOUND, _FEATURE_BOUND, (n_columns,), np.float32)
        mask = spaces.MultiBinary(n_actions)
        self.single_observation_space = spaces.Dict({"features": features, "action_mask": mask})
        self.single_action_space = spaces.Discrete(n_actions)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._features = np.zeros((num_envs, n_columns), dtype=np.float32)
        self._mask = np.zeros((num_envs, n_actions), dtype=np.int8)
        self._ids = np.full(num_envs, -1)  # nobody yet
        self._day = np.zeros(num_envs, dtype=np.int64)
        self._is_over = np.zeros(num_envs, dtype=np.bool_)
        self._generators: list[np.random.Generator | None] = [None] * num_envs
        self._ledger = Ledger.empty(num_envs, len(world.config.catalogue.products))
        self._cohorts: list[Cohort] = []

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, Infos]:
        """Begin new lives; sub-environment i draws its customers with seed + i, or the i-th of a list.

        options: "customers", (S,) numbers of the customers; "reset_mask", (S,) which lives to begin.
        """
        options = options or {}
        chosen = np.asarray(options.get("reset_mask", np.ones(self.num_envs, dtype=np.bool_)))
        rule = f"must be boolean, of shape ({self.num_envs},), with at least one true"
        fits = chosen.dtype == np.bool_ and chosen.shape == (self.num_envs,) and bool(chosen.any())
        require(fits, _SOURCE, 'options["reset_mask"]', rule)
        if isinstance(seed, SupportsInt):
            super().reset(seed=int(seed))
            seed = [int(seed) + seat for seat in range(self.num_envs)]
        seeds = [None] * self.num_envs if seed is None else list(seed)
        require(len(seeds) == self.num_envs, _SOURCE, "seed", f"needs {self.num_envs}, got {len(seeds)}")
        for seat in np.flatnonzero(chosen):
            if seeds[seat] is not None:
                self._generators[seat] = seeding.np_random(seeds[seat])[0]
        self._begin(chosen, options.get("customers"))
        return self._observation(), self._whereabouts(chosen)

    def step(self, actions: IntArray) -> tuple[Observation, FloatArray, BoolArray, BoolArray, Infos]:
        """Carry out one action per sub-environment (S,) and go on to everybody's next decision.

        Whoever came to the end in the last step is reset by this one, its action ignored (NEXT_STEP), or was
        reset at once, the end being in infos["final_obs"] and ["final_info"] (SAME_STEP), or must have
        been reset by the caller (DISABLED).
        """
        resting = self._is_over.copy()
        self._check_order(resting)
        actions, ineligible = self._carried_out(np.asarray(actions), resting)
        cohorts, left = self.lives.decided(self._cohorts, actions, self._ledger)
        self._look(cohorts)
        self._cohorts = [one for one in cohorts if not self.lives.is_last(one)]
        ended = np.zeros(self.num_envs, dtype=np.bool_)
        for cohort in cohorts:
            ended[cohort.seats] = self.lives.is_last(cohort)
        rewards = np.where(resting, 0.0, self._ledger.net)
        happened = {**self._ledger._asdict(), "ineligible": ineligible}
        happened = {name: column.copy() for name, column in happened.items()}
        self._ledger.clear(~resting)
        self._is_over = ended.copy()
        infos = self._autoreset(resting, ended, happened)
        return self._observation(), rewards, left, ended & ~left, infos

    def action_masks(self) -> BoolArray:
        """(S, A) the action masks of the last observations, under the name that sb3-contrib asks for."""
        return self._mask > 0

    def _autoreset(self, resting: BoolArray, ended: BoolArray, happened: Observation) -> Infos:
        """Begin new lives as the mode demands; returns the infos of the step."""
        again = {AutoresetMode.NEXT_STEP: resting, AutoresetMode.SAME_STEP: ended}.get(self.autoreset_mode)
        infos: Infos = {}
        if self.autoreset_mode is AutoresetMode.SAME_STEP and ended.any():
            last = self._observation()
            final = np.full(self.num_envs, None, dtype=object)
            for seat in np.flatnonzero(ended):
                final[seat] = {name: part[seat] for name, part in last.items()}
            final_info = self._whereabouts(ended) | _masked(happened, ended)
            infos = {"final_obs": final, "_final_obs": ended.copy()}
            infos |= {"final_info": final_info, "_final_info": ended.copy()}
            resting = resting | ended
        if again is not None and again.any():
            self._begin(again, None)
        everybody = np.ones(self.num_envs, dtype=np.bool_)
        return infos | self._whereabouts(everybody) | _masked(happened, ~resting)

    def _begin(self, chosen: BoolArray, named: Any) -> None:
        """Seat new customers, drawn or named (S,), and let them live to their first decision."""
        seats = np.flatnonzero(chosen)
        if named is None:
            ids = np.array([self._drawn(int(seat)) for seat in seats])
        else:
            named = np.asarray(named)
            rule = f"must be {self.num_envs} customer numbers in 0..{MOST_CUSTOMERS - 1}"
            fits = named.shape == (self.num_envs,) and named.dtype.kind in "iu"
            fits = fits and bool(((named >= 0) & (named < MOST_CUSTOMERS)).all())
            require(fits, _SOURCE, 'options["customers"]', rule)
            ids = named.astype(np.int64)[seats]
        self._ids[seats], self._is_over[seats] = ids, False
        self._ledger.clear(seats)
        staying = [one.take(~chosen[one.seats]) for one in self._cohorts if not chosen[one.seats].all()]
        fresh = self.lives.begin(ids, seats, self._ledger)
        self._look(fresh)
        self._cohorts = [*staying, *fresh]

    def _drawn(self, seat: int) -> int:
        """The next customer of a sub-environment, from its own generator."""
        rng = self._generators[seat]
        if rng is None:
            rng = self._generators[seat] = seeding.np_random()[0]
        return int(rng.integers(self.customers.start, self.customers.stop))

    def _look(self, cohorts: Sequence[Cohort]) -> None:
        """Renew the observations of some cohorts."""
        if cohorts:
            seen = self.lives.seen(cohorts)
            self._features[seen.seats], self._mask[seen.seats] = seen.features, seen.mask
            self._day[seen.seats] = seen.days

    def _observation(self) -> Observation:
        return {"features": self._features.copy(), "action_mask": self._mask.copy()}

    def _whereabouts(self, who: BoolArray) -> Infos:
        """Whom an observation is about, and on which day of the world."""
        return _masked({"customer": self._ids, "day": self._day}, who)

    def _check_order(self, resting: BoolArray) -> None:
        if (self._ids < 0).any():
            raise ResetNeeded("reset all sub-environments before the first step")
        if self.autoreset_mode is AutoresetMode.DISABLED and resting.any():
            over = np.flatnonzero(resting).tolist()
            raise ResetNeeded(f'sub-environments {over} are over; reset with options={{"reset_mask": mask}}')

    def _carried_out(self, actions: IntArray, resting: BoolArray) -> tuple[IntArray, BoolArray]:
        """(S,) actions with no-contact for the ineligible ones, and (S,) which those were."""
        check_shape(actions, (self.num_envs,), "actions")
        n_actions = self._mask.shape[1]
        if actions.dtype.kind not in "iu" or not ((actions >= 0) & (actions < n_actions)).all():
            raise UnknownAction(f"actions must be integers from 0 to {n_actions - 1}, got {actions}")
        ineligible = (self._mask[np.arange(self.num_envs), actions] == 0) & ~resting
        if self.on_ineligible == "raise" and ineligible.any():
            self._refuse(int(np.flatnonzero(ineligible)[0]), actions)
        return np.where(ineligible, NO_ACTION, actions).astype(np.int64), ineligible

    def _refuse(self, seat: int, actions: IntArray) -> None:
        """Raise with the name of the rule that a customer's action breaks."""
        bank, action = self.lives.bank, int(actions[seat])
        cohort = next(one for one in self._cohorts if seat in one.seats)
        rules = bank.eligible(self.lives.contexts(cohort.take(cohort.seats == seat))).removed_by
        raise IneligibleAction(
            f"sub-environment {seat}, customer {self._ids[seat]}, day {self._day[seat]}: action {action} "
            f"({bank.catalogue.action_ids[action]}) is not allowed by {bank.rule_names[rules[0, action]]}; "
            'choose where action_mask is 1, or set on_ineligible="no-contact"'
        )


class CustomerEnv(gymnasium.Env[Observation, np.int64]):
    """One customer: a batch of one, with the settings of `CustomersEnv` except the autoreset mode."""

    metadata: dict[str, Any] = {"render_modes": []}

    def __init__(self, world: str | World = "retail-bank", **settings: Any) -> None:
        self._batch = CustomersEnv(1, world, autoreset_mode=AutoresetMode.DISABLED, **settings)
        self.observation_space = self._batch.single_observation_space
        self.action_space = self._batch.single_action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, Infos]:
        """Begin a new life; options may name the customer as {"customers": [number]}."""
        super().reset(seed=seed)
        self._batch._generators = [self.np_random]
        observation, infos = self._batch.reset(options=options)
        return {name: part[0] for name, part in observation.items()}, _of_one(infos)

    def step(self, action: SupportsInt) -> tuple[Observation, float, bool, bool, Infos]:
        """Carry out one action and go on to the next decision."""
        observation, rewards, terminations, truncations, infos = self._batch.step(np.array([int(action)]))
        seen = {name: part[0] for name, part in observation.items()}
        return seen, float(rewards[0]), bool(terminations[0]), bool(truncations[0]), _of_one(infos)

    def action_masks(self) -> BoolArray:
        """(A,) the action mask of the last observation, under the name that sb3-contrib asks for."""
        mask: BoolArray = self._batch.action_masks()[0]
        return mask


def _masked(columns: Observation, who: BoolArray) -> Infos:
    """Infos as Gymnasium wants them: zeros where a sub-environment has none, and `_name` says who has."""
    if not who.any():
        return {}
    infos: Infos = {}
    for name, column in columns.items():
        infos[name] = np.where(who.reshape(-1, *[1] * (column.ndim - 1)), column, 0).astype(column.dtype)
        infos[f"_{name}"] = who.copy()
    return infos


def _of_one(infos: Infos) -> Infos:
    """The infos of a batch of one as those of a single environment: plain numbers and rows."""
    columns = {name: column for name, column in infos.items() if not name.startswith("_")}
    return {
        name: column[0].copy() if column.ndim > 1 else column[0].item() for name, column in columns.items()
    }


gymnasium.register(
    "nba/Customer-v0", entry_point=f"{__name__}:CustomerEnv", vector_entry_point=f"{__name__}:CustomersEnv"
)
