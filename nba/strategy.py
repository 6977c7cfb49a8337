"""Everything a person decides about contacts: catalogue, rules, arbitration, model, policy and floor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, partial

import numpy as np
from msgspec import Struct

from nba.allocation.budgets import Pacing, Tally
from nba.allocation.owners import NO_OWNER, Owners
from nba.allocation.sharing import AnySharing, ChannelByChannel, Shared
from nba.arbitration import Arbitration, Tariff, Weighing
from nba.arrays import BoolArray, FloatArray, IntArray
from nba.catalogue import NO_ACTION, Catalogue
from nba.conditions import Tag, Vocabulary
from nba.constraints import ContactPolicy, Rule, RuleBook
from nba.constraints.contact_policy import Compiled
from nba.constraints.rulebook import OPT_OUT
from nba.context import ContactHistory, Context, ContextBatch
from nba.eligibility import Eligibility
from nba.encoding import Encoder
from nba.errors import InvalidConfig, UnknownAction, require
from nba.fatigue import FatigueKernel, Surcharges
from nba.features import FeatureSchema
from nba.longrun.waiting import Waiting
from nba.outcomes import OutcomeBeliefs, RevenueModel, StageModel
from nba.policies import Policy
from nba.posteriors import Model
from nba.propensity import Floor
from nba.timing import waits_days

_OWN = (
    "rules",
    "tags",
    "contact_policy",
    "arbitration",
)  # whose errors are told with their place in the strategy
_MOST_RULES = 100  # what can remove an action is counted in bytes, see also `ContactPolicy`


class Strategy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """One way to run customer contact; decoded from TOML, holds no data.

    `tags` are words for customers that rules and levers may use. Without `silence` some contact is chosen
    wherever one is eligible, as on a page that shows something to everybody, or in a table of logged
    decisions that knows no no-contact. With `allocation`, decisions of a day are made together, under
    limits that customers share (nba.together). With `waiting`, a contact now competes with better moments.
    """

    name: str
    catalogue: Catalogue
    schema: FeatureSchema
    model: Model
    policy: Policy
    tags: tuple[Tag, ...] = ()
    rules: tuple[Rule, ...] = ()
    contact_policy: ContactPolicy = ContactPolicy()
    arbitration: Arbitration = Arbitration()
    floor: Floor = Floor()
    fatigue: FatigueKernel = FatigueKernel()
    silence: bool = True
    stages: tuple[StageModel, ...] = ()
    revenue: RevenueModel | None = None
    allocation: AnySharing | None = None
    pacing: Pacing = Pacing()
    waiting: Waiting | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Make every rule ready, so that one that names something unknown is refused here."""
        too_many = f"must be fewer than {_MOST_RULES}, got {len(self.rules)}"
        require(len(self.rules) < _MOST_RULES, f"strategy {self.name}", "rules", too_many)
        self._try("rules", lambda: self.rulebook)
        nobody = self._nobody()
        self._try("contact_policy", lambda: self._compiled)
        self._try("catalogue.timings", partial(self.waits, nobody))
        self._try("allocation", lambda: self.shared)
        self.pacing.check(self.catalogue, self.schema, f"strategy {self.name}")
        for column in self.schema.since:
            column.check(self.catalogue, f"strategy {self.name}")
        if self.waiting is not None:
            self.waiting.check(self.schema, self.contact_policy, f"strategy {self.name}")
        self._try("arbitration", lambda: self.tariff(np.zeros(self.resource_use.shape[1])))
        self._try("arbitration", lambda: self.weighing)
        self._try("arbitration.fatigue_price", lambda: self.surcharges)
        names = [model.stage for model in self.stages]
        once = f"a stage has one model, got {', '.join(names)}"
        require(len(set(names)) == len(names), f"strategy {self.name}", "stages", once)
        self._try("stages", self.outcomes)

    @cached_property
    def resource_use(self) -> FloatArray:
        """(A, J) units of each resource per contact: the catalogue's, the budgets', those of `allocation`.

        Of rows with owners a contact uses only its customer's own, see `owners`.
        """
        own = self.catalogue.resource_use, self.tally.use[:, self.tally.of]
        return np.concatenate([*own, *([self.shared.uses] if self.shared else [])], axis=1)

    @cached_property
    def tally(self) -> Tally:
        """What is counted of budgets."""
        return self.pacing.tally(self.catalogue, self.schema)

    @cached_property
    def owners(self) -> Owners | None:
        """Budgets and limits with a row for each value of an attribute, at their places in `resource_use`."""
        first = self.catalogue.resource_use.shape[1]
        found = self.pacing.owned(self.catalogue, self.schema, first)
        if self.shared is not None and self.shared.owners is not None:
            first += len(self.tally.rows)
            found += [one._replace(first=first + one.first) for one in self.shared.owners.limits]
        return Owners.of(found)

    def tariff(self, prices: FloatArray) -> Tariff:
        """What actions cost everybody at the shadow prices (J,) of `resource_use`."""
        common = prices if self.owners is None else self.owners.of_all(prices)
        return self.arbitration.tariff(self.catalogue, common, self.resource_use)

    def own_charges(self, contexts: ContextBatch, prices: FloatArray) -> FloatArray | None:
        """(B, A) what customers' own rows cost beside the tariff, at prices (J,); None without any."""
        if self.owners is None or not self.arbitration.has("shadow_prices"):
            return None
        return self.owners.charges(self.owners.rows(contexts.attributes), prices)

    def outcomes(self) -> OutcomeBeliefs:
        """What is believed of stages and amounts before any contact; empty if none is configured."""
        return OutcomeBeliefs.prior(self.stages, self.revenue, self.catalogue, self.schema)

    @cached_property
    def shared(self) -> Shared | None:
        """What customers share on a day, if anything."""
        if self.allocation is None:
            return None
        name, rule = f"strategy {self.name}", "leaves some without a contact; drop silence = false"
        require(self.silence, name, "allocation", rule)
        side_by_side = isinstance(self.allocation, ChannelByChannel) and self.contact_policy.has_households
        rule = "serves members of a household side by side, past its limits; use type = 'priced'"
        require(not side_by_side, name, "allocation", rule)
        rule = "needs the shadow prices that arbitration.off switches off"
        require(self.arbitration.has("shadow_prices"), name, "allocation", rule)
        return self.allocation.shared(self.catalogue, self.schema, name)

    def _try(self, pointer: str, ask: Callable[[], object]) -> None:
        try:
            ask()
        except InvalidConfig as error:
            if error.source not in _OWN:
                raise
            raise InvalidConfig(f"strategy {self.name}", error.pointer, error.rule) from None
        except UnknownAction as error:
            raise InvalidConfig(f"strategy {self.name}", pointer, str(error)) from None
        except KeyError as error:
            known = ", ".join(column.name for column in self.schema.columns)
            rule = f"attribute {error} is not declared in the schema; it knows {known}"
            raise InvalidConfig(f"strategy {self.name}", pointer, rule) from None

    def _nobody(self) -> ContextBatch:
        """A batch of no contexts."""
        c, _, p = self.catalogue.shape
        none, at = np.zeros(0), np.zeros(0, dtype="datetime64[s]")
        columns = {column.name: none for column in self.schema.columns}
        return ContextBatch(
            customer_ids=np.zeros(0, dtype=object),
            at=at,
            features=np.zeros((0, self.schema.n_columns)),
            attributes=columns,
            consents=np.zeros((0, c), dtype=np.bool_),
            fatigue=np.zeros((0, c, 2)),
            contact_counts=np.zeros((0, len(self.contact_policy.windows_days), c + 1), dtype=np.int64),
            owned=np.zeros((0, p), dtype=np.bool_),
            offer_age_days=np.zeros((0, p)),
            rests={rule: np.zeros((0, c, p), dtype=np.bool_) for rule in self.rulebook.rests},
            history=ContactHistory.nobody() if self.contact_policy.needs_history else None,
        )

    @cached_property
    def rulebook(self) -> RuleBook:
        """The rules, ready to be asked, and the names that they may use."""
        return RuleBook.of(self.rules, Vocabulary.of(self.catalogue, self.schema, self.tags))

    @cached_property
    def weighing(self) -> Weighing | None:
        """The context weights, ready to be asked; None where there are none."""
        return self.arbitration.weighing(self.rulebook.known)

    @property
    def rule_names(self) -> tuple[str, ...]:
        """What can remove an action, in the order in which it is asked."""
        return tuple(name for name, _ in self._removers)

    @property
    def rule_layers(self) -> tuple[str, ...]:
        """The layer of each of `rule_names`; what is no rule is a layer of its own."""
        return tuple(layer for _, layer in self._removers)

    @cached_property
    def _removers(self) -> tuple[tuple[str, str], ...]:
        before, after = ["catalogue", "request"], [] if self.silence else ["silence"]
        alone = [[(name, name) for name in names] for names in (before, after)]
        if not self.rulebook.asks_everybody:
            alone[0].append((OPT_OUT, "eligible"))
        named = [(name, "contact_policy") for name in self.contact_policy.names]
        if self.owners is not None:
            named.append((NO_OWNER, "contact_policy"))
        if self.pacing.budgets:
            named.append(("budget", "contact_policy"))  # a limit as well, on all contacts together
        return (*alone[0], *((one.name, one.layer) for one in self.rulebook.asked), *named, *alone[1])

    @cached_property
    def surcharges(self) -> Surcharges | None:
        """What segments' fatigue prices add, or None."""
        found = self.arbitration.fatigue_price.surcharges(self.catalogue, self.schema)
        return found if self.arbitration.has("fatigue_price") else None

    @property
    def lookback_days(self) -> float:
        """How far back contacts matter: limits, rests, offers, and fatigue down to a thousandth.

        Infinite where products must never meet.
        """
        longest_fatigue = 10.0 * max(self.fatigue.short_half_life_days, self.fatigue.long_half_life_days)
        since = max((column.memory_days for column in self.schema.since), default=0.0)
        return max(longest_fatigue, since, self.contact_policy.lookback_days, self.rulebook.memory_days)

    @property
    def asks_outcomes(self) -> bool:
        """Whether contexts must know what came of contacts: for rests, or for what sequences hang on."""
        return bool(self.rulebook.rests) or any(column.asks_outcomes for column in self.schema.since)

    def eligible(self, contexts: ContextBatch, requested: BoolArray | None = None) -> Eligibility:
        """Apply catalogue, request (B, A), rules, contact policy and budgets; the first to remove counts.

        A channel from which the customer has opted out is closed, whatever the rules say.
        """
        catalogue, n_contexts = self.catalogue, contexts.n_contexts
        if requested is None and contexts.opted_out is None and self._of_anybody is not None:
            return self._of_anybody.repeated(n_contexts)
        left = np.empty((n_contexts, catalogue.n_actions), dtype=np.bool_)
        left[:] = catalogue.allowed
        # An action that passes n masks in a row is removed by mask n: two sums, and no choice per cell.
        flags, of_contacts = left.view(np.int8), left[:, 1:].reshape(n_contexts, *catalogue.shape)
        passed = flags.copy()
        if requested is not None:
            left &= requested
        passed += flags
        if not self.rulebook.asks_everybody:
            if contexts.opted_out is not None:
                of_contacts &= ~contexts.opted_out[:, :, None, None]
            passed += flags
        for rule in self.rulebook.asked:
            of_contacts &= rule.mask(contexts)
            passed += flags
        for mask in self.contact_policy.masks(contexts, catalogue, self._compiled):
            of_contacts &= mask
            passed += flags
        if self.owners is not None:
            left &= self.owners.mask(self.owners.rows(contexts.attributes))
            passed += flags
        if self.pacing.budgets:
            if contexts.left is not None:
                left &= (self.tally.use <= contexts.left[:, None, :]).all(axis=2)
            passed += flags
        # Staying silent breaks no rule, so that no context is ever without an action.
        left[:, NO_ACTION] = self.silence or ~left[:, 1:].any(axis=1)
        passed[:, NO_ACTION] = len(self._removers) - 1  # counts where it was removed, by "silence"
        passed |= -flags  # all bits set: -1
        return Eligibility(left, passed)

    def waits(self, contexts: ContextBatch) -> IntArray:
        """(B, T) whole days until a contact of each timing would be made."""
        return waits_days(self.catalogue, contexts.at, contexts.attributes)

    def encode(self, contexts: Sequence[Context]) -> ContextBatch:
        """Records to columns; a wrong attribute is a BadContext with its JSON pointer."""
        return self._encoder.batch(contexts)

    @cached_property
    def _of_anybody(self) -> Eligibility | None:
        """(1, A) what is left to anybody; None where rules or limits look at the customer."""
        if self.rulebook.asked or self.contact_policy.looks or self.pacing.budgets or self.owners:
            return None
        return Eligibility.of_anybody(self.catalogue.allowed, self.silence, len(self._removers))

    @cached_property
    def _compiled(self) -> Compiled:
        return self.contact_policy.compiled(self.rulebook.known)

    @cached_property
    def _encoder(self) -> Encoder:
        budgets = tuple(budget.name for budget in self.pacing.budgets)
        parts = self.catalogue, self.schema, self.contact_policy, self.rulebook, self.fatigue
        return Encoder(*parts, self.fatigue.spill(self.catalogue), budgets)
