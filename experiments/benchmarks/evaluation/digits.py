"""Open Bandit Pipeline's table of seven estimators on digits, by our own code (methods I7).

Settings of its README: 30 splits, 70 % judged, logging 0.4 logistic regression + 0.6 uniform, target 0.9
random forest + 0.1 uniform, boosted reward model of 30 trees of depth 5 at rate 0.01, three folds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from experiments.reward_models import Boosting
from nba.arrays import FloatArray, IntArray
from nba.ope.estimators import DirectMethod, DoublyRobust, Estimator, InversePropensity
from nba.ope.logged import LoggedRounds
from nba.ope.reward_models import cross_fitted
from nba.ope.selection import THRESHOLDS, select
from nba.ope.terms import Moments, Range
from nba.ope.weighting import OptimisticShrinkage, Switched
from nba.propensity import choose

N_RUNS = 30
PUBLISHED = {  # mean and standard deviation of the relative error over the runs
    "dm": (0.436541, 0.017629),
    "ips": (0.030288, 0.024506),
    "snips": (0.022764, 0.017917),
    "dr": (0.016156, 0.012679),
    "sndr": (0.022082, 0.016865),
    "switch-dr": (0.034657, 0.018575),
    "dros": (0.015868, 0.012537),
}
FIXED: tuple[Estimator, ...] = (
    DirectMethod(),
    InversePropensity(),
    InversePropensity(name="snips", self_normalised=True),
    DoublyRobust(),
    DoublyRobust(name="sndr", self_normalised=True),
)
TUNED: dict[str, Sequence[Estimator]] = {
    "switch-dr": [DoublyRobust(weighting=Switched(most)) for most in THRESHOLDS],
    "dros": [DoublyRobust(weighting=OptimisticShrinkage(strength)) for strength in THRESHOLDS],
}


def mixed(labels: IntArray, share: float) -> FloatArray:
    """(n, 10) `share` on the labels (n,), the rest evenly."""
    table = np.full((labels.size, 10), (1.0 - share) / 10)
    table[np.arange(labels.size), labels] += share
    return table


def relative_errors(number: int) -> dict[str, float]:
    """Of one split."""
    from sklearn.datasets import load_digits
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split

    pixels, digits = load_digits(return_X_y=True)
    seen, images, known, labels = train_test_split(pixels, digits, test_size=0.7, random_state=number)
    ours = LogisticRegression(max_iter=10_000, C=100).fit(seen, known).predict(images)
    trees = RandomForestClassifier(30, max_depth=5, min_samples_leaf=10, random_state=12345)
    logging, target = mixed(ours, 0.4), mixed(trees.fit(seen, known).predict(images), 0.9)
    n = labels.size
    actions = choose(logging, np.random.default_rng(number).random(n))
    rounds = LoggedRounds(
        actions,
        (actions == labels).astype(np.float64),
        logging[np.arange(n), actions],
        np.arange(n, dtype=np.uint64),
        logging,
        reward_range=Range(0.0, 1.0),
    )
    model = Boosting(rounds=30, learning_rate=0.01, max_depth=5, min_rows=10)
    predicted = cross_fitted(model, np.hstack([np.ones((n, 1)), images]), rounds, 10, seed=number)
    told = {one.name: one for one in FIXED}
    for name, family in TUNED.items():
        told[name] = family[select(family, rounds, target, predicted)]
    truth = target[np.arange(n), labels].mean()
    return {name: abs(value_of(one, rounds, target, predicted) / truth - 1.0) for name, one in told.items()}


def value_of(one: Estimator, rounds: LoggedRounds, target: FloatArray, predicted: FloatArray) -> float:
    """The estimate alone."""
    return Moments.of(one.terms(rounds, target, predicted)).value(self_normalised=one.self_normalised)


def table(n_runs: int = N_RUNS) -> dict[str, tuple[float, float]]:
    """Per estimator the mean relative error, and its distance from the published one in standard errors.

    Standard errors of the difference: the runs are other random numbers on both sides.
    """
    runs, told = [relative_errors(number) for number in range(n_runs)], {}
    for name, (published, spread) in PUBLISHED.items():
        errors = np.array([run[name] for run in runs])
        stderr = np.hypot(spread / np.sqrt(N_RUNS), errors.std(ddof=1) / np.sqrt(n_runs))
        told[name] = float(errors.mean()), float((errors.mean() - published) / stderr)
    return told
