"""Days since something happened to a customer and was not followed by something else: what sequences hang on.

An unanswered message, interest shown online, a lead that no adviser has taken up: each is the time since the
last of some contacts or outcomes, unless others have come since. Cut into bands it enters every model as
other features do, so that the worth of a channel after another one's silence is learnt and not ruled.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime

import numpy as np
from msgspec import Struct

from nba.arrays import FloatArray
from nba.catalogue import Catalogue
from nba.context import OUTCOMES, AttributeValue, Context
from nba.errors import BadContext, InvalidConfig, UnknownAction, require

_DAY_SECONDS = 86_400.0
_LARGEST = float(np.finfo(np.float64).max)
_INTEREST, _BANDS = ("engaged",), (0.0, 3.0, 7.0, 15.0, 30.0)


class Since(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="since"):
    """Days since the last contact through one of `contacts`, or the last of `outcomes`; one-hot by band.

    Unknown, and in no band, where there was none, or where at that moment or later there was a contact
    through one of `unless_contacts` or one of `unless_outcomes`. `products`, if any, narrow `outcomes` to
    those about them. Contacts still to come and refused ones do not count. `bands` are rising ends in days:
    (1, 3, 7) makes "from 1 to below 3" and "from 3 to below 7". A record may tell the days itself under the
    column's `name`; else they are counted from its history.
    """

    name: str
    bands: tuple[float, ...]
    contacts: tuple[str, ...] = ()
    outcomes: tuple[str, ...] = ()
    products: tuple[str, ...] = ()
    unless_contacts: tuple[str, ...] = ()
    unless_outcomes: tuple[str, ...] = ()
    in_model: bool = True

    def __post_init__(self) -> None:
        """Check the bands and the names of outcomes; those of channels are the catalogue's, see `check`."""
        where = f"columns.{self.name}"
        rises = len(self.bands) > 1 and all(begin < end for begin, end in self.spans)
        finite = all(0.0 <= edge <= _LARGEST for edge in self.bands)
        rule = f"must be two or more days that are finite, >= 0 and rise, got {list(self.bands)}"
        require(rises and finite, "schema", f"{where}.bands", rule)
        rule = "must name what the days are counted from: give contacts or outcomes"
        require(bool(self.contacts or self.outcomes), "schema", f"{where}.contacts", rule)
        rule = "narrow outcomes alone, and none are named; name outcomes, or leave products out"
        require(bool(self.outcomes or not self.products), "schema", f"{where}.products", rule)
        for field in ("outcomes", "unless_outcomes"):
            unknown = sorted(set(getattr(self, field)) - set(OUTCOMES))
            rule = f"{unknown} are no outcomes; use some of {', '.join(OUTCOMES)}"
            require(not unknown, "schema", f"{where}.{field}", rule)

    def check(self, catalogue: Catalogue, source: str) -> None:
        """InvalidConfig for a channel or a product that the catalogue does not have."""
        for field in ("contacts", "unless_contacts", "products"):
            for name in getattr(self, field):
                try:
                    catalogue.level("product" if field == "products" else "channel", name)
                except UnknownAction as error:
                    raise InvalidConfig(source, f"columns.{self.name}.{field}", str(error)) from None

    def raw(self, value: AttributeValue) -> float:
        """Check one attribute value: days, or None."""
        if value is None:
            return float("nan")
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not 0.0 <= value <= _LARGEST:  # type: ignore[operator]
            raise BadContext(f"/{self.name}", f"must be a finite number of days >= 0, got {value!r}")
        return float(value)  # type: ignore[arg-type]

    @property
    def spans(self) -> tuple[tuple[float, float], ...]:
        """First day and end of each encoded column."""
        return tuple(zip(self.bands, self.bands[1:], strict=False))

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the encoded columns."""
        return tuple(f"{self.name}={begin:g}-{end:g}" for begin, end in self.spans)

    @property
    def memory_days(self) -> float:
        """How far back contacts and outcomes matter."""
        return self.bands[-1]

    @property
    def asks_outcomes(self) -> bool:
        """Whether outcomes matter."""
        return bool(self.outcomes or self.unless_outcomes)

    def days(self, context: Context) -> float:
        """Days for one customer, NaN where unknown."""
        last = max(_moments(context, self.contacts, self.outcomes, self.products), default=None)
        ended = _moments(context, self.unless_contacts, self.unless_outcomes, ())
        if last is None or any(one >= last for one in ended):
            return float("nan")
        return (context.at - last).total_seconds() / _DAY_SECONDS


def follow_up_columns(catalogue: Catalogue, people: Collection[str] = ()) -> tuple[Since, ...]:
    """What sequences hang on in any catalogue: the silence after each channel, and interest in each family.

    A contact through another channel ends a silence. Interest is open until one of the channels `people` is
    used, through which a person speaks; without any those of the family "human" are.
    """
    channels = catalogue.names("channel")
    speak = tuple(people) or tuple(one.name for one in catalogue.channels if one.family == "human")
    silences = (
        Since(
            name=f"unanswered_{name}",
            contacts=(name,),
            unless_contacts=tuple(other for other in channels if other != name),
            unless_outcomes=_INTEREST,
            bands=_BANDS,
        )
        for name in channels
    )
    families = dict.fromkeys(one.family for one in catalogue.products)
    interests = (
        Since(
            name=f"interest_in_{family}",
            outcomes=_INTEREST,
            products=tuple(one.name for one in catalogue.products if one.family == family),
            unless_contacts=speak,
            bands=_BANDS,
        )
        for family in families
    )
    return (*silences, *interests)


def counted(
    raw: dict[str, FloatArray], contexts: Sequence[Context], columns: Sequence[Since]
) -> dict[str, FloatArray]:
    """Raw columns (B,) with the days that no record tells itself."""

    def days(column: Since, own: float, context: Context) -> float:
        return own if column.name in context.attributes else column.days(context)

    return raw | {
        column.name: np.array([days(column, *row) for row in zip(raw[column.name], contexts, strict=True)])
        for column in columns
    }


def _moments(
    context: Context, channels: Collection[str], outcomes: Collection[str], products: Collection[str]
) -> Iterator[datetime]:
    """When there were such contacts, and such outcomes about such products if any are named, up to now."""
    made = (one.at for one in context.contacts if one.channel in channels and not one.refused)
    about = (one for one in context.outcomes if not products or one.product in products)
    known = (one.at for one in about if one.outcome in outcomes)
    return (at for moments in (made, known) for at in moments if at <= context.at)
