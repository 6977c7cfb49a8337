"""The audit of a decision log: it finds every planted violation and accuses nobody who kept the limits."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from small import small_catalogue

from experiments.audit import violations
from experiments.logs import DecisionLog
from nba.constraints import ContactLimit, ContactPolicy

CATALOGUE = small_catalogue()
OPEN = ContactPolicy()
THREE_A_WEEK = ContactPolicy(limits=(ContactLimit(contacts=3, days=7),))
ONE_CALL_IN_TWO_WEEKS = ContactPolicy(limits=(ContactLimit(contacts=1, days=14, channel="call"),))
RESTING = ContactPolicy(product_rest_days=5)


class Row(NamedTuple):
    customer: int
    day: int
    action_id: str
    opted_out: bool = False
    wait: int = 0  # days from the decision to the contact
    refused: bool = False  # decided and not made


def mail(customer: int, day: int, product: str = "deposit", opted_out: bool = False) -> Row:
    return Row(customer, day, f"mail/morning/{product}", opted_out)


def call(customer: int, day: int, product: str = "deposit", opted_out: bool = False) -> Row:
    return Row(customer, day, f"call/evening/{product}", opted_out)


def silence(customer: int, day: int) -> Row:
    return Row(customer, day, "no-contact")


def log_of(*rows: Row) -> DecisionLog:
    """A log of hand-made rows, sorted as logs are."""
    ordered = sorted(rows, key=lambda row: (row.day, row.customer))
    n = len(ordered)
    ids = list(CATALOGUE.action_ids)
    blank = {name: np.zeros(n) for name in DecisionLog._fields}
    known = {
        "number": np.arange(n),
        "customer": np.array([row.customer for row in ordered], dtype=np.int64),
        "day": np.array([row.day for row in ordered], dtype=np.int64),
        "contact_day": np.array([row.day + row.wait for row in ordered], dtype=np.int64),
        "action": np.array([ids.index(row.action_id) for row in ordered], dtype=np.int64),
        "opted_out": np.array([row.opted_out for row in ordered], dtype=np.bool_),
        "refused": np.array([row.refused for row in ordered], dtype=np.bool_),
    }
    return DecisionLog(**(blank | known))


def found(policy: ContactPolicy, *rows: Row) -> int:
    return violations(log_of(*rows), CATALOGUE, policy)


def test_an_empty_log_and_a_silent_one_are_clean() -> None:
    everything = ContactPolicy(
        limits=(*THREE_A_WEEK.limits, *ONE_CALL_IN_TWO_WEEKS.limits), product_rest_days=5
    )
    assert found(everything) == 0
    assert found(everything, *(silence(1, day) for day in range(30))) == 0


@pytest.mark.parametrize(("last", "expected"), [(6, 1), (7, 0)])
def test_a_window_of_seven_days_ends_after_seven_days(last: int, expected: int) -> None:
    assert found(THREE_A_WEEK, mail(1, 0), call(1, 2, "card"), mail(1, 4, "fund"), call(1, last)) == expected


@pytest.mark.parametrize(("first", "last", "expected"), [(0, 0, 1), (0, 1, 0), (1, 1, 1)])
def test_what_counts_is_the_day_of_the_contact(first: int, last: int, expected: int) -> None:
    one = call(1, 0)._replace(wait=first)
    assert found(ONE_CALL_IN_TWO_WEEKS, one, call(1, 13, "card")._replace(wait=last)) == expected


def test_each_contact_too_many_counts() -> None:
    assert found(THREE_A_WEEK, *(mail(1, day) for day in range(6))) == 3


def test_contacts_of_one_day_count_too() -> None:
    assert found(ONE_CALL_IN_TWO_WEEKS, call(1, 3), call(1, 3, "card")) == 1


def test_a_refused_contact_is_none() -> None:
    refused = call(1, 5)._replace(refused=True)
    assert found(ONE_CALL_IN_TWO_WEEKS, call(1, 0), refused) == 0
    assert found(ONE_CALL_IN_TWO_WEEKS, refused, call(1, 7, "card")) == 0
    assert found(RESTING, mail(1, 0, "card"), call(1, 2, "card")._replace(refused=True)) == 0
    assert found(OPEN, call(1, 3, opted_out=True), call(1, 4)._replace(refused=True)) == 0


def test_silence_and_other_customers_do_not_fill_a_limit() -> None:
    rows = [mail(customer, day) for customer in (1, 2, 3) for day in (0, 2, 4)]
    assert found(THREE_A_WEEK, *rows, *(silence(1, day) for day in (1, 3, 5, 6))) == 0


@pytest.mark.parametrize(("last", "expected"), [(13, 1), (14, 0)])
def test_a_limit_of_a_channel_counts_that_channel_alone(last: int, expected: int) -> None:
    between = [mail(1, day) for day in range(1, 13)]
    assert found(ONE_CALL_IN_TWO_WEEKS, call(1, 0), *between, call(1, last, "card")) == expected


def test_a_limit_of_no_contacts_forbids_the_channel() -> None:
    never = ContactPolicy(limits=(ContactLimit(contacts=0, days=1, channel="call"),))
    assert found(never, call(1, 0), call(2, 9), mail(1, 1)) == 2


@pytest.mark.parametrize(("last", "expected"), [(4, 1), (5, 0)])
def test_a_product_rests_on_every_channel(last: int, expected: int) -> None:
    assert found(RESTING, mail(1, 0, "card"), call(1, last, "card")) == expected


def test_another_product_or_customer_need_not_rest() -> None:
    assert found(RESTING, mail(1, 0, "card"), mail(1, 1, "fund"), mail(2, 1, "card")) == 0


def test_nobody_is_contacted_after_an_opt_out_from_the_channel() -> None:
    left = call(1, 3, opted_out=True)
    assert found(OPEN, left, call(1, 4)) == 1
    assert found(OPEN, left, call(1, 4), call(1, 90)) == 2
    assert found(OPEN, call(1, 1), left, mail(1, 4), call(2, 4), silence(1, 5)) == 0


def test_the_first_opt_out_counts() -> None:
    assert found(OPEN, call(1, 0, opted_out=True), call(1, 2), call(1, 4, opted_out=True)) == 2


def test_kinds_add_up() -> None:
    policy = ContactPolicy(limits=(*THREE_A_WEEK.limits, *ONE_CALL_IN_TWO_WEEKS.limits), product_rest_days=5)
    rows = (
        *(mail(1, day, product) for day, product in ((0, "deposit"), (1, "card"), (2, "fund"))),
        mail(1, 5),  # the fourth contact in seven days; the deposit has rested for five
        call(2, 0, "card"),
        call(2, 9, "fund"),  # the second call in 14 days
        mail(3, 0, "card"),
        mail(3, 4, "card"),  # offered again too soon
        call(4, 0, opted_out=True),
        call(4, 20, "fund"),  # after the opt-out
    )
    assert found(policy, *rows) == 4
