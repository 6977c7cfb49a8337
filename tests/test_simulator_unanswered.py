"""What a customer shows who does not answer: days since a digital contact without interest online."""

from __future__ import annotations

import numpy as np
from checks.worlds import without
from small import bank

from simulator.observation import columns


def test_days_unanswered_count_from_the_last_digital_contact_without_interest() -> None:
    world, rows = without(bank(), "events"), np.arange(300)
    catalogue, state, rng = world.config.catalogue, world.reset(1, rows), np.random.default_rng(2)
    some = [catalogue.index(channel, "now", "coupon") for channel in ("app_push", "email", "sms")]
    contact, interest = np.full(300, -1), np.full(300, -1)
    for _ in range(25):
        seen = columns(world.laws, world.today(state), state, rows, ["days_unanswered"])["days_unanswered"]
        is_open = (contact >= 0) & (interest < contact)
        np.testing.assert_array_equal(seen, np.where(is_open, state.day - contact, 365))
        actions = rng.choice([0, *some], 300, p=[0.7, 0.1, 0.1, 0.1])
        responses = world.respond(state, rows, actions)
        digital = responses.contacted & np.isin(actions, some[:2])
        contact[digital], interest[digital & responses.engaged] = state.day, state.day
        state, _ = world.advance(state, rows, actions, responses)
    assert 0.3 < is_open.mean() < 0.95 and (interest >= 0).mean() > 0.1
