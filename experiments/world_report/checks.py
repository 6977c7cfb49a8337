"""Conservation: what must hold in any believable log, checked without the simulator's own code.

Every check looks at a log and at states, counts its cases and those that break the rule. A check that
could not fail would be worthless: the tests tamper with a log for each and see it fail.
"""

from __future__ import annotations

from experiments.world_report import contacts_made, integrals, lives
from experiments.world_report.check import Check
from experiments.world_report.trace import Trace

CHECKS = (
    integrals.organic,
    integrals.caused,
    lives.causes,
    lives.one_a_day,
    lives.ownership,
    lives.stages,
    contacts_made.consent,
    lives.withdrawn,
    contacts_made.platform_limits,
    contacts_made.capacity,
    contacts_made.fatigue,
    contacts_made.funnel,
    contacts_made.money,
)


def all_checks(run: Trace) -> tuple[Check, ...]:
    """Every check of a run."""
    return tuple(check(run) for check in CHECKS)
