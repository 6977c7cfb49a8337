"""Fitted Q iteration and d3rlpy's discrete CQL and double DQN, from one log, on the same lives.

The world is the small bank: 24 contacts and silence, a decision every fourth day for 84 days, lived by
customers whom neither has met. In the log every second decision is silence and the others are any contact
that the bank allows. d3rlpy runs in an environment of its own (`make bench-peers`), knows no action masks
when it learns, and takes its best eligible action when it is judged. Of the settings below the one that is
worth most where it is judged counts for each of its algorithms: that favours it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from typing import IO, NamedTuple

import msgspec
import numpy as np
from msgspec import Struct, structs

from experiments.compare import mean_interval
from experiments.longrun.challenger import learnt
from experiments.longrun.journeys import Asked, Decide, Journeys, Span, Told, by, journeys
from experiments.results import Interval
from experiments.spec import StrategySpec
from nba.arrays import AnyArray, BoolArray, FloatArray
from nba.policies import Greedy, NoContact
from nba.posteriors import FittedQModel, SegmentRatesModel
from nba.propensity import Floor
from nba.snapshot import Snapshot
from simulator.config import only
from simulator.world import World, load_world

PYTHON = Path(".venv-obp/bin/python")
JUDGED = 10_000_000  # customers below are learnt from
STEP_DAYS = 4
_LOGS, _JUDGES = 1, 2  # seeds of noise
OURS = {"fitted_q": FittedQModel(), "conservative_q": FittedQModel(conservatism=0.3)}


class Peer(Struct, frozen=True, kw_only=True):
    """Settings of one training of d3rlpy."""

    algorithm: str
    alpha: float = 1.0  # of CQL
    learning_rate: float = 3e-4
    steps: int = 4_000
    batch: int = 256
    update_every: int = 500
    seed: int = 1
    n_actions: int = 0
    discount: float = 0.0  # per decision


PEERS = (
    Peer(algorithm="dqn"),
    Peer(algorithm="dqn", learning_rate=1e-4),
    Peer(algorithm="cql"),
    Peer(algorithm="cql", alpha=0.1),
)


class Score(NamedTuple):
    """What somebody earned, and what learning took."""

    net: FloatArray  # (N,) account currency over a whole life
    contacts: float  # per customer
    opt_outs: float
    seconds: float  # CPU


def is_here() -> bool:
    """Whether `make bench-peers` has made d3rlpy's environment."""
    return PYTHON.exists() and any(PYTHON.parent.parent.glob("lib/*/site-packages/d3rlpy"))


def small_bank() -> World:
    """The retail bank with 24 contacts, and decisions on regular days only."""
    config = only(
        load_world("retail-bank").config,
        channels=("app_push", "sms", "call"),
        timings=("now", "evening"),
        products=("term-deposit", "credit-card", "card-instalment", "coupon"),
    )
    return World(structs.replace(config, name="small-bank", decide_on_events=False))


def silent(world: World, exploring: float = 0.0) -> Snapshot:
    """Who contacts nobody, but for a share of decisions that are any contact that the bank allows."""
    floor = Floor(epsilon=exploring, no_contact_share=0.0, max_cost=np.inf)
    return _started(
        world, StrategySpec(name="silent", model=SegmentRatesModel(), policy=NoContact(), floor=floor)
    )


def _started(world: World, spec: StrategySpec) -> Snapshot:
    return Snapshot.start(spec.strategy(world, 1))


def figures(quick: bool) -> dict[str, float]:
    """The benchmark's part; empty, and said so, where d3rlpy is not installed."""
    if not is_here():
        left_out = "d3rlpy is not installed, so its ratio is left out; `make bench-peers` installs it"
        print(left_out, file=sys.stderr)
        return {}
    if quick:
        return compared(500, 300, [structs.replace(peer, steps=100) for peer in PEERS[::2]])
    return compared(4_000, 4_000)


def compared(customers: int, judged: int, peers: Sequence[Peer] = PEERS) -> dict[str, float]:
    """Everybody from one log of some customers, judged on others."""
    world = small_bank()
    log = journeys(world, by(silent(world, exploring=0.5)), Span(customers=customers, seed=_LOGS))
    span = Span(customers=judged, seed=_JUDGES, first_customer=JUDGED)
    silence = journeys(world, by(silent(world)), span)
    ours = {name: _ours(world, model, log, span) for name, model in OURS.items()}
    figures = {"log_decisions": float(log.decisions.seats.size), "silent_net": float(silence.net.mean())}
    theirs: dict[str, Score] = {}
    for peer in peers:
        found, name = _theirs(world, peer, log, span), f"d3rlpy_{peer.algorithm}"
        if name not in theirs or found.net.mean() > theirs[name].net.mean():
            theirs[name] = found
    for name, score in (ours | theirs).items():
        figures |= _told(name, score, silence)
    best = max(theirs.values(), key=lambda one: float(one.net.mean()))
    return figures | _against(ours["fitted_q"], best)


def _told(name: str, score: Score, silence: Journeys) -> dict[str, float]:
    gain = mean_interval(score.net - silence.net)
    return {
        f"{name}_gain": gain.mean,
        f"{name}_gain_low": gain.low,
        f"{name}_gain_high": gain.high,
        f"{name}_contacts": score.contacts,
        f"{name}_opt_outs": score.opt_outs,
        f"{name}_seconds": score.seconds,
    }


def _against(ours: Score, best: Score) -> dict[str, float]:
    """Net values of both in proportion, organic ones included, and their paired difference."""
    gap: Interval = mean_interval(ours.net - best.net)
    return {
        "d3rlpy_value_ratio": float(ours.net.mean() / best.net.mean()),
        "d3rlpy_difference": gap.mean,
        "d3rlpy_difference_low": gap.low,
        "d3rlpy_difference_high": gap.high,
        "d3rlpy_seconds_ratio": best.seconds / ours.seconds,
    }


def _ours(world: World, model: FittedQModel, log: Journeys, span: Span) -> Score:
    start = _started(world, StrategySpec(name="fitted-q", model=model, policy=Greedy()))
    begun = process_time()
    snapshot, _ = learnt(start, log.steps())
    seconds = process_time() - begun
    return _score(journeys(world, by(snapshot), span), seconds)


def _theirs(world: World, peer: Peer, log: Journeys, span: Span) -> Score:
    n_actions = world.config.catalogue.n_actions
    discount = FittedQModel().discount ** STEP_DAYS
    asked = structs.replace(peer, n_actions=n_actions, discount=discount)
    with TemporaryDirectory() as folder, _running(asked, log, Path(folder)) as (decide, seconds):
        return _score(journeys(world, decide, span), seconds)


def _score(lived: Journeys, seconds: float) -> Score:
    return Score(lived.net, float(lived.contacts.mean()), float(lived.opt_outs.mean()), seconds)


@contextmanager
def _running(peer: Peer, log: Journeys, folder: Path) -> Iterator[tuple[Decide, float]]:
    """d3rlpy, trained, as somebody who decides, and its CPU seconds of training."""
    _write(log, folder)
    script = Path(__file__).with_name("offline_peer_side.py")
    process = subprocess.Popen(
        [PYTHON, "-W", "ignore", script, folder, msgspec.json.encode(peer).decode()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": ""},
    )
    assert process.stdin is not None and process.stdout is not None
    with process, process.stdin:
        told = msgspec.json.decode(_line(process.stdout), type=dict[str, float])
        yield _best_eligible(process.stdin, process.stdout, folder), told["seconds"]


def _write(log: Journeys, folder: Path) -> None:
    """Each customer's decisions after one another; the last of a life is where time cuts it off."""
    done, last = log.decisions, log.following < 0
    rows = np.lexsort((done.order, done.seats))
    columns: dict[str, AnyArray] = {
        "observations": done.features[rows].astype(np.float32),
        "actions": done.actions[rows][:, None],
        "rewards": done.rewards[rows][:, None].astype(np.float32),
        "timeouts": last[rows].astype(np.float32),
    }
    for name, column in columns.items():
        np.save(folder / f"{name}.npy", column)


def _best_eligible(ask: IO[str], answers: IO[str], folder: Path) -> Decide:
    path = folder / "asked.npy"

    def decide(asked: Asked) -> Told:
        np.save(path, asked.contexts.features.astype(np.float32))
        print(path, file=ask, flush=True)
        q: FloatArray = np.load(_line(answers))
        eligible: BoolArray = asked.allowed
        return Told(np.where(eligible, q, -np.inf).argmax(axis=1), np.ones(q.shape[0]))

    return decide


def _line(stream: IO[str]) -> str:
    line = stream.readline().strip()
    if not line:
        raise RuntimeError("d3rlpy ended early, see its message above; make bench-peers makes it anew")
    return line
