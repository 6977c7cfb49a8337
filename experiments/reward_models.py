"""Histogram gradient boosting as a reward model of off-policy evaluation."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
from msgspec import Struct

from nba.arrays import FloatArray
from nba.errors import require
from nba.ope.reward_models import Predictor, RewardRows


class Boosting(Struct, frozen=True, kw_only=True, tag="boosting"):
    """Boosted trees on the features and an indicator per action; rewards of 0 and 1 are classified.

    They are scikit-learn's, or LightGBM's where that is installed and asked for: never the one instead of the
    other, because the same settings must tell the same everywhere.
    """

    rounds: int = 100
    learning_rate: float = 0.1
    max_depth: int | None = None
    min_rows: int = 20  # in a leaf
    seed: int = 0
    library: Literal["scikit-learn", "lightgbm"] = "scikit-learn"

    def __post_init__(self) -> None:
        """Check the sizes, and that the library is here."""
        require(self.rounds >= 1, "boosting", "rounds", f"must be at least 1, got {self.rounds}")
        require(
            self.learning_rate > 0.0, "boosting", "learning_rate", f"must be > 0, got {self.learning_rate}"
        )
        here = self.library == "scikit-learn" or find_spec("lightgbm") is not None
        require(here, "boosting", "library", "LightGBM is not installed; scikit-learn is")

    def fit(self, rows: RewardRows, n_actions: int) -> Predictor:
        """The trees fitted to weighted rounds."""
        is_binary = np.array_equal(np.unique(rows.rewards), (0.0, 1.0))
        trees = (self._lightgbm if self.library == "lightgbm" else self._scikit_learn)(is_binary)
        indicators = np.eye(n_actions)
        design = np.hstack([rows.features, indicators[rows.actions]])
        trees.fit(design, rows.rewards, sample_weight=rows.weights)

        def predict(features: FloatArray) -> FloatArray:
            predicted = np.empty((features.shape[0], n_actions))
            for action in range(n_actions):
                design = np.hstack([features, np.tile(indicators[action], (features.shape[0], 1))])
                said = trees.predict_proba(design)[:, 1] if is_binary else trees.predict(design)
                predicted[:, action] = said
            return predicted

        return predict

    def _scikit_learn(self, is_binary: bool) -> Any:
        from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

        return (HistGradientBoostingClassifier if is_binary else HistGradientBoostingRegressor)(
            max_iter=self.rounds,
            learning_rate=self.learning_rate,
            max_depth=self.max_depth,
            min_samples_leaf=self.min_rows,
            random_state=self.seed,
        )

    def _lightgbm(self, is_binary: bool) -> Any:
        from lightgbm import LGBMClassifier, LGBMRegressor

        return (LGBMClassifier if is_binary else LGBMRegressor)(
            n_estimators=self.rounds,
            learning_rate=self.learning_rate,
            max_depth=-1 if self.max_depth is None else self.max_depth,
            min_child_samples=self.min_rows,
            random_state=self.seed,
            deterministic=True,
            force_row_wise=True,  # else it times both ways, and takes another on another day
            n_jobs=1,
            verbose=-1,
        )
