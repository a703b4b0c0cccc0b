"""What a JSON Schema says of a map's keys, in words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Schema: TypeAlias = Mapping[str, Any]

#: How a key of `with:` is read: a value that may hold templates, one that is never a template, a condition, steps.
Reading: TypeAlias = Literal["value", "literal", "condition", "steps"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A key, or one inside a value: `rules[].min`.

    Attributes:
        name: With the keys around it.
        kind: What it holds, in words, with its limits; codes are between backticks.
        required: Whether it must be there.
        default: What it is when it is not there, as JSON or text; empty for null and for what is computed.
        meaning: A sentence or two.
        reading: How it is read.
    """

    name: str
    kind: str
    required: bool
    default: str
    meaning: str
    reading: Reading = "value"


#: How deep keys within keys are told.
_MAX_NESTING = 4

_KINDS = {"string": "text", "integer": "whole number", "number": "number", "boolean": "boolean", "null": "null"}
_BOUNDS = {
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "minProperties": "at least {} keys",
    "maxProperties": "at most {} keys",
    "minimum": "at least {}",
    "maximum": "at most {}",
    "exclusiveMinimum": "more than {}",
    "exclusiveMaximum": "less than {}",
}


def parameters_of(schema: Schema, reading: Reading = "value") -> Iterator[Parameter]:
    """Every key of a map, nested ones after the key that holds them."""
    return _parameters(schema, schema.get("$defs", {}), "", reading)


def _parameters(schema: Schema, definitions: Schema, prefix: str, reading: Reading) -> Iterator[Parameter]:
    required = schema.get("required", ())
    for key, value in schema.get("properties", {}).items():
        shape = _resolved(value, definitions)
        meaning, default = value.get("description", ""), _default(value.get("default", shape.get("default")))
        yield Parameter(prefix + key, _kind(shape, definitions), key in required, default, meaning, reading)
        yield from _nested(shape, definitions, prefix + key, reading)


def _nested(shape: Schema, definitions: Schema, path: str, reading: Reading) -> Iterator[Parameter]:
    if path.count(".") >= _MAX_NESTING:
        return  # a model may hold itself
    for alternative in shape.get("anyOf", (shape,)):
        inner = _resolved(alternative, definitions)
        if inner.get("type") == "array":
            yield from _nested(_resolved(inner.get("items", {}), definitions), definitions, f"{path}[]", reading)
        elif "properties" in inner:
            yield from _parameters(inner, definitions, f"{path}.", reading)


def _kind(shape: Schema, definitions: Schema) -> str:
    """In words: `list of text`, `open` or `done`, `any value`."""
    shape = _resolved(shape, definitions)
    if "anyOf" in shape:
        kinds = [_kind(each, definitions) for each in shape["anyOf"] if each.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if "enum" in shape or "const" in shape:
        return " or ".join(f"`{value}`" for value in shape.get("enum", [shape.get("const")]))
    bounds = [_bound(bound, shape[bound]) for bound in _BOUNDS if bound in shape]
    bounds += [f"like `{shape['pattern']}`"] if "pattern" in shape else []
    bounds += [shape["format"]] if "format" in shape else []
    return ", ".join([_plain_kind(shape, definitions), *bounds])


def _bound(name: str, value: object) -> str:
    is_size = name in {"minLength", "minItems", "minProperties"}
    return "not empty" if is_size and value == 1 else _BOUNDS[name].format(value)


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
            return _KINDS.get(str(kind), str(kind))


def _resolved(shape: Schema, definitions: Schema) -> Schema:
    reference = shape.get("$ref")
    return definitions[reference.rpartition("/")[2]] if reference else shape


def _default(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) and value else json.dumps(value)
