"""No cap is ever overshot, and nothing is held up without need: a machine against a plain-Python checker."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from contact_checker import Made, broken, overshoots, rests
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from small import product, small_catalogue, small_strategy

from nba.catalogue import Timing
from nba.conditions import Condition
from nba.constraints import Apart, BackOff, Consent, ContactLimit, ContactPolicy, QuietHours
from nba.context import Contact, Context
from nba.policies import RandomEligible
from nba.snapshot import Snapshot

CHANNELS, PRODUCTS = ("call", "mail"), ("deposit", "card", "notice")
ZONES: dict[str, str | None] = {
    "a": "Europe/Berlin",
    "b": None,
    "c": "America/New_York",
    "d": "Nowhere/At_All",
}
AGES: dict[str, float | None] = {"a": 80.0, "b": 40.0, "c": None, "d": 75.0}
WHOM = st.sampled_from([None, None, Condition(attribute="age", at_least=75.0)])
HOUSEHOLDS = {"a": "h1", "b": "h1", "c": "h2", "d": None}
START = datetime(2026, 3, 26, 9, 0, tzinfo=UTC)  # three days before Berlin's clocks go forward
# Moments around which clocks change, in Berlin and New York.
CHANGES = [
    datetime(2026, 3, 29, 1, tzinfo=UTC),
    datetime(2026, 10, 25, 1, tzinfo=UTC),
    datetime(2026, 11, 1, 6, tzinfo=UTC),
]
SPANS = st.one_of(
    st.fixed_dictionaries({"days": st.integers(1, 12)}),
    st.fixed_dictionaries({"hours": st.integers(1, 60)}),
    st.fixed_dictionaries({"calendar": st.sampled_from(["day", "week", "month"])}),
)
WHERE = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"channel": st.sampled_from(CHANNELS)}),
    st.just({"channels": CHANNELS}),
    st.just({"each_channel": True}),
    st.just({"products": ("card",)}),
)
SMALL = st.fixed_dictionaries(
    {
        "contacts": st.integers(0, 3),
        "level": st.sampled_from(["customer", "customer", "household"]),
        "owner": st.sampled_from(["bank", "bank", "platform"]),
        "whom": WHOM,
        "name": st.sampled_from(["", "", "cap"]),
    }
)
LIMITS = st.builds(lambda a, b, c: ContactLimit(**a, **b, **c), SPANS, WHERE, SMALL)
PLAIN = st.builds(
    ContactLimit,
    contacts=st.integers(1, 2),
    days=st.integers(2, 12),
    channel=st.sampled_from([None, "call"]),
)
CLOCKS = st.sampled_from(["00:00", "02:00", "02:30", "03:00", "08:00", "21:00"])
BLOCKS = st.builds(
    QuietHours,
    start=CLOCKS,
    end=st.just("09:15"),
    weekdays=st.sampled_from([(), ("saturday", "sunday")]),
    dates=st.sampled_from([(), ("2026-03-29", "2026-10-25")]),
    channels=st.sampled_from([(), ("call",)]),
    spares_service=st.booleans(),
    whom=WHOM,
)
APART = st.builds(
    Apart, days=st.integers(1, 5), channels=st.just(("mail",)), from_products=st.just(("card",)), whom=WHOM
)
BACK_OFF = st.builds(BackOff, channel=st.just("mail"), hours=st.integers(1, 40), most_hours=st.just(100))
POLICIES = st.builds(
    ContactPolicy,
    limits=st.lists(PLAIN | LIMITS, min_size=1, max_size=3).map(tuple),
    planned=st.sampled_from(["exact", "as_today"]),
    quiet_hours=st.lists(BLOCKS, max_size=1).map(tuple),
    apart=st.lists(APART, max_size=1).map(tuple),
    back_off=st.lists(BACK_OFF, max_size=1).map(tuple),
    product_rest_days=st.sampled_from([0, 0, 2]),
    zone=st.sampled_from(["UTC", "Asia/Kolkata"]),
)


def moments(at: datetime, to_key_day: float) -> dict[str, datetime]:
    """When a contact of each timing would be made."""
    weekend = max(5 - at.weekday(), 0)
    waits = {"now": 0, "weekend": weekend, "key_day": int(to_key_day)}
    return {timing: at + timedelta(days=days) for timing, days in waits.items()}


class Contacting(RuleBasedStateMachine):
    """Customers of two households are decided, called back, refused, and lose hours to their clocks."""

    @initialize(policy=POLICIES)
    def begin(self, policy: ContactPolicy) -> None:
        self.policy, self.now, self.made, self.number = policy, START, list[Made](), 0
        self.opted_out: dict[str, set[str]] = {name: set() for name in ZONES}
        catalogue = small_catalogue(
            timings=(
                Timing(name="now"),
                Timing(name="weekend", waits_for="weekend"),
                Timing(name="key_day", waits_for="days_to_key_day"),
            ),
            products=(product("deposit"), product("card"), product("notice", service=True)),
        )
        self.strategy = small_strategy(
            catalogue=catalogue, rules=(Consent(),), contact_policy=policy, policy=RandomEligible()
        )
        self.snapshot = Snapshot.start(self.strategy)

    @rule(hours=st.sampled_from([-5.0, 0.0, 0.25, 1.0, 7.0, 24.0, 24.0, 49.0, 168.0]))
    def pass_time(self, hours: float) -> None:
        self.now += timedelta(hours=hours)

    @rule(change=st.sampled_from(CHANGES), minutes=st.integers(-90, 90))
    def clocks_change(self, change: datetime, minutes: int) -> None:
        self.now = change + timedelta(minutes=minutes)

    @rule(customer=st.sampled_from(sorted(ZONES)), key_day=st.sampled_from([0.0, 1.0, 2.5, 9.0]))
    def decide(self, customer: str, key_day: float) -> None:
        self.number += 1
        context = self.context(customer, key_day)
        self.compare(context, key_day)
        decision = self.snapshot.decide_one(context, f"d{self.number}")
        chosen = decision.actions[0]
        if chosen.channel is not None:
            assert chosen.timing is not None
            assert decision.opens_at == moments(self.now, key_day)[chosen.timing]
            self.made.append(self.contact(customer, chosen.channel, chosen.product, decision.opens_at))

    @precondition(lambda self: any(one.state == "made" for one in self.made))
    @rule(data=st.data(), state=st.sampled_from(["refused", "cancelled"]))
    def take_back(self, data: st.DataObject, state: str) -> None:
        """At once, or long after: feedback may be late."""
        data.draw(st.sampled_from([one for one in self.made if one.state == "made"])).state = state

    @rule(customer=st.sampled_from(sorted(ZONES)), channel=st.sampled_from(CHANNELS))
    def hear_of_a_message(self, customer: str, channel: str) -> None:
        one = self.contact(customer, channel, None, self.now - timedelta(hours=1))
        one.is_external = True
        self.made.append(one)

    @precondition(lambda self: self.policy.back_off)
    @rule(customer=st.sampled_from(sorted(ZONES)), times=st.integers(1, 3))
    def hear_of_refusals(self, customer: str, times: int) -> None:
        for hours in range(times):
            one = self.contact(customer, "mail", "card", self.now - timedelta(hours=hours))
            one.state = "refused"
            self.made.append(one)

    @rule(customer=st.sampled_from(sorted(ZONES)), channel=st.sampled_from(CHANNELS))
    def opt_out(self, customer: str, channel: str) -> None:
        self.opted_out[customer].add(channel)

    @invariant()
    def no_cap_is_overshot(self) -> None:
        assert overshoots(self.policy, self.made, ZONES, AGES) == []

    def compare(self, context: Context, key_day: float) -> None:
        """Every action is open if, and with exact plans only if, the checker finds nothing broken."""
        eligible = self.strategy.eligible(self.strategy.encode([context]))
        names = (*self.strategy.rule_names, None)
        for row, action_id in enumerate(self.strategy.catalogue.action_ids[1:], start=1):
            channel, timing, product_name = action_id.split("/")
            new = self.contact(context.customer_id, channel, product_name, moments(self.now, key_day)[timing])
            zone = context.zone
            found = broken(self.policy, new, self.made, self.now, zone, AGES)
            found += ["rest"] * rests(self.policy, new, self.made, self.now)
            found += ["consent"] * (channel in self.opted_out[context.customer_id])
            is_open, name = bool(eligible.mask[0, row]), names[eligible.removed_by[0, row]]
            assert not (is_open and found), (action_id, found)
            if self.policy.planned == "exact":
                assert is_open == (not found), (action_id, found, name)
                assert name in self.told(found), (found, name)

    def told(self, found: list[str]) -> set[str | None]:
        """The names that a removal for these reasons may have."""
        if not found:
            return {None}
        if "consent" in found:
            return {"consent"}
        parts = {"rest": ""} | {
            f"{field}[{number}]": part.name
            for field in ("limits", "quiet_hours", "apart", "back_off")
            for number, part in enumerate(getattr(self.policy, field))
        }
        named = {parts[reason] for reason in found}
        return {"contact_policy"} if "" in named else {f"contact_policy.{name}" for name in named}

    def context(self, customer: str, key_day: float) -> Context:
        home = HOUSEHOLDS[customer]
        here = [one for one in self.made if one.state != "cancelled"]
        others = [one for one in here if home is not None and one.household == home]
        return Context(
            customer_id=customer,
            at=self.now,
            attributes={"consents": list(CHANNELS), "days_to_key_day": key_day, "age": AGES[customer]},
            contacts=records([one for one in here if one.customer == customer]),
            opted_out=tuple(sorted(self.opted_out[customer])),
            zone=ZONES[customer],
            household=home,
            household_contacts=records([one for one in others if one.customer != customer]),
        )

    def contact(self, customer: str, channel: str, about: str | None, at: datetime) -> Made:
        return Made(customer, HOUSEHOLDS[customer], channel, about, at, is_service=about == "notice")


def records(made: list[Made]) -> tuple[Contact, ...]:
    return tuple(
        Contact(channel=one.channel, product=one.product, at=one.at, refused=one.state == "refused")
        for one in made
    )


TestContacting = Contacting.TestCase
TestContacting.settings = settings(
    max_examples=80,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
