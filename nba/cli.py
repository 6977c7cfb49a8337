"""The console script `nba`: finds its commands by entry points and imports only the one that runs.

A distribution adds a command by declaring an entry point in the group `nba.commands`: a function, which
becomes a command, or a Typer application, which becomes a group of commands. Until a command runs, its
help is read from the source text of its docstring, so that `nba --help` imports no machinery.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points, version
from pathlib import Path
from typing import Annotated

import typer

from nba.errors import NBAError

COMMANDS = "nba.commands"
ENVIRONMENT = {
    # Our matrices are small: BLAS threads would only fight over the cores that processes use.
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
ROOTS = ("nba", "simulator", "experiments", "serving")
# Where a missing module is not itself listed in an extra, the extra its command belongs to is named.
EXTRA_OF_PACKAGE = {"experiments": "train", "serving": "serve"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command named by `arguments` (by default the process's own) and exit.

    The exit code is 0 when all went well, 2 for a mistake of use, a missing extra or an NBAError, which
    are told in one line on standard error, and 1 for what a command itself judges wrong.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    words = list(sys.argv[1:] if arguments is None else arguments)
    invoked = next((word for word in words if not word.startswith("-")), None)
    points = {point.name: point for point in entry_points(group=COMMANDS)}
    try:
        application(points, invoked)(words, prog_name="nba")
    except NBAError as error:
        sys.exit(_one_line(f"error: {error}"))
    except ModuleNotFoundError as error:
        extra = missing_extra(error, points.get(invoked or ""))
        if extra is None:
            raise
        sys.exit(
            _one_line(f"error: `nba {invoked}` needs {error.name}. Install it: pip install 'nba[{extra}]'")
        )


def application(points: dict[str, EntryPoint], invoked: str | None) -> typer.Typer:
    """Assemble the Typer application, in which only the command `invoked` is really imported."""
    app = typer.Typer(
        add_completion=False,
        no_args_is_help=True,
        rich_markup_mode=None,  # plain help starts faster and is easier to search
        pretty_exceptions_enable=False,
    )
    app.callback()(_options)
    for name, point in sorted(points.items()):
        command = point.load() if name == invoked else None
        if command is None:
            app.command(name=name, help=summary(point))(_unloaded)
        elif isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name=name)(command)
    return app


def summary(point: EntryPoint) -> str:
    """First docstring line of what an entry point names, read from source without importing its module."""
    spec = importlib.util.find_spec(point.module)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return ""
    module = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    functions = (node for node in module.body if isinstance(node, ast.FunctionDef))
    node = next((node for node in functions if node.name == point.attr), module)
    return (ast.get_docstring(node) or "").partition("\n")[0]


def missing_extra(error: ModuleNotFoundError, point: EntryPoint | None) -> str | None:
    """Name the extra of this distribution that provides a missing module; None when none would."""
    root = (error.name or "").partition(".")[0]
    if not root or root in ROOTS or root in sys.stdlib_module_names:
        return None
    # Imported here because most runs never ask: doctor loads msgspec and SQLite.
    from nba.doctor import requirements

    for extra, names in requirements().items():
        if extra and _module_name(root) in map(_module_name, names):
            return extra
    package = point.module.partition(".")[0] if point else ""
    return EXTRA_OF_PACKAGE.get(package)


def _module_name(distribution: str) -> str:
    return re.sub(r"[-.]", "_", distribution).lower()


def _one_line(message: str) -> int:
    """Print a message as one line on standard error and return the exit code that goes with it."""
    print(" ".join(message.splitlines()), file=sys.stderr)
    return 2


def _unloaded() -> None:
    """Stand in for a command that was not asked for."""


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"nba {version('nba')}")
        raise typer.Exit


def _options(
    show_version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Next best action: decide, learn and judge whom to contact, how, when and about what."""


if __name__ == "__main__":
    main()
