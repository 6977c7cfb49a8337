"""The console script: quick to start, lazy in what it imports, and brief when something is wrong."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points, version
from types import ModuleType

import pytest
import typer

from nba import cli, doctor
from nba.errors import NBAError

HELP_CPU_SECONDS = 0.3
HEAVY = ("ray", "mlflow", "litestar", "pandas", "numpy", "scipy", "matplotlib", "pyarrow", "rich")

Arrange = Callable[..., None]


def cpu_seconds(*command: str) -> float:
    """User and system time of one finished child process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def imported_by(code: str) -> set[str]:
    """Heavy libraries that a fresh interpreter holds after running `code`."""
    script = (
        f"import sys\n{code}\nprint(*(name for name in {HEAVY!r} if name in sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    return set(done.stderr.split())


@pytest.fixture
def provide(monkeypatch: pytest.MonkeyPatch) -> Arrange:
    """Replace the commands by one, `act`, whose entry point lies in a module made up for the test."""

    def arrange(act: object, module: str = "experiments.made_up") -> None:
        made_up = ModuleType(module)
        made_up.act = act  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module, made_up)
        point = EntryPoint("act", f"{module}:act", cli.COMMANDS)
        monkeypatch.setattr(cli, "entry_points", lambda group: [point])

    return arrange


def run(*words: str) -> int | str | None:
    with pytest.raises(SystemExit) as exit_:
        cli.main(words)
    return exit_.value.code


def test_help_is_quick() -> None:
    # The least of several: other processes on the machine make CPU time longer, never shorter.
    command = (sys.executable, "-m", "nba.cli", "--help")
    assert min(cpu_seconds(*command) for _ in range(5)) < HELP_CPU_SECONDS


def test_help_imports_nothing_heavy() -> None:
    help_ = "from nba import cli\ntry:\n    cli.main(['--help'])\nexcept SystemExit:\n    pass"
    assert imported_by(help_) == set()


@pytest.mark.parametrize("module", sorted({point.module for point in entry_points(group=cli.COMMANDS)}))
def test_modules_of_commands_are_light(module: str) -> None:
    assert not imported_by(f"import {module}") & {"ray", "mlflow", "litestar", "pandas", "matplotlib"}


def test_help_lists_every_command_with_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if line]
    described = {words[0] for words in lines if len(words) == 2}
    assert {point.name for point in entry_points(group=cli.COMMANDS)} <= described


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out == f"nba {version('nba')}\n"


def test_a_function_becomes_a_command(provide: Arrange, capsys: pytest.CaptureFixture[str]) -> None:
    def act(n_times: int = 1) -> None:
        print("acted " * n_times)

    provide(act)
    assert run("act", "--n-times", "2") == 0
    assert capsys.readouterr().out.split() == ["acted", "acted"]


def test_an_application_becomes_a_group(provide: Arrange, capsys: pytest.CaptureFixture[str]) -> None:
    app = typer.Typer()
    app.command("list")(lambda: print("one"))
    app.command("pull")(lambda: print("two"))
    provide(app)
    assert run("act", "pull") == 0
    assert capsys.readouterr().out == "two\n"


def test_an_error_of_ours_is_one_line(provide: Arrange, capsys: pytest.CaptureFixture[str]) -> None:
    def act() -> None:
        raise NBAError("The horizon is -1 days.\nIt must be positive: choose 1 or more.")

    provide(act)
    assert run("act") == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == "error: The horizon is -1 days. It must be positive: choose 1 or more.\n"


def test_a_mistake_of_ours_keeps_its_traceback(provide: Arrange) -> None:
    def act() -> None:
        raise ZeroDivisionError

    provide(act)
    with pytest.raises(ZeroDivisionError):
        cli.main(["act"])


@pytest.mark.parametrize(
    ("missing", "module", "extra"),
    [
        ("mlflow.tracking", "experiments.made_up", "train"),
        ("prometheus_client", "serving.made_up", "serve"),
        ("psycopg", "serving.made_up", "postgres"),
        ("sqlalchemy", "experiments.made_up", "train"),  # not ours to list, but an extra brings it
    ],
)
def test_a_missing_extra_is_named(
    missing: str, module: str, extra: str, provide: Arrange, capsys: pytest.CaptureFixture[str]
) -> None:
    def act() -> None:
        raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)

    provide(act, module)
    assert run("act") == 2
    assert (
        capsys.readouterr().err
        == f"error: `nba act` needs {missing}. Install it: pip install 'nba[{extra}]'\n"
    )


def test_a_missing_module_of_ours_is_no_missing_extra(provide: Arrange) -> None:
    def act() -> None:
        raise ModuleNotFoundError("No module named 'nba.gone'", name="nba.gone")

    provide(act)
    with pytest.raises(ModuleNotFoundError):
        cli.main(["act"])


def test_blas_threads_are_one_unless_said_otherwise(
    provide: Arrange, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("OPENBLAS_NUM_THREADS")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    provide(lambda: print(os.environ["OPENBLAS_NUM_THREADS"], os.environ["OMP_NUM_THREADS"]))
    assert run("act") == 0
    assert capsys.readouterr().out == "1 3\n"


def test_doctor_reports_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("doctor", "--json") in (0, 1)
    report = json.loads(capsys.readouterr().out)
    assert report["packages"]["numpy"] and report["sqlite"]["apsw"]
    assert set(report["extras"]) == {"fast", "postgres", "ray-serve", "serve", "train"}


@pytest.mark.parametrize(
    ("sqlite_version", "affected"),
    [
        ("3.6.23", False),
        ("3.7.0", True),
        ("3.40.1", True),
        ("3.44.5", True),
        ("3.44.6", False),
        ("3.45.0", True),
        ("3.50.6", True),
        ("3.50.7", False),
        ("3.51.2", True),
        ("3.51.3", False),
        ("3.54.1", False),
    ],
)
def test_doctor_knows_the_wal_reset_bug(sqlite_version: str, affected: bool) -> None:
    assert doctor.has_wal_reset_bug(sqlite_version) is affected
