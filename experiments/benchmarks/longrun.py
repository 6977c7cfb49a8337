"""What the price of a contact earns: against exact dynamic programming where that is possible.

The one-channel problem of methods C2 in its 36 settings: half-life 1, 3, 7, 14 days, habituation 0.1, 0.3,
0.6, opt-out hazard 0, 0.0005, 0.002. A contact converts with a probability equal to its mass, as the design
counts it. A share is the gain over never contacting, in parts of the optimum's, of an unfatigued customer for
ever. The design prints the best day (5 % at 6 times) and not the six ordinary offers. Those here are the
least squares fit to the 18 shares that it prints of the myopic policy, without and with the one-step opt-out
term: within 0.6 percentage points in the root mean square (1.9 at most), not to the last digit, and one
direction of their eleven numbers is hardly told. The rounder offers of the world fatigue-toy are within 0.9
(2.9); with them the best constant price comes to 0.976 in one setting, (3 days, 0.1, 0.002).

- `dp_constant_min`, `dp_affine_min`: the best constant and the best affine price, tuned on the programme;
- `dp_lsvi_min`: after-state value iteration, taught by a log of random contacts. It is given the fatigue
  kernel and the discount, and learns conversions, opt-outs and values from 0/1 outcomes.

With --cells FOLDER also the retail bank (experiments/longrun/proof.py): the demo's Thompson sampling with a
tuned price against itself under caps and without a price, and against the rules, 180 days of contacts and
180 days in which they come to an end, 20 seeds of 5,000 customers, each seed with the learning of one of four
occasions. `gain_over_caps` and `opt_out_difference` are against the cap that does best on the seeds that
judge, `gain_ci_low` is the lowest and `opt_out_ci_high` the highest end of all intervals, caps, no price and
rules. FOLDER keeps every run, so that a proof that was stopped goes on; learning is done again. With
--members N also in N worlds that fit the same data, at the same price and cap, 4 seeds each: the share of
worlds in which the price is ahead of cap, no price and rules, and its leads. Without --cells all
these figures are absent.

`half_life_..._assumed_...` are shares under a price tuned for a wrong half-life, and with --bank-half-lives
gains in a small bank (see long_run.half_lives).

`d3rlpy_value_ratio`: net value per customer of fitted Q iteration over that of d3rlpy's best, from one log,
beside training times and gains of all (long_run.offline_peer). Absent where `make bench-peers` was not run.
"""

from __future__ import annotations

from experiments.benchmarks._harness import parser, report  # first: it pins the BLAS threads

# isort: split
from itertools import product
from pathlib import Path
from time import process_time
from typing import NamedTuple

import numpy as np

from experiments.benchmarks.long_run import half_lives, offline_peer
from experiments.longrun.bank import retail_bank
from experiments.longrun.learnt_price import learnt_price, random_log
from experiments.longrun.one_channel import (
    FatigueProblem,
    FatigueTable,
    best_affine_price,
    best_constant_price,
    contact_values,
    optimal_price,
    price_values,
    tabulate,
)

OFFERS = np.array([0.30, 0.48, 0.79, 1.01, 1.25, 1.74, 6.0])
CHANCES = np.array([0.15, 0.18, 0.21, 0.18, 0.08, 0.15, 0.05])
SETTINGS = tuple(product((1.0, 3.0, 7.0, 14.0), (0.1, 0.3, 0.6), (0.0, 0.0005, 0.002)))
_LEVELS = 401  # of fatigue; twice as many move no optimum by 1e-4 (tests/test_known_worlds.py)
_CUSTOMERS, _DAYS, _SEED = 4_000, 90, 1


class Shares(NamedTuple):
    """Shares of the optimal gain over never contacting, and what learning took."""

    myopic: float
    constant: float
    affine: float
    lsvi: float
    clipped: float  # of the learnt prices that the regression put below 0, over all fatigue levels
    seconds: float  # CPU, of learning from the log


def measure(quick: bool) -> dict[str, float]:
    """The worst share over the settings, and over a sixth of them when quick."""
    found = [shares(*setting) for setting in SETTINGS[:: 6 if quick else 1]]
    worst = {
        f"dp_{name}_min": min(getattr(one, name) for one in found) for name in ("constant", "affine", "lsvi")
    }
    return worst | {
        "dp_myopic_min": min(one.myopic for one in found),
        "dp_lsvi_mean": float(np.mean([one.lsvi for one in found])),
        "price_clipped_max": max(one.clipped for one in found),
        "lsvi_seconds_max": max(one.seconds for one in found),
        "settings": len(found),
    }


def shares(half_life_days: float, habituation: float, opt_out: float) -> Shares:
    """One setting; tuned prices know the programme, the learnt one knows a log."""
    problem = FatigueProblem(half_life_days, habituation, opt_out, OFFERS, CHANCES, saturates=False)
    table = tabulate(problem, _LEVELS)
    best = price_values(table, optimal_price(table))[0]
    prices = (np.zeros(()), best_constant_price(table), best_affine_price(table))
    tuned = [float(price_values(table, price)[0] / best) for price in prices]
    lsvi, clipped, seconds = learnt(problem, table, best)
    return Shares(tuned[0], tuned[1], tuned[2], lsvi, clipped, seconds)


def learnt(problem: FatigueProblem, table: FatigueTable, best: float) -> tuple[float, float, float]:
    """The learnt price's share of the optimum `best`, what of it was clipped, and CPU seconds of learning."""
    rng = np.random.default_rng(_SEED)
    log = random_log(problem, _CUSTOMERS, _DAYS, rng)
    begun = process_time()
    price = learnt_price(problem, log, rng)
    seconds = process_time() - begun
    n = table.levels.size
    fatigue, is_open = (
        np.broadcast_to(table.levels[:, None, None], (n, 1, 2)),
        np.ones((n, 1), dtype=np.bool_),
    )
    clipped = price.values.prices(fatigue, is_open).clipped_share
    return float(contact_values(table, price.contacts(problem, table))[0] / best), clipped, seconds


def main() -> None:
    """Measure and report."""
    options = parser("longrun")
    options.add_argument("--cells", type=Path, help="run the retail bank too, and keep its runs here")
    options.add_argument("--bank-half-lives", action="store_true", help="wrong half-lives in a bank too")
    options.add_argument("--bank-customers", type=int, default=4_000, help="of that bank, in every run")
    options.add_argument("--workers", type=int, default=1, help="Ray workers for the retail bank")
    options.add_argument("--members", type=int, default=0, help="also in so many worlds of the ensemble")
    given = options.parse_args()
    figures = measure(given.quick) | half_lives.figures(OFFERS, CHANCES, given.quick)
    figures |= offline_peer.figures(given.quick)
    if given.bank_half_lives:
        figures |= half_lives.bank_figures(given.quick, given.workers, given.bank_customers)
    if given.cells is not None:
        figures |= retail_bank(given.cells, given.workers, given.quick, given.members)
    report("longrun", given, figures)


if __name__ == "__main__":
    main()
