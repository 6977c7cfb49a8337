"""Everything a person decides about contacts: catalogue, rules, arbitration, model, policy and floor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, partial

import numpy as np
from msgspec import Struct

from nba.allocation.budgets import Pacing
from nba.allocation.sharing import AnySharing, Shared
from nba.arbitration import Arbitration, Tariff, Weighing
from nba.arrays import BoolArray, FloatArray, IntArray
from nba.catalogue import NO_ACTION, Catalogue
from nba.conditions import Tag, Vocabulary
from nba.constraints import ContactPolicy, Rule, RuleBook
from nba.constraints.contact_policy import Compiled
from nba.constraints.history import history_of, levels_of
from nba.constraints.local_time import to_micros
from nba.context import ContactHistory, Context, ContextBatch, utc_of
from nba.eligibility import Eligibility
from nba.errors import BadContext, InvalidConfig, UnknownAction, require
from nba.fatigue import FatigueKernel, Surcharges
from nba.features import FeatureSchema
from nba.outcomes import OutcomeBeliefs, RevenueModel, StageModel
from nba.policies import Policy
from nba.posteriors import Model
from nba.propensity import Floor
from nba.timing import waits_days

_DAY_SECONDS = 86_400.0
_OWN = ("rules", "tags", "arbitration")  # whose errors are told with their place in the strategy
_MOST_RULES = 100  # what can remove an action is counted in bytes, see also `ContactPolicy`


class Strategy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """One way to run customer contact; decoded from TOML, holds no data.

    `tags` are words for customers that rules and levers may use. Without `silence` some contact is chosen
    wherever one is eligible, as on a page that shows something to everybody, or in a table of logged
    decisions that knows no no-contact. With `allocation`, decisions of a day are made together, under
    limits that customers share (nba.together).
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
    seed: int = 0

    def __post_init__(self) -> None:
        """Make every rule ready, so that one that names something unknown is refused here."""
        too_many = f"must be fewer than {_MOST_RULES}, got {len(self.rules)}"
        require(len(self.rules) < _MOST_RULES, f"strategy {self.name}", "rules", too_many)
        self._try("rules", lambda: self.rulebook)
        nobody = self._nobody()
        self._try("contact_policy", lambda: self.contact_policy.compiled(self.catalogue))
        self._try("catalogue.timings", partial(self.waits, nobody))
        self._try("allocation", lambda: self.shared)
        self.pacing.check(self.catalogue, f"strategy {self.name}")
        self._try("arbitration", lambda: self.tariff(np.zeros(self.resource_use.shape[1])))
        self._try("arbitration", lambda: self.weighing)
        self._try("arbitration.fatigue_price", lambda: self.surcharges)
        names = [model.stage for model in self.stages]
        once = f"a stage has one model, got {', '.join(names)}"
        require(len(set(names)) == len(names), f"strategy {self.name}", "stages", once)
        self._try("stages", self.outcomes)

    @cached_property
    def resource_use(self) -> FloatArray:
        """(A, J) units of each resource per contact: the catalogue's, the budgets', those of `allocation`."""
        own = self.catalogue.resource_use, self._budget_use
        return np.concatenate([*own, *([self.shared.uses] if self.shared else [])], axis=1)

    @cached_property
    def _budget_use(self) -> FloatArray:
        return self.pacing.use(self.catalogue)

    def tariff(self, prices: FloatArray) -> Tariff:
        """What actions cost at the shadow prices (J,) of `resource_use`."""
        return self.arbitration.tariff(self.catalogue, prices, self.resource_use)

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
        rule = "needs the shadow prices that arbitration.off switches off"
        require(self.arbitration.has("shadow_prices"), name, "allocation", rule)
        return self.allocation.shared(self.catalogue, name)

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
        named = [(name, "contact_policy") for name in self.contact_policy.names]
        if self.pacing.budgets:
            named.append(("budget", "contact_policy"))  # a limit as well, on all contacts together
        before, after = (("catalogue", "request"), () if self.silence else ("silence",))
        alone = [[(name, name) for name in names] for names in (before, after)]
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
        return max(longest_fatigue, self.contact_policy.lookback_days, self.rulebook.memory_days)

    def eligible(self, contexts: ContextBatch, requested: BoolArray | None = None) -> Eligibility:
        """Apply catalogue, request (B, A), rules, contact policy and budgets; the first to remove counts."""
        catalogue, n_contexts = self.catalogue, contexts.n_contexts
        if requested is None and self._of_anybody is not None:
            return self._of_anybody.repeated(n_contexts)
        left = np.empty((n_contexts, catalogue.n_actions), dtype=np.bool_)
        left[:] = catalogue.allowed
        # An action that passes n masks in a row is removed by mask n: two sums, and no choice per cell.
        flags, of_contacts = left.view(np.int8), left[:, 1:].reshape(n_contexts, *catalogue.shape)
        passed = flags.copy()
        if requested is not None:
            left &= requested
        passed += flags
        for rule in self.rulebook.asked:
            of_contacts &= rule.mask(contexts)
            passed += flags
        for mask in self.contact_policy.masks(contexts, catalogue, self._compiled):
            of_contacts &= mask
            passed += flags
        if self.pacing.budgets:
            if contexts.left is not None:
                left &= (self._budget_use <= contexts.left[:, None, :]).all(axis=2)
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
        at = np.array([utc_of(context) for context in contexts], dtype="datetime64[s]")
        columns = self.schema.parse([context.attributes for context in contexts])
        history = [self._history(context) for context in contexts]
        fatigue, counts, ages = (np.array(part) for part in zip(*history, strict=True))
        return ContextBatch(
            customer_ids=np.array([context.customer_id for context in contexts], dtype=object),
            at=at,
            features=self.schema.matrix(columns, fatigue, at),
            attributes=columns,
            consents=np.array([self._consents(context) for context in contexts]),
            fatigue=fatigue,
            contact_counts=counts,
            owned=np.array([self._named(context, "owned", "product") for context in contexts]),
            offer_age_days=ages,
            rests=self.rulebook.resting(contexts),
            left=self._left(contexts),
            history=history_of(contexts, self.catalogue) if self.contact_policy.needs_history else None,
        )

    def _left(self, contexts: Sequence[Context]) -> FloatArray | None:
        """(B, J) units left of each budget."""
        names = [budget.name for budget in self.pacing.budgets]
        if not names:
            return None
        return np.array([[one.left.get(name, np.inf) for name in names] for one in contexts])

    def _consents(self, context: Context) -> BoolArray:
        consents = self._named(context, "consents", "channel")
        for name in context.opted_out:
            consents[self.catalogue.level("channel", name)] = False
        return consents

    def _named(self, context: Context, attribute: str, factor: str) -> BoolArray:
        """(levels,) which channels or products a list attribute names."""
        names = context.attributes.get(attribute)
        table = self.catalogue.channels if factor == "channel" else self.catalogue.products
        hit = np.zeros(len(table), dtype=np.bool_)
        if names is None:
            return hit
        if not isinstance(names, list):
            raise BadContext(f"/{attribute}", f"must be a list of {factor} names, got {names!r}")
        for number, name in enumerate(names):
            try:
                hit[self.catalogue.level(factor, name)] = True
            except UnknownAction as error:
                raise BadContext(f"/{attribute}/{number}", str(error)) from None
        return hit

    def _history(self, context: Context) -> tuple[FloatArray, IntArray, FloatArray]:
        """Fatigue (C, 2), contact counts (W, C + 1) and offer ages (P,) from one customer's contacts."""
        contacts = [contact for contact in context.contacts if not contact.refused]
        channels, products = levels_of(contacts, self.catalogue)
        now = to_micros(context.at)  # in UTC: two times of one zone differ by what its clocks show
        ages = np.array([now - to_micros(contact.at) for contact in contacts]) / 1e6 / _DAY_SECONDS
        is_made = ages > 0.0
        fatigue = self.fatigue.of_contacts(channels[is_made], ages[is_made], self._spill)
        # For counters, a planned contact counts as made now until it is made: then no window, wherever it
        # lies, can come to hold more contacts than its limit.
        ages = np.maximum(ages, 0.0)
        offer_ages = np.full(len(self.catalogue.products) + 1, np.inf)  # the last is of what is no product
        np.minimum.at(offer_ages, products, ages)
        counts = self.contact_policy.counts(channels, ages, len(self.catalogue.channels))
        return fatigue, counts, offer_ages[:-1]

    @cached_property
    def _of_anybody(self) -> Eligibility | None:
        """(1, A) what is left to anybody; None where rules or limits look at the customer."""
        if self.rulebook.asked or self.contact_policy.looks or self.pacing.budgets:
            return None
        return Eligibility.of_anybody(self.catalogue.allowed, self.silence, len(self._removers))

    @cached_property
    def _compiled(self) -> Compiled:
        return self.contact_policy.compiled(self.catalogue)

    @cached_property
    def _spill(self) -> FloatArray:
        return self.fatigue.spill(self.catalogue)
