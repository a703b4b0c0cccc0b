"""docs/reference/rest.md: every operation of the REST API, from its own description."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

from api.app import describe
from docs.generators.markdown import code, document, table

INTRODUCTION = """
The API describes itself at `/api/openapi.json` (OpenAPI 3.1), which says what every answer holds, and tests hold it to
that. [How to use it](../how-to/use-the-rest-api.md) shows it at work. Bodies are JSON. Every error is a
[problem](problems.md). Every answer carries `X-Correlation-ID`: the caller's, or that of its `traceparent`, or a new
one. Lists are pages: `next_cursor` of one is the `cursor` of the next.

Any operation refuses pages of other sites (403), and all but `/healthz` and `/readyz` query parameters they do not know
(422). Those that take a body refuse one that is malformed (400), too large (413), of another kind (415) or of another
shape (422); lists refuse a cursor of another list (400). These are not repeated below.
"""

#: What the introduction says of all.
_COMMON = frozenset({400, 403, 413, 415, 422, 500})


def page() -> str:
    """The page."""
    described = describe()
    shapes = described["components"]["schemas"]
    operations = (
        _operation(method, path, item, shapes)
        for path, items in described["paths"].items()
        for method, item in _with_path_parameters(items)
    )
    return document("REST API", "`api/resources/`", INTRODUCTION, operations)


def _with_path_parameters(items: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    shared = items.get("parameters", [])
    for method, item in items.items():
        if method != "parameters":
            yield method.upper(), {**item, "parameters": [*shared, *item.get("parameters", [])]}


def _operation(method: str, path: str, item: Mapping[str, Any], shapes: Mapping[str, Any]) -> str:
    said = [item.get("summary", ""), item.get("description", "")]
    parameters = [
        (code(each["name"]), each["in"], _kind(each["schema"], shapes), each.get("description", ""))
        for each in item["parameters"]
    ]
    statuses = [
        f"{status} {HTTPStatus(int(status)).phrase}"
        for status in sorted(item["responses"], key=int)
        if int(status) not in _COMMON
    ]
    parts = (
        f"## {method} {path}",
        *said,
        table(("parameter", "in", "value", "meaning"), parameters),
        _body(item.get("requestBody"), shapes),
        f"**Answers** {', '.join(statuses)}.",
    )
    return "\n\n".join(part for part in parts if part)


def _body(body: Mapping[str, Any] | None, shapes: Mapping[str, Any]) -> str:
    if body is None:
        return ""
    content = body["content"]
    others = [kind for kind in content if kind != "application/json"]
    also = f"**Body** {', '.join(map(code, others))}, or JSON:\n\n" if others else ""
    shape = _resolved(content["application/json"]["schema"], shapes)
    required = shape.get("required", ())
    rows = [
        (
            code(name),
            _kind(field, shapes),
            "required" if name in required else _default(field),
            field.get("description", ""),
        )
        for name, field in shape["properties"].items()
    ]
    return also + table(("field", "value", "default", "meaning"), rows)


def _resolved(schema: Mapping[str, Any], shapes: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = shapes[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    return found


def _default(field: Mapping[str, Any]) -> str:
    default = field.get("default")
    return code(json.dumps(default)) if isinstance(default, (bool, int)) else code(default) if default else ""


def _kind(schema: Mapping[str, Any], shapes: Mapping[str, Any]) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        inner = _resolved(schema, shapes)["properties"]
        return "map of " + ", ".join(map(code, inner))
    if "enum" in schema:
        return " or ".join(code(word) for word in schema["enum"] if word is not None)
    kinds = schema.get("type", "any")
    kind = next(each for each in (kinds if isinstance(kinds, list) else [kinds]) if each != "null")
    if kind == "array":
        return f"list of {_kind(schema['items'], shapes)}"
    words = {"object": "map", "string": "text", "integer": "whole number"}
    return str(schema.get("format", words.get(kind, kind)))
