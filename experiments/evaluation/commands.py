"""The commands `nba evaluate` and `nba compare-policies`; what they need is imported when they run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

Log = Annotated[
    Path,
    typer.Option(
        help="Logged rounds: CSV or Parquet, plain or gzip, or a folder of Parquet files; or our own: the "
        "folder of `nba simulate`, or the SQLite store of `nba serve`, whose columns need no names."
    ),
]
Reward = Annotated[str, typer.Option(help="Column of rewards.")]
Action = Annotated[str, typer.Option(help="Column of the actions that were chosen: labels or integers.")]
Propensity = Annotated[
    str | None,
    typer.Option(
        help="Column of the chosen actions' probabilities, one value for all rows, or columns:PREFIX with "
        "those of every action. Without it they are estimated from the features, with a warning."
    ),
]
Eligible = Annotated[
    str | None, typer.Option(help='Column of the actions that could be chosen: "a|b|c", or a list.')
]
Cluster = Annotated[
    str | None,
    typer.Option(help="Column of customers, whose rounds are not independent."),
]
Features = Annotated[
    list[str] | None,
    typer.Option(help="Columns that were known before the action, A,B,C or repeated; none without it."),
]
Category = Annotated[
    list[str] | None, typer.Option(help="Features that are names although they look like numbers.")
]
Estimators = Annotated[
    list[str] | None,
    typer.Option(
        help="ips, clipped-ips, snips, dm, dr, sndr, switch-dr, dros (the usual ones), sub-gaussian-dr, "
        "mrdr, cab, and with --groups mips, offcem; A,B,C or repeated."
    ),
]
Groups = Annotated[
    list[str] | None,
    typer.Option(
        help="Columns that the action determines and that say what it shares with others, such as "
        "channel,family: mips and offcem weigh groups of actions instead of single ones."
    ),
]
RewardModel = Annotated[
    str,
    typer.Option(
        help="ridge (a regression per action, from sums of all rounds), or fitted to at most 200,000 "
        "rounds: logistic (rewards in [0, 1]), boosting (scikit-learn), lightgbm (if installed)."
    ),
]
RewardRange = Annotated[
    str | None, typer.Option(help="LOW,HIGH of all rewards there could be; 0,1 if they are 0 and 1.")
]
Confidence = Annotated[float, typer.Option(help="Of intervals and sequences.")]
Replicates = Annotated[
    int | None,
    typer.Option(help="Of a bootstrap of customers; 0 for none. Without it 1000 where customers come back."),
]
Workers = Annotated[int, typer.Option(help="Ray workers; 1 runs in this process without Ray.", min=1)]
Seed = Annotated[int, typer.Option(help="Of folds and of the bootstrap.", min=0)]
Separator = Annotated[str | None, typer.Option(help="Separator of a CSV; found out without it.")]
Encoding = Annotated[str, typer.Option(help="Encoding of a CSV.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON line instead of text.")]


def evaluate(
    log: Log,
    target: Annotated[str, typer.Option(help="What is judged; see above.")],
    reward: Reward = "reward",
    action: Action = "action",
    propensity: Propensity = None,
    features: Features = None,
    category: Category = None,
    eligible: Eligible = None,
    cluster: Cluster = None,
    segment: Annotated[str | None, typer.Option(help="Column by which support is told as well.")] = None,
    estimators: Estimators = None,
    tune: Annotated[
        bool,
        typer.Option(
            help="Choose thresholds and strengths by SLOPE++; names of estimators tell them: dros(100)."
        ),
    ] = False,
    groups: Groups = None,
    reward_model: RewardModel = "ridge",
    reward_range: RewardRange = None,
    confidence: Confidence = 0.95,
    replicates: Replicates = None,
    out: Annotated[Path | None, typer.Option(help="Folder for a report with charts.")] = None,
    store: Annotated[
        Path | None, typer.Option(help="Folder of an MLflow store, to log figures and report to.")
    ] = None,
    workers: Workers = 1,
    seed: Seed = 0,
    separator: Separator = None,
    encoding: Encoding = "utf-8",
    as_json: AsJson = False,
) -> None:
    """Tell what a target policy would have earned from another policy's log, or refuse with reasons.

    The log has a row for each decision: the action, the reward, and the probability with which the
    action was chosen. Targets:

    \b
      always:LABEL     one action for everybody
      uniform          every eligible action alike
      logged           the logging policy itself, as a check
      column:NAME      a column with the target's probability of the chosen action
      columns:PREFIX   a column per action, PREFIX and its label, with the target's probabilities
      FOLDER           a policy bundle: of `nba learn`, or any on the store that its service kept

    Support comes first: where it is too thin no estimate is printed. A log that cannot be right is refused
    with row numbers (the first row below the header is 1), and the exit code is 1. A log of any size is
    read in parts, three times. Examples:

    \b
      nba evaluate --log log.csv --reward bought --action offer --propensity p --target always:loan
      nba evaluate --log log.parquet --reward r --action a --propensity 0.25 --target uniform --json
      nba evaluate --log l.csv.gz --reward r --action a --propensity p --target columns:pi_
          --features age,segment --cluster customer --segment segment --out report --workers 2
      nba evaluate --log build/sim --action contact --target always:no-contact
      nba evaluate --log ledger.sqlite --reward conversions --target build/challenger
    """  # noqa: D301 - \b keeps an example as it is
    from experiments.evaluation.names import Asked
    from experiments.evaluation.run import evaluate as carry_out
    from experiments.evaluation.told import found_json, found_lines

    given = (tuple(names or ()) for names in (features, category, groups))
    columns = Asked(reward, action, propensity, eligible, cluster, segment, *given)
    how = (estimators, reward_range, confidence, replicates, seed, workers, separator, encoding)
    order = _order(log, (target,), columns, how)._replace(reward_model=reward_model, tuned=tune)
    found = carry_out(order)
    if found.report is not None and (out is not None or store is not None):
        from experiments.evaluation.page import publish

        publish(found, out, store)
    _tell(found_json(found), found_lines(found), as_json, bool(found.faults))


def compare_policies(
    log: Log,
    targets: Annotated[
        tuple[str, str], typer.Option(help="The first target against the second; as for `nba evaluate`.")
    ],
    reward: Reward = "reward",
    action: Action = "action",
    propensity: Propensity = None,
    features: Features = None,
    category: Category = None,
    eligible: Eligible = None,
    cluster: Cluster = None,
    estimator: Annotated[str | None, typer.Option(help="One that is not self-normalised.")] = None,
    groups: Groups = None,
    reward_model: RewardModel = "ridge",
    reward_range: RewardRange = None,
    confidence: Confidence = 0.95,
    replicates: Replicates = None,
    workers: Workers = 1,
    seed: Seed = 0,
    separator: Separator = None,
    encoding: Encoding = "utf-8",
    as_json: AsJson = False,
) -> None:
    """Tell how much more one target policy would have earned than another, from one log.

    The interval holds if it is read once, the confidence sequence at any time: a promotion waits for its
    lower end to pass 0. Targets and columns are those of `nba evaluate`:

    \b
      nba compare-policies --log log.csv --reward r --action a --propensity p --targets uniform always:loan
    """  # noqa: D301 - \b keeps an example as it is
    from experiments.evaluation.names import Asked
    from experiments.evaluation.run import difference
    from experiments.evaluation.told import difference_json, difference_lines

    given = (tuple(names or ()) for names in (features, category, groups))
    columns = Asked(reward, action, propensity, eligible, cluster, None, *given)
    how = ([estimator] if estimator else None, reward_range, confidence, replicates, seed, workers)
    order = _order(log, targets, columns, (*how, separator, encoding))._replace(reward_model=reward_model)
    found = difference(order)
    _tell(difference_json(found), difference_lines(found), as_json, bool(found.faults))


def _order(log: Path, targets: tuple[str, ...], asked: Any, how: tuple[Any, ...]) -> Any:
    """What the options ask for."""
    from experiments.evaluation.run import Order
    from experiments.tables.read import Format

    estimators, reward_range, confidence, replicates, seed, workers, separator, encoding = how
    return Order(
        log=log,
        asked=asked,
        targets=targets,
        estimators=tuple(estimators or ()),
        reward_range=None if reward_range is None else _range(reward_range),
        confidence=confidence,
        n_replicates=replicates,
        seed=seed,
        workers=workers,
        form=Format(separator, encoding),
    )


def _range(text: str) -> Any:
    """LOW,HIGH as a range."""
    from nba.errors import InvalidConfig
    from nba.ope import Range

    try:
        low, high = map(float, text.split(","))
    except ValueError:
        low = high = 0.0
    if not low < high:
        raise InvalidConfig("--reward-range", "", f"must read LOW,HIGH with LOW below HIGH, got {text!r}")
    return Range(low, high)


def _tell(told: dict[str, Any], lines: Any, as_json: bool, is_bad: bool) -> None:
    """Print what was found; a log that cannot be right ends the command with exit code 1."""
    # An end of an interval may be infinite, which JSON does not know: it is null.
    for line in [msgspec.json.encode(told).decode()] if as_json else lines:
        typer.echo(line)
    if is_bad:
        reasons = " ".join(told["reasons"])
        typer.echo(f"error: The log is refused. {reasons} Row 1 is the first below the header.", err=True)
        raise typer.Exit(1)
