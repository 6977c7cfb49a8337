"""A world with fewer channels, timings and products: small action spaces of the same bank."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import structs

from nba.catalogue import Catalogue
from nba.constraints import ContactLimit
from nba.features import FeatureSchema
from nba.since import Since
from simulator.capacity import CapacityConfig
from simulator.config.contacts import ContactRules, ResponseConfig
from simulator.config.people import SAME_FAMILY, EventKind
from simulator.config.world import WorldConfig

Row = tuple[Any, ...]


def only(
    config: WorldConfig, channels: Sequence[str], timings: Sequence[str], products: Sequence[str]
) -> WorldConfig:
    """The same world with the named channels, timings and products only; UnknownAction for other names."""
    full = config.catalogue
    c, t, p = (
        [full.level(kind, name) for name in names]
        for kind, names in (("channel", channels), ("timing", timings), ("product", products))
    )
    families = {full.products[i].family for i in p}
    small = structs.replace(
        full,
        channels=_pick(full.channels, c),
        timings=_pick(full.timings, t),
        products=_pick(full.products, p),
        excluded=(),
    )
    people, life, days = config.population, config.life_cycle, config.calendar
    holidays = (structs.replace(one, organic=_of(one.organic, {*families, "*"})) for one in days.holidays)
    return structs.replace(
        config,
        catalogue=small,
        schema=_schema(config.schema, set(channels), set(products)),
        contact=_contact(config.contact, small),
        population=structs.replace(
            people,
            consent_rates=_pick(people.consent_rates, c),
            ownership_rates=_pick(people.ownership_rates, p),
            loadings=_of(people.loadings, families),
        ),
        response=_response(config.response, families, set(channels), c, t, p),
        life_cycle=structs.replace(
            life, entry_products=tuple(name for name in life.entry_products if name in products)
        ),
        behaviour=structs.replace(
            config.behaviour, events=tuple(_event(kind, families) for kind in config.behaviour.events)
        ),
        calendar=structs.replace(days, payday=_of(days.payday, families), holidays=tuple(holidays)),
        capacity=_capacity(config.capacity, c),
        cross_sell=tuple(link for link in config.cross_sell if {link.owns, link.lifts} <= set(products)),
        ensemble=(),
    )


def _pick(row: Row, places: Sequence[int]) -> Row:
    return tuple(row[i] for i in places)


def _of(table: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in table.items() if name in names}


def _schema(schema: FeatureSchema, channels: set[str], products: set[str]) -> FeatureSchema:
    """Without what is counted from channels and products alone that are gone."""
    columns = (_since(one, channels, products) if isinstance(one, Since) else one for one in schema.columns)
    return structs.replace(schema, columns=tuple(one for one in columns if one is not None))


def _since(column: Since, channels: set[str], products: set[str]) -> Since | None:
    about = tuple(name for name in column.products if name in products)
    outcomes = column.outcomes if about or not column.products else ()
    begun, ended = (
        tuple(name for name in names if name in channels)
        for names in (column.contacts, column.unless_contacts)
    )
    if not begun and not outcomes:
        return None
    return structs.replace(column, contacts=begun, outcomes=outcomes, products=about, unless_contacts=ended)


def _contact(contact: ContactRules, small: Catalogue) -> ContactRules:
    """Without the rules and limits of channels, timings and products that are gone."""
    channels, timings = small.names("channel"), small.names("timing")
    limits = (left for one in contact.policy.limits if (left := _limit(one, channels)) is not None)
    rules = tuple(
        structs.replace(rule, scope=scope)
        for rule in contact.rules
        if getattr(rule, "channel", channels[0]) in channels
        and getattr(rule, "timing", timings[0]) in timings
        and (scope := rule.scope.within(small)) is not None
    )
    return structs.replace(contact, rules=rules, policy=structs.replace(contact.policy, limits=tuple(limits)))


def _limit(limit: ContactLimit, channels: tuple[str, ...]) -> ContactLimit | None:
    """What is left of a limit; None where all its channels are gone."""
    named = (limit.channel,) if limit.channel is not None else limit.channels
    left = tuple(name for name in named if name in channels)
    if len(left) == len(named):
        return limit
    return structs.replace(limit, channels=left) if left else None


def _response(
    answer: ResponseConfig,
    families: set[str],
    channels: set[str],
    c: Sequence[int],
    t: Sequence[int],
    p: Sequence[int],
) -> ResponseConfig:
    by_channel = ("delivery", "seen", "openness", "digital_loading", "habituation", "channel_strength")
    left, loud = answer.opt_out, answer.complaint
    return structs.replace(
        answer,
        **{name: _pick(getattr(answer, name), c) for name in by_channel},
        receptivity=tuple(_pick(row, t) for row in answer.receptivity),
        lift=_pick(answer.lift, p),
        organic=_pick(answer.organic, p),
        channel_fit={name: _pick(row, c) for name, row in answer.channel_fit.items() if name in families},
        platform_limits=tuple(one for one in answer.platform_limits if one.channel in channels),
        opt_out=structs.replace(left, base=_pick(left.base, c), cost=_pick(left.cost, c)),
        complaint=structs.replace(loud, base=_pick(loud.base, c), elderly=_pick(loud.elderly, c)),
    )


def _event(kind: EventKind, families: set[str]) -> EventKind:
    """An event whose product nobody can hold any more does not happen."""
    boosts = _of(kind.boosts, {*families, SAME_FAMILY})
    gone = kind.owns not in {"", *families}
    return structs.replace(
        kind, boosts=boosts, owns="" if gone else kind.owns, per_day=0.0 if gone else kind.per_day
    )


def _capacity(capacity: CapacityConfig, c: Sequence[int]) -> CapacityConfig:
    if capacity.is_off:
        return capacity
    return structs.replace(
        capacity,
        minutes=_pick(capacity.minutes, c),
        unanswered_minutes=_pick(capacity.unanswered_minutes, c),
        pool_of=_pick(capacity.pool_of, c),
    )
