"""Prices and caps of budgets: prices follow the log of decisions, caps hold before anything reaches it.

After every so many decisions, in log order, prices move (nba.allocation.pacing) and have a new version. They
are a pure function of the decisions, of the contacts taken back that a version says it knew of, and of the
prices that a person set, all of which the log holds: a restart and a replay find the same ones. What is left
of a budget is counted where decisions are made (serving.till), in the same breath, so that requests that come
together can never use the same unit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct, structs

from nba.allocation.budgets import units_of
from nba.allocation.purses import Purse
from nba.arrays import FloatArray
from nba.errors import InvalidConfig, require
from nba.snapshot import Snapshot
from nba.strategy import Strategy
from serving.body import decode_body
from serving.failpoints import failpoint
from serving.ids import made_at
from serving.ledger import DecisionRow, Ledger, LedgerError, PriceRow, Reader
from serving.till import Till, came_back

BATCH = 512


class Priced(Struct, frozen=True, kw_only=True):
    """All budgets at one position of the log of decisions."""

    version: int  # of the prices
    seq: int  # the last decision that is counted
    waiting: int  # decisions since prices moved
    purses: tuple[Purse, ...]  # R, the rows of `Strategy.tally`
    events: int  # the log position up to which what came back is counted

    @staticmethod
    def start(base: Snapshot) -> Priced:
        """Before any decision, at the prices of a bundle."""
        n_rows = len(base.strategy.tally.rows)
        prices = base.prices[base.prices.size - n_rows :].tolist()
        purses = tuple(Purse.start(price) for price in prices)
        return Priced(version=0, seq=0, waiting=0, purses=purses, events=0)

    def planned(self, prices: list[float]) -> Priced:
        """The same budgets at the prices of a plan (R), as a new version; what is used stays used."""
        purses = zip(self.purses, prices, strict=True)
        fresh = [
            structs.replace(
                purse.counted(max(purse.traffic - purse.waiting, 0.0)),
                price=price,
                anchor=price,
                drift=0.0,
                noise=0.0,
            )
            for purse, price in purses
        ]
        return structs.replace(self, version=self.version + 1, waiting=0, purses=tuple(fresh))

    def prices(self) -> list[float]:
        """(R) account currency per unit of each row."""
        return [purse.price for purse in self.purses]


class Pricer:
    """Counts decisions one by one in log order; every so many make a new version of the prices.

    What came back of decisions is counted when a version is made.
    """

    def __init__(self, strategy: Strategy, state: Priced, reader: Reader) -> None:
        self._reader = reader
        self._catalogue, self._pacing, self.state = strategy.catalogue, strategy.pacing, state
        self._tally = strategy.tally
        sizes = [units_of(budget, strategy.catalogue) for budget in strategy.pacing.budgets]
        self._units = [sizes[number] for number in self._tally.of]

    def fold(self, rows: Iterable[DecisionRow], events: int | None = None) -> list[Priced]:
        """Count decisions; gives the versions that they make, from events up to a position or all of them."""
        made = []
        for row in rows:
            state = self._counted(row)
            if state.waiting >= self._pacing.batch:
                state = self._stepped(self.returned(state, events))
                made.append(state)
            self.state = state
        return made

    def returned(self, state: Priced, events: int | None = None) -> Priced:
        """The budgets with what came back of the decisions that they count."""
        last = self._reader.last_seq() if events is None else events
        for row in self._reader.taken_back(state.events, last):
            if row.decision_seq > state.seq:  # counted neither yet
                last = row.seq - 1
                break
            uses, at = self._uses(row.body), _made_at(row.decision_id)
            purses = came_back(state.purses, self._tally.rows, row.outcome, uses, at)
            state = structs.replace(state, purses=tuple(purses))
        return structs.replace(state, events=last)

    def _uses(self, body: bytes) -> list[float]:
        """(R) units that a decision uses."""
        found = decode_body(body)
        action = self._catalogue.row_of(found.decision.actions[0].action_id)
        return self._tally.uses(action, found.own)

    def _counted(self, row: DecisionRow) -> Priced:
        if decode_body(row.body).mode != "live":  # a shadow uses nothing
            return structs.replace(self.state, seq=row.seq)
        at, uses = _made_at(row.decision_id), self._uses(row.body)
        parts = zip(self.state.purses, self._tally.rows, uses, strict=True)
        purses = tuple(purse.after(budget, use, at) for purse, budget, use in parts)
        return structs.replace(self.state, seq=row.seq, waiting=self.state.waiting + 1, purses=purses)

    def _stepped(self, state: Priced) -> Priced:
        parts = zip(state.purses, self._tally.rows, self._units, strict=True)
        purses = tuple(purse.stepped(budget, units) for purse, budget, units in parts)
        return structs.replace(state, version=state.version + 1, waiting=0, purses=purses)


class PriceKeeper:
    """Keeps the prices of a strategy's budgets in the log, in the learner's loop."""

    def __init__(self, base: Snapshot, ledger: Ledger, reader: Reader, plan: Path | None) -> None:
        require(
            plan is None or bool(base.strategy.pacing.budgets),
            "settings",
            "prices",
            "need budgets: the strategy of the bundle has no [[pacing.budgets]]",
        )
        self._base, self._ledger, self._reader = base, ledger, reader
        self._plan = {} if plan is None else load_prices(plan, base.strategy)
        self._pricer = Pricer(base.strategy, Priced.start(base), reader)

    @property
    def state(self) -> Priced:
        """All budgets at the last decision that was counted."""
        return self._pricer.state

    def recover(self) -> Till | None:
        """Count what the log holds, then set the prices of a new plan; None without budgets."""
        if not self.state.purses:
            return None
        stored = self._reader.price_rows()
        if stored:
            self._pricer = Pricer(self._base.strategy, decode_state(stored[-1]), self._reader)
        self.step()
        names = [row.name for row in self._base.strategy.tally.rows]
        told = self._last_plan(stored)
        wanted = [self._plan.get(name, price) for name, price in zip(names, told, strict=True)]
        if not stored or wanted != told:
            state = self.state.planned(wanted) if stored else Priced.start(self._base)
            if not stored:
                state = structs.replace(state.planned(wanted), version=0)
            self._append([state], planned=True)
            self._pricer = Pricer(self._base.strategy, state, self._reader)
        now = self._pricer.returned(self.state)
        return Till(self._base.strategy, now.purses, now.events)

    def step(self) -> bool:
        """Count decisions that are new in the log; says whether prices have moved."""
        if not self.state.purses:
            return False
        moved = False
        while rows := self._reader.decisions_after(self.state.seq, BATCH):
            counting = Pricer(self._base.strategy, self.state, self._reader)
            made = counting.fold(rows)
            self._append(made, planned=False)
            self._pricer = counting  # only now: prices that the log lacks must not be served
            moved |= bool(made)
        return moved

    def of(self, snapshot: Snapshot) -> Snapshot:
        """A snapshot at the prices of now."""
        return at_prices(snapshot, self.state) if self.state.purses else snapshot

    def _last_plan(self, stored: list[PriceRow]) -> list[float]:
        planned = [row for row in stored if row.planned]
        return decode_state(planned[-1]).prices() if planned else self.state.prices()

    def _append(self, states: list[Priced], *, planned: bool) -> None:
        for state in states:
            blob = msgspec.json.encode(state)
            row = PriceRow(version=state.version, decision_seq=state.seq, planned=planned, state=blob)
            failpoint("learner.before_prices")
            self._ledger.append_prices(row).result()
            failpoint("learner.after_prices")


def at_prices(snapshot: Snapshot, state: Priced) -> Snapshot:
    """A snapshot at the prices of its budgets."""
    channels = snapshot.prices[: snapshot.prices.size - len(state.purses)]
    prices: FloatArray = np.concatenate([channels, state.prices()])
    return snapshot.priced(prices, state.version)


def replayed(strategy: Strategy, reader: Reader) -> Iterator[tuple[Priced, bool]]:
    """Every version of the prices as the decisions make it, and whether the log holds the same one."""
    stored = reader.price_rows()
    if not stored:
        return
    starts = [index for index, row in enumerate(stored) if row.planned]
    for start, end in zip(starts, [*starts[1:], len(stored)], strict=True):
        pricer = Pricer(strategy, decode_state(stored[start]), reader)
        yield pricer.state, True
        for row in stored[start + 1 : end]:
            made, wanted = list[Priced](), decode_state(row)
            while rows := reader.decisions_after(pricer.state.seq, BATCH):
                made += pricer.fold([one for one in rows if one.seq <= row.decision_seq], wanted.events)
                if rows[-1].seq >= row.decision_seq:
                    break
            yield wanted, made[-1:] == [wanted]


def _made_at(decision_id: str) -> datetime:
    at = made_at(decision_id)
    assert at is not None, "decision ids of the log are this service's own"
    return at


def prices_of(
    reader: Reader, strategy: Strategy, version: int, own: Sequence[int | None] = ()
) -> dict[str, float]:
    """The prices of a customer's `own` rows (J) by name, account currency per unit; empty without budgets."""
    row, tally = reader.price_row(version), strategy.tally
    if row is None:
        return {}
    prices = decode_state(row).prices()
    return {tally.rows[place].name: prices[place] for place in own or tally.own({}) if place is not None}


def decode_state(row: PriceRow) -> Priced:
    """The budgets that a row of the log holds; LedgerError if prices moved by another rule."""
    try:
        return msgspec.json.decode(row.state, type=Priced)
    except msgspec.ValidationError as error:
        raise LedgerError(
            f"The store's prices, version {row.version}, were paced by an older nba, and this one would move "
            f"them otherwise ({error}). Use the nba that wrote the store, or start a new --store."
        ) from None


def load_prices(path: Path, strategy: Strategy) -> dict[str, float]:
    """The prices of a plan by name of a budget, from what `nba allocate --json` printed."""

    class Plan(Struct):
        prices: dict[str, float]

    try:
        found = msgspec.json.decode(path.read_bytes(), type=Plan).prices
    except (OSError, msgspec.MsgspecError) as error:
        rule = f"must be what `nba allocate --json` prints, with an object `prices`: {error}"
        raise InvalidConfig(path.name, "prices", rule) from None
    names = [budget.name for budget in strategy.tally.rows if not budget.report_only]
    known = {name: price for name, price in found.items() if name in names}
    rule = f"names none of the budgets {', '.join(names)}; limits and budgets share a price by their name"
    require(bool(known), path.name, "prices", rule)
    for name, price in known.items():
        rule = f"must be finite and >= 0, got {price}"
        require(0.0 <= price < np.inf, path.name, f"prices.{name}", rule)
    return known
