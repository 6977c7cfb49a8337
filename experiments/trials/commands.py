"""The commands `nba plan-test`, `nba assign-arms` and `nba lift`; imports wait until they run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON line instead of text.")]
Confidence = Annotated[float, typer.Option(help="Of the intervals, of all comparisons together.")]


def plan_test(
    rate: Annotated[float, typer.Option(help="Share of control customers with an outcome, in (0, 1).")],
    effect: Annotated[
        float | None,
        typer.Option(help="Rise of the mean per customer to find, absolute (0.005: half a point)."),
    ] = None,
    relative: Annotated[
        float | None, typer.Option(help="The same as a share of the mean (0.1: ten per cent more).")
    ] = None,
    customers: Annotated[
        int | None, typer.Option(help="Instead: how many customers there are; tells the least effect.")
    ] = None,
    amount: Annotated[
        float | None, typer.Option(help="Mean amount of those with an outcome, if it is money.")
    ] = None,
    spread: Annotated[float, typer.Option(help="Standard deviation of that amount.")] = 0.0,
    control_share: Annotated[float, typer.Option(help="Share of the customers in control.")] = 0.5,
    power: Annotated[float, typer.Option(help="Chance to find the effect if it is there.")] = 0.8,
    confidence: Confidence = 0.95,
    correlation: Annotated[
        float, typer.Option(help="Of the outcome with a number from before the trial (CUPED).")
    ] = 0.0,
    per_day: Annotated[float | None, typer.Option(help="New customers per day, both arms.")] = None,
    as_json: AsJson = False,
) -> None:
    """Tell how many customers a trial takes, or what it can find: before it starts."""
    from nba.trials import Binary, Design, Money, plan

    sample = Binary(rate=rate) if amount is None else Money(rate=rate, amount=amount, spread=spread)
    if relative is not None:
        if effect is not None:
            raise typer.BadParameter("give --effect or --relative, not both")
        effect = relative * sample.mean
    design = Design(
        control_share=control_share,
        power=power,
        confidence=confidence,
        correlation=correlation,
        per_day=per_day,
    )
    told = plan(sample, design, effect=effect, customers=customers)
    if as_json:
        typer.echo(msgspec.json.encode(told).decode())
        return
    days, longer = ("" if n is None else f" ({n} days)" for n in (told.days, told.days_with_sequence))
    typer.echo(f"effect                 {told.effect:+.6g} per customer ({100 * told.relative:+.2f} %)")
    typer.echo(f"read once at the end   {told.customers:,} customers{days}")
    typer.echo(f"  of these             {told.treated:,} treated, {told.control:,} in control")
    typer.echo(f"watched every day      {told.customers_with_sequence:,} customers at most{longer}")


def assign_arms(
    table: Annotated[Path, typer.Option(help="Customers: CSV or Parquet, plain or gzip.")],
    customer: Annotated[str, typer.Option(help="Column of customers' ids.")],
    salt: Annotated[str, typer.Option(help="Name of the trial; another name divides anew.")],
    arms: Annotated[str, typer.Option(help="Arms with per cent, such as policy=70,random=10,none=10.")],
    out: Annotated[Path, typer.Option(help="CSV to write: customer, bucket, arm; empty outside the trial.")],
    control_salt: Annotated[
        str | None, typer.Option(help="Salt of a persistent global control, who are in no trial.")
    ] = None,
    control_percent: Annotated[int, typer.Option(help="Per cent in the global control.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Assign customers to arms by a hash of their ids: the same for ever, and for whoever recomputes it."""
    from experiments.trials.assign import assigned

    counts = assigned(table, customer, (salt, arms), (control_salt, control_percent), out)
    if as_json:
        typer.echo(msgspec.json.encode({"out": str(out), "arms": counts}).decode())
        return
    for name, n in counts.items():
        typer.echo(f"{name or '(outside)':<20} {n:,}")


def lift(
    log: Annotated[Path, typer.Option(help="Customers of a trial: CSV or Parquet, plain or gzip.")],
    arm: Annotated[str, typer.Option(help="Column of arms; rows where it is empty are passed over.")],
    outcome: Annotated[str, typer.Option(help="Column of the outcome: 0 and 1, or money.")],
    control: Annotated[str, typer.Option(help="The arm that the others are compared with.")],
    treated: Annotated[str | None, typer.Option(help="Only this arm; all others without it.")] = None,
    customer: Annotated[
        str | None, typer.Option(help="Column of customers, if they have several rows: outcomes are summed.")
    ] = None,
    before: Annotated[
        str | None, typer.Option(help="Column of a number from before the trial, for CUPED.")
    ] = None,
    segment: Annotated[
        str | None, typer.Option(help="Column of segments: rates at the same mix beside raw ones.")
    ] = None,
    day: Annotated[
        str | None, typer.Option(help="Column of the day on which the outcome was complete: the sequence.")
    ] = None,
    planned_customers: Annotated[
        int | None, typer.Option(help="Customers planned for, before the first look; goes with --day.", min=2)
    ] = None,
    score: Annotated[
        str | None, typer.Option(help="Column of a score that should find whom the arm changes: Qini.")
    ] = None,
    chance: Annotated[
        str | None,
        typer.Option(
            help="Column or number: chance of being treated instead of in control, for Qini and to tell "
            "whether the arms hold as many customers as they should."
        ),
    ] = None,
    confidence: Confidence = 0.95,
    out: Annotated[Path | None, typer.Option(help="HTML page to write, with the curves.")] = None,
    as_json: AsJson = False,
) -> None:
    """Tell what the arms of a trial differ by, with limits that may be looked at every day."""
    from experiments.trials.lines import lines
    from experiments.trials.page import page_html
    from experiments.trials.read import Columns, read_customers
    from experiments.trials.told import Question, answer
    from experiments.world_report.written import check_place, write_page

    if out is not None:
        check_place(out)
    columns = Columns(arm, outcome, customer, before, segment, day, score, chance)
    shown = answer(read_customers(log, columns), Question(control, treated, confidence, planned_customers))
    if out is not None:
        write_page(out, page_html(shown, log.name, outcome))
    for line in [msgspec.json.encode(shown.told).decode()] if as_json else lines(shown.told):
        typer.echo(line)
