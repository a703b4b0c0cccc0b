"""What a JSON Schema says of a map's keys, as the rows of a table."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from docs.generators.markdown import code

Schema: TypeAlias = Mapping[str, Any]

_KINDS = {"string": "text", "integer": "whole number", "number": "number", "boolean": "boolean", "null": "null"}
_BOUNDS = {
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "minimum": "at least {}",
    "maximum": "at most {}",
    "exclusiveMinimum": "more than {}",
    "exclusiveMaximum": "less than {}",
}


def rows(schema: Schema, prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    """(key, kind of value, default or `required`, meaning) of every key, nested ones after the key that holds them."""
    return _rows(schema, schema.get("$defs", {}), prefix)


def _rows(schema: Schema, definitions: Schema, prefix: str) -> Iterator[tuple[str, str, str, str]]:
    required = schema.get("required", ())
    for key, value in schema.get("properties", {}).items():
        shape = _resolved(value, definitions)
        default = "required" if key in required else code(_default(shape.get("default")))
        yield code(prefix + key), _kind(shape, definitions), default, value.get("description", "")
        yield from _nested(shape, definitions, prefix + key)


def _nested(shape: Schema, definitions: Schema, path: str) -> Iterator[tuple[str, str, str, str]]:
    for alternative in shape.get("anyOf", (shape,)):
        inner = _resolved(alternative, definitions)
        if inner.get("type") == "array":
            yield from _nested(_resolved(inner.get("items", {}), definitions), definitions, f"{path}[]")
        elif "properties" in inner:
            yield from _rows(inner, definitions, f"{path}.")


def _kind(shape: Schema, definitions: Schema) -> str:
    """In words: `list of text`, `open` or `done`, `any value`."""
    shape = _resolved(shape, definitions)
    if "anyOf" in shape:
        kinds = [_kind(each, definitions) for each in shape["anyOf"] if each.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if "enum" in shape or "const" in shape:
        return " or ".join(code(value) for value in shape.get("enum", [shape.get("const")]))
    bounds = [text.format(shape[bound]) for bound, text in _BOUNDS.items() if bound in shape]
    bounds += [f"like `{shape['pattern']}`"] if "pattern" in shape else []
    bounds += [shape["format"]] if "format" in shape else []
    return ", ".join([_plain_kind(shape, definitions), *bounds])


def _plain_kind(shape: Schema, definitions: Schema) -> str:
    match shape.get("type"):
        case None:
            return "any value"
        case "array":
            inner = _kind(shape.get("items", {}), definitions)
            return "list" if inner == "any value" else f"list of {inner}"
        case "object":
            return "map"
        case kind:
            return _KINDS[kind]


def _resolved(shape: Schema, definitions: Schema) -> Schema:
    reference = shape.get("$ref")
    return definitions[reference.rpartition("/")[2]] if reference else shape


def _default(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) and value else json.dumps(value)
