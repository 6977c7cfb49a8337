"""Deep links: MLflow's own front page is an empty one for language models (serving 2.3)."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from experiments.promotion.judgement_run import EXPERIMENT
from experiments.registry import CHAMPION, MODEL, policies
from experiments.store import open_store
from experiments.sweeps.record import newest_sweeps
from experiments.tracking import Recorded, UnknownExperimentError, search


def links_of(store: Path, server: str) -> dict[str, str]:
    """What there is to look at, by name: the newest runs of every experiment, reports, and the policies."""
    links = {"runs": f"{server}/#/experiments"}
    try:
        rows = search(store)
    except UnknownExperimentError:
        rows = []  # nothing was trained yet; the server shows what comes
    for name, found in groupby(rows, key=lambda row: row["experiment"]):
        mine = list(found)
        best = mine[0]
        runs = {row["strategy"]: row["run_id"] for row in mine}
        recorded = Recorded(best["experiment_id"], runs, 0, "", best["sweep_id"])
        links[f"compare {name}"] = recorded.compare_link(server)
        links[f"report of {name}"] = recorded.report_link(best["strategy"], server)
    client = open_store(store)
    for sweep in newest_sweeps(client):
        links[f"compare {sweep.name}"] = sweep.compare_link(server)
        links[f"report of {sweep.name}"] = sweep.report_link(server)
    judged = client.get_experiment_by_name(EXPERIMENT)
    if judged is not None:
        links[EXPERIMENT] = f"{server}/#/experiments/{judged.experiment_id}/runs?compareRunsMode=CHART"
    known = policies(store)
    if known:
        links["policies"] = f"{server}/#/models/{MODEL}"
    for one in known:
        if CHAMPION in one.aliases:
            links[CHAMPION] = f"{server}/#/models/{MODEL}/versions/{one.version}"
    return links
