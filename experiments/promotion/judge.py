"""The gates applied to the evidence: a pure function, and the words for what it found.

Methods E3: a candidate is promoted if the lower end of its value difference lies above the limit and the
upper end of every guardrail below its own. Nothing is ever judged by a point estimate.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf, isinf, sqrt

from msgspec import Struct

from experiments.promotion.evidence import GUARDS, LATENCY, UNITS, VALUE, Evidence, Measured
from experiments.promotion.gates import Gates
from nba.errors import InvalidConfig
from nba.trials.planning import Design, pairs


class Check(Struct, frozen=True, kw_only=True):
    """One gate: what was found, and why it is not passed if it is not."""

    gate: str
    passed: bool
    limit: float
    unit: str
    figure: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str = ""  # with the way out; empty if passed


class Judgement(Struct, frozen=True, kw_only=True):
    """All gates of a candidate."""

    candidate: str
    baseline: str
    passed: bool
    checks: tuple[Check, ...]
    evidence: Evidence
    gates: Gates

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it is refused; empty if it passed."""
        return tuple(f"{check.gate}: {check.reason}" for check in self.checks if not check.passed)


def judged(evidence: Evidence, gates: Gates, candidate: str, baseline: str) -> Judgement:
    """Apply all gates; `candidate` and `baseline` are names for people."""
    checks = tuple(_checks(evidence, gates))
    return Judgement(
        candidate=candidate,
        baseline=baseline,
        passed=all(check.passed for check in checks),
        checks=checks,
        evidence=evidence,
        gates=gates,
    )


def _checks(evidence: Evidence, gates: Gates) -> Iterator[Check]:
    yield _value(evidence, gates)
    for name in GUARDS:
        yield _guard(name, evidence.differences.get(name), evidence, gates)
    yield _guard(LATENCY, evidence.latency_ms, evidence, gates)
    yield _told("support", evidence.support, 0.0)
    yield _told("propensity_audit", evidence.audit, gates.false_alarm)
    yield _counted("broken_limits", -evidence.broken_limits, 0, "contacts broke a limit or an opt-out")
    for name in ("days", "rounds"):
        yield _counted(name, getattr(evidence, name), getattr(gates, f"least_{name}"), "is too short a look")


def _value(evidence: Evidence, gates: Gates) -> Check:
    """Whether the lower end of the value difference lies above its limit."""
    found, limit = evidence.differences.get(VALUE), gates.least_value
    if found is None:
        return _unknown(VALUE, limit, evidence)
    if found.low > limit:
        return _check(VALUE, found, limit, "")
    way = _way_out(found, found.value - limit, evidence, gates)
    return _check(VALUE, found, limit, f"the lower end, {found.low:+.4g}, must lie above {limit:g}; {way}")


def _guard(name: str, found: Measured | None, evidence: Evidence, gates: Gates) -> Check:
    """Whether the upper end of a guardrail lies below its limit; a limit of inf asks for nothing."""
    limit = gates.limit(name)
    if found is None:
        return _unknown(name, limit, evidence)
    if isinf(limit) or found.high < limit:
        return _check(name, found, limit, "")
    way = "a faster machine or policy, or a higher limit"
    if name != LATENCY:
        way = _way_out(found, limit - found.value, evidence, gates)
    return _check(name, found, limit, f"the upper end, {found.high:+.4g}, must lie below {limit:g}; {way}")


def _way_out(found: Measured, margin: float, evidence: Evidence, gates: Gates) -> str:
    """How large a trial would show that a figure lies on its side of the limit, by `margin` > 0."""
    if margin <= 0.0:
        return "the figure itself is not on the right side, and more of the same would not mend that"
    if not found.stderr:
        return "it happened to nobody, and more customers have to show that it is rare"
    design = Design(confidence=evidence.confidence, power=gates.power)
    try:
        need = pairs(found.stderr * sqrt(evidence.units), margin, design)
    except InvalidConfig:
        return "no trial of a possible size would show so little"
    what = "seeds (--seeds)" if evidence.kind == "world" else "rounds (and a sequence up to twice as many)"
    share = f"{100.0 * gates.power:g} %"
    return f"if the figure is right, about {need:,} {what} would show it in {share} of trials"


def _unknown(name: str, limit: float, evidence: Evidence) -> Check:
    """Nothing is known: refused, unless nothing is asked."""
    asked = limit != inf
    why = evidence.missing.get(name, "is not told")
    way = f"{why}; or ask for none: most_{name} = inf" if name != VALUE else why
    return Check(gate=name, passed=not asked, limit=limit, unit=UNITS[name], reason=way if asked else "")


def _check(name: str, found: Measured, limit: float, reason: str) -> Check:
    return Check(
        gate=name,
        passed=not reason,
        limit=limit,
        unit=UNITS[name],
        figure=found.value,
        low=found.low,
        high=found.high,
        reason=reason,
    )


def _told(name: str, reasons: tuple[str, ...], limit: float) -> Check:
    return Check(gate=name, passed=not reasons, limit=limit, unit="", reason=" ".join(reasons))


def _counted(name: str, figure: float, least: float, words: str) -> Check:
    """Whether there is enough of something, or none of it if it counts below zero."""
    shown, passed = abs(figure), figure >= least
    reason = "" if passed else f"{shown:g} {words}" + (f"; at least {least:g} are asked for" if least else "")
    return Check(gate=name, passed=passed, limit=float(least), unit=name, figure=float(shown), reason=reason)
