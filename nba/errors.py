"""The errors of the project: each names the value, the rule it breaks and the way out."""

from __future__ import annotations


class NBAError(Exception):
    """Root of every error that a user of the project can cause and mend."""


class InvalidConfig(NBAError, ValueError):
    """A configuration breaks a rule.

    `source` is the file or object, `pointer` the key inside it, `rule` what must hold.
    """

    def __init__(self, source: str, pointer: str, rule: str) -> None:
        self.source, self.pointer, self.rule = source, pointer, rule
        super().__init__(f"{source}: {pointer}: {rule}" if pointer else f"{source}: {rule}")

    def __reduce__(self) -> tuple[type[InvalidConfig], tuple[str, str, str]]:
        """Pickle by its three parts, so that it survives a trip through a Ray worker."""
        return InvalidConfig, (self.source, self.pointer, self.rule)


def require(holds: bool, source: str, pointer: str, rule: str) -> None:
    """Raise InvalidConfig unless a rule holds."""
    if not holds:
        raise InvalidConfig(source, pointer, rule)


class BadContext(NBAError, ValueError):
    """A context cannot be encoded; `pointer` is the JSON pointer below the attributes."""

    def __init__(self, pointer: str, rule: str) -> None:
        self.pointer, self.rule = pointer, rule
        super().__init__(f"{pointer}: {rule}")

    def __reduce__(self) -> tuple[type[BadContext], tuple[str, str]]:
        """Pickle by its two parts."""
        return BadContext, (self.pointer, self.rule)


class BrokenPlan(NBAError, ArithmeticError):
    """A plan would exceed a hard limit: nothing that a user did, and nothing is written."""


class UnknownAction(NBAError, LookupError):
    """A channel, timing, product or action id is not in the catalogue."""


class ShapeMismatch(NBAError, ValueError):
    """An array does not have the shape that a public function declares."""


class BundleError(NBAError, RuntimeError):
    """A policy bundle is missing, damaged or of another format."""
