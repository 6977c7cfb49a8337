"""Whether the price of a contact keeps its rank in other worlds that fit the data as well.

In each of the first members of the retail bank's calibrated ensemble the demo's Thompson sampling and the
rules learn anew; then the strategy is played at a price that was tuned in the main world, at no price and
under caps, and the rules at their own, over the same customers and noise. A lead over caps is that over the
cap which does best in that world, in hindsight. Worlds are the independent units of the intervals.

    python -m experiments.benchmarks.ensemble --price price.toml --caps 4,3 --members 6 --cells cells --json

price.toml is what `nba tune-fatigue` writes. `longrun --cells FOLDER --members N` does the same after the
whole proof, with the price and the cap that it finds.
"""

from __future__ import annotations

from experiments.benchmarks._harness import parser, report  # first: it pins the BLAS threads

# isort: split
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from experiments.longrun.bank import Ranking, in_worlds, over_worlds
from experiments.longrun.cells import Cell, Ground, Played, play
from experiments.longrun.prepared import Order, where
from experiments.spec import Phase
from nba.errors import InvalidConfig, require
from nba.fatigue import FatiguePrice

_TABLES = ("strategies", "arbitration", "fatigue_price")
_TRAIN_SEED, _FIRST_SEED = 101, 11


def ranked(
    ranking: Ranking, train: Phase, judge: Phase, cells: Path | None, workers: int
) -> dict[str, float]:
    """The figures; what was played is kept in a folder, if one is given."""
    order = Order("demo", "thompson", "retail-bank", train, judge, cells, workers, None)
    with where(order) as executor:

        def played(ground: Ground, these: Sequence[Cell]) -> list[Played]:
            return play(ground, these, executor, cells)

        found = in_worlds(order, ranking, executor, played)
    figures = over_worlds(found)
    for number, one in enumerate(found, 1):
        others = {"caps": one.caps[one.cap], "myopic": one.myopic, "rules": one.rules}
        figures |= {f"member_{number}_gain_over_{name}": each.net.mean for name, each in others.items()}
        figures[f"member_{number}_opt_outs_over_myopic"] = one.myopic.opt_outs.mean
    return figures


def price_of(path: Path) -> FatiguePrice:
    """The price in a file of `nba tune-fatigue`; InvalidConfig where there is none."""
    try:
        found: Any = msgspec.toml.decode(path.read_text())
        for name in _TABLES:
            found = found[name] if not isinstance(found, list) else found[-1][name]
        return msgspec.convert(found, FatiguePrice)
    except OSError as error:
        raise InvalidConfig(str(path), "--price", f"cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, KeyError, TypeError) as error:
        rule = f"holds no price ({error}); write one with `nba tune-fatigue --out FILE`"
        raise InvalidConfig(str(path), ".".join(_TABLES), rule) from None


def caps_of(text: str) -> tuple[int, ...]:
    """Numbers with commas."""
    names = [name.strip() for name in text.split(",")]
    rule = f"must be numbers of contacts with commas, like 4,3, got {text!r}"
    require(all(name.isdecimal() for name in names), "benchmark ensemble", "--caps", rule)
    return tuple(int(name) for name in names)


def main() -> None:
    """Measure and report."""
    options = parser("ensemble")
    options.add_argument("--price", type=Path, required=True, help="file of `nba tune-fatigue`")
    options.add_argument("--caps", default="4,3", help="contacts in the longest window, with commas")
    options.add_argument("--members", type=int, default=6, help="worlds of the ensemble")
    options.add_argument("--seeds", type=int, default=2, help="paired seeds in each world")
    options.add_argument("--customers", type=int, default=1_000, help="of every run")
    options.add_argument("--days", type=int, default=180, help="of contacts, and as many without")
    options.add_argument("--cells", type=Path, help="folder that keeps every run")
    options.add_argument("--workers", type=int, default=1, help="Ray workers")
    given = options.parse_args()
    size = (100, 12, 12) if given.quick else (given.customers, given.days, 84)
    customers, days, train_days = size
    train = Phase(customers=customers, days=train_days, seed=_TRAIN_SEED, publish_every_days=4)
    judge = Phase(customers=customers, days=days, settle_days=days, seed=0)
    seeds = tuple(range(_FIRST_SEED, _FIRST_SEED + given.seeds))
    ranking = Ranking(price_of(given.price), caps_of(given.caps), seeds, given.members)
    figures = ranked(ranking, train, judge, given.cells, given.workers)
    report("ensemble", given, figures | {"customers": customers, "days": days, "seeds": given.seeds})


if __name__ == "__main__":
    main()
