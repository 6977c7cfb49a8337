"""Which columns of a log hold what, and how an option's words name them."""

from __future__ import annotations

from typing import NamedTuple

from experiments.evaluation.stored import Stored
from experiments.tables.read import Table
from nba.errors import InvalidConfig, require
from nba.ope import LoggedRounds

ANY_OTHER = "(any other)"  # stands for all actions of which a target says nothing
PREFIXED = "columns:"  # one column per action, named by a prefix and the action's label


class Chances(NamedTuple):
    """Where the propensities of a log are; all None where it has none."""

    column: str | None = None  # of the chosen action's
    value: float | None = None  # the same in every row
    tables: dict[str, str] | None = None  # label -> column: the whole distribution

    @property
    def are_known(self) -> bool:
        """Whether the log has propensities."""
        return any(one is not None for one in self)


class Names(NamedTuple):
    """The columns of a log that has been found to hold them."""

    reward: str
    action: str
    chances: Chances
    eligible: str | None = None  # sets of labels
    cluster: str | None = None
    segment: str | None = None
    features: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()  # features that are names although they look like numbers
    groups: tuple[str, ...] = ()  # what an action shares with others, such as its channel

    @property
    def columns(self) -> tuple[str, ...]:
        """All of them, each once."""
        one_each = (self.chances.column, self.eligible, self.cluster, self.segment)
        named = (name for name in one_each if name is not None)
        tables = (self.chances.tables or {}).values()
        return tuple(dict.fromkeys([self.reward, self.action, *named, *tables, *self.features, *self.groups]))

    @property
    def texts(self) -> tuple[str, ...]:
        """Those that are labels even if they look like numbers."""
        named = (self.action, self.eligible, self.cluster, self.segment, *self.groups)
        return tuple(name for name in named if name is not None)


class Asked(NamedTuple):
    """The same as the options say it, before the log is there to look them up."""

    reward: str
    action: str
    propensity: str | None = None
    eligible: str | None = None
    cluster: str | None = None
    segment: str | None = None
    features: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()

    def found(self, log: Stored) -> Names:
        """The columns; InvalidConfig names what is not there, or means two things.

        Our own logs have a propensity and a customer, and need not be told.
        """
        if log.is_own:
            chosen = self.action == "action"
            own = "propensity" if chosen else f"{PREFIXED}p_" if self.action == "contact" else None
            self = self._replace(propensity=self.propensity or own, cluster=self.cluster or "customer")
        for option in ("reward", "action", "eligible", "cluster", "segment"):
            if (name := getattr(self, option)) is not None:
                log.need(name, f"--{option}")
        features, categories = _listed(log, self.features), _listed(log, self.categories)
        strange = ", ".join(sorted({*categories} - {*features}))
        rule = "is a category (--category) and no feature (--features)"
        require(not strange, log.source, strange, rule)
        chances = self._chances(log)
        rule = "is the action or its propensity, and cannot be what is earned (--reward)"
        taken = {self.action, chances.column, *(chances.tables or {}).values()}
        require(self.reward not in taken, log.source, self.reward, rule)
        twice = sorted({*features} & {self.reward, self.action})
        rule = "cannot be a feature and what is judged"
        require(not twice, log.source, ", ".join(twice), rule)
        return Names(
            self.reward,
            self.action,
            chances,
            self.eligible,
            self.cluster,
            self.segment,
            features,
            categories,
            _listed(log, self.groups, "--groups"),
        )

    def _chances(self, log: Stored) -> Chances:
        text = self.propensity
        if text is None:
            return Chances()
        if text.startswith(PREFIXED):
            return Chances(tables=prefixed(log, text.removeprefix(PREFIXED), "--propensity"))
        try:
            value = None if text in log.columns else float(text)
        except ValueError:
            return Chances(column=log.need(text, "--propensity"))
        if value is None:
            return Chances(column=text)
        rule = f"must lie in (0, 1], or name a column; got {text}"
        require(0.0 < value <= 1.0, log.source, "--propensity", rule)
        return Chances(value=value)


def _listed(log: Stored, texts: tuple[str, ...], option: str = "--features") -> tuple[str, ...]:
    """The columns of lists such as "age,income", each once."""
    lists = ([text] if text in log.columns else text.split(",") for text in texts)
    names = (name.strip() for one in lists for name in one)
    return tuple(dict.fromkeys(log.need(name, option) for name in names))


def prefixed(log: Stored, prefix: str, option: str) -> dict[str, str]:
    """Label -> column, for the columns of one prefix."""
    found = {
        name.removeprefix(prefix): name for name in log.columns if name.startswith(prefix) and name != prefix
    }
    if not found:
        shown = ", ".join(log.columns[:12])
        raise InvalidConfig(log.source, option, f"no column begins with {prefix!r}; there are {shown}")
    return found


class Rows(NamedTuple):
    """What a target may ask of some rows."""

    table: Table
    rounds: LoggedRounds
    labels: tuple[str, ...]  # (A,)
