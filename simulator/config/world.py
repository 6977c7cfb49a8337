"""One bank as configuration, checked as a whole."""

from __future__ import annotations

import math
from datetime import date
from typing import Annotated

import numpy as np
from msgspec import Meta, Struct

from nba.catalogue import WEEKEND, Catalogue
from nba.errors import InvalidConfig, UnknownAction, require
from nba.fatigue import FatigueKernel
from nba.features import FeatureSchema
from nba.policies import NoContact
from nba.posteriors import SegmentRatesModel
from nba.strategy import Strategy
from simulator.capacity import CapacityConfig
from simulator.config.contacts import ContactRules, ResponseConfig, check_policy, check_since
from simulator.config.fields import check, check_families, check_length
from simulator.config.names import MECHANISMS, OBSERVED, Mechanism
from simulator.config.people import (
    EVENTS,
    N_INTERESTS,
    N_RECEPTIVITY,
    N_WEALTH_TIERS,
    N_WEEK_CLASSES,
    SAME_FAMILY,
    STAGES,
    TIMING_TYPES,
    AmountsConfig,
    BehaviourConfig,
    CrossSell,
    LifeCycleConfig,
    PopulationConfig,
    ReferralConfig,
)
from simulator.market import CalendarConfig, MarketConfig

HISTORY_DAYS = 32  # how far back a customer's contacts are known
LONGEST_WAIT_DAYS = 31  # to a day of the month
LONGEST_REST_DAYS = 180
WAITED_FOR = (WEEKEND, "days_to_key_day")  # what contacts can be planned for
LAST_DAY = 32_000  # days are kept in 16 bits
MOST_CHANNELS = 16  # consents are a mask of 16 bits
MOST_PRODUCTS = 32  # products held are a mask of 32 bits


class MechanismsConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What of the world is switched off; see simulator.mechanisms for what each name means."""

    off: tuple[Mechanism, ...] = ()


class WorldConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One bank. Checked as a whole: lengths against the catalogue, every number against its kind."""

    name: str
    start: str  # ISO date
    decide_every_days: Annotated[int, Meta(ge=1, le=256)]
    decide_on_events: bool = False  # events with `decides` bring a customer up on their day
    mechanisms: MechanismsConfig = MechanismsConfig()
    catalogue: Catalogue
    schema: FeatureSchema
    contact: ContactRules
    population: PopulationConfig
    response: ResponseConfig
    fatigue: FatigueKernel = FatigueKernel()
    life_cycle: LifeCycleConfig
    behaviour: BehaviourConfig = BehaviourConfig()
    calendar: CalendarConfig = CalendarConfig()
    market: MarketConfig = MarketConfig()
    capacity: CapacityConfig = CapacityConfig()
    referral: ReferralConfig = ReferralConfig()
    amounts: AmountsConfig = AmountsConfig()
    cross_sell: tuple[CrossSell, ...] = ()
    # What `nba calibrate` writes: where the numbers came from, and further vectors of them that fit as well.
    calibration: dict[str, str | float | int | bool] = {}
    ensemble: tuple[dict[str, float | tuple[float, ...]], ...] = ()

    def __post_init__(self) -> None:
        """Check lengths, kinds, and that everything names what exists."""
        for section in ("population", "response", "life_cycle", "behaviour", "referral", "amounts"):
            check(self.name, section, getattr(self, section))
        for index, link in enumerate(self.cross_sell):
            check(self.name, f"cross_sell[{index}]", link)
        every = self.decide_every_days
        require(1 <= every <= 256, self.name, "decide_every_days", f"must be 1..256, got {every}")
        unknown = sorted(set(self.mechanisms.off) - set(MECHANISMS))
        rule = f"{unknown} are no mechanisms; use some of {', '.join(MECHANISMS)}"
        require(not unknown, self.name, "mechanisms.off", rule)
        self._check_lengths()
        self._check_people()
        self._check_names()
        self._check_contact()

    @property
    def families(self) -> tuple[str, ...]:
        """(P,) family of each product."""
        return tuple(product.family for product in self.catalogue.products)

    def _check_lengths(self) -> None:
        c, t, p = self.catalogue.shape
        require(c <= MOST_CHANNELS, self.name, "catalogue.channels", f"at most {MOST_CHANNELS}, got {c}")
        require(p <= MOST_PRODUCTS, self.name, "catalogue.products", f"at most {MOST_PRODUCTS}, got {p}")
        people, answer, life = self.population, self.response, self.life_cycle
        for pointer, section, length, of, names in (
            ("population", people, len(self.schema.segments), "the segments", ("segment_shares",)),
            ("population", people, N_WEALTH_TIERS, "the wealth tiers", ("wealth_shares",)),
            ("amounts", self.amounts, N_WEALTH_TIERS, "the wealth tiers", ("wealth",)),
            ("population", people, c, "the channels", ("consent_rates",)),
            ("population", people, p, "the products", ("ownership_rates",)),
            ("response", answer, c, "the channels", ("delivery", "seen", "openness", "digital_loading")),
            ("response", answer, c, "the channels", ("habituation", "channel_strength")),
            ("response", answer, p, "the products", ("lift", "organic")),
            ("response", answer, N_RECEPTIVITY, "the activity classes", ("receptivity",)),
            ("response", answer, N_WEEK_CLASSES, "the week classes", ("week_class",)),
            ("response", answer, 7, "the days of the week", ("weekday",)),
            ("response", answer, 12, "the months", ("month",)),
            ("response", answer, len(answer.recency_days) + 1, "the bands and beyond", ("recency",)),
            ("response.opt_out", answer.opt_out, c, "the channels", ("base", "cost")),
            ("response.complaint", answer.complaint, c, "the channels", ("base", "elderly")),
            ("life_cycle", life, len(STAGES), "the stages", ("shares", "organic", "engagement", "login")),
        ):
            for name in names:
                check_length(self.name, f"{pointer}.{name}", getattr(section, name), length, of)
        for index, row in enumerate(answer.receptivity):
            check_length(self.name, f"response.receptivity[{index}]", row, t, "the timings")
        for index, row in enumerate(answer.week_class):
            check_length(self.name, f"response.week_class[{index}]", row, 7, "the days of the week")
        for family, row in people.loadings.items():
            pointer = f"population.loadings.{family}"
            check_length(self.name, pointer, row, N_INTERESTS, "the interests")
        for family, row in answer.channel_fit.items():
            check_length(self.name, f"response.channel_fit.{family}", row, c, "the channels")

    def _check_people(self) -> None:
        people, life = self.population, self.life_cycle
        for pointer, shares in (
            ("population.segment_shares", people.segment_shares),
            ("population.wealth_shares", people.wealth_shares),
            ("life_cycle.shares", life.shares),
        ):
            rule = f"must sum to 1, got {sum(shares):.6g}"
            require(bool(np.isclose(sum(shares), 1.0)), self.name, pointer, rule)
        days = self.response.recency_days
        rule = f"must rise, got {list(days)}"
        require(list(days) == sorted(set(days)), self.name, "response.recency_days", rule)
        bound = sum(kind.per_day * math.exp(0.5 * abs(kind.digital)) for kind in self.behaviour.events)
        names = [kind.name for kind in self.behaviour.events]
        rule = f"must each stand once, got {names}"
        require(len(set(names)) == len(names), self.name, "behaviour.events", rule)
        ways = [(move.source, move.to) for move in life.transitions]
        wrong = [way for way in ways if ways.count(way) > 1 or way[0] == way[1]]
        rule = f"must each lead from one stage to another once, got {wrong}"
        require(not wrong, self.name, "life_cycle.transitions", rule)
        rule = f"rates at the ends of the digital index must sum to at most 1 a day, got {bound:.6g}"
        require(bound <= 1.0, self.name, "behaviour.events", rule)

    def _check_names(self) -> None:
        families = self.families
        check_families(self.name, "population.loadings", self.population.loadings, families, all_of_them=True)
        check_families(
            self.name, "response.channel_fit", self.response.channel_fit, families, all_of_them=True
        )
        for index, kind in enumerate(self.behaviour.events):
            pointer = f"behaviour.events[{index}]"
            check_families(self.name, f"{pointer}.boosts", set(kind.boosts) - {SAME_FAMILY}, families)
            check_families(self.name, f"{pointer}.owns", {kind.owns} - {""}, families)
        self.calendar.check_families(families)
        self.capacity.check_channels(len(self.catalogue.channels))
        first, last = self.response.follow_up_days
        rule = f"must be a first and a last day of 1..{HISTORY_DAYS}, got {first} and {last}"
        require(1 <= first <= last <= HISTORY_DAYS, self.name, "response.follow_up_days", rule)
        for index, limit in enumerate(self.response.platform_limits):
            self._check_level(f"response.platform_limits[{index}].channel", "channel", limit.channel)
        for index, name in enumerate(self.life_cycle.entry_products):
            self._check_level(f"life_cycle.entry_products[{index}]", "product", name)
        for index, link in enumerate(self.cross_sell):
            self._check_level(f"cross_sell[{index}].owns", "product", link.owns)
            self._check_level(f"cross_sell[{index}].lifts", "product", link.lifts)
        for index, limit in enumerate(self.response.platform_limits):
            rule = f"must be at most {HISTORY_DAYS}, as far as a simulated history reaches, got {limit.days}"
            pointer = f"response.platform_limits[{index}].days"
            require(limit.days <= HISTORY_DAYS, self.name, pointer, rule)

    def _check_level(self, pointer: str, factor: str, name: str) -> None:
        try:
            self.catalogue.level(factor, name)
        except UnknownAction as error:
            raise InvalidConfig(self.name, pointer, str(error)) from None

    def _check_contact(self) -> None:
        rule = f"must be a date like 2026-03-02, got {self.start!r}"
        require(_is_iso_date(self.start), self.name, "start", rule)
        for index, timing in enumerate(self.catalogue.timings):
            rule = f"must be one of {', '.join(WAITED_FOR)}, or absent, got {timing.waits_for!r}"
            pointer = f"catalogue.timings[{index}].waits_for"
            require(timing.waits_for in (None, *WAITED_FOR), self.name, pointer, rule)
        check_since(self.name, self.schema, self.catalogue, HISTORY_DAYS)
        declared = {column.name for column in self.schema.columns} - {one.name for one in self.schema.since}
        unseen = sorted(declared - set(OBSERVED))
        rule = f"customers have no {unseen}; a column must be one of {', '.join(OBSERVED)}"
        require(not unseen, self.name, "schema.columns", rule)
        for column in self.schema.columns:
            levels = _LEVELS.get(column.name)
            rule = f"levels of {column.name} must be {', '.join(levels or ())}, in this order"
            same = levels is None or getattr(column, "levels", None) == levels
            require(same, self.name, "schema.columns", rule)
        check_policy(self.name, self.contact.policy, HISTORY_DAYS)
        people = self.population
        rule = f"must divide branch_customers, {people.branch_customers}, got {people.household_customers}"
        is_whole = people.branch_customers % people.household_customers == 0
        require(is_whole, self.name, "population.household_customers", rule)
        rest = self.contact.policy.product_rest_days
        rule = f"must be at most {LONGEST_REST_DAYS}, got {rest}"
        require(rest <= LONGEST_REST_DAYS, self.name, "contact.policy.product_rest_days", rule)
        # A strategy asks every rule about nobody, and so finds unknown names.
        Strategy(
            name=self.name,
            catalogue=self.catalogue,
            schema=self.schema,
            model=SegmentRatesModel(),
            policy=NoContact(),
            tags=self.contact.tags,
            rules=self.contact.rules,
            contact_policy=self.contact.policy,
        )


def _is_iso_date(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


_LEVELS = {"stage": STAGES, "last_event": EVENTS, "timing_type": TIMING_TYPES}
