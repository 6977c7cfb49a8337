"""Counters and histograms for Prometheus, in a registry of their own."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from nba.decision import Decision

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_FAST = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0)
_CHANCES = (0.0001, 0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.95, 1.0)
_LAGS = (1.0, 60.0, 3_600.0, 86_400.0, 604_800.0, 2_592_000.0)


class PropensityAudit:
    """Compares how often nobody is contacted with what the logged propensities say.

    1{no contact} - propensity of no contact is a martingale difference whatever the policy does, so the gauge
    is about standard normal if propensities are what they claim; beyond 4 somebody should look.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._chosen = Histogram(
            "nba_propensity", "Propensity of what was decided.", buckets=_CHANCES, registry=registry
        )
        self._z = Gauge(
            "nba_propensity_audit_z",
            "No-contact decisions beyond the sum of their propensities, in standard deviations.",
            registry=registry,
        )
        self._forgone = Counter(
            "nba_forgone_value", "Expected value spent on exploration, account currency.", registry=registry
        )
        self._beyond = self._variance = 0.0

    def note(self, decision: Decision) -> None:
        """Count a decision."""
        chosen, silent = decision.actions[0], decision.no_contact_propensity
        self._chosen.observe(chosen.propensity)
        self._forgone.inc(decision.forgone or 0.0)
        self._beyond += float(chosen.channel is None) - silent
        self._variance += silent * (1.0 - silent)
        if self._variance > 0.0:
            self._z.set(self._beyond / self._variance**0.5)


class Metrics:
    """What the service counts; no label ever holds a customer or a decision."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        own = self.registry
        self.decisions = Counter("nba_decisions", "Decisions answered, by kind.", ["kind"], registry=own)
        self.fallbacks = Counter(
            "nba_fallbacks", "Answers in place of a decision, by reason.", ["reason"], registry=own
        )
        self.waiting = Gauge("nba_waiting", "Single requests for decisions under way.", registry=own)
        self.feedback = Counter(
            "nba_feedback", "Feedback taken, by status and outcome.", ["status", "outcome"], registry=own
        )
        self.feedback_lag = Histogram(
            "nba_feedback_lag_seconds", "From an outcome to its report.", buckets=_LAGS, registry=own
        )
        self.requests = Counter(
            "nba_http_requests", "HTTP requests.", ["route", "method", "status"], registry=own
        )
        self.latency = Histogram(
            "nba_http_seconds", "Time to answer.", ["route"], buckets=_FAST, registry=own
        )
        self.scoring = Histogram(
            "nba_scoring_seconds", "Time to decide, without the log.", buckets=_FAST, registry=own
        )
        self.audit = PropensityAudit(own)
        self.commits = Histogram("nba_commit_seconds", "Time of a group commit.", buckets=_FAST, registry=own)
        self.committed = Counter("nba_committed_operations", "Writes made durable.", registry=own)
        self.posterior_seq = Gauge(
            "nba_posterior_seq", "Log position of the published posterior.", registry=own
        )
        self.lag = Gauge("nba_learner_lag_events", "Accepted events not folded yet.", registry=own)
        self.price_version = Gauge(
            "nba_price_version", "Version of the budgets' prices in use.", registry=own
        )
        self.price = Gauge(
            "nba_price", "Price of a budget, account currency per unit.", ["budget"], registry=own
        )
        self.budget_left = Gauge(
            "nba_budget_left", "Units left of a budget in its period.", ["budget"], registry=own
        )
        self.snapshot_age = Gauge("nba_snapshot_age_seconds", "Age of the published snapshot.", registry=own)

    def committed_batch(self, n_operations: int, seconds: float) -> None:
        """Note one group commit."""
        self.committed.inc(n_operations)
        self.commits.observe(seconds)

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)
