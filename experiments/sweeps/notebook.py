"""Sweeps in a notebook: run one or find it again, and look at it as pandas frames and Matplotlib figures.

from experiments.sweeps.notebook import run
results = run("sweep.toml")
results.frame("figures")
results.figure("difference", "clickbait")
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from experiments.executor import Report, executor
from experiments.sweeps.charts import Drawing, drawings
from experiments.sweeps.compared import Compared, compare_sweep
from experiments.sweeps.config import Sweep
from experiments.sweeps.plan import load_plan, plan_of
from experiments.sweeps.run import UNHEARD, run_sweep
from experiments.sweeps.shelved import keep, kept_sweep
from experiments.sweeps.tables import TABLES
from experiments.sweeps.told import lines
from nba.errors import require

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

FOLDER = Path("build/sweeps")


class Results(NamedTuple):
    """A compared sweep."""

    compared: Compared

    @property
    def worlds(self) -> list[str]:
        """Names of its worlds."""
        return self.compared.worlds

    def frame(self, table: str = "figures") -> pd.DataFrame:
        """A table: figures, gates, segments, mixes, learning, calibration or failures; a row per record."""
        import pandas as pd

        require(table in TABLES, "results", "table", f"must be one of {', '.join(TABLES)}, got {table!r}")
        return pd.DataFrame(list(TABLES[table](self.compared)))

    def leaderboard(self, metric: str = "net_value") -> pd.DataFrame:
        """Strategies by worlds: the mean of a metric, the best row first by its mean over worlds."""
        figures = self.frame("figures")
        known = list(self.compared.metrics)
        require(metric in known, "results", "metric", f"must be one of {', '.join(known)}, got {metric!r}")
        wide = figures[figures["metric"] == metric].pivot(index="strategy", columns="world", values="mean")
        best_first = wide.mean(axis=1).sort_values(ascending=False)
        return wide.loc[best_first.index]

    def charts(self, world: str) -> list[str]:
        """Names of the charts that `figure` draws for a world."""
        return list(self._drawings(world))

    def figure(self, chart: str, world: str) -> Figure:
        """A chart as a figure of its own, outside of pyplot's state: it shows itself where it is returned."""
        from matplotlib.figure import Figure

        known = self._drawings(world)
        require(chart in known, "results", "chart", f"must be one of {', '.join(known)}, got {chart!r}")
        figure = Figure(figsize=(6.4, 1.2 * known[chart].height), layout="constrained")
        axes = figure.add_subplot()
        known[chart].draw(axes)
        axes.set_title(f"{known[chart].title}, {world}")
        return figure

    def _drawings(self, world: str) -> dict[str, Drawing]:
        rule = f"must be one of {', '.join(self.worlds)}, got {world!r}"
        require(world in self.worlds, "results", "world", rule)
        return {one.key: one for one in drawings(self.compared, world)}

    def __str__(self) -> str:
        """As `nba compare --sweep` prints it."""
        return "\n".join(lines(self.compared))


def run(
    sweep: str | Sweep,
    folder: Path = FOLDER,
    workers: int = 1,
    address: str | None = None,
    on_customer_days: Report | None = None,
) -> Results:
    """Run a sweep, by the path or name of its file or as an object, and keep it as `nba sweep` does.

    Cells that are in the folder are not run again. More than one worker is a local Ray, an address a cluster.
    """
    plan = load_plan(sweep) if isinstance(sweep, str) else plan_of(sweep, sweep.name)
    heard = UNHEARD if on_customer_days is None else UNHEARD._replace(on_steps=on_customer_days)
    with executor(workers, address) as where:
        swept = run_sweep(plan, folder, where, heard)
    keep(swept, folder)
    return Results(compare_sweep(swept))


def load(sweep_id: str, folder: Path = FOLDER) -> Results:
    """A finished sweep by its id or its name."""
    return Results(compare_sweep(kept_sweep(folder, sweep_id)))
