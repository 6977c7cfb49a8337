"""What the README says is so: its code runs, and its commands, options, files and packages exist."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest
import typer

from nba import cli
from serving.wire import Feedback

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def blocks(language: str) -> list[str]:
    """Contents of the README's fenced blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)


def code() -> list[str]:
    """Lines of shell blocks and code spans: where the README means commands literally."""
    prose = re.sub(r"^```.*?^```$", "", README, flags=re.DOTALL | re.MULTILINE)
    lines = [line.partition(" #")[0] for block in blocks("sh") for line in block.splitlines()]
    return lines + re.findall(r"`([^`\n]+)`", prose)


def named(program: str) -> list[list[str]]:
    """The words that follow a program's name, once for each time the README names it."""
    starts = re.compile(rf"^(?:\.venv/bin/)?{program} (.+)")
    return [match[1].split() for one in code() if (match := starts.match(one))]


def requirement(text: str) -> str:
    """The package of a requirement: `uvicorn[standard]>=0.34` is uvicorn."""
    return re.split(r"[^\w.-]", text)[0].lower()


def dependency_rows() -> list[tuple[list[str], str]]:
    """Packages and reason of each row of the table of dependencies."""
    section = README.split("\n## Dependencies\n")[1].split("\n## ")[0]
    rows = [re.split(r"\s*\|\s*", line.strip("| ")) for line in section.splitlines() if line.startswith("|")]
    return [(packages.split(", "), reason) for packages, reason in rows[2:]]


@pytest.mark.parametrize("block", blocks("python"), ids=lambda block: block.splitlines()[0])
def test_python_blocks_run(block: str) -> None:
    exec(compile(block, "README.md", "exec"), {"__name__": "readme"})


def test_there_is_python_to_run() -> None:
    assert blocks("python") and len(blocks("sh")) >= 3


def command_of(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that some words name, and the words that are left."""
    points: dict[str, EntryPoint] = {point.name: point for point in entry_points(group=cli.COMMANDS)}
    assert words[0] in points, f"nba {words[0]} is no command"
    loaded = points[words[0]].load()
    if isinstance(loaded, typer.Typer):
        group: Any = typer.main.get_command(loaded)
        assert words[1] in group.commands, f"nba {words[0]} {words[1]} is no command"
        return group.commands[words[1]], words[2:]
    app = typer.Typer(add_completion=False)
    app.command()(loaded)
    return typer.main.get_command(app), words[1:]


@pytest.mark.parametrize("words", named("nba"), ids=" ".join)
def test_commands_and_their_options_exist(words: list[str]) -> None:
    command, rest = command_of(words)
    options = {name for parameter in command.params for name in parameter.opts} | {"--help"}
    assert {word for word in rest if word.startswith("-")} <= options


def test_every_command_is_named() -> None:
    assert {point.name for point in entry_points(group=cli.COMMANDS)} <= {
        words[0] for words in named("nba")
    } | {
        "demo"  # by `make demo`
    }


def test_every_command_has_json() -> None:
    assert "Every command has `--json`" in README
    for point in entry_points(group=cli.COMMANDS):
        loaded = point.load()
        is_group = isinstance(loaded, typer.Typer)
        group: Any = typer.main.get_command(loaded) if is_group else None
        for name in group.commands if is_group else [""]:
            command, _ = command_of([point.name, name])
            assert "--json" in {one for parameter in command.params for one in parameter.opts}, (point, name)


@pytest.mark.parametrize("target", sorted({words[0] for words in named("make")}))
def test_make_targets_exist(target: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)
    phony = re.search(r"^\.PHONY: (help .*)$", makefile, flags=re.MULTILINE)
    assert phony and target in phony[1].split()


def test_the_two_commands_are_named() -> None:
    assert {"demo", "test"} <= {words[0] for words in named("make")}


def test_relative_links_lead_to_files() -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", README)
    missing = [one for one in targets if "://" not in one and not (ROOT / one.partition("#")[0]).exists()]
    assert targets and not missing


def test_paths_in_code_spans_exist() -> None:
    packages = "nba|simulator|experiments|serving|tests|requirements"
    paths = [one for one in code() if re.fullmatch(rf"(?:{packages})/[\w./-]*", one)]
    assert paths
    assert not [one for one in paths if not (ROOT / one).exists()]


def test_feedback_of_the_example_is_understood() -> None:
    bodies = [
        json.loads(body) for block in blocks("sh") for body in re.findall(r"-d '(.*?)'", block, re.DOTALL)
    ]
    assert len(bodies) == 2
    asked, told = bodies
    assert asked["customer"]["attributes"]["consents"] and asked["limit"] == 3
    assert msgspec.convert(told, Feedback).outcome == "converted"


def test_the_table_names_exactly_the_dependencies() -> None:
    project, groups = PROJECT["project"], PROJECT["dependency-groups"]
    wanted = [*project["dependencies"], *sum(project["optional-dependencies"].values(), [])]
    tools = {requirement(one) for group in groups.values() for one in group if isinstance(one, str)}
    listed = [package for packages, _ in dependency_rows() for package in packages]
    assert len(set(listed)) == len(listed)
    runtime = set(map(requirement, wanted))
    assert runtime <= set(listed)
    assert set(listed) - runtime <= tools


def test_the_table_names_the_extras_that_bring_a_package() -> None:
    extras = {
        extra: {requirement(one) for one in wanted}
        for extra, wanted in PROJECT["project"]["optional-dependencies"].items()
    }
    for packages, reason in dependency_rows():
        claimed = set(re.findall(r"`([\w-]+)", reason)) & set(extras)
        for package in packages:
            brought = {extra for extra, names in extras.items() if package in names}
            assert brought <= claimed, f"{package} comes with {brought}, the table says {claimed}"


# Written so that no pattern matches itself in this file.
_MACHINE_PATH = re.compile(r"(?<![\w.])/(?:home|Users|root|work|mnt)/\w|[A-Z]:\\\\?Users\b")
_REGISTRY = re.compile(
    r"(?:pypi|pythonhosted)\.(?:org|python)|(?:index-url|find-links)[ =]+\S*://|devpi[:.]|artifactory\.|nexus\."
)


def tracked_files() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    paths = [ROOT / name for name in done.stdout.split("\0") if name]
    return [path for path in paths if path.is_file() and b"\0" not in path.read_bytes()[:8192]]


def test_no_tracked_file_names_a_place_of_a_machine_or_a_registry() -> None:
    guilty = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in tracked_files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if _MACHINE_PATH.search(line) or _REGISTRY.search(line)
    ]
    assert not guilty


def test_the_patterns_find_what_they_should() -> None:
    slash = "/"
    assert _MACHINE_PATH.search(f"open('{slash}home{slash}me/x')") and not _MACHINE_PATH.search("docs/work/x")
    assert _REGISTRY.search("https://" + "pypi." + "org/simple")
    assert _REGISTRY.search("--index-url " + "http://local/simple") and not _REGISTRY.search(
        "no-emit-index-url"
    )


def test_requirement_files_name_no_host() -> None:
    files = sorted((ROOT / "requirements").glob("*.txt"))
    assert {path.stem for path in files} >= {"dev", "serve", "train"}
    for path in files:
        text = path.read_text()
        assert "://" not in text and "--hash=sha256:" in text


def test_nothing_is_left_to_fill_in() -> None:
    assert not re.findall(r"\b\w*PLACEHOLDER\w*|\bDEMO_MINUTES\b|\bTODO\b|\bTBD\b", README)
