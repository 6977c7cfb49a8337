"""What is written of a judgement: tags of the version and of its run, a verdict as Markdown and as JSON.

The tags of both begin with nba.gate. What is proven is written before the alias moves, so that a crash
between the two leaves a proof without a promotion, and never the other way round.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from experiments.promotion.judge import Check, Judgement
from experiments.registry import CHAMPION, GATE, MODEL, Change, PolicyVersion, find, promote
from experiments.store import open_store
from nba.errors import NBAError

ATTEMPTS = f"{GATE}.attempts"  # judgements of a version by worlds so far
FOLDER = "promotion"  # of the run's artifacts
_TAG_CHARACTERS = 5_000


class ChampionChanged(NBAError, RuntimeError):
    """Somebody else changed the champion while a candidate was judged against it."""


def attempts(store: Path, policy: PolicyVersion) -> int:
    """How often a version was judged by a world."""
    tags = open_store(store).get_model_version(policy.name, str(policy.version)).tags
    return int(tags.get(ATTEMPTS, "0"))


def write(
    store: Path, candidate: PolicyVersion, baseline: PolicyVersion, found: Judgement, attempt: int
) -> None:
    """Tag version and run with all figures, and give the run the verdict."""
    client = open_store(store)
    tags = tags_of(found, baseline) | {ATTEMPTS: str(attempt)}
    for key, value in tags.items():
        client.set_model_version_tag(candidate.name, str(candidate.version), key, value)
    if not candidate.run_id:
        return
    for key, value in tags.items():
        client.set_tag(candidate.run_id, key, value)
    client.log_text(candidate.run_id, "\n".join(markdown(found)), f"{FOLDER}/verdict.md")
    text = msgspec.json.format(msgspec.json.encode(found), indent=2).decode()
    client.log_text(candidate.run_id, text, f"{FOLDER}/verdict.json")


def put_in_place(store: Path, candidate: PolicyVersion, baseline: PolicyVersion, found: Judgement) -> Change:
    """Make a candidate champion that passed; ChampionChanged if the champion it beat is none any more."""
    assert found.passed
    now = find(store)
    if CHAMPION in baseline.aliases and now.version != baseline.version:
        raise ChampionChanged(
            f"the champion was version {baseline.version} when the candidate was judged and is version "
            f"{now.version} now: the proof is kept and promotes nothing; judge it against the new champion."
        )
    return promote(
        store, candidate.version, how=f"proven against {baseline.reference} on {found.evidence.source}"
    )


def tags_of(found: Judgement, baseline: PolicyVersion) -> dict[str, str]:
    """The judgement as flat tags: the verdict, what it was against and on, and every gate with its ends."""
    evidence = found.evidence
    tags = {
        GATE: "passed" if found.passed else "failed",
        f"{GATE}.baseline": baseline.reference,
        f"{GATE}.baseline_digest": baseline.digest,
        f"{GATE}.source": evidence.source,
        f"{GATE}.confidence": f"{evidence.confidence:.6g}",
        f"{GATE}.units": str(evidence.units),
        f"{GATE}.reason": " ".join(found.reasons)[:_TAG_CHARACTERS],
    }
    return tags | dict(pair for check in found.checks for pair in _tags_of(check))


def _tags_of(check: Check) -> Iterator[tuple[str, str]]:
    name = f"{GATE}.{check.gate}"
    yield name, "passed" if check.passed else "failed"
    for part in ("figure", "low", "high", "limit"):
        if (value := getattr(check, part)) is not None:
            yield f"{name}.{part}", f"{value:.6g}"


def markdown(found: Judgement) -> Iterator[str]:
    """The verdict with all figures, for people."""
    evidence = found.evidence
    yield f"# {found.candidate} against {found.baseline}: {'promoted' if found.passed else 'refused'}"
    yield ""
    share = f"{100.0 * evidence.confidence:.5g} %"
    yield f"{evidence.source}; {share} intervals, {evidence.method}; {evidence.units:,} pairs."
    yield ""
    yield "| gate | passed | figure | interval | limit | unit |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for check in found.checks:
        yield "| " + " | ".join(row(check)) + " |"
    yield ""
    yield from (f"- **{reason}**" for reason in found.reasons)
    yield from (f"- {note}" for note in evidence.notes)


def row(check: Check) -> tuple[str, ...]:
    """A gate as cells: name, passed, figure, interval, limit, unit."""
    ends = "" if check.low is None or check.high is None else f"{check.low:+.4g} to {check.high:+.4g}"
    return (
        check.gate,
        "yes" if check.passed else "no",
        "" if check.figure is None else f"{check.figure:+.4g}" if ends else f"{check.figure:g}",
        ends,
        f"{check.limit:g}" if check.unit else "",
        check.unit,
    )


def reference_of(text: str) -> str:
    """What people write for a version: 3, champion, or a whole reference."""
    if text.isdecimal():
        return f"{MODEL}/{text}"
    return text if any(mark in text for mark in "@/:") else f"{MODEL}@{text}"


def plain(found: Judgement) -> dict[str, Any]:
    """The judgement for JSON."""
    told: dict[str, Any] = msgspec.to_builtins(found)
    return told | {"reasons": list(found.reasons)}
