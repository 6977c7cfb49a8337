"""The architecture, asserted: who imports whom, what may be heavy, and how large things may grow."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 40

FIRST_PARTY = {
    "nba": {"nba"},
    "simulator": {"simulator", "nba"},
    "experiments": {"experiments", "nba", "simulator"},
    "serving": {"serving", "nba"},
}
THIRD_PARTY = {
    "nba": {"numpy", "scipy", "msgspec"},
    "simulator": {"numpy", "scipy", "msgspec", "pandas", "numba", "gymnasium", "tomlkit"},
    "experiments": {
        "numpy", "scipy", "msgspec", "typer", "rich", "ray", "mlflow", "pandas", "pyarrow", "matplotlib",
        "sklearn", "lightgbm",
    },
    "serving": {
        "numpy", "msgspec", "typer", "rich", "litestar", "uvicorn", "apsw", "psycopg", "psycopg_pool",
        "jinja2", "prometheus_client", "pyarrow", "httpx", "ray",
    },
}  # fmt: skip
# The modules that talk to a terminal in packages that otherwise do not.
EDGES = {
    "experiments.benchmarks.load.echo": {"litestar", "uvicorn"},
    "nba.cli": {"typer"},
    "nba.doctor": {"typer", "apsw"},
    "nba.kernels.draws": {"numba"},  # these are imported only where Numba is installed
    "nba.kernels.propensity": {"numba"},
    "nba.kernels.randomness": {"numba"},
    "nba.kernels.allocation": {"numba"},
    "simulator.commands": {"typer", "rich"},
}

# Inside nba a module imports from its own line or the lines above, and never in a circle.
LAYERS = (
    {"arrays", "errors"},
    {"catalogue", "context", "decision", "feedback"},
    {"features", "since", "fatigue", "timing", "arbitration", "scope", "conditions"},
    {"kernels", "randomness", "exposure", "lapack"},
    {"posteriors", "constraints", "learning", "ope"},
    {"policies", "propensity", "allocation", "longrun", "outcomes", "trials"},
    {"strategy", "eligibility", "encoding", "explain", "terms", "ahead"},
    {"recording"},
    {"snapshot"},
    {"bundle", "apprentice", "together", "governance"},
    {"cli", "doctor"},
    {"__main__"},
)
HEAVY = {"ray", "mlflow", "pandas", "litestar", "matplotlib", "sklearn", "lightgbm"}
# Clocks, chance, files, networks and processes are arguments of nba, never imports.
EFFECTS = {"time", "random", "secrets", "uuid", "socket", "ssl", "http", "urllib", "asyncio", "threading"} | {
    "multiprocessing", "subprocess", "sqlite3", "logging", "tempfile", "shutil", "pathlib", "os", "io",
}  # fmt: skip


class Import(NamedTuple):
    """One imported module, and whether importing the importer imports it too."""

    target: str
    line: int
    at_import: bool


def modules(*packages: str) -> list[str]:
    """Dotted names of all modules of `packages`; a package itself is named without __init__."""
    paths = (path for package in packages for path in sorted((ROOT / package).rglob("*.py")))
    return [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in paths
    ]


def path_of(module: str) -> Path:
    base = ROOT.joinpath(*module.split("."))
    package = base / "__init__.py"
    return package if package.exists() else base.with_suffix(".py")


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


@cache
def imports_of(module: str) -> tuple[Import, ...]:
    return tuple(found(tree_of(path_of(module)), module, at_import=True))


def found(node: ast.AST, module: str, at_import: bool) -> Iterator[Import]:
    """Walk a tree for imports; those in functions and under TYPE_CHECKING are not made at import."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, child.lineno, at_import) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            source = absolute(child, module)
            for alias in child.names:
                # "from nba import errors" imports a module, "from nba.errors import NBAError" a name.
                submodule = f"{source}.{alias.name}"
                is_module = source.partition(".")[0] in FIRST_PARTY and path_of(submodule).exists()
                yield Import(submodule if is_module else source, child.lineno, at_import)
        else:
            is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            is_typing = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
            yield from found(child, module, at_import and not is_function and not is_typing)


def absolute(node: ast.ImportFrom, module: str) -> str:
    if node.level == 0:
        return node.module or ""
    is_package = path_of(module).name == "__init__.py"
    parents = module.split(".")[: len(module.split(".")) - node.level + is_package]
    return ".".join([*parents, *([node.module] if node.module else [])])


def top(module: str) -> str:
    return module.partition(".")[0]


def layer(module: str) -> int:
    """Position in LAYERS; the bare package `nba` counts as last, so that nothing inside imports it."""
    name = (module.split(".") + [""])[1]
    return next((i for i, names in enumerate(LAYERS) if name in names), len(LAYERS))


@pytest.mark.parametrize("package", FIRST_PARTY)
def test_a_package_imports_only_what_it_may(package: str) -> None:
    wrong = []
    for module in modules(package):
        allowed = FIRST_PARTY[package] | THIRD_PARTY[package] | EDGES.get(module, set())
        for target, line, _ in imports_of(module):
            if top(target) not in allowed | sys.stdlib_module_names | {"__future__"}:
                wrong.append(f"{module}:{line} imports {target}")
    assert not wrong


def test_every_module_of_nba_has_a_layer() -> None:
    assert [module for module in modules("nba") if module != "nba" and layer(module) == len(LAYERS)] == []


def test_a_module_of_nba_imports_from_its_own_layer_or_above() -> None:
    wrong = [
        f"{module}:{line} imports {target}"
        for module in modules("nba")
        for target, line, _ in imports_of(module)
        if top(target) == "nba" and layer(target) > layer(module)
    ]
    assert not wrong


@pytest.mark.parametrize("package", FIRST_PARTY)
def test_no_modules_import_each_other_in_a_circle(package: str) -> None:
    graph = {
        module: {target for target, _, at_import in imports_of(module) if at_import and target != module}
        for module in modules(package)
    }
    tuple(TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle


@pytest.mark.parametrize("package", FIRST_PARTY)
def test_heavy_libraries_are_imported_inside_functions(package: str) -> None:
    wrong = []
    for module in modules(package):
        light_by_need = {"litestar"} if package == "serving" and module != "serving.commands" else set()
        for target, line, at_import in imports_of(module):
            if at_import and top(target) in HEAVY - light_by_need:
                wrong.append(f"{module}:{line} imports {target}")
    assert not wrong


def test_nba_sees_no_clock_no_chance_no_file_and_no_network() -> None:
    wrong = [
        f"{module}:{line} imports {target}"
        for module in modules("nba")
        if module not in EDGES and module != "nba.bundle"
        for target, line, _ in imports_of(module)
        if top(target) in EFFECTS
    ]
    assert not wrong


def test_nba_asks_neither_the_wall_clock_nor_the_global_generator() -> None:
    wrong = [
        f"{module}:{node.lineno} calls {ast.unparse(node.func)}"
        for module in modules("nba", "simulator")
        for node in ast.walk(tree_of(path_of(module)))
        if isinstance(node, ast.Call) and is_effect(node)
    ]
    assert not wrong


def is_effect(call: ast.Call) -> bool:
    """Tell calls such as datetime.now(), np.random.normal() and an unseeded default_rng()."""
    name = ast.unparse(call.func)
    method = name.rpartition(".")[2]
    if name.startswith(("np.random.", "numpy.random.")):
        return method.islower() and (method != "default_rng" or not call.args)
    is_clock = method in {"now", "utcnow", "today"} and "date" in name
    return is_clock or (method == "default_rng" and not call.args and not call.keywords)


@pytest.mark.parametrize("package", [*FIRST_PARTY, "tests"])
def test_files_stay_short(package: str) -> None:
    paths = (ROOT / package).rglob("*.py")
    lengths = {str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines()) for path in paths}
    assert {path: n for path, n in lengths.items() if n > MAX_FILE_LINES} == {}


@pytest.mark.parametrize("package", [*FIRST_PARTY, "tests"])
def test_functions_stay_short(package: str) -> None:
    wrong = []
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                if (length := body_lines(node)) > MAX_FUNCTION_LINES:
                    wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name} has {length} lines")
    assert not wrong


def body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from the first statement after the docstring to the last."""
    statements = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
    return (statements[-1].end_lineno or 0) - statements[0].lineno + 1 if statements else 0


@pytest.mark.parametrize("package", FIRST_PARTY)
def test_every_module_opens_with_a_sentence(package: str) -> None:
    openings = {module: ast.get_docstring(tree_of(path_of(module))) or "" for module in modules(package)}
    assert [module for module, text in openings.items() if text.partition("\n\n")[0][-1:] != "."] == []
