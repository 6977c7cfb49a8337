"""Where the numbers of a world come from: the comments of its TOML file, read field by field."""

from __future__ import annotations

import re

from msgspec import Struct

_SECTION = re.compile(r"^\s*\[+\s*([^\]]+?)\s*\]+\s*$")
_FIELD = re.compile(r"^\s*\"?([A-Za-z_][\w.-]*)\"?\s*=")
_STRING = re.compile(r"\"[^\"]*\"|'[^']*'")
_CITED = re.compile(r"\[[A-Z]\w+\]")
DATA, PARTLY, DOCUMENT, ASSUMED, UNSAID = "data", "data in part", "document", "assumed", "not said"


class Source(Struct, frozen=True, kw_only=True):
    """What a file says of one field, and of the section that it stands in."""

    field: str
    comment: str
    section: str = ""

    @property
    def kind(self) -> str:
        """Measured, taken from a document, or assumed; a field's own comment goes before its section's."""
        kinds = (_kind(self.comment), _kind(self.section))
        return next((kind for kind in kinds if kind != UNSAID), UNSAID)


def _kind(comment: str) -> str:
    if _CITED.search(comment):
        return PARTLY if "assumed" in comment else DATA
    if "assumed" in comment:
        return ASSUMED
    return DOCUMENT if "[domain]" in comment or "methods" in comment or "cited" in comment else UNSAID


def sources(text: str) -> dict[str, Source]:
    """Every field of a world's text with the comment behind it or in the lines above it."""
    found: dict[str, Source] = {}
    section, of_section, above, depth = "", "", "", 0
    for line in text.splitlines():
        # Marks inside of strings are no marks.
        bare = _STRING.sub(lambda hit: "s" * len(hit[0]), line)
        code, _, _ = bare.partition("#")
        comment = line[len(code) + 1 :].strip()
        if depth == 0 and not code.strip():
            above = f"{above} {comment}".strip() if comment else ""
        elif depth == 0 and (head := _SECTION.match(line[: len(code)])):
            same = head[1] == section  # one more of an array of tables: what was said of the first holds
            section, of_section, above = head[1], comment or above or of_section * same, ""
        else:
            if depth == 0 and (hit := _FIELD.match(line)):
                name = f"{section}.{hit[1]}".lstrip(".")
                found.setdefault(name, Source(field=name, comment=comment or above, section=of_section))
                above = ""
            depth += sum(code.count(mark) for mark in "[{") - sum(code.count(mark) for mark in "]}")
    return found
