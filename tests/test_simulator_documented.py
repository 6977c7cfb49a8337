"""Every field of the shipped world says where its number comes from, or that it is assumed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import resources
from typing import NamedTuple

TEXT = (resources.files("simulator") / "worlds" / "retail-bank.toml").read_text()
SOURCE = re.compile(
    r"assumed|nba calibrate|\[(UCI|HeartSteps|CompleteJourney|GerberGreen|domain)\]|methods|Duolingo"
    r"|business forecast"
)
STRUCTURE = {"name", "start", "off", "calibration", "ensemble"}  # say what they are


class Field(NamedTuple):
    """A line of the file that sets something, with the comments that speak for it."""

    number: int
    line: str
    key: str
    own: str  # behind it, above it, and of its section
    parents: str  # of the sections that its own one is part of


def fields() -> Iterator[Field]:
    """Fields at the left margin; of sections that repeat, [[...]], the first one speaks for all."""
    of_section: dict[str, str] = {}
    section, above = "", ""
    for number, line in enumerate(TEXT.splitlines(), start=1):
        code, _, comment = line.partition("#")
        if not line.strip():
            above = ""
        elif line.startswith("#"):
            above += comment
        elif line.startswith("["):
            section = code.strip(" []")
            of_section.setdefault(section, above + comment)
            above = ""
        elif found := re.match(r"(\w+) *=", code):
            parents = " ".join(text for name, text in of_section.items() if section.startswith(f"{name}."))
            own = " ".join((of_section.get(section, ""), above, comment))
            yield Field(number, line, found[1], own.strip(), parents)
            above = ""


def test_every_field_says_its_source_or_that_it_is_assumed() -> None:
    found = [field for field in fields() if field.key not in STRUCTURE]
    silent = [one for one in found if not SOURCE.search(f"{one.own} {one.parents}")]
    assert [f"line {one.number}: {one.line}" for one in silent] == [] and len(found) > 90


def test_every_number_says_what_it_is() -> None:
    """Words of its own or of its section: a bare number has no unit."""
    numbers = [field for field in fields() if re.match(r"\w+ *= *[-\d.]", field.line)]
    assert [f"line {one.number}: {one.line}" for one in numbers if not one.own] == [] and len(numbers) > 50


def test_every_table_says_in_which_order_it_is_or_what_it_lists() -> None:
    tables = [field for field in fields() if re.match(r"\w+ *= *[\[{]", field.line)]
    assert [f"line {one.number}: {one.line}" for one in tables if not one.own] == [] and len(tables) > 30
