"""How a model, a policy and long lists are told in lines for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from experiments.tables.presets import Preset

_SHOWN = 12


def some(lines: Iterable[str]) -> Iterator[str]:
    """The first dozen lines, and how many there are more."""
    rest = 0
    for number, line in enumerate(lines):
        if number < _SHOWN:
            yield line
        else:
            rest += 1
    if rest:
        yield f"          and {rest} more (--json tells all)"


def settings(part: Any) -> str:
    """A model, a policy or a floor in a line: its type and its fields."""
    fields = msgspec.to_builtins(part)
    told = ", ".join(
        f"{name} {value}" for name, value in fields.items() if name != "type" and value is not None
    )
    return f"{fields['type']} ({told})" if told else str(fields["type"])


def preset_lines(presets: Sequence[Preset]) -> Iterator[str]:
    """The shipped policies, one a line."""
    width = max(len(preset.name) for preset in presets)
    for preset in presets:
        yield f"{preset.name:<{width}}  {preset.description}"
