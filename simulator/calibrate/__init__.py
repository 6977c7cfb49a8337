"""Constants for the simulator, fitted to the UCI bank calls.

`calibrate()` takes about a second: keep its answer rather than asking again.
"""

from __future__ import annotations

from simulator.calibrate.calibration import Calibration, Slope, calibrate
from simulator.calibrate.logit import Design, LogitFit, fit_logit
from simulator.calibrate.report import ReportRow, report
from simulator.calibrate.uci import CallRows, HazardTable, UciCalls, expand, group, hazard_table, load

__all__ = [
    "CallRows",
    "Calibration",
    "Design",
    "HazardTable",
    "LogitFit",
    "ReportRow",
    "Slope",
    "UciCalls",
    "calibrate",
    "expand",
    "fit_logit",
    "group",
    "hazard_table",
    "load",
    "report",
]
