"""The little Markdown that verdicts use, as HTML: headings, lists, tables, paragraphs, bold and code."""

from __future__ import annotations

import re
from html import escape
from itertools import groupby


def markdown_html(text: str) -> str:
    """Render it; whatever else the text holds is shown as it is."""
    lines = [line.rstrip() for line in text.splitlines()]
    return "\n".join(_block(kind, list(block)) for kind, block in groupby(lines, _kind) if kind != "blank")


def _kind(line: str) -> str:
    if not line:
        return "blank"
    if line.startswith("|"):
        return "table"
    if line.startswith(("- ", "* ")):
        return "list"
    return "heading" if re.match(r"#{1,6} ", line) else "paragraph"


def _block(kind: str, lines: list[str]) -> str:
    if kind == "table":
        return _table([_cells(line) for line in lines if not re.fullmatch(r"[|\s:-]+", line)])
    if kind == "list":
        return "<ul>" + "".join(f"<li>{_inline(line[2:])}</li>" for line in lines) + "</ul>"
    if kind == "heading":
        return "".join(f"<h3>{_inline(line.lstrip('# '))}</h3>" for line in lines)
    return f"<p>{_inline(' '.join(lines))}</p>"


def _cells(line: str) -> list[str]:
    return [_inline(cell.strip()) for cell in line.strip("|").split("|")]


def _table(rows: list[list[str]]) -> str:
    if not rows:
        return ""
    head = "".join(f'<th scope="col">{cell}</th>' for cell in rows[0])
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows[1:])
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _inline(text: str) -> str:
    text = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", escape(text))
    return re.sub(r"`(.+?)`", r"<code>\1</code>", text)
