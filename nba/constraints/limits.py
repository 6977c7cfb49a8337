"""How many contacts there may be in a window of time, and how far apart."""

from __future__ import annotations

from typing import Literal

import numpy as np
from msgspec import Struct

from nba.arrays import BoolArray, IntArray
from nba.catalogue import Catalogue
from nba.conditions import Condition
from nba.constraints.local_time import DAY, PERIODS, Period, from_micros
from nba.constraints.look import Look, Scope, Shut
from nba.constraints.windows import fullest, is_near, overfills, overfills_period
from nba.errors import require

HOUR = DAY // 24
_LONGEST_DAYS = 36_500
_PERIOD_DAYS = {"day": 2, "week": 8, "month": 32}  # with the hours that zones lie apart


class ContactLimit(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """At most `contacts` in any `days` days or `hours` hours, or in each calendar day, week or month.

    Days are of 24 hours; calendar periods are of the customer's own zone. One contact in any so many hours
    is a cool-down. The limit is over the channels and products named (`products` may name groups and tags),
    all of them if none is; with `each_channel` it holds for each channel by itself. With `whom` it is only
    for customers of whom that condition holds, or of whom it is not known. A `household` limit counts the
    contacts of all members, in calendar periods of the policy's zone. Service messages are counted and not
    held up, except by a limit that the `platform` owns and enforces on all messages of the institution.
    Actions removed by a limit with a `name` are told apart in `Decision.removed`.
    """

    contacts: int
    days: int = 0
    hours: int = 0
    calendar: Period | None = None
    channel: str | None = None
    channels: tuple[str, ...] = ()
    products: tuple[str, ...] = ()
    each_channel: bool = False
    level: Literal["customer", "household"] = "customer"
    owner: Literal["bank", "platform"] = "bank"
    whom: Condition | None = None
    name: str = ""

    def check(self, pointer: str) -> None:
        """Refuse numbers and words that mean nothing; `pointer` says where in the contact policy."""
        spans = (self.days, self.hours, 0 if self.calendar is None else 1)
        is_one = sum(span != 0 for span in spans) == 1 and min(spans) >= 0
        rule = (
            "needs contacts >= 0 and one of days >= 1, hours >= 1 or calendar, got contacts "
            f"{self.contacts}, days {self.days}, hours {self.hours} and calendar {self.calendar!r}"
        )
        require(self.contacts >= 0 and is_one, "contact policy", pointer, rule)
        rule = f"must be at most {_LONGEST_DAYS} days, got {self.lookback_days:.6g}"
        require(self.lookback_days <= _LONGEST_DAYS, "contact policy", pointer, rule)
        for name, known in (("calendar", (None, *PERIODS)), ("level", _LEVELS), ("owner", _OWNERS)):
            rule = f"must be one of {', '.join(str(one) for one in known)}, got {getattr(self, name)!r}"
            require(getattr(self, name) in known, "contact policy", f"{pointer}.{name}", rule)
        rule = f"name one channel or some channels, not both: {self.channel!r} and {list(self.channels)}"
        require(not (self.channel and self.channels), "contact policy", f"{pointer}.channels", rule)

    @property
    def is_plain(self) -> bool:
        """Whether days on one channel or over all say everything: then counters can keep it."""
        return self == ContactLimit(contacts=self.contacts, days=self.days, channel=self.channel)

    @property
    def lookback_days(self) -> float:
        """How far back contacts matter."""
        return self.days + self.hours / 24 + (_PERIOD_DAYS[self.calendar] if self.calendar else 0)

    def scopes(self, catalogue: Catalogue) -> tuple[Scope, ...]:
        """The contacts limited together; the limit holds for each of the scopes."""
        channels = self.channels if self.channel is None else (self.channel,)
        every = channels or tuple(channel.name for channel in catalogue.channels)
        spares = self.owner == "bank"
        parts = [(name,) for name in every] if self.each_channel else [channels]
        return tuple(Scope.of(catalogue, part, self.products, spares_service=spares) for part in parts)

    def closed(self, look: Look, *scopes: Scope) -> BoolArray:
        """(B, C, T, P) contacts that would overfill a window."""
        masks = [scope.closed(self._overfilled(look, scope)) for scope in scopes]
        return masks[0] if len(masks) == 1 else np.logical_or.reduce(masks)

    @property
    def text(self) -> str:
        """The limit in words, such as "at most 2 contacts on sms in any 7 days"."""
        window = self.window.replace("contacts", "contact", 1) if self.contacts == 1 else self.window
        return f"at most {self.contacts} {window}"

    @property
    def window(self) -> str:
        """What is counted in what time, such as "contacts on sms in any 7 days"."""
        return self._what(self._channels)

    def told(self, shut: Shut, scopes: tuple[Scope, ...], catalogue: Catalogue) -> dict[str, str]:
        """How full the windows are that close what is shut, as "2 of 2"; what is planned counts."""
        found, history = {}, shut.look.history
        for scope in scopes:
            mine = Shut(shut.look, shut.within(scope))
            if not (mine.closed.any() and self._overfilled(mine.look, scope)[0, mine.timing]):
                continue
            counted = self._counted(mine.look, scope)[0]
            if self.calendar is None:
                n_made = fullest(history.at[0, counted], mine.moment, self._width)
            else:
                periods, own = self._periods(mine.look)
                n_made = int((periods[0, counted] == own[0, mine.timing]).sum())
            names = tuple(one.name for one, on in zip(catalogue.channels, scope.channels, strict=False) if on)
            found[self._what(names if self.each_channel else self._channels)] = f"{n_made} of {self.contacts}"
        return found

    @property
    def _channels(self) -> tuple[str, ...]:
        return self.channels if self.channel is None else (self.channel,)

    def _what(self, channels: tuple[str, ...]) -> str:
        """What is counted, and in what time."""
        spans = {f"any {self.days} days": self.days, f"any {self.hours} hours": self.hours}
        span = next((text for text, given in spans.items() if given), f"a calendar {self.calendar}")
        of = "household contacts" if self.level == "household" else "contacts"
        on = "" if not channels else f" on {'|'.join(channels)}"
        on = " on each channel" if self.each_channel and channels == self._channels else on
        about = f" about {'|'.join(self.products)}" if self.products else ""
        return f"{of}{on}{about} in {span}"

    @property
    def _width(self) -> int:
        return self.days * DAY + self.hours * HOUR

    def _counted(self, look: Look, scope: Scope) -> BoolArray:
        """(B, H) contacts that fill windows."""
        made = scope.made(look.history)
        return made if self.level == "household" else made & ~look.history.others

    def _periods(self, look: Look) -> tuple[IntArray, IntArray]:
        assert self.calendar is not None
        return look.periods(self.calendar, of_household=self.level == "household")

    def _overfilled(self, look: Look, scope: Scope) -> BoolArray:
        counted = self._counted(look, scope)
        if self.calendar is not None:
            periods, own = self._periods(look)
            return overfills_period(periods, counted, own, self.contacts)
        return overfills(look.history.at, counted, look.moments, self.contacts, self._width)


class Apart(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """No contact of one kind within `days` of one of another kind, whichever comes first.

    Kinds are channels and products, groups or tags, all of them where none is named: "no mail on the fund
    within 10 days of a call"; with `whom` only for some customers. It keeps contacts apart in time, each at
    its own moment. What does not go together as such, never or in one ranked list either, is said by a rule:
    `not_together`, which also holds in simulated worlds and counts a planned contact as made now.
    """

    days: int
    channels: tuple[str, ...] = ()
    products: tuple[str, ...] = ()
    from_channels: tuple[str, ...] = ()
    from_products: tuple[str, ...] = ()
    whom: Condition | None = None
    name: str = "apart"

    def check(self, pointer: str) -> None:
        """Refuse a span that means nothing."""
        rule = f"must be 1 to {_LONGEST_DAYS}, got {self.days}"
        require(1 <= self.days <= _LONGEST_DAYS, "contact policy", f"{pointer}.days", rule)

    @property
    def lookback_days(self) -> float:
        """How far back contacts matter."""
        return float(self.days)

    def scopes(self, catalogue: Catalogue) -> tuple[Scope, ...]:
        """The two kinds."""
        one = Scope.of(catalogue, self.channels, self.products)
        return one, Scope.of(catalogue, self.from_channels, self.from_products)

    def closed(self, look: Look, *scopes: Scope) -> BoolArray:
        """(B, C, T, P) contacts of either kind that would lie too close to one of the other."""
        own, width = ~look.history.others, self.days * DAY
        one, other = (
            is_near(look.history.at, scope.made(look.history) & own, look.moments, width) for scope in scopes
        )
        return scopes[0].closed(other) | scopes[1].closed(one)

    @property
    def text(self) -> str:
        """The space in words, such as "3 days between sms and call"."""
        kinds = (self.channels, self.products), (self.from_channels, self.from_products)
        one, other = (" ".join("|".join(names) for names in kind if names) or "any contact" for kind in kinds)
        return f"{self.days} days between {one} and {other}"

    def told(self, shut: Shut, scopes: tuple[Scope, ...], catalogue: Catalogue) -> dict[str, str]:
        """The nearest contact that is too near."""
        history, one, other = shut.look.history, *scopes
        near = np.zeros(history.at.shape[1], dtype=np.bool_)
        for mine, theirs in ((one, other), (other, one)):
            near |= theirs.made(history)[0] & ~history.others[0] & shut.within(mine).any()
        times = history.at[0, near]
        nearest = times[np.abs(times - shut.moment).argmin()]
        return {"nearest contact": from_micros(int(nearest)).isoformat()}


class BackOff(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """After a refusal by the channel its contacts wait `hours`, twice as long with each further refusal.

    They never wait longer than `most_hours`. Refusals count from the last contact that was made on the
    channel, and for `forget_days`.
    """

    channel: str
    hours: int
    most_hours: int = 720
    forget_days: int = 90
    name: str = "back_off"

    def check(self, pointer: str) -> None:
        """Refuse numbers that mean nothing."""
        rule = f"needs 1 <= hours <= most_hours, got {self.hours} and {self.most_hours}"
        require(1 <= self.hours <= self.most_hours, "contact policy", f"{pointer}.hours", rule)
        long = self.forget_days <= _LONGEST_DAYS and 24 * self.forget_days >= self.most_hours
        rule = f"must reach as far as most_hours and at most {_LONGEST_DAYS}, got {self.forget_days}"
        require(long, "contact policy", f"{pointer}.forget_days", rule)

    @property
    def lookback_days(self) -> float:
        """How far back refusals matter."""
        return float(self.forget_days)

    def scopes(self, catalogue: Catalogue) -> tuple[Scope, ...]:
        """The channel, with service messages: the platform refuses those as well."""
        return (Scope.of(catalogue, (self.channel,), (), spares_service=False),)

    def closed(self, look: Look, *scopes: Scope) -> BoolArray:
        """(B, C, T, P) contacts on a channel that has to rest."""
        return scopes[0].closed(look.moments < self._until(look, scopes[0])[:, None])

    @property
    def text(self) -> str:
        """The back-off in words."""
        return f"{self.channel} rests {self.hours} hours after a refusal, and twice as long after the next"

    def told(self, shut: Shut, scopes: tuple[Scope, ...], catalogue: Catalogue) -> dict[str, str]:
        """When the channel has rested."""
        until = int(self._until(shut.look, scopes[0])[0])
        return {f"{self.channel} rests until": from_micros(until).isoformat()}

    def _until(self, look: Look, scope: Scope) -> IntArray:
        """(B,) the end of the rest, 0 where nothing was refused."""
        history = look.history
        now, own = history.now[:, None], ~history.others
        made = scope.made(history) & own & (history.at <= now)
        refused = scope.refused(history) & own & (history.at > now - self.forget_days * DAY)
        last_made = history.at.max(axis=1, where=made, initial=0)
        refused &= history.at > last_made[:, None]
        # From the power at which the longest rest is reached on, nothing grows.
        doublings = np.clip(refused.sum(axis=1) - 1, 0, self.most_hours.bit_length())
        rest = np.minimum(self.hours << doublings, self.most_hours) * HOUR
        until: IntArray = history.at.max(axis=1, where=refused, initial=0)
        return until + np.where(refused.any(axis=1), rest, 0)


_LEVELS, _OWNERS = ("customer", "household"), ("bank", "platform")
