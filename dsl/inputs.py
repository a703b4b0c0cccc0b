"""What a submission gives a command: checked against what the command declares, every fault at once."""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import islice
from typing import Any, TypeAlias

import jsonschema_rs

from dsl.checking.input_schema import declared_names, defaults_of, validator
from dsl.command import Command
from dsl.errors import Fault, InputsInvalid
from dsl.failed_fields import UNKNOWN, failed_fields
from dsl.faults import listed, nearest, shown
from dsl.nodes import Path, format_path
from dsl.values import MAX_DEPTH, MAX_INT, MIN_INT

#: A fault, and where it is.
_Found: TypeAlias = tuple[Path, Fault]

_UNKEEPABLE = re.compile("[\x00\ud800-\udfff]")
_CAPITAL = re.compile(r"(?=[A-Z])")
_INTEGER = re.compile(r"[-+]?[0-9]{1,20}")

#: Faults of one submission that are told; a list may hold a million of the same.
_MAX_FAULTS = 100

#: How a schema's types are called.
_TYPES = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "null": "null",
    "number": "a number",
    "object": "a mapping",
    "string": "a text",
}


def check_inputs(command: Command, given: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs an execution runs with: what was given, and the defaults of what was not.

    Args:
        command: Declares them.
        given: Values as parsed from JSON; not changed.

    Raises:
        InputsInvalid: Every fault (the first hundred of them), each with a path such as `inputs.items[0].name` and
            its rule as code.
    """
    _refuse(command, _unkeepable(given, ("inputs",)))
    inputs = copy.deepcopy(defaults_of(command.inputs)) | dict(given)
    _refuse(command, _broken_rules(command, inputs))
    return inputs


def _refuse(command: Command, faults: Iterator[_Found]) -> None:
    found = list(islice(faults, _MAX_FAULTS))
    if found:
        fields = failed_fields(command.inputs, ((path, fault.code) for path, fault in found))
        raise InputsInvalid(command.slug, tuple(fault for _, fault in found), fields)


def _broken_rules(command: Command, inputs: Mapping[str, Any]) -> Iterator[_Found]:
    declared = declared_names(command.inputs)
    if declared is not None:
        yield from ((("inputs", name), _unknown(name, declared)) for name in inputs if name not in declared)
        inputs = {name: value for name, value in inputs.items() if name in declared}
    schema = _Schema(command.definition_hash, command.inputs)
    yield from map(_fault, _validator(schema).iter_errors(dict(inputs)))


def coerce(schema: Mapping[str, Any], texts: Mapping[str, str]) -> dict[str, Any]:
    """Texts of a command line as the types that a command's inputs declare.

    A text that cannot be read as its type stays text, so that `check_inputs` says what is wrong with it.

    Args:
        schema: `Command.inputs`.
        texts: By input name.
    """
    properties = schema.get("properties")
    declared = properties if isinstance(properties, Mapping) else {}
    return {name: _coerced(text, declared.get(name)) for name, text in texts.items()}


class _Schema:
    """A schema that is known by its command's hash."""

    __slots__ = ("hash", "schema")

    def __init__(self, definition_hash: bytes, schema: Mapping[str, Any]) -> None:
        self.hash = definition_hash
        self.schema = schema

    def __hash__(self) -> int:
        return hash(self.hash)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Schema) and other.hash == self.hash


@lru_cache(maxsize=256)
def _validator(schema: _Schema) -> jsonschema_rs.Validator:
    return validator(schema.schema)


def _unkeepable(value: object, path: Path) -> Iterator[_Found]:
    """What JSON or Postgres cannot hold, anywhere inside."""
    if len(path) > MAX_DEPTH:
        message = f"values are nested deeper than {MAX_DEPTH}"
        yield path, Fault("inputs.too_deep", message, format_path(path[:8]) + "…")
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str) or _UNKEEPABLE.search(key):
                yield path, Fault("inputs.text", "a key is not text that can be kept", format_path(path))
            else:
                yield from _unkeepable(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unkeepable(item, (*path, index))
    else:
        reason = _why_not_kept(value)
        if reason is not None:
            yield path, Fault(reason[0], reason[1], format_path(path))


def _why_not_kept(value: object) -> tuple[str, str] | None:
    if isinstance(value, str):
        if _UNKEEPABLE.search(value):
            return "inputs.text", "text may hold neither NUL characters nor halves of surrogate pairs"
    elif isinstance(value, int):
        if not MIN_INT <= value <= MAX_INT:
            return "inputs.number", "a whole number has at most 64 bits"
    elif isinstance(value, float):
        if not math.isfinite(value):
            return "inputs.number", "JSON has no such number"
    elif value is not None:
        return "inputs.type", f"{type(value).__name__} is not JSON"
    return None


def _unknown(name: str, declared: frozenset[str]) -> Fault:
    return Fault(
        "inputs.unknown",
        f"there is no input `{shown(name)}`",
        format_path(("inputs", name)),
        found=shown(name),
        expected=listed(sorted(declared)),
        nearest=nearest(name, sorted(declared)),
    )


def _fault(error: jsonschema_rs.ValidationError) -> _Found:
    """A broken rule of the schema: its code is `inputs.` and the schema's own keyword."""
    kind = error.kind
    path: Path = ("inputs", *error.instance_path)
    facts = kind.as_dict()
    code = "inputs." + "_".join(part.lower() for part in _CAPITAL.split(kind.name))
    if "property" in facts:
        name = str(facts["property"])
        path = (*path, name)
        return path, Fault(code, f"`{shown(name)}` is missing", format_path(path), expected="a value")
    if "unexpected" in facts:
        names = ", ".join(f"`{shown(str(name))}`" for name in facts["unexpected"])
        fault = Fault("inputs.unknown", f"not known here: {names}", format_path(path), found=names)
        return (*path, UNKNOWN), fault
    expected: str | None = None
    if "types" in facts:
        expected = " or ".join(_TYPES.get(name, name) for name in facts["types"])
    elif "options" in facts:
        expected = listed([shown(option) for option in facts["options"]])
    options = [option for option in facts.get("options", ()) if isinstance(option, str)]
    meant = nearest(error.instance, options) if isinstance(error.instance, str) else None
    found = shown(error.instance)
    return path, Fault(code, error.message, format_path(path), found=found, expected=expected, nearest=meant)


def _coerced(text: str, declared: object) -> Any:  # noqa: ANN401 - any JSON value
    if not isinstance(declared, Mapping):
        return text
    types = declared.get("type")
    names = [types] if isinstance(types, str) else types if isinstance(types, list) else []
    if not names:
        return _option(text, declared)
    for name in names:
        value = _as_type(text, str(name))
        if value is not None:
            return value
    return None if "null" in names and text == "null" else text


def _option(text: str, declared: Mapping[str, Any]) -> Any:  # noqa: ANN401 - any JSON value
    """Without a type, what an `enum` or `const` lists: `2` is a number where only numbers are allowed."""
    options = declared.get("enum", [declared["const"]] if "const" in declared else [])
    if not isinstance(options, list) or text in options:
        return text
    return next((option for option in options if not isinstance(option, str) and json.dumps(option) == text), text)


def _as_type(text: str, name: str) -> Any:  # noqa: ANN401 - any JSON value
    """A text read as a type; none when it cannot be."""
    if name == "string":
        return text
    if name == "boolean":
        return {"true": True, "false": False}.get(text.strip().lower())
    if name in {"integer", "number"} and _INTEGER.fullmatch(text.strip()):
        return int(text.strip())
    kind = {"number": float, "array": list, "object": dict}.get(name)
    try:
        value = None if kind is None else float(text) if kind is float else json.loads(text)
        json.dumps(value, allow_nan=False)
    except (ValueError, RecursionError):
        return None
    return value if kind is not None and isinstance(value, kind) else None
