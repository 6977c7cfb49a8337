"""Neural-linear: features learnt by a small network, an exact linear posterior on top of them.

Riquelme, Tucker, Snoek 2018. The network is trained on the rows that are kept; the factored model's
posterior on [1, h(x)] in place of x then knows what it does not know: draws, standard deviations, the
range of RegCB, uplift and the organic part are its own. The statistics of the head are rebuilt from the
rows, because they mean nothing under another network.
"""

from __future__ import annotations

from functools import cached_property
from math import isfinite
from typing import ClassVar, NamedTuple

import numpy as np
from msgspec import Struct

from nba.arbitration import Money
from nba.arrays import BoolArray, Float32Array, FloatArray, check_shape
from nba.catalogue import Catalogue
from nba.errors import require
from nba.features import FeatureSchema, Numeric
from nba.posteriors.factored import FactoredLinear, FactoredModel
from nba.posteriors.factored_draws import FactoredDraws
from nba.posteriors.network import Activation, Targets, Training, Weights, hidden_features, started, trained
from nba.posteriors.rows import (
    N_NOTES,
    RowPosterior,
    canonical,
    check_rows,
    contents_of,
    kept_of,
    no_rows,
    rounds_of,
)
from nba.posteriors.uncertainty import QuadraticSpread
from nba.randomness import draw_generator

_SOURCE = "model neural"


class NeuralSpread(NamedTuple):
    """The uncertainty of the head, asked for raw features."""

    posterior: NeuralLinear
    head: QuadraticSpread

    def stddev(self, features: FloatArray) -> FloatArray:
        """(B, K) to (B, A): standard deviation of the expected reward, 0 for no-contact."""
        return self.head.stddev(self.posterior.hidden(features))

    def reach(self, features: FloatArray, mean: FloatArray, width: float) -> FloatArray:
        """(B, K), means (B, A) to (B, A): mean + width standard deviations (see Spread)."""
        return self.head.reach(self.posterior.hidden(features), mean, width)

    def bounds(self, features: FloatArray, mean: FloatArray, slack: float) -> FloatArray:
        """(2, B, A) lowest and highest expected reward within `slack`, the network as it is (see Spread)."""
        return self.head.bounds(self.posterior.hidden(features), mean, slack)


class NeuralLinearModel(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="neural"):
    """A network of one or two `hidden` layers and the prior of its linear `head`.

    `steps` minibatches of `batch` rows by Adam, the `rate` falling to zero; `l2` is the precision of the
    prior of each weight, in expected conversions. The network is trained anew, from the same start, when the
    rows have grown by the share `refit_after`; until then new rows teach the head alone.
    """

    hidden: tuple[int, ...] = (32,)
    activation: Activation = "tanh"
    steps: int = 1500
    batch: int = 64
    rate: float = 0.01
    l2: float = 0.3
    head: FactoredModel = FactoredModel(slope_sd=0.5)
    most_rows: int | None = None
    refit_after: float = 0.5
    half_life_days: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the numbers."""
        layers = 1 <= len(self.hidden) <= 2 and min(self.hidden) >= 1
        require(layers, _SOURCE, "hidden", f"must be one or two sizes above 0, got {self.hidden}")
        require(self.seed >= 0, _SOURCE, "seed", f"must be at least 0, got {self.seed}")
        for name in ("steps", "batch"):
            value = getattr(self, name)
            require(value >= 1, _SOURCE, name, f"must be at least 1, got {value}")
        require(isfinite(self.rate) and self.rate > 0, _SOURCE, "rate", f"must be above 0, got {self.rate}")
        require(isfinite(self.l2) and self.l2 >= 0, _SOURCE, "l2", f"must be at least 0, got {self.l2}")
        rule = "forget with the half_life_days of the whole model: the head is rebuilt from the rows"
        require(self.head.half_life_days is None, _SOURCE, "head.half_life_days", rule)
        require(self.head.hierarchy is None, _SOURCE, "head.hierarchy", "a learnt feature has no family")
        check_rows(_SOURCE, self.most_rows, ("refit_after", self.refit_after), self.half_life_days)

    def prior(self, catalogue: Catalogue, schema: FeatureSchema) -> NeuralLinear:
        """The posterior before any round: a random network and the head's prior."""
        names = (Numeric(name=f"hidden_{number}") for number in range(self.hidden[-1]))
        learnt = FeatureSchema(columns=tuple(names), moments=False)
        return NeuralLinear(
            model=self,
            head_prior=self.head.prior(catalogue, learnt),
            rows=no_rows(schema.n_columns),
            watched=np.zeros(1),
            most_rows=self.most_rows,
            refit_after=self.refit_after,
            half_life_days=self.half_life_days,
        )


class NeuralLinear(RowPosterior, frozen=True, kw_only=True, eq=False, tag="neural_linear"):
    """Rows, and what follows from them: the network of those it was trained on, the head of all."""

    model: NeuralLinearModel
    head_prior: FactoredLinear  # on 1 + H columns

    LASTING: ClassVar[tuple[str, ...]] = ("network",)

    @property
    def basis(self) -> FloatArray:
        """What the network was trained on; forgetting is the head's affair."""
        return contents_of(self.learnt)

    @cached_property
    def network(self) -> Weights:
        """The trained network, a pure function of the rows it may see and of the model's seed."""
        model, n_columns = self.model, self.rows.shape[1] - N_NOTES
        rng = draw_generator(model.seed, 0)
        layout = self.head_prior.layout
        weights = started((n_columns, *model.hidden), layout.n_factors + layout.n_products, rng)
        rows = self.learnt
        if rows.shape[0] == 0:
            return weights
        training = Training(model.steps, model.batch, model.rate, model.l2)
        return trained(weights, self._targets(rows), model.activation, training, rng)

    @cached_property
    def head(self) -> FactoredLinear:
        """The linear posterior on the network's features, from all rows as far as they are remembered."""
        rows = canonical(self.rows)
        rounds, kept = rounds_of(rows), kept_of(rows)
        remembered = rounds._replace(
            features=self.hidden(rounds.features),
            rewards=kept * rounds.rewards,
            exposure=kept * rounds.exposure,
        )
        return self.head_prior.absorb(self.head_prior.evidence(remembered))

    def hidden(self, features: FloatArray) -> FloatArray:
        """(B, K) to (B, 1 + H): one and the last hidden layer."""
        check_shape(features, (None, self.rows.shape[1] - N_NOTES), "features")
        return hidden_features(self.network, features, self.model.activation)

    def mean(self, features: FloatArray) -> FloatArray:
        """(B, K) to (B, A): expected uplift of each action over no-contact, 0 for no-contact."""
        return self.head.mean(self.hidden(features))

    def stddev(self, features: FloatArray) -> FloatArray:
        """(B, K) to (B, A): posterior standard deviation of `mean`, given the network."""
        return self.covariance().stddev(features)

    @property
    def learns_silence(self) -> bool:
        """Rows of no-contact teach the organic part."""
        return True

    def organic(self, features: FloatArray) -> FloatArray:
        """(B, K) to (B, P): conversions expected of nobody who was contacted."""
        return self.head.organic(self.hidden(features))

    def covariance(self) -> NeuralSpread:
        """The posterior covariance of the head."""
        return NeuralSpread(self, self.head.covariance())

    def draw(self, n_draws: int, rng: np.random.Generator, scale: float = 1.0) -> FactoredDraws:
        """M independent draws of the head's parameters."""
        return self.head.draw(n_draws, rng, scale)

    def mean_draw(self) -> FactoredDraws:
        """The head's posterior mean as a single draw."""
        return self.head.mean_draw()

    def scores(self, draws: FactoredDraws, features: FloatArray) -> Float32Array:
        """(M, B, A) expected reward of each action under each draw; 0 for no-contact."""
        return self.head.scores(draws, self.hidden(features))

    def win_shares(
        self, draws: FactoredDraws, features: FloatArray, money: Money, eligible: BoolArray
    ) -> FloatArray:
        """(B, A) shares of draws under which each action has the largest utility."""
        return self.head.win_shares(draws, self.hidden(features), money, eligible)

    def expected_values(
        self, mean_draw: FactoredDraws, features: FloatArray, money: Money, eligible: BoolArray
    ) -> FloatArray:
        """(B, A) mean utilities, -inf where not eligible."""
        return self.head.expected_values(mean_draw, self.hidden(features), money, eligible)

    def _targets(self, rows: FloatArray) -> Targets:
        """Rows as the network is trained on them."""
        rounds, layout, prior = rounds_of(rows), self.head_prior.layout, self.model.head
        contacts = np.flatnonzero(rounds.actions > 0)
        blocks = np.zeros((rows.shape[0], layout.n_factors + layout.n_products))
        for of in layout.blocks_of.T:
            blocks[contacts, of[rounds.actions[contacts] - 1]] = rounds.uplift_share[contacts]
        blocks[np.arange(rows.shape[0]), layout.n_factors + rounds.products] = rounds.organic_share
        lift = np.where(rounds.actions > 0, rounds.uplift_share, 0.0) * prior.lift_mean
        return Targets(
            inputs=rounds.features,
            blocks=blocks,
            offset=lift + rounds.organic_share * prior.organic_mean,
            weight=rounds.exposure * self.head_prior.forecast[rounds.products],
            rewards=rounds.rewards,
        )
