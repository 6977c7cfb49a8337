"""A contact policy read as a person would: plain Python over all windows, sharing no code with `nba`.

It reads the fields of a policy, never its methods, and works with datetimes where `nba` works with arrays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from nba.constraints import Apart, BackOff, ContactLimit, ContactPolicy, QuietHours

Ages = Mapping[str, float | None]
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


@dataclass
class Made:
    """A contact as the checker remembers it."""

    customer: str
    household: str | None
    channel: str
    product: str | None
    at: datetime  # UTC
    is_service: bool = False
    is_external: bool = False  # made elsewhere: nobody here could have held it up
    state: str = "made"  # or "refused", "cancelled"


def concerns(part: Any, one: Made) -> bool:
    """Whether a limit is about a contact."""
    channels = part.channels or ((part.channel,) if getattr(part, "channel", None) else ())
    return (not channels or one.channel in channels) and (not part.products or one.product in part.products)


def speaks_of(part: Any, customer: str, ages: Ages) -> bool:
    """Whether a part is about a customer: whose age is not known may be old enough."""
    if part.whom is None:
        return True
    age = ages.get(customer)
    return age is None or age >= part.whom.at_least


def same_subject(limit: ContactLimit, one: Made, other: Made) -> bool:
    if limit.level == "household" and one.household is not None and one.household == other.household:
        return True
    return one.customer == other.customer


def wall(at: datetime, zone: str | None, otherwise: str) -> datetime:
    """What the customer's clock shows."""
    try:
        return at.astimezone(ZoneInfo(zone or otherwise)).replace(tzinfo=None)
    except Exception:
        return at.astimezone(ZoneInfo(otherwise)).replace(tzinfo=None)


def period(limit: ContactLimit, one: Made, zone: str | None, policy: ContactPolicy) -> Any:
    local = wall(one.at, policy.zone if limit.level == "household" else zone, policy.zone)
    if limit.calendar == "week":
        return local.isocalendar()[:2]
    return (local.year, local.month, local.day if limit.calendar == "day" else 0)


def fullest(
    limit: ContactLimit, new: Made, known: list[Made], zone: str | None, policy: ContactPolicy
) -> int:
    """The most contacts in any window around a new one, itself included."""
    counted = [one for one in known if one.state == "made" and concerns(limit, one)]
    counted = [one for one in counted if same_subject(limit, new, one)]
    if limit.each_channel:
        counted = [one for one in counted if one.channel == new.channel]
    if limit.calendar is not None:
        own = period(limit, new, zone, policy)
        return 1 + sum(period(limit, one, zone, policy) == own for one in counted)
    length, times = timedelta(days=limit.days, hours=limit.hours), [*(one.at for one in counted), new.at]
    around = [start for start in times if start <= new.at < start + length]
    return max(sum(start <= at < start + length for at in times) for start in around)


def is_quiet(block: QuietHours, local: datetime) -> bool:
    def begins(day: datetime) -> bool:
        every = not block.weekdays and not block.dates
        return every or DAYS[day.weekday()] in block.weekdays or day.date().isoformat() in block.dates

    clock = f"{local:%H:%M:%S.%f}"
    if block.start < block.end:
        return begins(local) and block.start <= clock < block.end
    yesterday = local - timedelta(days=1)
    return (begins(local) and clock >= block.start) or (begins(yesterday) and clock < block.end)


def is_too_near(rule: Apart, new: Made, known: list[Made]) -> bool:
    def is_a(one: Made, channels: tuple[str, ...], products: tuple[str, ...]) -> bool:
        return (not channels or one.channel in channels) and (not products or one.product in products)

    kinds = (rule.channels, rule.products), (rule.from_channels, rule.from_products)
    for one in known:
        if one.customer == new.customer and one.state == "made":
            if abs(one.at - new.at) < timedelta(days=rule.days):
                if any(is_a(new, *a) and is_a(one, *b) for a, b in (kinds, kinds[::-1])):
                    return True
    return False


def backs_off(rule: BackOff, new: Made, known: list[Made], now: datetime) -> bool:
    own = [one for one in known if one.customer == new.customer and one.channel == rule.channel]
    made = [one.at for one in own if one.state == "made" and one.at <= now]
    last = max(made, default=datetime(1970, 1, 1, tzinfo=UTC))
    refused = [one.at for one in own if one.state == "refused" and one.at > last]
    refused = [at for at in refused if at > now - timedelta(days=rule.forget_days)]
    if not refused or new.channel != rule.channel:
        return False
    rest = min(rule.hours * 2 ** (len(refused) - 1), rule.most_hours)
    return new.at < max(refused) + timedelta(hours=rest)


def broken(
    policy: ContactPolicy,
    new: Made,
    known: list[Made],
    now: datetime,
    zone: str | None,
    ages: Ages | None = None,
) -> list[str]:
    """What a new contact would break, as "limits[2]"; nothing is counted as of another day than its own."""
    found, ages = [], ages or {}
    for number, limit in enumerate(policy.limits):
        is_spared = new.is_service and limit.owner == "bank"
        if concerns(limit, new) and not is_spared and speaks_of(limit, new.customer, ages):
            if fullest(limit, new, known, zone, policy) > limit.contacts:
                found.append(f"limits[{number}]")
    for number, block in enumerate(policy.quiet_hours):
        is_about = not block.channels or new.channel in block.channels
        is_about = is_about and speaks_of(block, new.customer, ages)
        if is_about and not (new.is_service and block.spares_service):
            if is_quiet(block, wall(new.at, zone, policy.zone)):
                found.append(f"quiet_hours[{number}]")
    if not new.is_service:
        apart = [one if speaks_of(one, new.customer, ages) else None for one in policy.apart]
        found += [f"apart[{n}]" for n, one in enumerate(apart) if one and is_too_near(one, new, known)]
    found += [f"back_off[{n}]" for n, rule in enumerate(policy.back_off) if backs_off(rule, new, known, now)]
    return found


def rests(policy: ContactPolicy, new: Made, known: list[Made], now: datetime) -> bool:
    """Whether the product still rests: a planned offer counts as of now, and service messages never rest."""
    rest = timedelta(days=policy.product_rest_days)
    offers = [one for one in known if one.customer == new.customer and one.state == "made"]
    return not new.is_service and any(
        one.product == new.product and now - min(one.at, now) < rest for one in offers
    )


def overshoots(
    policy: ContactPolicy, known: list[Made], zones: dict[str, str | None], ages: Ages | None = None
) -> list[str]:
    """Limits that hold too many contacts in some window, wherever it lies, of those decided here.

    What a household's limit about some of its members allows the others may come on top.
    """
    ours = [one for one in known if one.state == "made" and not one.is_service and not one.is_external]
    return [
        f"limits[{number}]: {one}"
        for number, limit in enumerate(policy.limits)
        for one in ours
        if concerns(limit, one)
        and speaks_of(limit, one.customer, ages or {})
        and not (limit.whom and limit.level == "household")
        and fullest(limit, one, [x for x in ours if x is not one], zones[one.customer], policy)
        > limit.contacts
    ]
