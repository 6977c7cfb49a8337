"""Where a report is written: refused before it is made, and written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from nba.errors import InvalidConfig, require


def check_place(path: Path, suffix: str = ".html") -> None:
    """Refuse a place that cannot be written before minutes are spent on what is to be written there."""
    require(path.suffix == suffix, str(path), "--out", f"must end in {suffix}")
    require(not path.is_dir(), str(path), "--out", "is a folder")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidConfig(str(path), "--out", f"cannot be written: {error.strerror}") from None
    require(os.access(path.parent, os.W_OK), str(path), "--out", "its folder cannot be written")


def write_page(path: Path, text: str) -> None:
    """Write a page."""
    draft = path.with_name(path.name + ".part")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        raise InvalidConfig(str(path), "--out", f"cannot be written: {error.strerror}") from None
