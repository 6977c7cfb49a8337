"""Policies, rules, worlds and metrics of a user's own Python module, named by dotted path: `my_bank.Quiet`.

The module is found as Python finds it, the folder of the sweep's file first. To other processes and nodes it
travels as its source text, so that it need not be installed there; what it imports itself must be.
"""

from __future__ import annotations

import importlib
import linecache
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import msgspec

from nba.constraints.base import RuleBase
from nba.errors import InvalidConfig, require
from nba.policies import PolicyBase

Sources: TypeAlias = dict[str, str]  # module name -> its source text
_OURS = ("nba", "simulator", "experiments", "serving")
_SENT = "__nba_source__"  # the digest of what a module was made of, where it came as text


def is_dotted(name: object) -> bool:
    """Whether a name is that of something in a user's module: no name of ours has a dot, but files do."""
    return isinstance(name, str) and "." in name and not name.endswith(".toml") and "/" not in name


@contextmanager
def found_beside(folder: Path) -> Iterator[None]:
    """While this lasts, Python looks for modules in a folder first."""
    sys.path.insert(0, str(folder.resolve()))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(folder.resolve()))


def sources_of(names: Iterable[str], source: str) -> Sources:
    """The source text of every module that dotted names speak of; `source` is the file that names them."""
    modules = sorted({name.rpartition(".")[0] for name in names})
    return {module: _text(module, source) for module in modules}


def _text(module: str, source: str) -> str:
    spec = _found(module)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        rule = "is no Python module beside this file or on the path; names are MODULE.NAME"
        raise InvalidConfig(source, module, rule)
    return Path(spec.origin).read_text(encoding="utf-8")


def _found(module: str) -> ModuleSpec | None:
    """Where a module's file is, looked for afresh: what is loaded may be of an earlier text."""
    spec, path = None, None
    parts = module.split(".")
    for depth in range(1, len(parts) + 1):
        spec = PathFinder.find_spec(".".join(parts[:depth]), path)
        if spec is None:
            return None
        path = spec.submodule_search_locations
    return spec


def resolved(name: str, sources: Mapping[str, str], source: str) -> Any:
    """What a dotted name stands for, from its source text."""
    module, _, attribute = name.rpartition(".")
    made = _module(module, sources[module], source)
    public = [one for one in vars(made) if not one.startswith("_")]
    require(hasattr(made, attribute), source, name, f"is not in {module}, which has {', '.join(public)}")
    return getattr(made, attribute)


def _module(name: str, text: str, source: str) -> ModuleType:
    """The module of a text; made once, and again when the text is another. Our own are imported."""
    if name.partition(".")[0] in _OURS:
        return importlib.import_module(name)
    key = sha256(text.encode()).hexdigest()
    known = sys.modules.get(name)
    if known is not None and getattr(known, _SENT, None) == key:
        return known
    made, path = ModuleType(name), f"<{name}>"
    made.__package__ = name.rpartition(".")[0]
    setattr(made, _SENT, key)
    linecache.cache[path] = (len(text), None, text.splitlines(keepends=True), path)  # lines in tracebacks
    before = sys.modules.get(name)
    sys.modules[name] = made
    try:
        exec(compile(text, path, "exec"), made.__dict__)
    except Exception as error:
        _put_back(name, before)
        raise InvalidConfig(source, name, f"cannot be run: {type(error).__name__}: {error}") from error
    return made


def _put_back(name: str, before: ModuleType | None) -> None:
    del sys.modules[name]
    if before is not None:
        sys.modules[name] = before


def struct_of(
    table: Mapping[str, Any], kind: type[PolicyBase] | type[RuleBase], sources: Sources, source: str
) -> Any:
    """A policy or rule from its table, whose `type` is the dotted name of a struct of that kind."""
    name = table["type"]
    made = resolved(name, sources, source)
    is_kind = isinstance(made, type) and issubclass(made, kind)
    require(is_kind, source, name, f"must be a class that inherits from {kind.__module__}.{kind.__name__}")
    fields = {key: value for key, value in table.items() if key != "type"}
    if made.__struct_config__.tag is not None:
        fields["type"] = made.__struct_config__.tag
    elif issubclass(made, RuleBase):
        fields.setdefault("name", made.__name__)  # what its removals are told under
    try:
        return msgspec.convert(fields, made)
    except msgspec.ValidationError as error:
        raise InvalidConfig(source, name, str(error)) from None
