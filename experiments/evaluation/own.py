"""Our own logs as ordinary tables: the folder of a simulated run, and the ledger of a service.

Both become Parquet in a scratch folder, with these columns (and more, which are named as in the log):

    action, propensity          what was chosen, and with which probability
    contact                     "contact" or "no-contact", with the columns p_contact and p_no-contact
    reward                      what credited conversions brought (of a run less costs and losses)
    opted_out, complained       1 if the customer did so after the decision
    conversions, customer       credited conversions; whose rounds are not independent
    channel, product, family    of the action; the family in a run only

A conversion that came without a contact is in no reward: values are of what contacts are credited with.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct, structs

from experiments.dataset import Settings, read_json
from experiments.evaluation.stored import Stored, of_files
from experiments.executor import Report
from experiments.logs import Logs
from experiments.tables.read import Format
from nba.arrays import AnyArray, FloatArray
from nba.catalogue import NO_ACTION_ID
from nba.context import AttributeValue, Context
from nba.decision import Decision
from nba.errors import InvalidConfig, require
from nba.ope import LoggedRounds
from simulator.world import load_world

BODY, POSTERIOR = "body", "posterior_seq"
BOUND = "bundle_digest"  # under which a ledger keeps the bundle that it was begun with
_ROWS = 10_000  # of a ledger at a time
_DECISIONS = """
SELECT d.seq, d.customer_id, d.at, d.channel, d.product, d.posterior_seq, d.body,
       coalesce(sum(CASE WHEN e.outcome = 'converted' AND e.teaches THEN e.value END), 0.0),
       coalesce(sum(e.outcome = 'converted' AND e.teaches), 0), coalesce(max(e.outcome = 'opted_out'), 0),
       coalesce(max(e.outcome = 'complained'), 0),
       EXISTS (SELECT 1 FROM event a WHERE a.decision_id = d.decision_id AND a.outcome = 'activated')
FROM decision d LEFT JOIN event e
  ON e.decision_id = d.decision_id AND e.kind = 'feedback' AND e.status = 'accepted'
WHERE d.seq > ? GROUP BY d.seq ORDER BY d.seq LIMIT ?
"""


class Body(Struct, frozen=True, kw_only=True):
    """What a ledger keeps of a decision: what was asked, the context as it was used, and the answer."""

    channels: list[str] | None
    candidates: list[str] | None
    exclude: list[str]
    context: Context
    decision: Decision


class Way(Struct, frozen=True, kw_only=True):
    """How a decision of a ledger was made, and whether it counts from the start."""

    role: str = "champion"
    direction: str = "outbound"
    mode: str = "live"
    is_deferred: bool = False


def is_run(path: Path) -> bool:
    """Whether a folder holds a simulated run."""
    return (path / "run.json").is_file() and (path / "decisions").is_dir()


def is_ledger(path: Path) -> bool:
    """Whether a file is a SQLite database."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(16) == b"SQLite format 3\0"


def rounds_of(logs: Logs) -> LoggedRounds:
    """The decisions of a run that is in memory, with what they were credited with less costs and losses."""
    decisions, outcomes = logs
    credited = outcomes.decision >= 0
    order = np.argsort(decisions.number)
    places = order[np.searchsorted(decisions.number, outcomes.decision[credited], sorter=order)]
    brought = np.bincount(places, outcomes.amount[credited], decisions.number.size)
    return LoggedRounds(
        actions=decisions.action,
        rewards=brought - decisions.cost - decisions.loss,
        propensities=decisions.propensity,
        clusters=decisions.customer.astype(np.uint64),
    )


def stored_run(path: Path, scratch: Path, report: Report) -> Stored:
    """A complete simulated run; a run that is not complete is refused."""
    import pyarrow.parquet as pq

    rule = "is not complete: run `nba simulate` again with the same settings, it goes on where it stood"
    require((path / "manifest.json").exists(), str(path), "manifest.json", rule)
    credited, families, files = _credited(path), _families(path), []
    for file in sorted((path / "decisions").glob("*.parquet")):
        table = pq.read_table(file)
        files.append(scratch / file.name)
        table = _with_rewards(table, credited)
        products = table["product"].cast("string").to_pylist()
        table = table.append_column("family", [[families.get(one) for one in products]])
        pq.write_table(table, files[-1], row_group_size=65_536)
        report(table.num_rows)
    return of_files(str(path), files, Format())._replace(is_own=True)


def stored_ledger(path: Path, scratch: Path, report: Report) -> Stored:
    """All decisions of a ledger, which may be in use; attributes of contexts are columns as well."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    place, writer = scratch / "ledger.parquet", None
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            kinds = _kinds(db)
            for rows in _decisions(db):
                table = pa.table(_columns(rows, kinds))
                writer = writer or pq.ParquetWriter(place, table.schema)
                writer.write_table(table)
                report(len(rows))
            bound = db.execute("SELECT value FROM meta WHERE key = ?", (BOUND,)).fetchone()
    except (sqlite3.Error, msgspec.MsgspecError) as error:
        raise InvalidConfig(str(path), "", f"is not a ledger that can be read: {error}") from None
    finally:
        if writer is not None:
            writer.close()
    require(writer is not None, str(path), "", "holds no decision")
    bundle = "" if bound is None else str(bound[0])
    return of_files(str(path), [place], Format())._replace(is_own=True, bundle=bundle)


def _families(path: Path) -> dict[str | None, str]:
    """Product -> family, by the world that a run is of."""
    world = load_world(read_json(path / "run.json", Settings).world)
    return {product.name: product.family for product in world.config.catalogue.products}


def _credited(path: Path) -> Any:
    """Per decision the sums of what its conversions brought; small beside the decisions."""
    import pyarrow.parquet as pq

    columns = ["decision_id", "value", "amount"]
    table = pq.read_table(path / "outcomes", columns=columns)
    table = table.filter(table["decision_id"].is_valid())
    sums = [("value", "sum"), ("amount", "sum"), ("amount", "count")]
    return table.group_by("decision_id").aggregate(sums)


def _with_rewards(table: Any, credited: Any) -> Any:
    """Decisions with what they were credited with."""
    import pyarrow.compute as pc

    places = pc.index_in(table["decision_id"], value_set=credited["decision_id"])
    of_decision = {
        name: pc.fill_null(pc.take(credited[column], places), 0)
        for name, column in (
            ("value", "value_sum"),
            ("amount", "amount_sum"),
            ("conversions", "amount_count"),
        )
    }
    reward = pc.subtract(pc.subtract(of_decision["amount"], table["cost"]), table["loss"])
    silent = pc.equal(table["action_id"].cast("string"), NO_ACTION_ID)
    table = table.rename_columns(["action" if name == "action_id" else name for name in table.column_names])
    chances = table["no_contact_propensity"].to_numpy()
    table = table.append_column("reward", reward)
    for name, column in of_decision.items():
        table = table.append_column(name, column)
    for name, column in _contacts(silent.to_numpy(), chances).items():
        table = table.append_column(name, [column])
    return table


def _contacts(silent: AnyArray, chances: FloatArray) -> dict[str, AnyArray]:
    """Whether anybody was contacted, with the probabilities of both."""
    named = np.where(silent, NO_ACTION_ID, "contact").astype(object)
    return {"contact": named, "p_contact": 1.0 - chances, f"p_{NO_ACTION_ID}": chances}


def _decisions(db: sqlite3.Connection) -> Iterator[list[tuple[Any, ...]]]:
    """Decisions in the order in which they were made, some at a time.

    Those of shadows, of other arms than the champion's, inbound, or never activated are another policy's, or
    nobody's: the bundle would not make them again.
    """
    after, decoder = 0, msgspec.json.Decoder(Way)
    while rows := db.execute(_DECISIONS, (after, _ROWS)).fetchall():
        after = rows[-1][0]
        ways = [decoder.decode(row[6]) for row in rows]
        is_own = [structs.replace(way, is_deferred=False) == Way() for way in ways]
        counts = [
            own and (row[-1] or not way.is_deferred) for own, way, row in zip(is_own, ways, rows, strict=True)
        ]
        if any(counts):
            yield [row[:-1] for row, one in zip(rows, counts, strict=True) if one]


def _kinds(db: sqlite3.Connection) -> dict[str, type]:
    """Attributes of the contexts, and whether each holds numbers or texts; lists are passed over."""
    decoder, found = msgspec.json.Decoder(Body), dict[str, type]()
    for rows in _decisions(db):
        for row in rows:
            for name, value in decoder.decode(row[6]).context.attributes.items():
                if value is not None and not isinstance(value, list):
                    is_text = isinstance(value, str) or found.get(name) is str
                    found[name] = str if is_text else float
    return found


def _columns(rows: list[tuple[Any, ...]], kinds: Mapping[str, type]) -> dict[str, Any]:
    """Some decisions as columns."""
    import pyarrow as pa

    bodies = [msgspec.json.decode(row[6], type=Body) for row in rows]
    first = [body.decision.actions[0] for body in bodies]
    chances = np.array([body.decision.no_contact_propensity for body in bodies])
    _, customers, at, channels, products, seqs, texts, values, conversions, left, upset = zip(
        *rows, strict=True
    )
    actions = [action.action_id for action in first]
    silent = np.array([action == NO_ACTION_ID for action in actions])
    own: dict[str, Any] = {
        "customer": pa.array(customers, pa.string()),
        "at": pa.array([datetime.fromtimestamp(one / 1e6, UTC).isoformat() for one in at], pa.string()),
        "action": pa.array(actions, pa.string()),
        "channel": pa.array(channels, pa.string()),
        "product": pa.array(products, pa.string()),
        "propensity": np.array([action.propensity for action in first]),
        "reward": np.array(values, dtype=np.float64),
        "conversions": np.array(conversions, dtype=np.float64),
        "opted_out": np.array(left, dtype=np.float64),
        "complained": np.array(upset, dtype=np.float64),
        POSTERIOR: np.array(seqs, dtype=np.int64),
        **_contacts(silent, chances),
        BODY: pa.array([bytes(text).decode() for text in texts], pa.large_string()),
    }
    for name, kind in kinds.items():
        if name not in own:
            cells = [_cell(body.context.attributes.get(name), kind) for body in bodies]
            own[name] = pa.array(cells, pa.string() if kind is str else pa.float64())
    return own


def _cell(value: AttributeValue, kind: type) -> str | float | None:
    if value is None or isinstance(value, list):
        return None
    return str(value) if kind is str else float(value)
