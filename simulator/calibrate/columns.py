"""Which columns of a campaign table mean what: a TOML file, and the one for UCI's bank calls.

One row of a table is one client of one campaign: how many contacts were made up to the last, whether the
last one sold, and what was known *before* the campaign's contacts.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec import Struct

from nba.errors import InvalidConfig, require

DATA = Path(__file__).resolve().parents[1] / "data"
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
CALENDAR = {"month": MONTHS, "weekday": WEEKDAYS}
RESERVED = (*CALENDAR, "contact", "background", "intercept", "period", "call")
# Known only once a contact is over, whatever a map says: as a feature each nearly gives the answer away.
LEAKAGE = (
    *("duration", "call_duration", "contact_duration", "talk_time", "call_length"),
    *("handle_time", "disposition", "call_result", "call_outcome", "hangup"),
)


class Levels(Struct, frozen=True, forbid_unknown_fields=True):
    """A column of labels; the first label is the reference of its effects."""

    column: str
    labels: tuple[str, ...] = ()  # empty: those that occur, in alphabetical order


class Answer(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The column that says whether the last contact sold."""

    column: str
    yes: str = "yes"
    no: str = "no"


class ColumnMap(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the columns of a table mean, and which channel and product of the world it speaks about."""

    name: str
    channel: str = "call"
    product: str = "term-deposit"
    separator: str = ","
    sold: Answer
    contacts: str  # column: contacts with the client in this campaign, the last included
    answered: bool = True  # the table counts only contacts that reached the client
    month: str | None = None  # column of the last contact's month: jan .. dec, or 1 .. 12
    weekday: str | None = None  # mon .. sun, or 1 .. 7 from Monday
    contact: Levels | None = None  # two kinds of contact, the world's channel first
    period: str | None = None  # column; without it a change of month starts the next period
    factors: dict[str, Levels] = {}  # who the client is: job, segment, outcome of an earlier campaign
    indicators: tuple[str, ...] = ()  # number columns of the economy, held fixed in the adjusted slope
    weight: str | None = None  # column: clients that a row stands for
    known_later: tuple[str, ...] = ()  # columns known only after the contact, never to be used
    n_clients: int | None = None  # if given, the table must have exactly so many rows
    n_sales: int | None = None

    def __post_init__(self) -> None:
        """Refuse features that give the answer away, columns used twice, and names that are taken."""
        banned = {*self.known_later, *LEAKAGE}
        used: dict[str, str] = {}
        for pointer, column in self.places():
            leaks = f"{column!r} is known only after the contact and gives the answer away; leave it out"
            require(column.lower() not in banned, self.name, pointer, leaks)
            rule = f"column {column!r} is already used as {used.get(column)}"
            require(column not in used, self.name, pointer, rule)
            used[column] = pointer
        taken = sorted(set(self.factors) & set(RESERVED))
        require(not taken, self.name, "factors", f"the names {', '.join(taken)} are taken; choose others")
        kinds = None if self.contact is None else len(self.contact.labels)
        rule = f"needs two labels, the world's channel first, got {kinds}"
        require(kinds in (None, 2), self.name, "contact.labels", rule)
        require(
            len(self.separator) == 1, self.name, "separator", f"must be one character, got {self.separator!r}"
        )

    def places(self) -> list[tuple[str, str]]:
        """Every column that is read, with the key of the map that names it."""
        single = [(key, getattr(self, key)) for key in ("contacts", "month", "weekday", "period", "weight")]
        found = [("sold.column", self.sold.column), *((key, column) for key, column in single if column)]
        if self.contact is not None:
            found.append(("contact.column", self.contact.column))
        found += [(f"factors.{name}.column", levels.column) for name, levels in self.factors.items()]
        return found + [(f"indicators[{i}]", column) for i, column in enumerate(self.indicators)]

    @property
    def levels(self) -> dict[str, Levels]:
        """The columns of labels by name: month, weekday, contact and the map's own factors."""
        calendar = {"month": self.month, "weekday": self.weekday}
        found = {name: Levels(column, CALENDAR[name]) for name, column in calendar.items() if column}
        if self.contact is not None:
            found["contact"] = self.contact
        return found | self.factors


UCI_MAP = DATA / "bank-additional-full.toml"


def load_map(path: str | Path | None = None) -> ColumnMap:
    """Read a column map, UCI's by default; raises InvalidConfig naming the file, the key and the rule."""
    place = UCI_MAP if path is None else Path(path)
    try:
        return msgspec.toml.decode(place.read_bytes().decode(), type=ColumnMap)
    except OSError as error:
        raise InvalidConfig(str(place), "", f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InvalidConfig(str(place), "", f"is not UTF-8 at byte {error.start}") from None
    except msgspec.MsgspecError as error:
        raise InvalidConfig(str(place), "", str(error)) from None
