"""Switching mechanisms off: what each name takes out of a world.

A mechanism is off when its coefficients are zero, so the dynamics know nothing of switches and a world
with one mechanism left can be held against a closed form.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct, structs

from simulator.config import WorldConfig

_AT_ONCE_DAYS = 1e-6


def switched(config: WorldConfig) -> WorldConfig:
    """The same world without the mechanisms that `config.mechanisms.off` names."""
    for name in config.mechanisms.off:
        config = _WITHOUT[name](config)
    return config


def _with(config: WorldConfig, section: str, **changes: Any) -> WorldConfig:
    return structs.replace(config, **{section: structs.replace(getattr(config, section), **changes)})


def _zeros(section: Struct, *names: str) -> dict[str, Any]:
    """Numbers and rows of numbers of a section, all zero."""
    return {name: _zero(getattr(section, name)) for name in names}


def _zero(value: Any) -> Any:
    return tuple(map(_zero, value)) if isinstance(value, tuple) else 0.0


def _response(*names: str) -> Callable[[WorldConfig], WorldConfig]:
    return lambda config: _with(config, "response", **_zeros(config.response, *names))


def _fatigue(config: WorldConfig) -> WorldConfig:
    answer, life = config.response, config.life_cycle
    calm = [structs.replace(move, fatigue=0.0) for move in life.transitions]
    config = _with(config, "life_cycle", transitions=tuple(calm))
    return _with(
        config,
        "response",
        **_zeros(answer, "short_fatigue", "long_fatigue", "cross_fatigue"),
        opt_out=structs.replace(answer.opt_out, fatigue=0.0),
        complaint=structs.replace(answer.complaint, fatigue=0.0),
    )


def _heterogeneity(config: WorldConfig) -> WorldConfig:
    spread = ("preference_sd", "responsiveness_sd", "effect_sd", "effect_gamma_shape", "affinity_scale")
    return _with(config, "population", **_zeros(config.population, *spread))


def _seasons(config: WorldConfig) -> WorldConfig:
    config = _with(config, "response", **_zeros(config.response, "weekday", "month"))
    return _with(config, "calendar", **_zeros(config.calendar, "organic_month", "organic_weekday"))


def _opt_out(config: WorldConfig) -> WorldConfig:
    left = config.response.opt_out
    return _with(config, "response", opt_out=structs.replace(left, base=_zero(left.base)))


def _complaints(config: WorldConfig) -> WorldConfig:
    loud = config.response.complaint
    config = _with(config, "response", complaint=structs.replace(loud, base=_zero(loud.base)))
    quiet = tuple(kind for kind in config.behaviour.events if kind.name != "complaint")
    return _with(config, "behaviour", events=quiet)


def _delay(config: WorldConfig) -> WorldConfig:
    """Conversions on the day of the contact; the catalogue that strategies see is not touched."""
    products = config.catalogue.products
    at_once = tuple(structs.replace(one, decision_delay_days=_AT_ONCE_DAYS) for one in products)
    return _with(config, "catalogue", products=at_once)


def _life_cycle(config: WorldConfig) -> WorldConfig:
    return _with(config, "life_cycle", transitions=(), drop_out=None)


_WITHOUT: dict[str, Callable[[WorldConfig], WorldConfig]] = {
    "amounts": lambda config: _with(config, "amounts", **_zeros(config.amounts, "sd", "wealth")),
    "capacity": lambda config: _with(config, "capacity", pool_of=(), daily_minutes={}, works_weekends={}),
    "competitors": lambda config: _with(config, "market", competitor_shocks_per_year=0.0),
    "complaints": _complaints,
    "cross_sell": lambda config: structs.replace(config, cross_sell=()),
    "delay": _delay,
    "drift": lambda config: _with(config, "market", drift_sd_weekly=0.0),
    "events": lambda config: _with(config, "behaviour", events=()),
    "fatigue": _fatigue,
    "follow_up": _response("follow_up"),
    "habituation": _response("habituation"),
    "halo": _response("halo"),
    "hand_off": _response("hand_off"),
    "heterogeneity": _heterogeneity,
    "holidays": lambda config: _with(config, "calendar", holidays=()),
    "life_cycle": _life_cycle,
    "opt_out": _opt_out,
    "organic": _response("organic"),
    "payday": lambda config: _with(config, "calendar", payday={}),
    "platform_limits": lambda config: _with(config, "response", platform_limits=()),
    "receptivity": _response("receptivity", "week_class"),
    "recency": lambda config: _with(config, "response", recency_days=(), recency=(0.0,)),
    "referral": lambda config: _with(config, "referral", per_conversion=0.0),
    "regime_breaks": lambda config: _with(config, "market", regime_breaks_per_year=0),
    "return_flow": _response("return_flow"),
    "seasons": _seasons,
}
