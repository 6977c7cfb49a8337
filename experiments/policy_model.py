"""A policy bundle as an MLflow model: contexts in a data frame, decisions or distributions out.

MLflow copies this file into the model and runs it there, so that it may import nothing but `nba`, whose
code travels with the model, and what `nba` needs. Nothing in the project imports it.
"""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from nba.bundle import load_bundle
from nba.catalogue import NO_ACTION
from nba.context import Context
from nba.snapshot import Snapshot

_OWN_FIELDS = ("customer_id", "at", "contacts", "opted_out", "outcomes")


def contexts_of(frame: Any) -> list[Context]:
    """One context per row: `customer_id`, `at` (ISO 8601), `contacts`, `opted_out` and `outcomes`.

    All else is attributes.
    """
    return [msgspec.convert(_record(row), Context) for row in frame.to_dict("records")]


def decisions(snapshot: Snapshot, frame: Any) -> Any:
    """One decision per row, drawn by its `decision_id` or, without one, by customer and time."""
    import pandas as pd

    contexts = contexts_of(frame)
    ids = frame.get("decision_id", [f"{one.customer_id}/{one.at.isoformat()}" for one in contexts])
    batch = snapshot.decide(snapshot.strategy.encode(contexts), np.array(list(ids), dtype=object))
    index = np.arange(len(contexts))
    actions = [snapshot.strategy.catalogue.action_ids[action] for action in batch.actions]
    parts = [action.split("/") if "/" in action else [None] * 3 for action in actions]
    return pd.DataFrame(
        {
            "decision_id": list(ids),
            "action_id": actions,
            "channel": [part[0] for part in parts],
            "timing": [part[1] for part in parts],
            "product": [part[2] for part in parts],
            "propensity": batch.propensities,
            "expected_value": batch.expected_values[index, batch.actions],
            "no_contact_propensity": batch.distribution[:, NO_ACTION],
        }
    )


def distributions(snapshot: Snapshot, frame: Any) -> Any:
    """(B, A) probability of every action, one column per action id."""
    import pandas as pd

    contexts = snapshot.strategy.encode(contexts_of(frame))
    columns = list(snapshot.strategy.catalogue.action_ids)
    return pd.DataFrame(snapshot.action_distribution(contexts), columns=columns)


def _record(row: dict[str, Any]) -> dict[str, Any]:
    values = {name: _plain(value) for name, value in row.items() if name != "decision_id"}
    present = {name: value for name, value in values.items() if value is not None}
    attributes = {name: value for name, value in present.items() if name not in _OWN_FIELDS}
    return {name: present[name] for name in _OWN_FIELDS if name in present} | {"attributes": attributes}


def _plain(value: Any) -> Any:
    """A cell as plain Python; a missing number is None."""
    value = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    missing = isinstance(value, float) and value != value
    return None if missing or type(value).__name__ == "NAType" else value


def _offer() -> None:
    """Hand the model to MLflow; here, because only MLflow runs this file."""
    import mlflow
    import pandas as pd
    from mlflow.pyfunc import PythonModel

    class PolicyModel(PythonModel):  # type: ignore[misc]
        """A snapshot behind MLflow's model interface."""

        def load_context(self, context: Any) -> None:
            """Load the bundle that was logged with the model."""
            self.snapshot = load_bundle(Path(context.artifacts["bundle"]))

        # MLflow reads these annotations, for which they must not be postponed to strings.
        def predict(
            self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
        ) -> pd.DataFrame:
            """Decide, or give the distributions with params={"output": "distribution"}."""
            answer = distributions if (params or {}).get("output") == "distribution" else decisions
            return answer(self.snapshot, model_input)  # type: ignore[no-any-return]

    mlflow.models.set_model(PolicyModel())


_offer()
