"""The command `nba allocate`; what it needs is imported when it runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def allocate(
    candidates: Annotated[
        Path, typer.Option(help="Table of candidates: CSV or Parquet, plain or gzip; one row each.")
    ],
    resources: Annotated[Path, typer.Option(help="TOML file of caps, limits, guarantees and shares.")],
    out: Annotated[Path, typer.Option(help="Plan to write: Parquet, or CSV if it ends in .csv or .csv.gz.")],
    customer: Annotated[str, typer.Option(help="Column of customers.")] = "customer",
    action: Annotated[str, typer.Option(help="Column of actions.")] = "action",
    value: Annotated[
        str, typer.Option(help="Column of values: account currency, with costs already taken off.")
    ] = "value",
    tolerance: Annotated[float, typer.Option(help="Relative gap that is good enough.")] = 1e-4,
    workers: Annotated[int, typer.Option(help="Ray workers; 1 runs in this process without Ray.", min=1)] = 1,
    seed: Annotated[int, typer.Option(help="Of the noise that smooths the dual where that is needed.")] = 0,
    price_rules: Annotated[
        bool,
        typer.Option("--price-rules", help="Solve again without each rule, and tell what it costs."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON line instead of text.")] = False,
) -> None:
    """Choose actions for all customers under shared limits, with prices and a proved bound.

    A table has a row for each candidate: customer, action, value, and the columns that resources name.

    \b
      customer,action,value,channel,family,minutes,manager
      c1,call-loan,41.5,call,human,12,M1
      c1,push-card,3.2,push,digital,0,M1

    Resources are TOML. All parts may be left out, and `where` too, which then picks everything:

    \b
      at_most = 2                        # actions of a customer
      [[caps]]                           # and of these at most one per channel family
      by = "family"
      at_most = 1
      [[limits]]                         # capacity
      name = "calls"
      where = { channel = "call" }
      at_most = 8000
      [[limits]]                         # each customer's own manager; minutes are a column
      name = "hours"
      per = "manager"
      uses = "minutes"
      at_most = 240
      each = { M7 = 120 }
      [[limits]]                         # in any seven days, by the whole numbers in the column day
      name = "weekly visits"
      where = { channel = "visit" }
      rolling = 7
      at_most = 40
      spent = { "-1" = 5, "-2" = 9 }     # used on the days before
      [[limits]]                         # units by values of a column; one row for each branch and week
      name = "appointments"
      per = ["branch", "week"]
      uses = { visit = 1, call = 0.25, push = 0 }
      uses_by = "channel"
      at_most = 20
      [[guarantees]]                     # a launch; what is missing is told and priced
      name = "launch"
      where = { action = ["call-card", "push-card"] }
      at_least = 500
      [[shares]]                         # a band: part of all contacts
      name = "calls to 60+"
      where = { age_band = "60+" }
      whole = { channel = "call" }
      at_least = 0.2
      at_most = 0.4
      [[shares]]                         # a band for each age band, of contacts weighted by a column
      name = "complaints by age"
      per = "age_band"
      uses = "expected_complaints"
      at_most = 0.5

    `report_only = true` measures a limit without enforcing it. Examples:

    \b
      nba allocate --candidates candidates.parquet --resources resources.toml --out plan.parquet
      nba allocate --candidates scores.csv.gz --resources caps.toml --out plan.csv --json
      nba allocate --candidates c.parquet --resources r.toml --out p.parquet --price-rules --workers 2
    """  # noqa: D301 - \b keeps an example as it is
    from experiments.allocation.coding import Names
    from experiments.allocation.run import Order, carry_out
    from experiments.allocation.told import told_lines
    from nba.allocation.allocate import Solver

    order = Order(
        candidates=candidates,
        resources=resources,
        out=out,
        names=Names(customer, action, value),
        solver=Solver(tolerance=tolerance, seed=seed),
        workers=workers,
        price_rules=price_rules,
    )
    told = carry_out(order)
    for line in [json.dumps(told)] if as_json else told_lines(told):
        typer.echo(line)
