"""How many customers a trial takes, or what it can find: by a stated power, before it starts.

Also with CUPED's smaller variance, and if the trial is to be watched by a confidence sequence instead of read
once at its end, which costs customers and saves days.
"""

from __future__ import annotations

from math import ceil, inf, isfinite, sqrt
from typing import TypeAlias

from msgspec import Struct

from nba.errors import InvalidConfig, require
from nba.ope.intervals import CONFIDENCE, check_confidence
from nba.ope.sequences import asymptotic_reach
from nba.ope.terms import Estimate

_HALVINGS = 200
_FEW_PAIRS = 1_000  # beyond which Student's interval is the normal one
_MOST = 1e15  # customers, beyond which no trial goes


class Binary(Struct, frozen=True, kw_only=True, tag="binary"):
    """An outcome of 0 or 1, such as a conversion within its window; the effect is in its rate."""

    rate: float  # under control

    def __post_init__(self) -> None:
        """Check the rate."""
        require(0.0 < self.rate < 1.0, "plan", "rate", f"must lie strictly between 0 and 1, got {self.rate}")

    @property
    def mean(self) -> float:
        """Of a customer under control."""
        return self.rate

    def variances(self, effect: float) -> tuple[float, float]:
        """Of a customer's outcome, treated and under control."""
        treated = self.rate + effect
        rule = f"must leave the treated rate within [0, 1], not at {treated:g}"
        require(0.0 <= treated <= 1.0, "plan", "effect", rule)
        return treated * (1.0 - treated), self.rate * (1.0 - self.rate)


class Money(Struct, frozen=True, kw_only=True, tag="money"):
    """An amount that a share of customers brings, such as the margin of conversions.

    The effect is in the mean per customer, and taken to come from more customers who bring something, each
    as much as before. With spread 0 every one brings `amount`: the variance is rate (1 - rate) amount^2.
    At rate 1 nobody is left to bring something: the effect is in the amount then, and leaves its spread.
    """

    rate: float  # share of customers who bring anything, under control
    amount: float  # mean of those who do
    spread: float = 0.0  # standard deviation of those who do

    def __post_init__(self) -> None:
        """Check the numbers."""
        require(0.0 < self.rate <= 1.0, "plan", "rate", f"must lie in (0, 1], got {self.rate}")
        holds = isfinite(self.amount) and self.amount > 0.0
        require(holds, "plan", "amount", f"must be finite and > 0, got {self.amount}")
        holds = isfinite(self.spread) and self.spread >= 0.0
        require(holds, "plan", "spread", f"must be finite and >= 0, got {self.spread}")
        require(
            self._variance(self.rate) > 0.0, "plan", "spread", "must be > 0 if everybody brings something"
        )

    @property
    def mean(self) -> float:
        """Of a customer under control."""
        return self.rate * self.amount

    def variances(self, effect: float) -> tuple[float, float]:
        """Of a customer's amount, treated and under control."""
        if self.rate == 1.0:
            return self.spread**2, self.spread**2
        treated = self.rate + effect / self.amount
        most = (1.0 - self.rate) * self.amount
        rule = f"must lie in [{-self.mean:g}, {most:g}]: more customers than all cannot bring something"
        require(0.0 <= treated <= 1.0, "plan", "effect", rule)
        return self._variance(treated), self._variance(self.rate)

    def _variance(self, rate: float) -> float:
        return rate * (self.spread**2 + self.amount**2) - (rate * self.amount) ** 2


Sample: TypeAlias = Binary | Money


class Plan(Struct, frozen=True, kw_only=True):
    """What a trial of this size can do; customers in both arms together."""

    effect: float  # absolute, in the mean per customer
    relative: float  # effect / mean under control
    customers: int  # if read once, at its end
    treated: int
    control: int
    customers_with_sequence: int  # if read on every day
    days: int | None  # to enrol them, if the traffic is known
    days_with_sequence: int | None
    power: float
    confidence: float
    control_share: float
    correlation: float


class Design(Struct, frozen=True, kw_only=True):
    """How a trial is made and read."""

    control_share: float = 0.5  # of the customers in both arms
    power: float = 0.8
    confidence: float = CONFIDENCE
    correlation: float = 0.0  # of the outcome with CUPED's covariate, within an arm
    per_day: float | None = None  # new customers in both arms

    def __post_init__(self) -> None:
        """Check the shares."""
        check_confidence(self.confidence)
        for name in ("control_share", "power"):
            value = getattr(self, name)
            require(0.0 < value < 1.0, "plan", name, f"must lie strictly between 0 and 1, got {value}")
        holds = -1.0 < self.correlation < 1.0
        require(holds, "plan", "correlation", f"must lie strictly between -1 and 1, got {self.correlation}")
        holds = self.per_day is None or (isfinite(self.per_day) and self.per_day > 0.0)
        require(holds, "plan", "per_day", f"must be > 0, got {self.per_day}")

    def variance(self, sample: Sample, effect: float) -> float:
        """Of the difference, times the customers in both arms: v_t / share_t + v_c / share_c, CUPED's off."""
        treated, control = sample.variances(effect)
        raw = treated / (1.0 - self.control_share) + control / self.control_share
        return raw * (1.0 - self.correlation**2)

    @property
    def steps(self) -> float:
        """Standard errors that the effect must measure: z of the interval and z of the power."""
        from scipy.special import ndtri

        return float(ndtri(0.5 + self.confidence / 2.0) + ndtri(self.power))

    @property
    def sequence_steps(self) -> float:
        """The same where the interval is the confidence sequence at the size it is planned for."""
        from scipy.special import ndtri

        planned = 10**6  # the reach in standard errors is the same at every planned size
        return asymptotic_reach(Estimate(0.0, 1.0), planned, planned, self.confidence) + float(
            ndtri(self.power)
        )


def plan(
    sample: Sample, design: Design, *, effect: float | None = None, customers: int | None = None
) -> Plan:
    """The trial that finds an effect with the stated power, or what so many customers can find at the least.

    N = (z_(1 - alpha/2) + z_power)^2 (v_t / share_t + v_c / share_c) (1 - rho^2) / effect^2, normal and
    two-sided; a control far smaller than the treated is n_c = 7.84 p (1 - p) / effect^2 (methods E6).
    """
    if (effect is None) == (customers is None):
        raise InvalidConfig("plan", "effect", "give either the effect to find or the customers there are")
    if effect is None:
        assert customers is not None
        require(customers >= 4, "plan", "customers", f"must be at least 4, got {customers}")
        effect = _least_effect(sample, design, customers)
    require(isfinite(effect) and effect != 0.0, "plan", "effect", f"must be finite and not 0, got {effect}")
    variance = design.variance(sample, effect)
    total, watched = (
        _whole(variance * (steps / effect) ** 2) for steps in (design.steps, design.sequence_steps)
    )
    control = min(max(ceil(total * design.control_share - 1e-9), 1), total - 1)
    days, longer = (ceil(n / design.per_day) if design.per_day else None for n in (total, watched))
    return Plan(
        effect=effect,
        relative=effect / sample.mean,
        customers=total,
        treated=total - control,
        control=control,
        customers_with_sequence=watched,
        days=days,
        days_with_sequence=longer,
        power=design.power,
        confidence=design.confidence,
        control_share=design.control_share,
        correlation=design.correlation,
    )


def pairs(deviation: float, effect: float, design: Design) -> int:
    """Independent pairs, n >= 2, whose mean difference is found with the stated power by Student's interval.

    `deviation` is the standard deviation of a pair's difference. From the normal size on upwards to the first
    at which the noncentral t distribution gives the power; only the confidence and power of `design` count.
    """
    from scipy.special import nctdtr, stdtrit

    require(isfinite(effect) and effect != 0.0, "plan", "effect", f"must be finite and not 0, got {effect}")
    holds = isfinite(deviation) and deviation >= 0.0
    require(holds, "plan", "deviation", f"must be finite and >= 0, got {deviation}")
    ratio = abs(effect) / deviation if deviation else inf
    normal = (design.steps / ratio) ** 2
    require(normal <= _MOST, "plan", "effect", f"would take {normal:.3g} pairs; take a larger effect")
    n = max(ceil(normal - 1e-6), 2)
    while n <= _FEW_PAIRS and isfinite(ratio):
        reach = stdtrit(n - 1, 0.5 + design.confidence / 2.0)
        if nctdtr(n - 1, ratio * sqrt(n), reach) <= 1.0 - design.power:
            break
        n += 1
    return n


def _whole(customers: float) -> int:
    """Rounded up, and at least two per arm."""
    rule = f"would take {customers:.3g} customers; take a larger effect"
    require(customers <= _MOST, "plan", "effect", rule)
    return max(ceil(customers - 1e-6), 4)


def _least_effect(sample: Sample, design: Design, customers: int) -> float:
    """The smallest rise that so many customers find: the treated variance depends on it, so by halving."""
    most = (1.0 - sample.rate) * (sample.amount if isinstance(sample, Money) else 1.0)
    is_open = most == 0.0  # everybody brings something already, and may bring any amount more

    def is_found(effect: float) -> bool:
        return design.variance(sample, effect) * design.steps**2 <= customers * effect**2

    if is_open:
        most = sample.mean
        while not is_found(most):
            most *= 2.0
    rule = f"are too few to find any rise, up to the whole {most:g}, with power {design.power:g}"
    require(is_found(most), "plan", "customers", rule)
    low, high = 0.0, most
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if is_found(middle) else (middle, high)
    return high
