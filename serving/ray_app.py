"""The service as a Ray Serve application, for who runs everything else of theirs on Ray.

    serve run serving.ray_app:app bundle=policy store=postgresql://host/bank keys_file=keys

One replica: it writes the store, learns, and keeps caps and budgets exact; Ray starts it again when it dies,
and on PostgreSQL on another node. Ray's proxy costs a multiple of a decision (design/serving.md, fact 7:
112 to 182 requests a second against 5,500 of plain uvicorn on one machine), so `nba serve` is the default.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from nba.errors import InvalidConfig, require
from serving.settings import Settings

if TYPE_CHECKING:
    from ray.serve import Application

# One thread of BLAS, as `nba serve` has: the bits of a product may depend on the number.
_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_ENDING_SECONDS = 30.0  # of requests on their way and of the learner's last posterior
_SOURCE = "ray application"


def app(arguments: Mapping[str, Any]) -> Application:
    """The application of settings, as `serve run` or a Serve config file gives them.

    InvalidConfig where a setting is unknown, missing or breaks a rule; keys are always needed, since where
    Ray's proxies listen is the cluster's choice, which cannot be seen from here.
    """
    settings = _settings(arguments)

    from ray import serve

    def build() -> Any:
        from serving.app import create_app

        return create_app(settings)  # in the replica, which is the process that opens the store

    class NextBestAction:
        """The replica: all it does is in the ASGI application."""

    deployment = serve.deployment(
        name="nba",
        num_replicas=1,
        max_ongoing_requests=256,
        graceful_shutdown_timeout_s=_ENDING_SECONDS,
        ray_actor_options={"num_cpus": 1, "runtime_env": {"env_vars": _ENVIRONMENT}},
    )
    application: Application = deployment(serve.ingress(build)(NextBestAction)).bind()
    return application


def _settings(arguments: Mapping[str, Any]) -> Settings:
    """Settings out of words, each refused by its name."""
    known = Settings.__struct_fields__
    for name in arguments:
        require(name in known, _SOURCE, name, f"is no setting; there are {', '.join(known)}")
    rule = "is needed: Ray's proxies listen where the cluster says; make one with `nba keys new`"
    require("keys_file" in arguments, _SOURCE, "keys_file", rule)
    rule = "Ray's own http_options say where its proxies listen: drop it"
    require("host" not in arguments, _SOURCE, "host", rule)
    try:
        return msgspec.convert(
            dict(arguments), Settings, strict=False, dec_hook=lambda kind, value: kind(value)
        )
    except msgspec.ValidationError as error:
        raise InvalidConfig(_SOURCE, "", str(error)) from None
