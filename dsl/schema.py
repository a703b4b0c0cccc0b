"""The JSON Schemas of command files and fixtures, for editors: made of the tables and models that they are read with.

It says what can be said of one value at a time: keys, types, enums, bounds, defaults. What names refer to, whether ids
repeat and whether templates can be parsed is left to `weir commands validate`. Whatever can run, it takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from pydantic import BaseModel
from pydantic.errors import PydanticInvalidForJsonSchema

from dsl.checking import input_schema as words
from dsl.checking.parameters import keys_of
from dsl.checking.shape import (
    COMMAND,
    STEP,
    Choice,
    Choices,
    Condition,
    Duration,
    Inputs,
    Key,
    Names,
    Parameters,
    Shape,
    Shapes,
    Steps,
    Text,
    Value,
    Whole,
)
from dsl.checking.steps import keys_of_with, takes_any_key
from dsl.reference.docstrings import docstring_if_any
from dsl.rehearsal.fixtures import FixtureFile
from dsl.settings import DslSettings
from dsl.step import Step

Schema: TypeAlias = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_MARKUP = r"\{\{|\{%"
_TEMPLATE: Schema = {
    "type": "string",
    "pattern": _MARKUP,
    "description": "A template (Liquid). One that is a whole `{{ expression }}` keeps the type of its value.",
}
_CONDITION: Schema = {
    "anyOf": [{"type": "boolean"}, {"type": "string", "minLength": 1, "not": {"pattern": _MARKUP}}],
    "description": "`true`, `false`, or an expression without braces, such as `inputs.count > 3`.",
}
_DURATION: Schema = {
    "type": "string",
    "pattern": r"^\s*(?:0*[1-9][0-9]*(?:\.[0-9]+)?|0+\.0*[1-9][0-9]*)(?:us|ms|s|m|h|d)\s*$",
    "description": "A number directly followed by us, ms, s, m, h or d, such as `30s`; at most 365d.",
}

#: Values that look the same wherever they stand, and what their definitions are called.
_DEFINED: Mapping[type[Value], str] = {Condition: "condition", Duration: "duration", Inputs: "inputs"}

#: Keywords of JSON Schema that hold schemas: by name, in a list, alone.
_BY_NAME = ("properties", "patternProperties")
_IN_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_ALONE = ("items", "additionalProperties")


def command_schema(registry: Mapping[str, Step], settings: DslSettings) -> Schema:
    """The JSON Schema (2020-12) of a command file.

    Args:
        registry: Step types by name; those of users too.
        settings: What is declared, such as tables.
    """
    definitions: Schema = {
        "template": _TEMPLATE,
        "condition": _CONDITION,
        "duration": _DURATION,
        "inputs": _inputs(),
        "input": _input_schema(of_property=True),
        "schema": _input_schema(of_property=False),
    }
    definitions["step"] = _step(registry, settings, definitions)
    return {
        "$schema": DIALECT,
        "title": "Weir command",
        "description": "A command: what it takes, and the steps it does.",
        **_shape(COMMAND),
        "$defs": definitions,
    }


def fixture_schema() -> Schema:
    """The JSON Schema (2020-12) of a file for `weir commands test`."""
    schema = FixtureFile.model_json_schema()
    targets = {f"#/$defs/{name}": name if definition else None for name, definition in schema["$defs"].items()}
    return {"$schema": DIALECT, **_led(schema, targets), "title": "Weir fixtures"}


def _shape(shape: Shape) -> Schema:
    return {
        "type": "object",
        "properties": {name: _key(key) for name, key in shape.keys.items()},
        "required": [name for name, key in shape.keys.items() if key.required],
        "additionalProperties": False,
    }


def _key(key: Key) -> Schema:
    default = {} if key.default is None else {"default": key.default}
    return {**_value(key.value), "description": key.description, **default}


def _value(value: Value) -> Schema:  # noqa: PLR0911 - one for each kind of value
    match value:
        case Text():
            return _text(value)
        case Whole(least, most):
            return {"type": "integer", "minimum": least, "maximum": most}
        case Choice(options):
            return {"enum": list(options)}
        case Choices(options):
            return {"type": "array", "items": {"enum": list(options)}, "minItems": 1, "uniqueItems": True}
        case Names(item):
            return {"type": "array", "items": _text(item), "uniqueItems": True}
        case Steps(least):
            return _steps(least)
        case Shape():
            return _shape(value)
        case Shapes(item):
            return {"type": "array", "items": _shape(item)}
        case Parameters():
            return {"type": "object"}
        case _:
            return _ref(_DEFINED[type(value)])


def _text(text: Text) -> Schema:
    schema: Schema = {"type": "string", "minLength": 1, "maxLength": text.max_length}
    if text.pattern is not None:
        schema["pattern"] = f"^(?:{text.pattern.pattern})$"
    if text.reserved:
        schema["not"] = {"enum": sorted(text.reserved)}
    return schema


def _steps(least: int) -> Schema:
    return {"type": "array", "items": _ref("step"), "minItems": least}


def _each(names: Iterable[str], schema: Schema) -> Schema:
    return {name: schema for name in names}  # noqa: C420 - ruff would have them all share one default


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _step(registry: Mapping[str, Step], settings: DslSettings, definitions: Schema) -> Schema:
    """A step: its keys, and for each type what its `with:` holds."""
    schema = _shape(STEP)
    types = [
        {"const": name, "description": docstring_if_any(type(step)).summary} for name, step in sorted(registry.items())
    ]
    schema["properties"]["type"] = {"oneOf": types, "description": STEP.keys["type"].description}
    schema["allOf"] = []
    for name, step in sorted(registry.items()):
        narrowed = step.narrowed(settings)
        definitions[f"with:{name}"] = _with(name, step, definitions) | ({"allOf": [narrowed]} if narrowed else {})
        waits = _waits(step.waits_if)
        needed = ["with"] if any(keys_of_with(step).values()) else []
        then: Schema = {"properties": {"with": _ref(f"with:{name}")}, "required": needed, **waits}
        schema["allOf"].append({"if": {"properties": {"type": {"const": name}}, "required": ["type"]}, "then": then})
    return schema


def _waits(key: str | None) -> Schema:
    """A step that waits takes no `timeout`."""
    if key is None:
        return {}
    waiting = {"properties": {"with": {"properties": {key: {"const": True}}, "required": [key]}}, "required": ["with"]}
    return {"if": waiting, "then": {"properties": {"timeout": False}}}


def _with(name: str, step: Step, definitions: Schema) -> Schema:
    """The parameters of a step type: templates are welcome in those of `Params`, and nowhere else."""
    properties = {key: _templated(value) for key, value in _properties(name, step.Params, definitions).items()}
    properties |= _each(step.conditions, _ref("condition"))
    if step.Literals is not None:
        properties |= _properties(name, step.Literals, definitions)
    said = docstring_if_any(type(step)).items("Blocks")
    properties |= {key: {**_steps(int(least)), "description": said.get(key, "")} for key, least in step.blocks.items()}
    return {
        "type": "object",
        "properties": properties,
        "required": [key for key, is_required in keys_of_with(step).items() if is_required],
        **({} if takes_any_key(step) else {"additionalProperties": False}),
    }


def _properties(name: str, model: type[BaseModel], definitions: Schema) -> dict[str, Schema]:
    """What a model says of its keys; what that refers to goes into the definitions, under the step type's name."""
    try:
        schema = model.model_json_schema()
    except PydanticInvalidForJsonSchema:  # of a user's own: its keys are known, its values are not
        return {key: {} for key in keys_of(model)}
    inner: dict[str, Schema] = schema.get("$defs", {})
    targets = {f"#/$defs/{part}": f"{name}:{part}" if definition else None for part, definition in inner.items()}
    for part, definition in inner.items():
        if definition:
            definitions[f"{name}:{part}"] = _inside(_led(definition, targets))
    return {key: _led(value, targets) for key, value in schema.get("properties", {}).items()}


def _led(value: Any, targets: Mapping[str, str | None]) -> Any:  # noqa: ANN401 - any JSON value
    """References led to where their definitions went; without those to anything, and the titles pydantic makes up."""
    if isinstance(value, list):
        return [_led(item, targets) for item in value]
    if not isinstance(value, dict):
        return value
    led = {key: _led(item, targets) for key, item in value.items() if not (key == "title" and isinstance(item, str))}
    if isinstance(value.get("$ref"), str):
        target = targets.get(led.pop("$ref"))
        led |= {} if target is None else _ref(target)
    return led


def _templated(schema: Schema) -> Schema:
    """A schema that takes a template in place of the value, and of any value inside."""
    schema = _inside(schema)
    if _takes_any_text(schema):
        return schema
    about = {key: schema.pop(key) for key in ("description", "default") if key in schema}
    options = schema["anyOf"] if set(schema) == {"anyOf"} else [schema]
    return {"anyOf": [*options, _ref("template")], **about}


def _inside(schema: Schema) -> Schema:
    """A schema whose inner values may be templates; itself it may not."""
    changed = dict(schema)
    for key in _BY_NAME:
        if key in schema:
            changed[key] = {name: _templated(inner) for name, inner in schema[key].items()}
    for key in _IN_LISTS:
        if key in schema:
            # An alternative stands for the value itself, whose template is allowed already.
            changed[key] = [_templated(inner) if key == "prefixItems" else _inside(inner) for inner in schema[key]]
    for key in _ALONE:
        if isinstance(schema.get(key), dict):
            changed[key] = _templated(schema[key])
    return changed


def _takes_any_text(schema: Schema) -> bool:
    """Whether every text fits, and so every template."""
    narrowing = set(schema) - {"description", "default", "type", "examples"}
    if not narrowing:
        return bool(schema.get("type", "string") == "string")
    return narrowing == {"anyOf"} and any(_takes_any_text(option) for option in schema["anyOf"])


def _inputs() -> Schema:
    """`inputs:` is a map of properties, unless it says `type: object` or `$schema`."""
    described = {"properties": {"type": {"const": "object"}}, "required": ["type"]}
    versioned = {"properties": {"$schema": {"not": {"type": ["object", "array"]}}}, "required": ["$schema"]}
    of_any_version = {"propertyNames": {"anyOf": [{"enum": sorted(words.KEYWORDS)}, {"pattern": "^x-"}]}}
    plain = {
        "propertyNames": {"pattern": f"^(?:{words.INPUT_NAME.pattern})$"},
        "additionalProperties": _ref("input"),
    }
    return {
        "type": "object",
        "if": versioned,
        "then": of_any_version,
        "else": {"if": described, "then": _ref("schema"), "else": plain},
    }


def _input_schema(*, of_property: bool) -> Schema:
    """JSON Schema itself, without keywords it does not know.

    Args:
        of_property: Whether it is one input of a plain map, which says `required: true` of itself.
    """
    schema: Schema = {"anyOf": [_ref("schema"), {"type": "boolean"}]}
    texts: Schema = {"type": "array", "items": {"type": "string"}, "uniqueItems": True}
    types: Schema = {"enum": list(words.TYPES)}
    properties: Schema = {
        "type": {"anyOf": [types, {"type": "array", "items": types, "minItems": 1, "uniqueItems": True}]},
        **_each(words.ANYTHING, {}),
        **_each(words.LISTS, {"type": "array"}),
        "required": {"anyOf": [{"type": "boolean"}, texts]} if of_property else texts,
        **_each(words.TEXTS, {"type": "string"}),
        "format": {"enum": list(words.FORMATS)},
        **_each(words.COUNTS, {"type": "integer", "minimum": 0}),
        **_each(words.NUMBERS, {"type": "number"}),
        **_each(words.FLAGS, {"type": "boolean"}),
        **_each(words.SCHEMAS, schema),
        **_each(words.SCHEMA_LISTS, {"type": "array", "items": schema, "minItems": 1}),
        **_each(words.SCHEMAS_BY_NAME, {"type": "object", "additionalProperties": schema}),
        **_each(words.MAPPINGS, {"type": "object"}),
    }
    return {
        "type": "object",
        "properties": properties,
        "patternProperties": {"^x-": {}},
        "additionalProperties": False,
    }
