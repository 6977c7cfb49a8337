"""Off-policy evaluation: rounds per second of one streaming pass, and whether what it says is true.

The pass has SNIPS, DR, their Cressie-Read intervals, all checks of the log and the support report, over the
whole logging and target distributions of 42 actions; making the log is not timed. `coverage_*` is that of
IPS or DR, whichever is farther from 95 %, over logs of the simulated bank (evaluation.simulated). `obp_ratio`
is Open Bandit Pipeline's time for DR with a 95 % interval over ours, `obp_ratio_value` its time for the value
alone over our whole pass, and `obp_ratio_value_alone` over our value and standard error without any check
(evaluation.open_bandit); all three are left out where `make bench-peers` has not made its environment.
"""

from __future__ import annotations

from experiments.benchmarks._harness import parser, report  # first: it pins the BLAS threads

# isort: split
from resource import RUSAGE_SELF, getrusage
from time import process_time

import numpy as np

from experiments.benchmarks.evaluation import open_bandit
from experiments.benchmarks.evaluation.digits import table
from experiments.benchmarks.evaluation.problems import Problem, mild_problem
from experiments.benchmarks.evaluation.proofs import heavy_sequence, table_coverage
from experiments.benchmarks.evaluation.simulated import sequence_coverage, simulated_coverage
from nba.ope.estimators import DoublyRobust, InversePropensity
from nba.ope.evaluate import Evaluation, Report, Settings

N_ROUNDS, N_ACTIONS, N_CONTEXTS = 10_000_000, 42, 1_000
_PARTITION = 65_536  # rounds of a log that are in memory at once
SETTINGS = Settings(estimators=(InversePropensity(name="snips", self_normalised=True), DoublyRobust()))


def stream(n_rounds: int, problem: Problem) -> tuple[Report, float]:
    """What a log of so many rounds says of the problem's target, and the CPU seconds of the pass."""
    rng, spent, total = np.random.default_rng(1), 0.0, None
    for first in range(0, n_rounds, _PARTITION):
        rounds, target, contexts = problem.log(min(_PARTITION, n_rounds - first), rng)
        rounds = rounds._replace(clusters=rounds.clusters + np.uint64(first))  # nobody comes back
        predicted = {"rewards": problem.rates[contexts]}
        begun = process_time()
        part = Evaluation.of(SETTINGS, rounds, target, predicted, first)
        total = part if total is None else total + part
        spent += process_time() - begun
    assert total is not None
    return total.report(), spent


def measure(quick: bool) -> dict[str, float]:
    """All figures; quick, of a tenth of the rounds and fewer repetitions."""
    n_rounds, n_logs, n_runs, n_paths = (1_000_000, 50, 3, 4) if quick else (N_ROUNDS, 500, 30, 20)
    n_compared = 50_000 if quick else 200_000
    problem = mild_problem(1, n_contexts=N_CONTEXTS, n_actions=N_ACTIONS)
    told, spent = stream(n_rounds, problem)
    peak = getrusage(RUSAGE_SELF).ru_maxrss / 1024
    _check(told, problem)
    ends = [
        heavy_sequence(seed, number, np.array([10_000]))[0] for seed in (3, 4, 5) for number in range(n_paths)
    ]
    figures = {"rounds_per_second": n_rounds / spent}
    if open_bandit.is_here():
        ratios = open_bandit.ratios(problem, n_compared)
        figures |= {"obp_ratio": ratios.interval, "obp_ratio_value": ratios.value}
        figures["obp_ratio_value_alone"] = ratios.value_alone
    return figures | {
        "peak_mb": peak,
        "coverage_1000": _farthest(1_000, n_logs),
        "coverage_10000": _farthest(10_000, n_logs),
        "sequence_width": float(np.mean([one.highs[-1] - one.lows[-1] for one in ends])),
        "digits_max_deviation_se": max(abs(distance) for _, distance in table(n_runs).values()),
    }


def _farthest(n: int, n_logs: int) -> float:
    """The coverage of IPS or DR, whichever is farther from the 95 % it should be."""
    return max(simulated_coverage(n, n_logs)["cressie-read"].values(), key=lambda share: abs(share - 0.95))


def _check(told: Report, problem: Problem) -> None:
    """Speed counts for nothing where the estimates are wrong."""
    for one in told.estimates:
        if one.stderr is None or abs(one.value - problem.truth) > 5.0 * one.stderr:
            raise ArithmeticError(f"{one.estimator} is {one.value:.5f} instead of {problem.truth:.5f}")


def tell(n_logs: int) -> None:
    """Coverage beyond the figures: by method and estimator, and over tables of a few contexts."""
    for n in (1_000, 10_000):
        for method, shares in simulated_coverage(n, n_logs).items():
            told = ", ".join(f"{name} {share:.3f}" for name, share in shares.items())
            print(f"coverage on the simulated bank, n = {n:,}, {method}: {told}")
        shares = sequence_coverage(n, n_logs if n == 1_000 else n_logs // 10)
        told = ", ".join(f"{name} {share:.3f}" for name, share in shares.items())
        print(f"sequences on the simulated bank, n = {n:,}, right at all of ten looks: {told}")
        low, high = table_coverage(n, n_logs)
        print(f"coverage on six small tables, n = {n:,}, cressie-read: from {low:.3f} to {high:.3f}")


if __name__ == "__main__":
    options = parser("ope").parse_args()
    figures = measure(options.quick)
    if not options.json:
        if not open_bandit.is_here():
            print("obp_ratio is left out: Open Bandit Pipeline is not here; make bench-peers installs it.")
        tell(50 if options.quick else 500)
    report("ope", options, figures)
