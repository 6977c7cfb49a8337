"""Configuration of a world: every number of a TOML file, checked when it is decoded."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

import numpy as np
from msgspec import Struct, structs

from nba.catalogue import Catalogue
from nba.constraints import ContactPolicy, Rule
from nba.errors import InvalidConfig, require
from nba.features import FeatureSchema
from nba.policies import NoContact
from nba.posteriors import SegmentRatesModel
from nba.strategy import Strategy

N_INTERESTS = 4
N_RECEPTIVITY = 4
HISTORY_DAYS = 64
LONGEST_WAIT_DAYS = 31  # to a day of the month
STAGES = ("onboarding", "growth", "mature", "at_risk", "dormant")

# What a bank may observe of a simulated customer: the columns that a world's schema chooses from.
OBSERVED = (
    "age",
    "is_60_plus",
    "wealth_tier",
    "digital_index",
    "tenure_years",
    "segment",
    "stage",
    "interest_saving",
    "interest_investing",
    "interest_borrowing",
    "interest_daily",
    "has_app",
    "digital_engagement",
    "human_engagement",
    "active_mornings",
    "active_evenings",
    "active_weekends",
    "risk_class",
    "days_to_key_day",
)

Row = tuple[float, ...]
# Logits and their coefficients; every other number of a world is a rate, a size, a cost or a hazard.
_MAY_BE_NEGATIVE = (
    "openness",
    "digital_loading",
    "receptivity",
    "engagement",
    "fatigue",
    "engaged",
    "opt_out.fatigue",
    "opt_out.irrelevance",
    "complaint.fatigue",
    "complaint.elderly",
)


class ContactRules(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the bank allows, whatever the strategy."""

    rules: tuple[Rule, ...]
    policy: ContactPolicy


class PopulationConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How customers are drawn; shares and rates are probabilities, loadings are per unit of interest."""

    share_60_plus: float
    segment_shares: Row
    consent_rates: Row
    ownership_rates: Row
    preference_sd: float
    responsiveness_sd: float
    interest_noise_sd: float
    receptivity_error: float
    loadings: dict[str, Row]


class OptOutConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Hazard of leaving a channel at a delivered contact, and what the bank loses by it."""

    base: Row
    fatigue: float
    irrelevance: float
    cost: Row


class ComplaintConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Hazard of a complaint at a delivered contact, and what one costs."""

    base: Row
    fatigue: float
    elderly: float
    cost: float


class ResponseConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How customers respond to a contact (methods F2)."""

    delivery: Row
    openness: Row
    digital_loading: Row
    short_fatigue: float
    cross_fatigue: float
    halo: float
    receptivity: tuple[Row, ...]
    lift: Row
    organic: Row
    channel_fit: dict[str, Row]
    opt_out: OptOutConfig
    complaint: ComplaintConfig


class LifeCycleConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Multipliers and daily hazards of the five stages, in the order of STAGES."""

    organic: Row
    engagement: Row
    worse: Row
    better: Row
    fatigue: float
    engaged: float


class WorldConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One bank. Checked as a whole: lengths against the catalogue, probabilities against [0, 1]."""

    name: str
    start: str  # ISO date
    decide_every_days: int
    catalogue: Catalogue
    schema: FeatureSchema
    contact: ContactRules
    population: PopulationConfig
    response: ResponseConfig
    life_cycle: LifeCycleConfig

    def __post_init__(self) -> None:
        """Check lengths, probabilities, and that rules and schema name what exists."""
        self._check_tables()
        self._check_numbers()
        self._check_names()

    def _check_tables(self) -> None:
        c, t, p = self.catalogue.shape
        people, answer, stage = self.population, self.response, self.life_cycle
        n_segments, n_stages = len(self.schema.segments), len(STAGES)
        families = {product.family for product in self.catalogue.products}
        self._lengths("population", people, n_segments, "segment_shares")
        self._lengths("population", people, c, "consent_rates")
        self._lengths("population", people, p, "ownership_rates")
        self._lengths("response", answer, c, "delivery", "openness", "digital_loading")
        self._lengths("response", answer, p, "lift", "organic")
        self._lengths("response.opt_out", answer.opt_out, c, "base", "cost")
        self._lengths("response.complaint", answer.complaint, c, "base")
        self._lengths("life_cycle", stage, n_stages, "organic", "engagement", "worse", "better")
        self._families("population.loadings", people.loadings, families, N_INTERESTS)
        self._families("response.channel_fit", answer.channel_fit, families, c)
        if [len(row) for row in answer.receptivity] != [t] * N_RECEPTIVITY:
            raise InvalidConfig(
                self.name, "response.receptivity", f"needs {N_RECEPTIVITY} rows of {t} timings"
            )

    def _check_numbers(self) -> None:
        people = self.population
        for pointer, value in _numbers(self, ""):
            require(np.isfinite(value), self.name, pointer, f"must be finite, got {value}")
            is_free = pointer.split("[")[0].split(".", 1)[-1] in _MAY_BE_NEGATIVE or _is_loading(pointer)
            require(is_free or value >= 0, self.name, pointer, f"must be >= 0, got {value}")
        for pointer, row in self._probabilities().items():
            if not all(0.0 <= value <= 1.0 for value in row):
                raise InvalidConfig(self.name, pointer, f"must lie in [0, 1], got {list(row)}")
        if not np.isclose(sum(people.segment_shares), 1.0):
            raise InvalidConfig(self.name, "population.segment_shares", "must sum to 1")
        every = self.decide_every_days
        require(every >= 1, self.name, "decide_every_days", f"must be >= 1, got {every}")

    def _check_names(self) -> None:
        try:
            date.fromisoformat(self.start)
        except ValueError:
            raise InvalidConfig(
                self.name, "start", f"must be a date like 2026-03-02, got {self.start!r}"
            ) from None
        unseen = [column.name for column in self.schema.columns if column.name not in OBSERVED]
        rule = f"customers have no {unseen}; a column must be one of {', '.join(OBSERVED)}"
        require(not unseen, self.name, "schema.columns", rule)
        for index, limit in enumerate(self.contact.policy.limits):
            longest = HISTORY_DAYS - LONGEST_WAIT_DAYS - 1
            rule = f"must be at most {longest}, as far as a simulated history reaches, got {limit.days}"
            require(limit.days <= longest, self.name, f"contact.policy.limits[{index}].days", rule)
        # A strategy asks every rule about nobody, and so finds unknown names.
        Strategy(
            name=self.name,
            catalogue=self.catalogue,
            schema=self.schema,
            model=SegmentRatesModel(),
            policy=NoContact(),
            rules=self.contact.rules,
            contact_policy=self.contact.policy,
        )

    def _probabilities(self) -> dict[str, Row]:
        people, answer, stage = self.population, self.response, self.life_cycle
        return {
            "population.share_60_plus": (people.share_60_plus,),
            "population.receptivity_error": (people.receptivity_error,),
            "population.segment_shares": people.segment_shares,
            "population.consent_rates": people.consent_rates,
            "population.ownership_rates": people.ownership_rates,
            "response.delivery": answer.delivery,
            "response.organic": answer.organic,
            "response.halo": (answer.halo,),
            "response.opt_out.base": answer.opt_out.base,
            "response.complaint.base": answer.complaint.base,
            "life_cycle.worse": stage.worse,
            "life_cycle.better": stage.better,
        }

    def _lengths(self, pointer: str, part: Any, length: int, *names: str) -> None:
        for name in names:
            if len(getattr(part, name)) != length:
                rule = f"needs {length} numbers, got {len(getattr(part, name))}"
                raise InvalidConfig(self.name, f"{pointer}.{name}", rule)

    def _families(self, pointer: str, table: dict[str, Row], families: set[str], length: int) -> None:
        if table.keys() != families:
            raise InvalidConfig(self.name, pointer, f"must name the product families {sorted(families)}")
        for family, row in table.items():
            if len(row) != length:
                raise InvalidConfig(
                    self.name, f"{pointer}.{family}", f"needs {length} numbers, got {len(row)}"
                )


def _numbers(value: object, pointer: str) -> Iterator[tuple[str, float]]:
    """All numbers below the world's own parts of the configuration, with their places."""
    if isinstance(value, bool):
        return
    if isinstance(value, int | float):
        yield pointer, float(value)
    elif isinstance(value, tuple):
        for index, part in enumerate(value):
            yield from _numbers(part, f"{pointer}[{index}]")
    elif isinstance(value, dict):
        for name, part in value.items():
            yield from _numbers(part, f"{pointer}.{name}")
    elif isinstance(value, WorldConfig | PopulationConfig | ResponseConfig | LifeCycleConfig):
        for name, part in structs.asdict(value).items():
            yield from _numbers(part, f"{pointer}.{name}".lstrip("."))
    elif isinstance(value, OptOutConfig | ComplaintConfig):
        for name, part in structs.asdict(value).items():
            yield from _numbers(part, f"{pointer}.{name}")


def _is_loading(pointer: str) -> bool:
    return pointer.startswith(("population.loadings.", "response.channel_fit."))
