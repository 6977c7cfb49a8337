"""The model of fitted Q iteration: what a contact gains over silence, all that follows it included.

Rounds say what a decision brought and not what the customer was like at the next one, so that this model
learns nothing from them: `nba.longrun.fit_q` fits it to whole journeys, and `nba fit-q` does so in a world.
Shape letters as in nba.arrays; N nodes, T trees of all members together, F factor levels.
"""

from __future__ import annotations

from functools import cached_property
from math import isfinite
from typing import NamedTuple

import numpy as np
from msgspec import Struct, structs

from nba.arrays import Float32Array, FloatArray, check_shape
from nba.catalogue import Catalogue
from nba.errors import require
from nba.features import FeatureSchema
from nba.feedback import RoundBatch, watched, watched_by_row
from nba.posteriors.base import PosteriorBase
from nba.posteriors.forest import EXTRA_TREES, N_FIELDS, Forest
from nba.posteriors.members import joint
from nba.posteriors.uncertainty import around

SOURCE = "model fitted_q"
_CHUNK = 8_192  # pairs of context and contact whose leaves are found at a time: stays in the cache


class FittedQModel(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="fitted_q"):
    """How Q is fitted: `n_members` estimators, each from the journeys of its own customers.

    A member chooses the next contact and the others value it (van Hasselt 2010); with one member it does
    both. `regressor` is a forest of scikit-learn with `n_trees` trees of at least `least_leaf` decisions per
    leaf; trees are grown `growths` times and between that only their values change: a sequence whose k-th
    step pays needs about k of them, for trees split on what a growth before has made valuable.
    `conservatism` is the alpha of conservative Q-learning (Kumar et al. 2020), account currency: contacts
    that the log knows less of than Q likes them lose up to `most_ratio` times as much. It compares with the
    log by a softmax of Q with a `temperature` in account currency.
    """

    n_members: int = 2
    regressor: str = EXTRA_TREES
    n_trees: int = 20
    least_leaf: int = 100
    discount: float = 0.995  # per day
    conservatism: float = 0.0
    temperature: float = 1.0
    most_ratio: float = 20.0
    growths: int = 2
    most_sweeps: int = 60
    tolerance: float = 5e-3  # of the standard deviation of values, on their mean change by a sweep
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in ("n_members", "n_trees", "least_leaf", "growths", "most_sweeps"):
            require(getattr(self, name) >= 1, SOURCE, name, f"must be at least 1, got {getattr(self, name)}")
        for name in ("temperature", "most_ratio", "tolerance"):
            value = getattr(self, name)
            require(isfinite(value) and value > 0, SOURCE, name, f"must be finite and above 0, got {value}")
        value, rule = self.conservatism, "must be finite and >= 0"
        require(isfinite(value) and value >= 0, SOURCE, "conservatism", f"{rule}, got {value}")
        require(0 <= self.discount < 1, SOURCE, "discount", f"must lie in [0, 1), got {self.discount}")
        require(self.seed >= 0, SOURCE, "seed", f"must be at least 0, got {self.seed}")

    def prior(self, catalogue: Catalogue, schema: FeatureSchema) -> FittedAdvantages:
        """Before any journey: no contact gains anything, and what costs is not done."""
        factors = (catalogue.channel_of, catalogue.timing_of, catalogue.product_of)
        codes = [np.eye(n)[of[1:]] for n, of in zip(catalogue.shape, factors, strict=True)]
        return FittedAdvantages(
            n_columns=schema.n_columns,
            factors=np.concatenate(codes, axis=1),
            values=catalogue.values[1:],
            nodes=np.zeros((0, N_FIELDS)),
            roots=np.zeros((0, 2)),
            watched=np.zeros(1),
        )


class QDraws(NamedTuple):
    """The members as draws, their distance from the mean stretched; None is the mean alone."""

    scale: float | None


class FittedAdvantages(
    PosteriorBase, frozen=True, kw_only=True, eq=False, dict=True, tag="fitted_advantages"
):
    """What every member believes a contact to gain over silence in the long run, its own cost aside.

    A score is that gain in values of the contact's product: what a greedy policy plays is the contact of
    the largest Q, and levers, shadow prices and floors work on it as on any score.
    """

    n_columns: int
    factors: FloatArray  # (A - 1, F) one-hot channel, timing and product of each contact action
    values: FloatArray  # (A - 1,) account currency per conversion
    nodes: FloatArray  # (N, 5) of all members' trees, see Forest
    roots: FloatArray  # (T, 2) member and node
    half_life_days: float | None = None

    def fitted(self, forests: list[Forest], rounds: float) -> FittedAdvantages:
        """With one forest per member, each from features and factors to account currency."""
        starts = np.cumsum([0, *(one.nodes.shape[0] for one in forests)])
        nodes, roots = [], []
        for number, (one, start) in enumerate(zip(forests, starts[:-1], strict=True)):
            nodes.append(one.nodes + np.array([0.0, 0.0, start, start, 0.0]))
            roots.append(np.stack([np.full(one.roots.size, number), one.roots + start], axis=1))
        return structs.replace(
            self,
            nodes=np.concatenate(nodes),
            roots=np.concatenate(roots).astype(np.float64),
            watched=np.array([rounds]),
        )

    @cached_property
    def members(self) -> tuple[Forest, ...]:
        """The trees of each member; before any fit one member without trees."""
        numbers, nodes = self.roots.astype(np.int64).T
        n_members = int(numbers.max(initial=0)) + 1
        return tuple(Forest(self.nodes, nodes[numbers == number]) for number in range(n_members))

    def gains(self, features: FloatArray) -> FloatArray:
        """(B, K) to (N, B, A - 1): account currency that each member thinks a contact gains, before cost."""
        check_shape(features, (None, self.n_columns), "features")
        n, n_contacts = features.shape[0], self.values.size
        out, step = np.zeros((len(self.members), n, n_contacts)), max(1, _CHUNK // n_contacts)
        for start in range(0, n, step):
            part = features[start : start + step]
            inputs = joint(np.repeat(part, n_contacts, axis=0), np.tile(self.factors, (part.shape[0], 1)))
            for number, member in enumerate(self.members):
                out[number, start : start + step] = member.predict(inputs).reshape(-1, n_contacts)
        return out

    def stddev(self, features: FloatArray) -> FloatArray:
        """(B, K) to (B, A): standard deviation of the members' scores."""
        sd: FloatArray = self._lifts(features).std(axis=0)
        return sd

    def covariance(self) -> FittedAdvantages:
        """Itself: the members are all that there is."""
        return self

    def reach(self, features: FloatArray, mean: FloatArray, width: float) -> FloatArray:
        """(B, K), means (B, A) to (B, A): mean + width standard deviations (see Spread)."""
        return mean + width * self.stddev(features)

    def bounds(self, features: FloatArray, mean: FloatArray, slack: float) -> FloatArray:
        """(2, B, A) lowest and highest expected reward within `slack` (see Spread)."""
        return around(mean, self.stddev(features), slack)

    def draw(self, n_draws: int, rng: np.random.Generator, scale: float = 1.0) -> QDraws:
        """All members, whatever number is asked for: they are the only draws there are."""
        return QDraws(scale)

    def mean_draw(self) -> QDraws:
        """The mean of the members as a single draw."""
        return QDraws(None)

    def scores(self, draws: QDraws, features: FloatArray) -> Float32Array:
        """(M, B, A) gains under each member, or under their mean (M = 1), in values of the product."""
        lifts = self._lifts(features)
        centre = lifts.mean(axis=0, keepdims=True)
        scaled = centre if draws.scale is None else centre + draws.scale * (lifts - centre)
        scores: Float32Array = scaled.astype(np.float32)
        return scores

    def evidence(self, rounds: RoundBatch) -> WatchedRounds:
        """How many rounds there were: they teach nothing here."""
        return WatchedRounds(watched(rounds))

    def absorb(self, evidence: WatchedRounds) -> FittedAdvantages:
        """The same beliefs, and more rounds watched."""
        return structs.replace(self, watched=self.watched + evidence.watched)

    def fold(self, rounds: RoundBatch) -> FittedAdvantages:
        """The same beliefs, and more rounds watched, one after the other."""
        return structs.replace(self, watched=watched_by_row(self.watched, rounds))

    def decayed(self, elapsed_days: float) -> FittedAdvantages:
        """What was fitted does not fade; rounds watched do, with a half-life."""
        if self.half_life_days is None or elapsed_days == 0:
            return self
        return structs.replace(self, watched=np.exp2(-elapsed_days / self.half_life_days) * self.watched)

    def _lifts(self, features: FloatArray) -> FloatArray:
        """(N, B, A) gains in values of the product, 0 for no-contact."""
        gains = self.gains(features)
        lifts: FloatArray = np.zeros((*gains.shape[:2], 1 + self.values.size))
        np.divide(gains, self.values, out=lifts[:, :, 1:], where=self.values > 0.0)
        return lifts


class WatchedRounds(NamedTuple):
    """Rounds that were watched, and no more."""

    watched: FloatArray  # (1,)

    def __add__(self, other: object) -> WatchedRounds:
        """The rounds of both."""
        return (
            WatchedRounds(self.watched + other.watched)
            if isinstance(other, WatchedRounds)
            else NotImplemented
        )
