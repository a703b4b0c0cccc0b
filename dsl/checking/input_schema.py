"""What a command says of its inputs: a plain map of properties or a whole JSON Schema; checked, kept as the latter.

Everything is compiled offline and with a linear regular expression engine, so a schema can neither reach out nor hang.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import jsonschema_rs

from dsl.checking.fields import cannot_be, found_in
from dsl.faults import Faults, listed, shown
from dsl.nodes import ListNode, MappingNode, Node, Path, ScalarNode, find

#: A part of a schema: what it says, and where.
Part: TypeAlias = tuple[dict[str, Any], Node]

#: A name that templates can write behind a dot.
INPUT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")

#: Keywords by what they hold, in the order in which a schema is explained.
SCHEMAS_BY_NAME = ("properties", "patternProperties", "dependentSchemas", "$defs", "definitions")
SCHEMA_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
SCHEMAS = (
    *("items", "additionalProperties", "contains", "contentSchema", "if", "then", "else", "not", "propertyNames"),
    *("unevaluatedItems", "unevaluatedProperties"),
)
TEXTS = (
    *("title", "description", "pattern", "format", "contentEncoding", "contentMediaType"),
    *("$anchor", "$comment", "$dynamicAnchor", "$dynamicRef", "$id", "$ref", "$schema"),
)
COUNTS = (
    *("minLength", "maxLength", "minItems", "maxItems", "minContains", "maxContains", "minProperties"),
    "maxProperties",
)
NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
FLAGS = ("uniqueItems", "deprecated", "readOnly", "writeOnly")
LISTS = ("enum", "examples", "required")
MAPPINGS = ("dependentRequired", "$vocabulary")
ANYTHING = ("const", "default")
TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")

#: Formats that are checked.
FORMATS = (
    *("date", "date-time", "time", "duration", "email", "idn-email", "hostname", "idn-hostname", "ipv4", "ipv6"),
    *("uri", "uri-reference", "iri", "iri-reference", "uri-template", "uuid", "json-pointer"),
    *("relative-json-pointer", "regex"),
)

_REFERENCES = ("$ref", "$dynamicRef")

_EXPECTED_TARGETS = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "a URI"}

#: Words that a keyword takes, and what others hold, for people.
_WORDS_OF = {"type": TYPES, "format": FORMATS}
_EXPECTED: Mapping[str, str] = {
    **dict.fromkeys(TEXTS, "a text"),
    **dict.fromkeys(COUNTS, "a whole number, at least 0"),
    **dict.fromkeys(NUMBERS, "a number"),
    **dict.fromkeys(FLAGS, "true or false"),
    **dict.fromkeys(SCHEMA_LISTS, "a list of at least one schema"),
    **dict.fromkeys(LISTS, "a list"),
    **dict.fromkeys((*SCHEMAS_BY_NAME, *MAPPINGS), "a mapping"),
    "enum": "a list of values, each once",
    "multipleOf": "a number above 0",
    "pattern": "a regular expression without look-around and back-references",
    "required": "a list of names, each once",
}

#: Every keyword of JSON Schema 2020-12. Others are most likely misspelled, and would be ignored.
KEYWORDS = frozenset(
    (
        *("type", *SCHEMAS_BY_NAME, *SCHEMA_LISTS, *SCHEMAS, *TEXTS, *COUNTS, *NUMBERS, *FLAGS, *LISTS),
        *(*MAPPINGS, *ANYTHING),
    )
)


def validator(schema: Mapping[str, Any]) -> jsonschema_rs.Validator:
    """Compile a schema. Its messages call the value that is wrong `the value`, and never repeat it.

    Raises:
        jsonschema_rs.ValidationError: It is no schema, or refers to another one.
        ValueError: It is nested too deeply.
    """
    return jsonschema_rs.validator_for(
        dict(schema),
        validate_formats=True,
        ignore_unknown_formats=False,
        mask="the value",
        pattern_options=jsonschema_rs.RegexOptions(),
        offline=True,
    )


def read_inputs(node: Node | None, path: Path, faults: Faults) -> dict[str, Any]:
    """The JSON Schema of a command's inputs; without `inputs:` anything is allowed.

    Args:
        node: The value of `inputs:`.
        path: Where that is.
        faults: Where what is wrong goes; the schema means nothing then.
    """
    if node is None:
        return {"type": "object"}
    if not isinstance(node, MappingNode):
        message = "`inputs` must be a mapping of names to what each may be"
        faults.add("command.wrong_type", message, path, node.position, expected="a mapping")
        return {"type": "object"}
    before = len(faults)
    if is_whole_schema(node):
        schema, properties = node.value(), node.get("properties")
        properties_path: Path = (*path, "properties")
        _check_keywords(node, path, faults)
        if len(faults) == before:
            _check_compiles(schema, {path: (schema, node)}, node, path, faults, before)
    else:
        schema, properties, properties_path = _from_properties(node, path, faults), node, path
    if len(faults) == before and isinstance(properties, MappingNode):
        _check_defaults(schema, properties, properties_path, faults)
    return schema


def is_whole_schema(node: MappingNode) -> bool:
    """Whether `inputs:` is a JSON Schema of an object, and no map of properties."""
    declared, version = node.get("type"), node.get("$schema")
    return (declared is not None and declared.value() == "object") or isinstance(version, ScalarNode)


def _from_properties(node: MappingNode, path: Path, faults: Faults) -> dict[str, Any]:
    before = len(faults)
    properties: dict[str, Any] = {}
    required: list[str] = []
    parts: dict[Path, Part] = {}
    for name, entry in node.entries.items():
        place = (*path, name)
        properties[name] = {}  # however it is declared, templates may name it
        if not INPUT_NAME.fullmatch(name):
            expected = "a letter or _, then letters, digits, _ and -; at most 64"
            message = "an input cannot have this name"
            faults.add("inputs.name", message, place, entry.key.position, found=name, expected=expected)
            continue
        if not isinstance(entry.value, MappingNode):
            message = f"`{name}` must say what it may be"
            expected = "a mapping such as {type: string}"
            faults.add("command.wrong_type", message, place, entry.value.position, expected=expected)
            continue
        schema = entry.value.value()
        if isinstance(schema.get("required"), bool):
            required += [name] * schema.pop("required")
        faults_so_far = len(faults)
        _check_keywords(entry.value, place, faults)
        properties[name] = schema
        if len(faults) == faults_so_far:
            parts[place] = (schema, entry.value)
    whole = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    _check_compiles(whole, parts, node, path, faults, before)
    return whole


def _check_compiles(  # noqa: PLR0913 - a schema, its parts, and where they are
    whole: dict[str, Any], parts: Mapping[Path, Part], node: Node, path: Path, faults: Faults, before: int
) -> None:
    """Note what is no JSON Schema: the first mistake of each part, else what is wrong with how they hang together.

    Args:
        whole: The schema.
        parts: What it is made of, each with its place.
        node: Where it was written.
        path: Where that is.
        faults: Where what is wrong goes.
        before: How many faults there were before anything was said of it.
    """
    fault = _fault_of(whole)
    if fault is None:
        return
    for place, (schema, part) in parts.items():
        error = _fault_of(_without_references(schema))
        if error is not None:
            _note(error, part, place, faults)
    if len(faults) == before:
        _blame(fault, parts, node, path, faults)


def _fault_of(schema: dict[str, Any]) -> jsonschema_rs.ValidationError | ValueError | None:
    try:
        validator(schema)
    except (jsonschema_rs.ValidationError, ValueError) as error:
        return error
    return None


def _without_references(schema: Any) -> Any:  # noqa: ANN401 - any JSON value
    """A schema alone: what it refers to may be beside it."""
    if isinstance(schema, list):
        return [_without_references(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: _without_references(value) for key, value in schema.items() if key not in _REFERENCES}


def _note(error: jsonschema_rs.ValidationError | ValueError, node: Node, path: Path, faults: Faults) -> None:
    """What a part of a schema is not."""
    inner = _inside(node, error.instance_path) if isinstance(error, jsonschema_rs.ValidationError) else ()
    if not inner:
        _blame(error, {path: ({}, node)}, node, path, faults)
        return
    at = find(node, inner)
    keyword = next(str(part) for part in reversed(inner) if isinstance(part, str))
    is_name = len(inner) > 1 and inner[-2] in SCHEMAS_BY_NAME
    known = () if is_name else _WORDS_OF.get(keyword, ())
    if keyword == "type" and isinstance(at, ListNode):
        at = next((item for item in at.items if item.value() not in TYPES), at)
    expected = listed(known) if known else "a schema" if is_name else _EXPECTED.get(keyword, "a schema")
    found = found_in(at)
    message = cannot_be(keyword if isinstance(inner[-1], str) else f"{keyword}[]", at)
    faults.add("inputs.schema", message, (*path, *inner), at.position, found=found, expected=expected, known=known)


def _blame(error: Exception, parts: Mapping[Path, Part], node: Node, path: Path, faults: Faults) -> None:
    """What is wrong with no single value: a reference to nowhere, most likely, which the error then quotes."""
    message = getattr(error, "message", str(error))
    for place, schema in (inner for at, (_, part) in parts.items() for inner in _schemas(part, at)):
        for name in (*_REFERENCES, *_EXPECTED_TARGETS):
            target = schema.get(name)
            if target is not None and f"'{str(target.value()).lstrip('#')}'" in message:
                expected = _EXPECTED_TARGETS.get(name, "`#/` and where it is in the schema of all inputs")
                message, found = message[:1].lower() + message.partition(". ")[0][1:], str(target.value())
                faults.add("inputs.schema", message, (*place, name), target.position, found=found, expected=expected)
                return
    faults.add("inputs.schema", message, path, node.position, expected="a JSON Schema")


def _inside(node: Node, path: list[str | int]) -> Path:
    """As much of a path as exists in the file."""
    inner: list[str | int] = []
    for part in path:
        below = find(node, (part,))
        if below is node:
            break
        node = below
        inner.append(part)
    return tuple(inner)


def _check_keywords(node: Node, path: Path, faults: Faults) -> None:
    """Misspelled keywords, and references out of the file."""
    for place, schema in _schemas(node, path):
        for name, entry in schema.entries.items():
            if name not in KEYWORDS and not name.startswith("x-"):
                message = f"`{shown(name)}` is not a keyword of JSON Schema"
                faults.add(
                    "inputs.unknown_keyword",
                    message,
                    (*place, name),
                    entry.key.position,
                    found=name,
                    expected="a keyword of JSON Schema, or x-…",
                    known=KEYWORDS,
                )
        for name in _REFERENCES:
            target = schema.get(name)
            if target is not None and not str(target.value()).startswith("#"):
                message = "a schema may only refer to itself"
                faults.add(
                    "inputs.remote_reference",
                    message,
                    (*place, name),
                    target.position,
                    found=str(target.value()),
                    expected="#…",
                )


def _schemas(node: Node, path: Path) -> Iterator[tuple[Path, MappingNode]]:
    """A schema and those inside it; a document's depth is bounded."""
    if not isinstance(node, MappingNode):
        return
    yield path, node
    for name, entry in node.entries.items():
        place, value = (*path, name), entry.value
        if name in SCHEMAS:
            yield from _schemas(value, place)
        elif name in SCHEMAS_BY_NAME and isinstance(value, MappingNode):
            for key, inner in value.entries.items():
                yield from _schemas(inner.value, (*place, key))
        elif name in SCHEMA_LISTS and isinstance(value, ListNode):
            for index, item in enumerate(value.items):
                yield from _schemas(item, (*place, index))


def _check_defaults(schema: dict[str, Any], properties: MappingNode, path: Path, faults: Faults) -> None:
    """A default must be what its own property allows."""
    defaults = defaults_of(schema)
    for error in validator(schema).iter_errors(defaults):
        if not error.instance_path:
            continue  # what is missing, or how properties belong together, is no matter of defaults
        name = str(error.instance_path[0])
        node = find(properties, (name, "default"))
        message = f"the default of `{name}` is not allowed: {error.message}"
        found = shown(defaults[name])
        expected = f"a value that `{name}` may have"
        faults.add("inputs.default", message, (*path, name, "default"), node.position, found=found, expected=expected)


def defaults_of(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The defaults of top-level properties."""
    properties = schema.get("properties")
    if not isinstance(properties, Mapping):
        return {}
    return {
        name: declared["default"]
        for name, declared in properties.items()
        if isinstance(declared, Mapping) and "default" in declared
    }


def property_names(schema: object) -> Iterator[str]:
    """Every name of a property that a schema, or one inside it, mentions."""
    if not isinstance(schema, Mapping):
        return
    for name, value in schema.items():
        if name in SCHEMAS_BY_NAME and isinstance(value, Mapping):
            yield from value if name in {"properties", "dependentSchemas"} else ()
            for inner in value.values():
                yield from property_names(inner)
        elif name in SCHEMA_LISTS and isinstance(value, list):
            for inner in value:
                yield from property_names(inner)
        elif name in SCHEMAS:
            yield from property_names(value)
        elif name == "required" and isinstance(value, list):
            yield from (each for each in value if isinstance(each, str))


def declared_names(schema: Mapping[str, Any]) -> frozenset[str] | None:
    """Names that inputs may have; none when others are allowed as well."""
    if schema.get("additionalProperties") is not False or "patternProperties" in schema or "$ref" in schema:
        return None
    properties = schema.get("properties")
    return frozenset(properties) if isinstance(properties, Mapping) else frozenset()
