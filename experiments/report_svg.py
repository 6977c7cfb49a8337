"""One drawing as SVG for the inside of a page: real text, the same bytes every time, nothing to fetch."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from io import StringIO
from typing import Any

# Okabe and Ito (2008): told apart with any colour vision.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#6a51a3", "#8c6d31")
GREY, _INK, _LINE = "#8b8f97", "#2b2f36", "#dfe2e7"
_WIDTH = 4.7  # inches; narrow, so that text stays readable when a phone scales the chart down
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "nba",
    "font.family": ["DejaVu Sans", "sans-serif"],
    "font.size": 9.5,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _LINE,
    "grid.linewidth": 0.7,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "figure.constrained_layout.use": True,
}

Draw = Callable[[Any], None]  # on one matplotlib Axes


def svg(key: str, draw: Draw, height: float = 3.3) -> str:
    """Draw with matplotlib, without its global state, and make the result fit for a page."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH, height))
        FigureCanvasSVG(figure)
        draw(figure.add_subplot())
        text = StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    return _inlined(text.getvalue(), key)


def name_rows(axes: Any, names: Sequence[str]) -> None:
    """One row of a chart for each name, the first on top."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(False, axis="y")


def legend(axes: Any, n_entries: int) -> None:
    """A legend below the chart, outside of it."""
    axes.figure.legend(
        *axes.get_legend_handles_labels(),
        loc="outside lower center",
        ncols=min(3, n_entries),
        fontsize=8.5,
        handlelength=1.2,
        columnspacing=1.2,
    )


def _inlined(svg: str, key: str) -> str:
    """Without prologue, metadata, namespaces and size; with ids that are unique in the page."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", body, flags=re.DOTALL)
    body = re.sub(r' xmlns(:\w+)?="[^"]*"', "", body).replace("xlink:href", "href")
    body = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", body))
    body = re.sub(r'\bid="', f'id="{key}-', body)
    return re.sub(r'(url\(|href=")#', rf"\1#{key}-", body).strip()
