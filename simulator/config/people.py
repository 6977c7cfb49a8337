"""Who the customers are, and what becomes of them: population, life cycle, behaviour."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from msgspec import Meta, Struct

from simulator.config.fields import Amount, Count, LogFactor, Logit, Positive, Probability

N_INTERESTS = 4
N_RECEPTIVITY = 4  # morning, midday, evening and weekend people
N_WEEK_CLASSES = 3  # of people by day of the week
N_WEALTH_TIERS = 4
Stage = Literal["acquisition", "onboarding", "growth", "mature", "at_risk", "dormant", "churned", "won_back"]
STAGES: tuple[str, ...] = get_args(Stage)
Event = Literal[
    "account_opened",
    "browse",
    "application_started",
    "application_abandoned",
    "large_inflow",
    "large_outflow",
    "product_matured",
    "loan_repaid",
    "card_declined",
    "complaint",
    "invited",
]
EVENTS: tuple[str, ...] = ("none", *get_args(Event))
TimingType = Literal["regular", "special", "key_day", "break_point", "node"]
TIMING_TYPES: tuple[str, ...] = get_args(TimingType)
SAME_FAMILY = "@"  # in boosts: the family of the product that the event is about


class PopulationConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How customers are drawn; shares and rates are probabilities, loadings are per unit of interest."""

    share_60_plus: Probability
    segment_shares: tuple[Probability, ...]  # by segment level
    wealth_shares: tuple[Probability, ...] = (0.5, 0.3, 0.15, 0.05)  # by tier, lowest first
    consent_rates: tuple[Probability, ...]  # by channel
    ownership_rates: tuple[Probability, ...]  # by product, on day 0
    preference_sd: Amount  # logit of engagement, per customer and channel
    responsiveness_sd: Amount  # log factor on the lift of contacts, per customer
    effect_sd: Amount = 0.0  # log factor on organic hazards, per customer, mean factor 1
    effect_gamma_shape: Amount = 0.0  # above 0: that factor is gamma with mean 1 instead
    affinity_scale: Amount = 0.6  # log factor on hazards per unit of loading times interest
    interest_noise_sd: Amount  # of what the bank sees of interests
    receptivity_error: Probability  # share of customers whose seen activity class is wrong
    branch_customers: Count = 2000  # people per branch: ids 0 .. n-1 belong to branch 0
    household_customers: Count = 1  # people who live together: ids 0 .. n-1 are one household, and so on
    managers_per_branch: Count = 6
    managed_from_tier: int = 2  # wealth tier from which a customer has a relationship manager
    loadings: dict[str, tuple[LogFactor, ...]]  # family -> by interest


class Transition(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A way from one stage to another: daily log-odds against staying, per unit of what a customer did."""

    source: Stage
    to: Stage
    intercept: Logit
    tenure: Logit = 0.0  # per year with the bank, at most 5 counted
    engagement: Logit = 0.0  # per contact engaged with lately (half-life 15 days)
    conversion: Logit = 0.0  # if something was bought in the last 30 days
    fatigue: Logit = 0.0  # per unit of long contact fatigue, all channels
    complaint: Logit = 0.0  # if there was a complaint in the last 30 days
    balance: Logit = 0.0  # per unit of the balance trend (large inflow +1, outflow -1, half-life 30 days)
    absence: Logit = 0.0  # per month since the last login, at most 3 counted


class LifeCycleConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Eight stages in the order of STAGES: what they mean for hazards, and how customers move."""

    shares: tuple[Probability, ...]  # on day 0
    organic: tuple[Amount, ...]  # factor on hazards
    engagement: tuple[Logit, ...]
    login: tuple[Amount, ...]  # factor on the login rate
    transitions: tuple[Transition, ...] = ()
    index_limit: Positive = 1.5  # covariates move a transition's log-odds by at most this much
    onboarding_days: Annotated[int, Meta(ge=1, le=10_000)] = 100
    entry_products: tuple[str, ...] = ()  # what people in acquisition can buy, and become customers by
    drop_out: tuple[Positive, Positive] | None = None  # Beta(a, b) chance to churn after each purchase


class EventKind(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key behaviour: how often, for whom, and what it makes more likely for some days."""

    name: Event
    per_day: Amount = 0.0  # per customer who can have it, at digital index 0.5
    owns: str = ""  # needs a product of this family
    digital: LogFactor = 0.0  # on the rate, per unit of digital index above 0.5
    boosts: dict[str, LogFactor] = {}  # on hazards, by family; "@" is the family of the event's product
    balance: float = 0.0  # change of the balance trend
    timing: TimingType = "regular"  # of a decision on the day of the event
    decides: bool = False  # asks for a decision at once


class BehaviourConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Logins and key events between contacts."""

    login: Probability = 0.0  # per day, at digital index 0.5 in a stage of factor 1
    login_digital: LogFactor = 0.0  # per unit of digital index above 0.5
    boost_half_life_days: Positive = 2.0
    events: tuple[EventKind, ...] = ()


class ReferralConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Buyers invite somebody of their branch, who then has the event `invited`."""

    per_conversion: Probability = 0.0


class AmountsConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What conversions bring in: the product's margin times a log-normal factor with mean 1 (methods A2)."""

    sd: Annotated[float, Meta(ge=0.0, le=3.0)] = 0.0  # of one conversion's log factor
    wealth: tuple[Annotated[LogFactor, Meta(ge=-9.0, le=9.0)], ...] = (0.0,) * N_WEALTH_TIERS  # by tier


class CrossSell(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who owns one product is more (or less) likely to buy another."""

    owns: str  # product
    lifts: str  # product
    log_factor: LogFactor
