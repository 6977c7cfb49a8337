"""Every property of the contact policy can fail: with one check taken out, the machine finds it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from msgspec import structs
from test_contact_policy_machine import Contacting

from nba.constraints import contact_policy, limits, local_time, look, quiet_hours
from nba.constraints.contact_policy import Scoped
from nba.constraints.limits import BackOff, ContactLimit
from nba.constraints.look import Look, Scope
from nba.constraints.quiet_hours import QuietHours
from nba.constraints.windows import overfills, overfills_period
from nba.strategy import Strategy

Mutation = Callable[[pytest.MonkeyPatch], None]


def only_past(patch: pytest.MonkeyPatch) -> None:
    """Planned contacts fill no window."""

    def past(times: Any, counted: Any, moments: Any, *rest: Any) -> Any:
        return overfills(times, counted & (times <= moments[:, :1]), moments, *rest)

    patch.setattr(limits, "overfills", past)


def only_backwards(patch: pytest.MonkeyPatch) -> None:
    """Only the window that ends at the contact is looked at, not those that reach beyond it."""

    def backwards(times: Any, counted: Any, moments: Any, contacts: int, width: int) -> Any:
        age = moments[:, :, None] - times[:, None, :]
        return ((age >= 0) & (age < width) & counted[:, None, :]).sum(axis=2) >= contacts

    patch.setattr(limits, "overfills", backwards)


def around_now(patch: pytest.MonkeyPatch) -> None:
    """Windows are checked around the decision, not around the contact."""
    at = Look.at

    def now(*arguments: Any) -> Look:
        seen = at(*arguments)
        return structs.replace(seen, moments=np.repeat(seen.history.now[:, None], seen.moments.shape[1], 1))

    patch.setattr(look.Look, "at", staticmethod(now))


def one_more(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        limits, "overfills", lambda a, b, c, contacts, width: overfills(a, b, c, contacts + 1, width)
    )


def one_more_in_a_period(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        limits, "overfills_period", lambda a, b, c, contacts: overfills_period(a, b, c, contacts + 1)
    )


def a_microsecond_short(patch: pytest.MonkeyPatch) -> None:
    """A window that includes both its ends."""
    patch.setattr(limits, "overfills", lambda a, b, c, d, width: overfills(a, b, c, d, width + 1))


def members_apart(patch: pytest.MonkeyPatch) -> None:
    """A household's limit does not see the other members."""
    overfilled = ContactLimit._overfilled

    def alone(self: ContactLimit, *arguments: Any) -> Any:
        return overfilled(structs.replace(self, level="customer"), *arguments)

    patch.setattr(ContactLimit, "_overfilled", alone)


def open_where_unknown(patch: pytest.MonkeyPatch) -> None:
    """Quiet hours fail open where the zone is not known."""
    closed = QuietHours.closed

    def lenient(self: QuietHours, seen: Look, *scopes: Scope) -> Any:
        known = np.array([zone is not None for zone in seen.history.zones])
        return closed(self, seen, *scopes) & known[:, None, None, None]

    patch.setattr(quiet_hours.QuietHours, "closed", lenient)


def winter_time(patch: pytest.MonkeyPatch) -> None:
    """Daylight saving is forgotten."""
    january = 1_767_225_600_000_000
    patch.setattr(local_time, "_offset", lambda moment, zone, true=local_time._offset: true(january, zone))


def no_night_before(patch: pytest.MonkeyPatch) -> None:
    """A block that runs over midnight ends there."""
    begins = QuietHours._begins

    def today(self: QuietHours, days: Any) -> Any:
        again = getattr(self, "_asked", False)
        self.__dict__["_asked"] = not again
        return begins(self, days) & ~np.array(again)

    patch.setattr(quiet_hours.QuietHours, "_begins", today)


def refusals_count(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(look.Scope, "made", look.Scope._hit)


def no_doubling(patch: pytest.MonkeyPatch) -> None:
    closed = BackOff.closed

    def flat(self: BackOff, *arguments: Any) -> Any:
        return closed(structs.replace(self, most_hours=self.hours), *arguments)

    patch.setattr(limits.BackOff, "closed", flat)


def nothing_apart(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(limits, "is_near", lambda times, counted, moments, width: np.zeros(moments.shape, np.bool_))


def service_exempt_everywhere(patch: pytest.MonkeyPatch) -> None:
    of = Scope.of

    def spared(*arguments: Any, **named: Any) -> Scope:
        return of(*arguments, **(named | {"spares_service": True}))

    patch.setattr(look.Scope, "of", staticmethod(spared))


def service_held_up(patch: pytest.MonkeyPatch) -> None:
    of = Scope.of

    def held(*arguments: Any, **named: Any) -> Scope:
        return of(*arguments, **(named | {"spares_service": False}))

    patch.setattr(look.Scope, "of", staticmethod(held))


def planned_forgotten_by_counters(patch: pytest.MonkeyPatch) -> None:
    counts = contact_policy.ContactPolicy.counts

    def made(self: Any, shape: Any, rows: Any, channels: Any, ages: Any) -> Any:
        past = ages > 0.0
        return counts(self, shape, rows[past], channels[past], ages[past])

    patch.setattr(contact_policy.ContactPolicy, "counts", made)


def spared_where_unknown(patch: pytest.MonkeyPatch) -> None:
    """A part that is about some customers is not about those of whom nobody knows."""
    closed = Scoped.closed

    def known(self: Scoped, look: Look, contexts: Any) -> Any:
        if self.whom is None:
            return closed(self, look, contexts)
        return self.part.closed(look, *self.scopes) & self.whom(contexts).holds[:, None, None, None]

    patch.setattr(Scoped, "closed", known)


def about_everybody(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Scoped, "closed", lambda self, look, contexts: self.part.closed(look, *self.scopes))


def names_mixed_up(patch: pytest.MonkeyPatch) -> None:
    names = Strategy.__dict__["rule_names"].fget
    swapped = property(lambda self: (*names(self)[:-2], *names(self)[-2:][::-1]))
    patch.setattr(Strategy, "rule_names", swapped)


MUTATIONS = [
    only_past,
    only_backwards,
    around_now,
    one_more,
    one_more_in_a_period,
    a_microsecond_short,
    members_apart,
    open_where_unknown,
    winter_time,
    no_night_before,
    refusals_count,
    no_doubling,
    nothing_apart,
    service_exempt_everywhere,
    service_held_up,
    planned_forgotten_by_counters,
    spared_where_unknown,
    about_everybody,
    names_mixed_up,
]


@pytest.mark.slow
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_the_machine_finds_a_policy_without_one_of_its_checks(
    mutation: Mutation, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutation(monkeypatch)
    quick = settings(
        max_examples=3_000,
        stateful_step_count=40,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    with pytest.raises(AssertionError):
        run_state_machine_as_test(Contacting, settings=quick)  # type: ignore[no-untyped-call]
