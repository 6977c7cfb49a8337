"""The methods that compete, and the settings that each may be tuned over: six for every one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.util import find_spec
from itertools import product
from typing import Any, NamedTuple, Protocol

from experiments.benchmarks.peers import linear_mab, vowpal
from experiments.benchmarks.peers.linear_mab import MabwiserPlayer
from experiments.benchmarks.peers.ours import OurPlayer
from experiments.benchmarks.peers.problems import Problem
from experiments.benchmarks.peers.vowpal import VowpalPlayer
from nba.policies import LinUCB, Policy, ThompsonSampling
from nba.posteriors.online import OnlineModel
from nba.posteriors.online_design import Kind

N_SETTINGS = 6


def _crossed(kinds: Iterable[str], rates: Iterable[str]) -> tuple[str, ...]:
    return tuple(f"{kind} {rate}".strip() for kind, rate in product(kinds, rates))


OURS, VOWPAL, MABWISER = "ours", vowpal.PACKAGE, linear_mab.PACKAGE
SHARED, DISJOINT, REGCB = "shared-linucb", "disjoint-linucb", "vw-regcbopt"

_SPREADS = (1.0, 0.3)  # prior standard deviations of coefficients, penalties 1 and 11
_ALPHAS = (0.03, 0.1, 0.3)
# -l is the learning rate of Vowpal Wabbit, 0.5 without. RegCB uses the range of costs, so it is told; a high
# rate and a small mellowness suit it best.
_RATES = ("", "-l 2", "-l 5")
_REGCB = "--regcbopt --cb_min_cost -1 --cb_max_cost 0"
_VOWPAL = {
    "vw-squarecb": _crossed(("--squarecb", "--squarecb --gamma_scale 50"), _RATES),
    REGCB: (
        _REGCB,
        *_crossed((f"{_REGCB} --mellowness 0.01",), _RATES),
        *_crossed((f"{_REGCB} --mellowness 0.001",), _RATES[1:]),
    ),
    "vw-cover": _crossed(("--cover 4", "--cover 4 --nounif"), _RATES),
    "vw-bag": _crossed(("--bag 5", "--bag 5 --greedify"), _RATES),
    "vw-epsilon": _crossed(("--epsilon 0.05", "--epsilon 0"), _RATES),
    "vw-softmax": _crossed(("--softmax --lambda 10", "--softmax --lambda 50"), _RATES),
    "vw-synthcover": _crossed(("--synthcover", "--synthcover --synthcoverpsi 0.01"), _RATES),
}
VOWPAL_METHODS = tuple(_VOWPAL)
# Those that did best on the 48-action simulation in the design study (estimators.md 3.7), where a run takes
# half a minute; cover, softmax and epsilon-greedy trailed far behind.
VOWPAL_BEST = ("vw-squarecb", REGCB, "vw-bag", "vw-synthcover")


class Player(Protocol):
    """One run of a method on a problem; rows are rounds, actions are counted from the first contact."""

    def choose(self, row: int, uniform: float) -> int:
        """An action in round `row`; `uniform` decides among several."""
        ...

    def learn(self, row: int, action: int, reward: float) -> None:
        """What came of the round that was chosen for last."""
        ...


class Method(NamedTuple):
    """A way to play, and the settings it may be played with."""

    name: str
    family: str  # OURS, or the package that it comes from
    settings: tuple[Any, ...]

    def player(self, problem: Problem, setting: int, seed: int) -> Player:
        """A player who knows nothing yet."""
        players: dict[str, Callable[..., Player]] = {
            OURS: OurPlayer,
            VOWPAL: VowpalPlayer,
            MABWISER: MabwiserPlayer,
        }
        return players[self.family](problem, *self.settings[setting], seed)


def missing_peers() -> list[str]:
    """Packages that are not installed."""
    return [package for package in (VOWPAL, MABWISER) if find_spec(package) is None]


def methods(names: Iterable[str] = ()) -> list[Method]:
    """The methods of these names, all without a name; those of a missing package are left out."""
    wanted, missing = set(names), missing_peers()
    return [one for one in _ALL if one.family not in missing and (not wanted or one.name in wanted)]


def _ours(design: Kind, policies: Iterable[Policy]) -> tuple[tuple[OnlineModel, Policy], ...]:
    models = [
        OnlineModel(design=design, lift_mean=0.0, level_sd=sd, slope_sd=sd, pair_sd=sd) for sd in _SPREADS
    ]
    return tuple(product(models, policies))


def _mabwiser(policy: str) -> tuple[tuple[str, dict[str, float]], ...]:
    penalties = [round(sd**-2) for sd in _SPREADS]
    return tuple((policy, {"alpha": a, "l2_lambda": p}) for p, a in product(penalties, _ALPHAS))


_UCB = [LinUCB(alpha=alpha) for alpha in _ALPHAS]
# Frozen for a single round, one draw is Thompson sampling itself.
_THOMPSON = [ThompsonSampling(n_draws=1, scale=alpha) for alpha in _ALPHAS]
_ALL = (
    Method(SHARED, OURS, _ours("shared", _UCB)),
    Method("shared-thompson", OURS, _ours("shared", _THOMPSON)),
    Method(DISJOINT, OURS, _ours("disjoint", _UCB)),
    Method("disjoint-thompson", OURS, _ours("disjoint", _THOMPSON)),
    *(Method(name, VOWPAL, tuple((options,) for options in settings)) for name, settings in _VOWPAL.items()),
    Method("mabwiser-linucb", MABWISER, _mabwiser("LinUCB")),
    Method("mabwiser-lints", MABWISER, _mabwiser("LinTS")),
)
