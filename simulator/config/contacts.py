"""How customers respond to contacts (methods F2)."""

from __future__ import annotations

from msgspec import Struct

from nba.catalogue import Catalogue
from nba.conditions import Tag
from nba.constraints import ContactPolicy, Rule
from nba.errors import require
from nba.features import FeatureSchema
from simulator.config.fields import Amount, Count, LogFactor, Logit, Positive, Probability


class ContactRules(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the bank allows, whatever the strategy."""

    rules: tuple[Rule, ...]
    policy: ContactPolicy
    tags: tuple[Tag, ...] = ()


def check_policy(world: str, policy: ContactPolicy, history_days: int) -> None:
    """Refuse what a simulated history cannot keep: it knows channels and days, as far as it reaches."""
    for index, limit in enumerate(policy.limits):
        pointer = f"contact.policy.limits[{index}]"
        rule = f"must be at most {history_days}, as far as a simulated history reaches, got {limit.days}"
        require(limit.days <= history_days, world, f"{pointer}.days", rule)
        told = "must be left out: a simulated history knows days and channels only; use days"
        for name in ("hours", "calendar", "products"):
            require(not getattr(limit, name), world, f"{pointer}.{name}", told)
        told = "must be left out: the audit of a simulated log cannot tell whom; write a rest rule with whom"
        require(limit.whom is None, world, f"{pointer}.whom", told)
    for name in ("quiet_hours", "apart", "back_off"):
        rule = "must be left out: a simulated history knows neither hours, products nor refusals"
        require(not getattr(policy, name), world, f"contact.policy.{name}", rule)


def check_since(world: str, schema: FeatureSchema, catalogue: Catalogue, history_days: int) -> None:
    """Refuse what a simulated history does not tell: it knows contacts for a while, and interest online."""
    for column in schema.since:
        pointer, told = f"schema.columns.{column.name}", {*column.outcomes, *column.unless_outcomes}
        rule = f'a simulated bank sees interest online, "engaged", and no other outcome; got {sorted(told)}'
        require(told <= {"engaged"}, world, f"{pointer}.outcomes", rule)
        families = {one.family for one in catalogue.products if one.name in column.products}
        missing = [one.name for one in catalogue.products if one.family in families]
        missing = sorted(set(missing) - set(column.products))
        rule = f"must be whole families, which is all that a simulated bank sees of interest; add {missing}"
        require(not missing, world, f"{pointer}.products", rule)
        rule = f"must end by {history_days}, as far as a simulated history reaches, got {column.bands[-1]:g}"
        require(column.bands[-1] <= history_days, world, f"{pointer}.bands", rule)


class PlatformLimit(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The channel's own cap: what comes above it is refused and never made."""

    channel: str
    contacts: Count
    days: Count


class OptOutConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Hazard of leaving a channel at a delivered contact, and what the bank loses by it."""

    base: tuple[Probability, ...]  # by channel
    fatigue: LogFactor  # per unit of the channel's long counter
    irrelevance: LogFactor  # per unit of affinity below average
    cost: tuple[Amount, ...]  # by channel, account currency


class ComplaintConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Hazard of a complaint at a delivered contact, and what one costs."""

    base: tuple[Probability, ...]  # by channel
    fatigue: LogFactor  # per unit of the channel's long counter
    irrelevance: LogFactor = 0.0  # per unit of affinity below average
    elderly: tuple[LogFactor, ...]  # by channel, from 65 on
    unsuitable: LogFactor = 0.0  # if the product is riskier than the customer's risk class
    cost: Amount  # account currency


class ResponseConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """From contact to conversion: delivered, seen, engaged, and the hazard that is lifted."""

    delivery: tuple[Probability, ...]  # by channel
    seen: tuple[Probability, ...]  # by channel, given delivery
    openness: tuple[Logit, ...]  # by channel: engagement of an average unfatigued customer who saw it
    digital_loading: tuple[Logit, ...]  # by channel, per unit of digital index above 0.5
    receptivity: tuple[tuple[Logit, ...], ...]  # activity class x timing
    week_class: tuple[tuple[Logit, ...], ...] = ((0.0,) * 7,) * 3  # class x day of the week, Monday first
    weekday: tuple[Logit, ...] = (0.0,) * 7
    month: tuple[Logit, ...] = (0.0,) * 12
    short_fatigue: Amount  # logit per unit of the channel's short counter
    long_fatigue: Amount  # logit per unit of the channel's long counter
    cross_fatigue: Amount  # logit per unit of all other channels' long counters
    habituation: tuple[LogFactor, ...]  # by channel, on the lift per unit of its long counter
    halo: Probability  # share of the lift that a contact has which was seen and not engaged with
    lift: tuple[Amount, ...]  # by product: extra conversions of an engaged contact (see the README)
    organic: tuple[Amount, ...]  # by product: conversions per day of an average customer
    channel_strength: tuple[LogFactor, ...]  # by channel, on the lift
    channel_fit: dict[str, tuple[LogFactor, ...]]  # family -> by channel, on the lift
    delay_shape: Positive = 2.0  # gamma shape of the decision delay; its mean is the product's
    recency_days: tuple[Count, ...] = ()  # upper ends of bands of days since the last purchase
    recency: tuple[LogFactor, ...] = (0.0,)  # by band and beyond, on hazards of the family last bought
    hand_off: LogFactor = 0.0  # on the lift of a person's contact about what the customer looked for online
    hand_off_days: Count = 14
    follow_up: LogFactor = 0.0  # on the lift after a digital contact through another channel without interest
    follow_up_days: tuple[Count, Count] = (2, 7)  # first and last day after it on which that counts
    return_flow: Logit = 0.0  # engagement with digital contacts after a person's contact
    return_days: Count = 7
    platform_limits: tuple[PlatformLimit, ...] = ()
    opt_out: OptOutConfig
    complaint: ComplaintConfig
