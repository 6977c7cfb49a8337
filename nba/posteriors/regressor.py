"""Any regressor with scikit-learn's interface, named by its dotted path and run on one thread."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from inspect import signature
from typing import Any

import numpy as np

from nba.arrays import FloatArray
from nba.errors import InvalidConfig, require

HISTOGRAM = "sklearn.ensemble.HistGradientBoostingRegressor"
# Fewer, larger steps than the library's own settings, which want more rows and cost five times as much.
_SMALL_DATA = {
    "max_iter": 20,
    "learning_rate": 0.15,
    "max_leaf_nodes": 16,
    "min_samples_leaf": 10,
    "max_bins": 63,
    "early_stopping": False,
}


@cache
def regressor_class(path: str, source: str) -> Any:
    """The class of a dotted path; one that cannot be imported or does not fit is an InvalidConfig."""
    module, _, name = path.rpartition(".")
    require(bool(module and name), source, "regressor", f"must be a dotted path of a class, got {path!r}")
    try:
        found: Any = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        package = module.partition(".")[0]
        rule = f"{path!r} cannot be imported: {error}. Install {package} or name another regressor."
        raise InvalidConfig(source, "regressor", rule) from None
    usable = isinstance(found, type) and hasattr(found, "fit") and hasattr(found, "predict")
    require(
        usable, source, "regressor", f"{path!r} must be a class with fit(X, y, sample_weight) and predict"
    )
    weighted = "sample_weight" in signature(found.fit).parameters
    rule = f"{path}.fit must take sample_weight: a member of the ensemble is a weighting of the rows"
    require(weighted, source, "regressor", rule)
    return found


def new_regressor(path: str, settings: Mapping[str, Any], source: str, seed: int) -> Any:
    """A regressor that is not fitted yet, seeded and on one thread where its class can be told so."""
    kind = regressor_class(path, source)
    known = signature(kind).parameters
    ours = {name: value for name, value in (("random_state", seed), ("n_jobs", 1)) if name in known}
    small = _SMALL_DATA if path == HISTOGRAM else {}
    try:
        return kind(**{**small, **ours, **settings})
    except (TypeError, ValueError) as error:
        raise InvalidConfig(source, "settings", f"{path} refuses {dict(settings)}: {error}") from None


def fit(regressor: Any, inputs: FloatArray, targets: FloatArray, weights: FloatArray, source: str) -> Any:
    """The regressor fitted to rows with weights above 0; what it refuses is an InvalidConfig."""
    try:
        with _one_thread():
            return regressor.fit(inputs, targets, sample_weight=weights)
    except (TypeError, ValueError) as error:
        rule = f"{type(regressor).__name__} cannot be fitted to {inputs.shape[0]} rows: {error}"
        raise InvalidConfig(source, "settings", rule) from None


def predict(regressor: Any, inputs: FloatArray) -> FloatArray:
    """(n,) predictions for rows (n, D); of no rows, which not every class bears, none."""
    if inputs.shape[0] == 0:
        return np.zeros(0)
    with _one_thread():
        predicted: FloatArray = regressor.predict(inputs)
    return predicted


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep BLAS and OpenMP to one thread: small fits lose by more, and members run beside each other."""
    controller = _threads()
    if controller is None:
        yield
        return
    with controller.limit(limits=1):
        yield


@cache
def _threads() -> Any:
    """What controls the threads of libraries loaded so far; scikit-learn brings it along."""
    try:
        return import_module("threadpoolctl").ThreadpoolController()
    except ImportError:
        return None
