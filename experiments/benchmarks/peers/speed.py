"""Speed against peers in the same run: decisions against Vowpal Wabbit, learning against MABWiser.

Everything is CPU time of one core. Vowpal Wabbit decides through its own driver, which reads a file without
Python: text, and the binary cache that it makes of it. Of wall-clock and CPU time the smaller one counts for
it, because its parser has a thread of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

from experiments.benchmarks import decision
from experiments.benchmarks._harness import cpu_seconds
from experiments.benchmarks.peers import linear_mab, vowpal
from experiments.benchmarks.peers.methods import missing_peers
from nba.arrays import take_rows
from nba.features import FeatureSchema, Numeric
from nba.feedback import RoundBatch
from nba.posteriors import DisjointModel, FactoredModel, Model, PosteriorLike

_BATCH_ROUNDS = 1_000


def speed(quick: bool) -> dict[str, float]:
    """Our own figures, and the ratios to the peers that are installed."""
    figures, missing = decision.measure(quick), missing_peers()
    for size in decision.N_FEATURES:
        if vowpal.PACKAGE not in missing:
            ways = vowpal_seconds(size, n_decisions=10 if quick else 100)
            figures |= {f"vw_{way}_ms_{size}": 1e3 * seconds for way, seconds in ways.items()}
            figures[f"vw_ratio_{size}"] = figures[f"batch_per_second_{size}"] * min(ways.values())
        figures |= absorbing(size, n_batches=1 if quick else 5, with_peer=linear_mab.PACKAGE not in missing)
    for name in ("vw_ratio", "absorb_ratio_mabwiser", "absorb_ratio_mabwiser_factored"):
        sized = [figures[f"{name}_{size}"] for size in decision.N_FEATURES if f"{name}_{size}" in figures]
        figures |= {name: min(sized)} if sized else {}
    return figures


def vowpal_seconds(n_features: int, n_decisions: int) -> dict[str, float]:
    """Seconds of one SquareCB decision among 840 actions, for each way of reading and the Python call."""
    catalogue = decision.catalogue()
    features = decision.features_of(n_features, n_decisions, seed=3)
    given = f"{vowpal.arguments(catalogue)} --squarecb --quiet"
    lines = "\n".join(vowpal.action_lines(catalogue))
    rounds = [f"{vowpal.shared_line(row)}\n{lines}\n\n" for row in features]
    with TemporaryDirectory() as folder:
        text, few = Path(folder) / "all.txt", Path(folder) / "few.txt"
        text.write_text("".join(rounds))
        few.write_text("".join(rounds[: n_decisions // 5]))
        found = {}
        for way in ("text", "cache"):
            spent = []
            for path in (text, few):
                given_file = f"{given} -t -d {path}" + (
                    f" --cache_file {path}.cache" if way == "cache" else ""
                )
                _drive(given_file)  # this one writes the cache, which the next ones read
                spent.append(min(_drive(given_file) for _ in range(3)))
            # The difference of two files leaves out how long it takes to start.
            found[way] = (spent[0] - spent[1]) / (n_decisions - n_decisions // 5)
    return found | {"call": _call_seconds(given, rounds)}


def _drive(options: str) -> float:
    """Seconds of Vowpal Wabbit's driver over its input, which it reads while it is constructed."""
    begun, begun_cpu = perf_counter(), process_time()
    import_module(vowpal.PACKAGE).Workspace(arg_list=options.split()).finish()
    return min(perf_counter() - begun, process_time() - begun_cpu)


def _call_seconds(given: str, rounds: list[str]) -> float:
    workspace, texts = import_module(vowpal.PACKAGE).Workspace(given), [one.strip() for one in rounds]
    return cpu_seconds(lambda: [workspace.predict(text) for text in texts], 1) / len(texts)


def absorbing(n_features: int, n_batches: int, with_peer: bool) -> dict[str, float]:
    """Rounds learnt from per second in batches of a thousand, and the ratio to MABWiser.

    The ratio is that of the disjoint model, which is the same: one ridge regression per action. That of
    the factored model, whose one matrix is wider, has its name.
    """
    catalogue = decision.catalogue()
    schema = FeatureSchema(columns=tuple(Numeric(name=f"x{n}") for n in range(1, n_features)), moments=False)
    rounds = decision.random_rounds(catalogue, n_features, _BATCH_ROUNDS * (1 + n_batches))
    models: dict[str, Model] = {"factored": FactoredModel(), "disjoint": DisjointModel()}
    rates = {name: _our_rate(model.prior(catalogue, schema), rounds) for name, model in models.items()}
    figures = {f"absorbed_per_second_{name}_{n_features}": rate for name, rate in rates.items()}
    if with_peer:
        peer = _mabwiser_rate(rounds, catalogue.n_actions - 1)
        figures[f"absorbed_per_second_mabwiser_{n_features}"] = peer
        figures[f"absorb_ratio_mabwiser_{n_features}"] = rates["disjoint"] / peer
        figures[f"absorb_ratio_mabwiser_factored_{n_features}"] = rates["factored"] / peer
    return figures


def _our_rate(posterior: PosteriorLike, rounds: RoundBatch) -> float:
    spent = []
    for batch in _batches(rounds):
        begun = process_time()
        posterior = posterior.absorb(posterior.evidence(batch))
        spent.append(process_time() - begun)
    return _rate(spent)


def _mabwiser_rate(rounds: RoundBatch, n_actions: int) -> float:
    mab, spent = linear_mab.new("LinUCB", {"alpha": 0.3}, n_actions, seed=1), list[float]()
    for batch in _batches(rounds):
        learn = mab.partial_fit if spent else mab.fit
        begun = process_time()
        learn(batch.actions - 1, batch.rewards, batch.features)
        spent.append(process_time() - begun)
    return _rate(spent)


def _batches(rounds: RoundBatch) -> Iterator[RoundBatch]:
    for start in range(0, rounds.n_rows, _BATCH_ROUNDS):
        yield take_rows(rounds, slice(start, start + _BATCH_ROUNDS))


def _rate(spent: list[float]) -> float:
    """Rounds per second of the fastest batch after the first, which sets things up."""
    return _BATCH_ROUNDS / min(spent[1:])
