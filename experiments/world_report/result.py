"""What a report found, as one record: the page draws it, and `--json` prints it."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from experiments.world_report.check import Check
from experiments.world_report.figures import Figure
from experiments.world_report.mechanisms import Curves
from experiments.world_report.ranking import WANTED_TAU, Rankings
from experiments.world_report.samples import Samples
from experiments.world_report.sources import Source
from experiments.world_report.targets import WANTED_SHARE, Targets
from experiments.world_report.two_samples import WANTED_AUC


class Section(Struct, frozen=True, kw_only=True):
    """What one part of the report comes to; `passes` is None where nothing could be judged."""

    name: str
    passes: bool | None
    sentence: str


class WorldReport(Struct, frozen=True, kw_only=True):
    """Everything that the page shows."""

    world: str
    calibration: dict[str, str | float | int | bool]
    customers: int
    days: int
    seed: int
    targets: Targets
    figures: tuple[Figure, ...]
    samples: Samples
    checks: tuple[Check, ...]
    rankings: Rankings
    curves: tuple[Curves, ...]
    sources: tuple[Source, ...]
    seconds: float

    @property
    def sections(self) -> tuple[Section, ...]:
        """The verdicts, in the order of the page."""
        return (
            _of_targets(self.targets),
            _of_samples(self.samples),
            _of_checks(self.checks),
            _of_ranking("policies over the data", self.rankings.ensemble),
            _of_ranking("policies over the assumptions", self.rankings.assumptions),
        )


def as_json(found: WorldReport) -> bytes:
    """One line with every number, verdicts first; not a number is null."""
    plain: dict[str, Any] = msgspec.to_builtins(found, enc_hook=lambda array: array.tolist())
    plain["curves"] = [one | {"lines": _lists(one["lines"])} for one in map(_named, found.curves)]
    return msgspec.json.encode({"sections": msgspec.to_builtins(found.sections), **plain})


def _named(one: Curves) -> dict[str, Any]:
    return one._asdict()


def _lists(lines: dict[str, Any]) -> dict[str, list[float]]:
    return {name: line.tolist() for name, line in lines.items()}


def _of_targets(found: Targets) -> Section:
    if not found.rows:
        return Section(name="targets", passes=None, sentence=found.absent)
    sentence = (
        f"{found.inside} of {len(found.rows)} statistics of {found.data} look like the world's own "
        f"(posterior predictive tail in [0.05, 0.95]); {WANTED_SHARE:.0%} are wanted."
    )
    return Section(name="targets", passes=found.passes, sentence=sentence)


def _of_samples(found: Samples) -> Section:
    failed = [one.name for one in found.self_tests if not one.as_expected]
    power = (
        f"The self-test failed ({'; '.join(failed)}): read nothing into the comparison."
        if failed
        else "The test tells a world with other habits from this one, and does not tell this one from itself."
    )
    if found.real is None:
        sentence = f"{power} No log of a bank was given (--data), so realism itself is untested."
        return Section(name="two samples", passes=None if found.has_power else False, sentence=sentence)
    real = found.real
    sentence = (
        f"A classifier tells {found.data} from the world with an area under the curve of {real.auc:.3f} "
        f"(p {real.p:.3f}); at most {WANTED_AUC:.2f} is wanted. {power}"
    )
    return Section(name="two samples", passes=found.passes, sentence=sentence)


def _of_checks(checks: tuple[Check, ...]) -> Section:
    broken = [f"{one.name} ({one.violations:,} of {one.cases:,})" for one in checks if one.violations]
    told = f"broken: {', '.join(broken)}" if broken else "none is broken"
    sentence = f"{len(checks)} checks looked at {sum(one.cases for one in checks):,} cases: {told}."
    return Section(name="conservation", passes=not broken, sentence=sentence)


def _of_ranking(name: str, found: Any) -> Section:
    clear = [f"{one.better} and {one.worse}" for one in found.flips if one.is_clear]
    flips = f" Clear flips: {'; '.join(clear)}." if clear else ""
    sentence = (
        f"The order of {len(found.policies)} policies in {len(found.members) - 1} {found.over} agrees with "
        f"the mean order with a Kendall tau of at least {min(found.taus):.2f}; {WANTED_TAU} is wanted.{flips}"
    )
    return Section(name=name, passes=found.passes, sentence=sentence)
