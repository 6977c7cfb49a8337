"""The bank that is served under load: a bundle with all 840 contacts, and requests of its customers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import structs

from experiments.benchmarks.decision import random_rounds
from experiments.spec import load_experiment
from nba.bundle import save_bundle
from nba.catalogue import Catalogue
from nba.context import ContextBatch
from nba.features import Category, FeatureSchema, Flag
from nba.snapshot import Snapshot
from simulator.world import load_world

_WORLD = "retail-bank"
_TAUGHT_ROUNDS = 20_000
_SEED = 1


def bank_bundle(path: Path) -> Path:
    """The demonstration's Thompson strategy with every contact of the catalogue possible, taught at random.

    Rules, contact limits, rests and the floor are the bank's own. Who publishes twice a second says
    `factoring = "by_product"` in the model.
    """
    strategy = load_experiment("demo").spec("thompson").strategy(load_world(_WORLD), _SEED)
    catalogue = structs.replace(strategy.catalogue, excluded=())
    model = structs.replace(strategy.model, factoring="by_product")
    strategy = structs.replace(strategy, catalogue=catalogue, model=model)
    rounds = random_rounds(strategy.catalogue, strategy.schema.n_columns, _TAUGHT_ROUNDS)
    return save_bundle(Snapshot.start(strategy).learn(rounds, seq=_TAUGHT_ROUNDS), path)


def bank_requests(n: int, seed: int = 2) -> list[bytes]:
    """Decision requests of n customers, as JSON: all that the bank knows of them."""
    world = load_world(_WORLD)
    numbers = np.arange(n)
    seen = world.observe(world.reset(seed, numbers), numbers)
    schema, catalogue = world.config.schema, world.config.catalogue
    known = [_attributes(seen, row, schema, catalogue) for row in range(n)]
    bodies = ({"customer": {"id": f"customer-{row}", "attributes": one}} for row, one in enumerate(known))
    return [msgspec.json.encode(body) for body in bodies]


def _attributes(seen: ContextBatch, row: int, schema: FeatureSchema, catalogue: Catalogue) -> dict[str, Any]:
    """A row of columns as the record that it was made of."""
    found: dict[str, Any] = {}
    for column in schema.columns:
        value = float(seen.attributes[column.name][row])
        if isinstance(column, Category):
            found[column.name] = None if value < 0.0 else column.levels[int(value)]
        elif np.isnan(value):
            found[column.name] = None
        else:
            found[column.name] = value > 0.0 if isinstance(column, Flag) else value
    named = {"consents": ("channel", seen.consents), "owned": ("product", seen.owned)}
    for name, (factor, held) in named.items():
        levels = catalogue.names(factor)
        found[name] = [level for level, is_held in zip(levels, held[row], strict=True) if is_held]
    return found
