"""TOML files, shipped by name or given by path, decoded into one configuration."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TypeVar

import msgspec

from nba.errors import InvalidConfig

Config = TypeVar("Config")


def load_toml(name: str, package: str, folder: str, type_: type[Config]) -> Config:
    """Decode `name`: the path of a .toml file, or the name of one that `package` ships in `folder`.

    Everything that can be wrong with it is an InvalidConfig that names the file, the key and the rule.
    """
    shelf = resources.files(package) / folder
    is_path = name.endswith(".toml")
    shipped = shelf / f"{name}.toml"
    if not is_path and not shipped.is_file():
        known = ", ".join(sorted(one.name[:-5] for one in shelf.iterdir() if one.name.endswith(".toml")))
        rule = f"not found in {package}/{folder}; use one of {known}, or the path of a .toml file"
        raise InvalidConfig(name, "", rule)
    try:
        text = Path(name).read_bytes() if is_path else shipped.read_bytes()
        return msgspec.toml.decode(text.decode(), type=type_)
    except OSError as error:
        raise InvalidConfig(name, "", f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InvalidConfig(name, "", f"is not UTF-8 at byte {error.start}") from None
    except msgspec.MsgspecError as error:
        raise InvalidConfig(name, "", str(error)) from None
