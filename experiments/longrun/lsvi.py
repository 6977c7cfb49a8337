"""The price of a contact learnt by after-state value iteration from what a strategy believes (methods C3.3).

Fatigue and channels move by known laws; what a contact brings, and whether it closes its channel, is asked of
the strategy's own models, never of the world. Customers are met in silence, so that no cap hides an offer,
and each moment is given the fatigue of somebody else under the strategy without a price, thinned by a uniform
factor: who is contacted often is then not taken for what fatigue does. Values are learnt in classes of
customers of like worth, because a value that mixes them takes the next customer for the next day.
Under Thompson sampling every moment has one of the draws: its best contact counts at what that is worth in
the mean, and the price is told in what draws say (nba.longrun.reading), which lies above means.
Shape letters: n moments, C channels, B customers of a day.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from msgspec import structs

from experiments.longrun.cells import Ground, under
from experiments.rollout import Stretch, run_stretch
from experiments.spec import MOST_CUSTOMERS, StrategySpec
from nba.arrays import BoolArray, FloatArray, IntArray, join_rows, take_rows
from nba.context import ContextBatch
from nba.errors import require
from nba.fatigue import FatiguePrice, SegmentPrice
from nba.features import FeatureSchema
from nba.longrun import AfterStateIteration, LongRun, Moments, Reading, nearest_affine
from nba.outcomes import StageModel
from nba.policies import ThompsonSampling
from nba.snapshot import Snapshot
from nba.strategy import Strategy

_CHUNK = 64  # contexts whose draws are made at a time: stays in the cache
_WATCHED = StageModel(stage="opted_out", rate=0.003)  # as a prior, of so many in a thousand contacts
# Thousands of moments, not hundreds of thousands: of higher degree, the iteration does not settle on them.
_ITERATION = AfterStateIteration(degree=2, precision=1e-3, tolerance=1e-4)


class Asked(NamedTuple):
    """Moments, what the models say of them, and whose they are."""

    customers: IntArray  # (n,)
    segment: IntArray  # (n,)
    fatigue: FloatArray  # (n, C, 2) given to the moment
    is_open: BoolArray  # (n, C)
    seen: FloatArray  # (n, C) best contact of each channel as the policy sees it, before any price; or -inf
    gains: FloatArray  # (n, C) what that contact is worth in the mean; -inf where none is allowed
    leaves: FloatArray  # (n, C) chance that a contact closes its channel

    @property
    def reading(self) -> Reading:
        """What the best of all contacts is worth at what the policy sees."""
        best = np.where(self.is_open, self.seen, -np.inf).argmax(axis=1)[:, None]
        seen, gains = (np.take_along_axis(one, best, axis=1)[:, 0] for one in (self.seen, self.gains))
        known = np.isfinite(seen)
        return Reading.of(seen[known], gains[known])

    @property
    def moments(self) -> Moments:
        """For the iteration; both estimators are given the same models."""
        gains, leaves = (np.stack([one, one]) for one in (self.gains, self.leaves))
        return Moments(self.fatigue, self.is_open, gains, leaves, np.zeros_like(gains))


class Learnt(NamedTuple):
    """A learnt price, and how it came about."""

    price: FatiguePrice
    values: tuple[LongRun, ...]  # of the classes of customers, the least worth first
    n_moments: int
    step_days: float
    clipped_share: float  # of prices that the regression put below 0


class ValueSearch(NamedTuple):
    """How much is met, how much of it is learnt from, and in how many classes of worth."""

    seed: int
    customers: int = 1_000
    days: int = 60
    moments: int = 16_000
    classes: int = 4


def watching(spec: StrategySpec) -> StrategySpec:
    """The strategy that also learns who opts out, if it does not yet; its utilities stay what they are."""
    known = any(one.stage == _WATCHED.stage for one in spec.stages)
    return spec if known else structs.replace(spec, stages=(*spec.stages, _WATCHED))


def learn_price(ground: Ground, search: ValueSearch) -> Learnt:
    """Levels and slopes per segment and channel; ValuesDiverged where there is too little to learn from.

    They hold what an opt-out costs unless the strategy itself charges for opt-outs by its stages.
    """
    rng = np.random.default_rng(search.seed)
    strategy = ground.snapshot.strategy
    asked, step_days = ask(ground, search, rng)
    method = structs.replace(_ITERATION, step_days=step_days)
    spill, flows = strategy.fatigue.spill(strategy.catalogue), np.zeros(len(strategy.catalogue.channels))
    stages = ground.snapshot.outcomes.stages
    charged = any(one.model.stage == _WATCHED.stage and bool(one.money.any()) for one in stages)
    dues, values, clipped = np.zeros(asked.leaves.shape), [], 0.0
    reading = asked.reading if _draws(strategy) else None
    if reading is not None:
        asked = asked._replace(gains=reading.expected(asked.seen))
    for rows in _classes(asked, search.classes):
        mine = take_rows(asked, rows)
        found = method.fit(mine.moments, strategy.fatigue, spill, flows, rng)
        prices = found.prices(mine.fatigue, mine.is_open)
        leaves = np.zeros_like(mine.leaves) if charged else mine.leaves
        dues[rows] = prices.due(leaves, np.zeros_like(leaves))
        values.append(found)
        clipped += prices.clipped_share * rows.size / asked.customers.size
    if reading is not None:
        dues = reading.price(dues)
    return Learnt(_by_segment(ground, asked, dues), tuple(values), asked.customers.size, step_days, clipped)


def ask(ground: Ground, search: ValueSearch, rng: np.random.Generator) -> tuple[Asked, float]:
    """Moments with what the models say of them, and the mean days between two decisions of a customer."""
    free, silent = (under(ground.snapshot, price) for price in (FatiguePrice(), None))
    pool = np.concatenate([contexts.fatigue for _, contexts in met(ground, free, search)])
    parts = []
    for ids, contexts in met(ground, silent, search):
        rows = rng.integers(len(pool), size=ids.size)
        fatigue = pool[rows] * rng.random((ids.size, 1, 1))
        parts.append(_asked(free, ids, contexts, fatigue, rng))
    asked = join_rows(parts)
    n = asked.customers.size
    kept = rng.choice(n, size=min(search.moments, n), replace=False)
    return take_rows(asked, np.sort(kept)), search.days * search.customers / max(n, 1)


def met(ground: Ground, snapshot: Snapshot, search: ValueSearch) -> Iterator[tuple[IntArray, ContextBatch]]:
    """Ids (B,) and contexts of the customers that come up on each day under a snapshot."""
    ids = MOST_CUSTOMERS + np.arange(search.customers)
    work = Stretch(ground.world, snapshot, search.seed, ids, None, 1, 1, False, False, False)
    for _ in range(search.days):
        block = work.begun()
        rows, day = ground.world.due(block.state), block.state.day
        yield ids[rows], block.happenings.onto(ground.world.observe(block.state, rows), rows, day)
        work = work._replace(block=run_stretch(work, lambda _: None).block)


def _asked(
    snapshot: Snapshot,
    ids: IntArray,
    contexts: ContextBatch,
    fatigue: FloatArray,
    rng: np.random.Generator,
) -> Asked:
    """What an unpriced snapshot says of contexts, had they another fatigue (B, C, 2)."""
    strategy, schema = snapshot.strategy, snapshot.strategy.schema
    features = tired(contexts.features, fatigue, schema)
    contexts = contexts._replace(features=features, fatigue=fatigue)
    eligible = strategy.eligible(contexts).mask
    values = snapshot.expected_values(contexts, eligible)
    drawn = _drawn(snapshot, contexts, eligible, rng) if _draws(strategy) else values
    seen, gains = _by_channel(drawn, values, strategy.catalogue.channel_of, fatigue.shape[1])
    (leaves,) = (
        one.probabilities(features) for one in snapshot.frozen.outcomes.stages if one.stage == _WATCHED.stage
    )
    codes = features[:, schema.segment_columns]
    return Asked(ids, codes.argmax(axis=1), fatigue, contexts.consents, seen, gains, leaves)


def _draws(strategy: Strategy) -> bool:
    """Whether decisions go by draws and not by means."""
    return isinstance(strategy.policy, ThompsonSampling)


def _drawn(
    snapshot: Snapshot, contexts: ContextBatch, eligible: BoolArray, rng: np.random.Generator
) -> FloatArray:
    """(B, A) utilities under one of the frozen draws for each context, -inf where not eligible."""
    posterior, draws, known = snapshot.posterior, snapshot.frozen.ready.draws, snapshot.known(contexts)
    parts = [np.zeros((0, eligible.shape[1]))]
    for start in range(0, contexts.n_contexts, _CHUNK):
        rows = np.arange(start, min(start + _CHUNK, contexts.n_contexts))
        features = contexts.features[rows]
        money = snapshot.money(features, contexts.fatigue[rows], known.take(rows))
        utilities = money.utilities(posterior.scores(draws, features)).astype(np.float64)
        parts.append(utilities[rng.integers(utilities.shape[0], size=rows.size), np.arange(rows.size)])
    drawn: FloatArray = np.where(eligible, np.concatenate(parts), -np.inf)
    return drawn


def _by_channel(
    drawn: FloatArray, values: FloatArray, channel_of: IntArray, n_channels: int
) -> tuple[FloatArray, FloatArray]:
    """(B, C) what the draw (B, A) says of its best contact in each channel, and its mean in values (B, A)."""
    seen, gains = np.full((2, drawn.shape[0], n_channels), -np.inf)
    for channel in range(n_channels):
        (actions,) = np.nonzero(channel_of == channel)
        best = drawn[:, actions].argmax(axis=1)[:, None]
        for table, of in ((seen, drawn), (gains, values)):
            table[:, channel] = np.take_along_axis(of[:, actions], best, axis=1)[:, 0]
    return seen, gains


def tired(features: FloatArray, fatigue: FloatArray, schema: FeatureSchema) -> FloatArray:
    """(B, K) the features of customers at another fatigue (B, C, 2), as `FeatureSchema.matrix` makes them."""
    require(schema.moments, "value iteration", "schema.moments", "must be true: models have to see fatigue")
    changed = features.copy()
    changed[:, [schema.labels.index(f"fatigue_{scale}") for scale in ("short", "long")]] = np.log1p(
        fatigue.sum(axis=1)
    )
    return changed


def _classes(asked: Asked, n_classes: int) -> list[IntArray]:
    """Moments of customers whose best contacts are worth alike, in classes of as many customers."""
    _, owner = np.unique(asked.customers, return_inverse=True)
    best = np.where(asked.is_open, asked.gains, -np.inf).max(axis=1, initial=0.0)
    worth = np.bincount(owner, best) / np.bincount(owner)
    ranks = np.empty(worth.size, dtype=np.int64)
    ranks[np.argsort(worth, kind="stable")] = np.arange(worth.size)
    number = ranks[owner] * n_classes // worth.size
    return [np.flatnonzero(number == k) for k in range(n_classes)]


def _by_segment(ground: Ground, asked: Asked, dues: FloatArray) -> FatiguePrice:
    """The nearest prices that are affine in fatigue, of everybody and of each segment that was met."""
    catalogue = ground.world.config.catalogue
    everybody = nearest_affine(dues, catalogue, asked.fatigue, asked.is_open)
    if len(ground.segments) == 1:
        return everybody
    own = {}
    for number, name in enumerate(ground.segments):
        rows = asked.segment == number
        if rows.any():
            found = nearest_affine(dues[rows], catalogue, asked.fatigue[rows], asked.is_open[rows])
            fields = {field: getattr(found, field) for field in SegmentPrice.__struct_fields__}
            own[name] = SegmentPrice(**fields)
    return structs.replace(everybody, segments=own)
