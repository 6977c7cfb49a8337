"""Arms of the customers of a table, exported so that every row can carry its arm."""

from __future__ import annotations

import csv
from io import StringIO
from pathlib import Path

import numpy as np

from experiments.tables.read import coded, is_missing, read_table, told_rows
from experiments.world_report.written import check_place, write_page
from nba.errors import InvalidConfig, require
from nba.trials import Assignment, Launch
from nba.trials.assignment import GLOBAL_CONTROL


def assigned(
    path: Path, customer: str, trial: tuple[str, str], control: tuple[str | None, int], out: Path
) -> dict[str, int]:
    """Write customer, bucket and arm of each distinct customer, and count the arms.

    `trial` is (salt, "policy=70,none=30"), `control` the salt and percentage of a global control.
    """
    check_place(out, ".csv")
    one = Assignment.of(trial[0], percents_of(trial[1]))
    table = read_table(path, [customer])
    column = table.column(customer, "--customer")
    missing = is_missing(column)
    require(not missing.any(), table.source, customer, f"is empty in {told_rows(missing)}")
    ids = coded(column)[1]
    if control[0] is None:
        words = np.array([*(arm.name for arm in one.arms), ""], dtype=object)
        names = words[one.places(ids)]
    else:
        everybody = Assignment.of(control[0], {GLOBAL_CONTROL: control[1]})
        names = Launch(control=everybody, trial=one).names(ids)
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["customer", "bucket", "arm"])
    writer.writerows(zip(ids, one.buckets(ids).tolist(), names, strict=True))
    write_page(out, text.getvalue())
    found, counts = np.unique(names.astype(str), return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))


def percents_of(text: str) -> dict[str, float]:
    """Arms and percentages of "policy=70,none=30"."""
    percents: dict[str, float] = {}
    for part in text.split(","):
        name, _, percent = part.partition("=")
        try:
            value = float(percent)
        except ValueError:
            raise InvalidConfig("--arms", part, "must be NAME=PERCENT, such as policy=70") from None
        require(name.strip() not in percents, "--arms", part, f"names {name.strip()!r} twice")
        percents[name.strip()] = value
    return percents
