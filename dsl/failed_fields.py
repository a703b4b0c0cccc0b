"""Which inputs did not validate, as telemetry may know it: names that the command declares, rules of a closed set.

The path of a fault is made of keys, and keys of an input's own objects are written by whoever submits. So a key is told
only where the command's schema names it; for any other stands `<unknown>`, and what is inside of that is not told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, get_args

import pydantic

from dsl.checking.input_schema import INPUT_NAME, property_names
from dsl.errors import InputsInvalid, StepFailed
from dsl.nodes import Path
from telemetry.events import MAX_FAILED_FIELDS, MAX_FIELD, FieldFault, Rule

UNKNOWN: Final = "<unknown>"
_DEEPER: Final = ".<deeper>"

_FORM: Final = re.compile(rf"[A-Za-z0-9_.<>\[\]-]{{1,{MAX_FIELD}}}")
_RULES: Final = frozenset(get_args(Rule))
#: Rules that the validator calls otherwise than the schema does.
_RENAMED: Final[Mapping[str, Rule]] = {
    "constant": "const",
    "one_of_not_valid": "one_of",
    "one_of_multiple_valid": "one_of",
}
#: Rules by what pydantic calls the breach of them; what ends in `_type` is of another type.
_PYDANTIC: Final[Mapping[str, Rule]] = {
    "missing": "required",
    "extra_forbidden": "unknown",
    "literal_error": "enum",
    "enum": "enum",
    "string_pattern_mismatch": "pattern",
    "string_too_short": "min_length",
    "string_too_long": "max_length",
    "too_short": "min_items",
    "too_long": "max_items",
    "greater_than_equal": "minimum",
    "less_than_equal": "maximum",
    "greater_than": "exclusive_minimum",
    "less_than": "exclusive_maximum",
    "multiple_of": "multiple_of",
    "uuid_parsing": "format",
}


def failed_fields(schema: Mapping[str, Any], faults: Iterable[tuple[Path, str]]) -> tuple[FieldFault, ...]:
    """The first of the fields that are wrong, each once for each rule it broke.

    Args:
        schema: `Command.inputs`.
        faults: Where each is, beginning with `inputs`, and its code (`inputs.min_length`).
    """
    declared = frozenset(property_names(schema))
    told = dict.fromkeys(FieldFault(_field(path, declared), _rule(code)) for path, code in faults)
    return tuple(told)[:MAX_FAILED_FIELDS]


def failed_fields_of(error: BaseException) -> tuple[FieldFault, ...]:
    """What an error says of values that did not validate; nonsense of somebody's own step type is left out."""
    if isinstance(error, pydantic.ValidationError):
        return _parameters(error)
    told: object = error.failed_fields if isinstance(error, (InputsInvalid, StepFailed)) else ()
    faults = told if isinstance(told, tuple) else ()
    return tuple(each for each in faults if isinstance(each, FieldFault) and _is_told(each))[:MAX_FAILED_FIELDS]


def _is_told(fault: FieldFault) -> bool:
    """Whether it has the form that is stored: an event with another would be refused whole."""
    field: object = fault.field  # whatever the annotation says
    return isinstance(field, str) and _FORM.fullmatch(field) is not None and fault.rule in _RULES


def _field(path: Path, declared: frozenset[str]) -> str:
    field = str(path[0])
    for part in path[1:]:
        is_told = isinstance(part, int) or (part in declared and INPUT_NAME.fullmatch(part) is not None)
        more = f"[{part}]" if isinstance(part, int) else f".{part if is_told else UNKNOWN}"
        if len(field) + len(more) > MAX_FIELD - len(_DEEPER):
            return field + _DEEPER
        field += more
        if not is_told:
            break
    return field


def _parameters(error: pydantic.ValidationError) -> tuple[FieldFault, ...]:
    """Of a step's parameters: those that its type declares. What is inside of one may be keys of anybody's."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    return tuple(dict.fromkeys(_parameter(fault["loc"], fault["type"]) for fault in faults))[:MAX_FAILED_FIELDS]


def _parameter(place: tuple[str | int, ...], kind: str) -> FieldFault:
    if kind == "extra_forbidden" and len(place) == 1:
        return FieldFault(f"with.{UNKNOWN}", "unknown")
    field = f"with.{place[0]}" if place else "with"
    return FieldFault(field, _PYDANTIC.get(kind, "type" if kind.endswith("_type") else "other"))


def _rule(code: str) -> Rule:
    rule = code.rpartition(".")[2]
    if rule in _RULES:
        return rule  # type: ignore[return-value]  # just looked up in the literal's values
    return _RENAMED.get(rule, "other")
