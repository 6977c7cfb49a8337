"""Fitted numbers beside the values that were measured on the same file before."""

from __future__ import annotations

from typing import NamedTuple

from simulator.calibrate.calibration import Calibration, Slope

HAZARD_TARGETS = {
    "hazard": (5.58, 5.14, 4.42, 3.26, 2.41, 2.22, 1.58, 0.96, 1.23, 1.10),
    "hazard_cellular": (7.45, 7.09, 6.03, 4.59, 3.51, 2.80, 2.25),
    "hazard_telephone": (2.34, 2.08, 2.07, 1.45, 0.97, 1.54, 0.86),
}
CALL_ODDS_TARGETS = (1.0, 1.06, 1.05, 0.84, 0.66, 0.66, 0.53, 0.36, 0.31)
SLOPE_TARGETS = {  # value and standard error
    "log_call_slope_raw": (-0.533, None),
    "log_call_slope": (-0.225, 0.025),
    "per_contact_slope_raw": (-0.195, 0.010),
    "per_contact_slope": (-0.083, 0.010),
}
RATE_TARGETS = {  # percent of clients
    **{"contact=cellular": 14.74, "contact=telephone": 5.23},
    **{"previous=failure": 14.23, "previous=nonexistent": 8.83, "previous=success": 65.11},
    **{"month=mar": 50.55, "month=apr": 20.48, "month=may": 6.43, "month=jun": 10.51, "month=jul": 9.05},
    **{"month=aug": 10.60, "month=sep": 44.91, "month=oct": 43.87, "month=nov": 10.14, "month=dec": 48.90},
    **{"weekday=mon": 9.95, "weekday=tue": 11.78, "weekday=wed": 11.67, "weekday=thu": 12.12},
    **{"weekday=fri": 10.81, "job=student": 31.43, "job=retired": 25.23, "job=admin.": 12.97},
    **{"job=blue-collar": 6.89, "job=services": 8.14},
    **{"days_since=0-3": 65.3, "days_since=4-6": 66.2, "days_since=7-10": 60.3, "days_since=11-30": 56.9},
    **{"days_since=never": 9.26},
}


class ReportRow(NamedTuple):
    """One number of the calibration in the target's unit: percent for rates and hazards."""

    name: str
    target: float
    fitted: float


def report(calibration: Calibration) -> list[ReportRow]:
    """Every number that has a measured target, in reading order."""
    rows = [
        ReportRow("clients", 41_188, calibration.n_clients),
        ReportRow("calls", 105_754, calibration.n_calls),
        ReportRow("sales", 4_640, calibration.n_sales),
    ]
    for name, targets in HAZARD_TARGETS.items():
        rates = getattr(calibration, name)
        rows += [ReportRow(f"{name}[{k + 1}] %", target, 100 * rates[k]) for k, target in enumerate(targets)]
    for name, (value, stderr) in SLOPE_TARGETS.items():
        slope: Slope = getattr(calibration, name)
        rows.append(ReportRow(name, value, slope.value))
        if stderr is not None:
            rows.append(ReportRow(f"{name} se", stderr, slope.stderr))
    for k, target in enumerate(CALL_ODDS_TARGETS):
        rows.append(ReportRow(f"call_odds[{k + 1}]", target, calibration.call_odds[k]))
    rates = calibration.client_rates
    return rows + [ReportRow(f"{cut} %", target, 100 * rates[cut]) for cut, target in RATE_TARGETS.items()]
