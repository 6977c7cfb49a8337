"""A small bank for the tests: 2 channels x 2 timings x 3 products, its customers, and a small world."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import numpy as np
from msgspec import structs

from nba.arrays import StrArray
from nba.catalogue import Catalogue, Channel, Product, Timing
from nba.constraints import Consent, ContactLimit, ContactPolicy, NotOwned, Suitability
from nba.context import Contact, Context
from nba.features import Category, FeatureSchema, Flag, Numeric
from nba.feedback import N_INTERVALS, ExposureSchedule, RoundBatch
from nba.policies import ThompsonSampling
from nba.posteriors import FactoredModel
from nba.propensity import Floor
from nba.strategy import Strategy
from simulator.config import ContactRules, MechanismsConfig, only
from simulator.world import World, load_world

NOW = datetime(2026, 3, 4, 9, 0, tzinfo=UTC)  # a Wednesday


def product(name: str, **changes: Any) -> Product:
    parts: dict[str, Any] = {
        "family": "savings",
        "value": 80.0,
        "forecast_rate": 0.2,
        "risk_class": 1,
        "attribution_window_days": 10,
        "decision_delay_days": 2.0,
    }
    return Product(name=name, **(parts | changes))


def small_catalogue(**changes: Any) -> Catalogue:
    parts: dict[str, Any] = {
        "channels": (
            Channel(name="call", family="remote", cost=2.0),
            Channel(name="mail", family="digital", cost=0.01),
        ),
        "timings": (Timing(name="morning"), Timing(name="evening")),
        "products": (
            product("deposit"),
            product("card", family="credit", value=60.0, attribution_window_days=20, repeatable=True),
            product("fund", value=200.0, forecast_rate=0.05, risk_class=4, attribution_window_days=40),
        ),
    }
    return Catalogue(**(parts | changes))


def small_schema(segments: tuple[str, ...] = ("mass", "affluent")) -> FeatureSchema:
    return FeatureSchema(
        columns=(
            Numeric(name="age", mean=45.0, scale=12.0),
            Flag(name="has_app"),
            Category(name="segment", levels=segments),
            Numeric(name="risk_class", mean=3.0, in_model=False),
            Numeric(name="days_to_key_day", mean=15.0, in_model=False),
        ),
        segment="segment",
    )


def small_strategy(**changes: Any) -> Strategy:
    parts: dict[str, Any] = {
        "name": "small",
        "catalogue": small_catalogue(),
        "schema": small_schema(),
        "model": FactoredModel(),
        "policy": ThompsonSampling(n_draws=16),
        "rules": (Consent(), NotOwned(), Suitability()),
        "contact_policy": ContactPolicy(
            limits=(ContactLimit(contacts=3, days=7), ContactLimit(contacts=1, days=14, channel="call")),
            product_rest_days=5,
        ),
        "floor": Floor(epsilon=0.05),
        "seed": 3,
    }
    return Strategy(**(parts | changes))


def open_strategy(**changes: Any) -> Strategy:
    """No rule and no limit: every action is eligible."""
    return small_strategy(**({"rules": (), "contact_policy": ContactPolicy()} | changes))


def small_context(rng: np.random.Generator, strategy: Strategy, number: int = 0) -> Context:
    """One random customer, with consents, products and up to four earlier contacts.

    Opt-outs hold whatever the rules are, so that nobody has opted out where a strategy has none.
    """
    channels = [channel.name for channel in strategy.catalogue.channels]
    products = [one.name for one in strategy.catalogue.products]

    def some(names: Sequence[str], share: float) -> list[str]:
        return [name for name in names if rng.random() < share]

    contacts = tuple(
        Contact(
            channel=str(rng.choice(channels)),
            product=str(rng.choice(products)),
            at=NOW - timedelta(days=float(rng.uniform(0.1, 20.0))),
        )
        for _ in range(rng.integers(0, 5))
    )
    attributes = {
        "age": float(rng.uniform(18, 80)),
        "has_app": bool(rng.random() < 0.5),
        "segment": str(rng.choice(strategy.schema.segments)),
        "risk_class": float(rng.integers(1, 6)),
        "days_to_key_day": float(rng.integers(0, 30)),
        "consents": some(channels, 0.8),
        "owned": some(products, 0.2),
    }
    closed = tuple(some(channels, 0.1))
    opted_out = closed if strategy.rules else ()
    name = f"c{number}"
    return Context(customer_id=name, at=NOW, attributes=attributes, contacts=contacts, opted_out=opted_out)


def small_contexts(strategy: Strategy, n: int, seed: int = 0) -> list[Context]:
    rng = np.random.default_rng(seed)
    return [small_context(rng, strategy, number) for number in range(n)]


def small_rounds(strategy: Strategy, n: int, seed: int = 0) -> RoundBatch:
    """Random rounds of all actions, no-contact among them; half of them with exposure 0 and reward 1."""
    rng, catalogue = np.random.default_rng(seed), strategy.catalogue
    actions = rng.integers(0, catalogue.n_actions, n)
    asked = rng.integers(0, len(catalogue.products), n)
    products = np.where(actions > 0, catalogue.product_of[actions], asked)
    schedule = ExposureSchedule.of(catalogue)
    intervals = rng.integers(0, N_INTERVALS, n)
    exposure, uplift, organic = schedule.shares(products, intervals, (actions > 0).astype(np.int64))
    rewards = (rng.random(n) < 0.3).astype(np.float64)
    return RoundBatch(
        features=strategy.encode(small_contexts(strategy, n, seed)).features,
        actions=actions,
        products=products,
        rewards=rewards,
        exposure=np.where(rewards > 0, 0.0, exposure),
        uplift_share=uplift,
        organic_share=organic,
    )


def cut(rounds: RoundBatch, *places: int) -> list[RoundBatch]:
    """The rounds in pieces, cut before each of `places`."""
    edges = [0, *places, rounds.n_rows]
    return [RoundBatch(*(column[a:b] for column in rounds)) for a, b in zip(edges, edges[1:], strict=False)]


def ids_of(n: int, prefix: str = "d") -> StrArray:
    return np.array([f"{prefix}{number}" for number in range(n)], dtype=object)


@cache
def bank() -> World:
    """The retail bank, read once for all tests."""
    return load_world("retail-bank")


def small_world(
    channels: Sequence[str] = ("app_push", "sms"),
    timings: Sequence[str] = ("morning", "evening"),
    products: Sequence[str] = ("coupon", "card-instalment", "membership"),
    response: dict[str, Any] | None = None,
    population: dict[str, Any] | None = None,
    policy: ContactPolicy = ContactPolicy(),  # noqa: B008 - frozen
    cost: float | None = None,
    off: Sequence[str] = (),
) -> World:
    """The retail bank with few actions; `response`, `population` and `cost` replace its numbers."""
    config = only(bank().config, channels, timings, products)
    priced = tuple(
        structs.replace(channel, cost=channel.cost if cost is None else cost)
        for channel in config.catalogue.channels
    )
    return World(
        structs.replace(
            config,
            mechanisms=MechanismsConfig(off=tuple(off)),
            catalogue=structs.replace(config.catalogue, channels=priced),
            contact=ContactRules(rules=(Consent(), NotOwned(), Suitability()), policy=policy),
            population=structs.replace(config.population, **(population or {})),
            response=structs.replace(config.response, **(response or {})),
        )
    )
