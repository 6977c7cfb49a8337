"""A sweep as cells of a notebook: frames and figures. As a script it prints tables and writes PNG files.

.venv/bin/python examples/sweep_notebook.py          # about a minute; --help lists the settings
"""

# %% What to run: the sweep beside this file, with parts of one's own.
import argparse
from pathlib import Path

from experiments.sweeps.notebook import run

options = argparse.ArgumentParser(description="Run a sweep and look at it with pandas and Matplotlib.")
options.add_argument("--config", default=str(Path(__file__).with_name("own_parts.toml")))
options.add_argument("--out", type=Path, default=Path("build/sweeps"), help="folder of cells and figures")
chosen = options.parse_args()
results = run(chosen.config, chosen.out)

# %% Who is best where: strategies by worlds.
print(results.leaderboard("net_value").round(2))

# %% Is it settled? Paired differences to the baseline, on the same customers with the same noise.
figures = results.frame("figures")
value = figures[figures["metric"] == "net_value"].set_index(["world", "strategy"])
print(value[["difference", "difference_low", "difference_high"]].round(3))

# %% What they do: shares of decisions by channel.
mixes = results.frame("mixes")
channels = mixes[mixes["factor"] == "channel"]
print(channels.pivot(index=["world", "strategy"], columns="level", values="share").round(2))

# %% Figures: in a notebook the last line of a cell shows one; here they become files.
for world in results.worlds:
    for chart in ("difference", "learning"):
        path = chosen.out / f"{world}-{chart}.png"
        results.figure(chart, world).savefig(path, dpi=120)
        print(f"wrote {path}")
