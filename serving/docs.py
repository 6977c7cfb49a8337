"""The API as one HTML page, rendered here: no script, no asset, no request to any other host."""

from __future__ import annotations

import json
from html import escape
from typing import Any

PAGE_HEADERS = {"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:"}
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h2 { margin-top: 2rem; font-size: 1.1rem; } code, pre { font: 13px/1.45 ui-monospace, monospace; }
pre { background: #f4f4f2; padding: .8rem; overflow-x: auto; } .verb { font-weight: 700; }
table { border-collapse: collapse; } td { padding: .15rem .8rem .15rem 0; vertical-align: top; }
@media (prefers-color-scheme: dark) { body { background: #181818; color: #ddd }
  pre { background: #242424; } }
"""


def page(schema: dict[str, Any]) -> str:
    """The page of an OpenAPI document."""
    operations = [
        _operation(path, verb, operation)
        for path, verbs in sorted(schema.get("paths", {}).items())
        for verb, operation in verbs.items()
        if isinstance(operation, dict)
    ]
    shapes = [_shape(name, shape) for name, shape in schema.get("components", {}).get("schemas", {}).items()]
    title = escape(f"{schema['info']['title']} {schema['info']['version']}")
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f'<link rel="icon" href="data:,"><style>{_STYLE}</style><h1>{title}</h1>'
        f"<p>{escape(schema['info'].get('description', ''))} "
        'The same as a document: <a href="/schema/openapi.json">/schema/openapi.json</a>.</p>'
        + "".join(operations)
        + "<h1>Shapes</h1>"
        + "".join(shapes)
        + "</html>"
    )


def _operation(path: str, verb: str, operation: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td>{escape(status)}<td>{escape(answer.get('description', ''))}<td>{_types(answer)}"
        for status, answer in sorted(operation.get("responses", {}).items())
    )
    body = operation.get("requestBody", {})
    asked = f"<p>Body: {_types(body)}</p>" if body else ""
    return (
        f'<h2><span class="verb">{escape(verb.upper())}</span> <code>{escape(path)}</code></h2>'
        f"<p>{escape(operation.get('summary', ''))}. {escape(operation.get('description', ''))}</p>"
        f"{asked}<table>{rows}</table>"
    )


def _types(holder: dict[str, Any]) -> str:
    """Media types and the shapes they carry."""
    parts = []
    for media_type, content in holder.get("content", {}).items():
        name = str(content.get("schema", {}).get("$ref", "")).rpartition("/")[2]
        link = f' <a href="#{escape(name)}">{escape(name)}</a>' if name else ""
        parts.append(f"<code>{escape(media_type)}</code>{link}")
    return ", ".join(parts)


def _shape(name: str, shape: dict[str, Any]) -> str:
    text = escape(json.dumps(shape, indent=2))
    return f'<details id="{escape(name)}" open><summary>{escape(name)}</summary><pre>{text}</pre></details>'
