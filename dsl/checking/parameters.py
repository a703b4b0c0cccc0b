"""What can be said of a step's parameters before it runs: keys, and values that hold no template."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from pydantic import BaseModel, ValidationError

from dsl.checking.fields import cannot_be, found_in
from dsl.command import Position
from dsl.faults import Faults, listed, shown
from dsl.nodes import ListNode, MappingNode, Node, Path

_QUOTED = re.compile(r"'([^']*)'")
#: How pydantic begins to say what a value should be, where it is not put into words below.
_SHOULD = re.compile(r"^.*? should (?:be |have |match )?")
#: What should be there, by pydantic's name of the error.
_WORDS = {
    **dict.fromkeys(("string_type", "string_sub_type"), "a text"),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "a whole number"),
    **dict.fromkeys(("float_type", "float_parsing", "finite_number"), "a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    **dict.fromkeys(("list_type", "tuple_type", "set_type"), "a list"),
    **dict.fromkeys(("dict_type", "model_type", "mapping_type"), "a mapping"),
    **dict.fromkeys(("uuid_type", "uuid_parsing", "uuid_version"), "a UUID"),
    "none_required": "nothing",
    "string_pattern_mismatch": "a text that matches {pattern}",
    "string_too_short": "at least {min_length} characters",
    "string_too_long": "at most {max_length} characters",
    "too_short": "at least {min_length}",
    "too_long": "at most {max_length}",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
}


@lru_cache(maxsize=1024)
def keys_of(model: type[BaseModel]) -> Mapping[str, bool]:
    """The keys a model takes in a file, and whether each is required."""
    return {field.alias or name: field.is_required() for name, field in model.model_fields.items()}


def default_of(model: type[BaseModel], key: str) -> Any:  # noqa: ANN401 - any JSON value
    """What a key is when it is not given."""
    return next((field.default for name, field in model.model_fields.items() if key in {name, field.alias}), None)


def check_values(
    model: type[BaseModel], nodes: Mapping[str, Node], templates: Collection[Path], path: Path, faults: Faults
) -> BaseModel | None:
    """Note every value that the model refuses, where templates leave no doubt.

    A template stands in for a value nobody knows yet, so what the model says of it, or of anything that depends on it,
    is left to the run. All keys of `nodes` are keys of the model.

    Args:
        model: The step type's.
        nodes: Values by key.
        templates: Places of templates, below `nodes`.
        path: Where `nodes` are in the document.
        faults: Where what is wrong goes.

    Returns:
        What the model made of the values; none if it refused any.
    """
    values = {name: node.value() for name, node in nodes.items()}
    try:
        return model.model_validate(values)
    except ValidationError as error:
        for detail in _merged(error.errors(include_url=False), nodes):
            _note(detail, model, nodes, templates, path, faults)
    except Exception as error:  # noqa: BLE001 - a user's step type must not keep other files from being loaded
        if not templates and nodes:
            message = f"the step type could not check its parameters: {type(error).__name__}"
            faults.add("command.wrong_parameter", message, path, next(iter(nodes.values())).position)
    return None


def _merged(details: Sequence[Any], nodes: Mapping[str, Node]) -> Iterator[Any]:
    """One error for each place. Pydantic has one for every alternative of a union, whichever was meant."""
    by_place: dict[Path, list[Any]] = {}
    for detail in details:
        by_place.setdefault(_place(nodes, detail["loc"])[0] or detail["loc"], []).append(detail)
    inner = {place[:length] for place in by_place for length in range(1, len(place))}
    for place, found in by_place.items():
        types = [detail for detail in found if detail["type"].endswith("_type")]
        if place in inner and len(types) == len(found):
            continue  # another alternative fits this far, and is told of further inside
        if len(types) < 2:  # noqa: PLR2004 - alternatives
            yield from found
            continue
        yield {**types[0], "expected": " or ".join(dict.fromkeys(map(_expected, types)))}
        yield from (detail for detail in found if detail not in types)


def _note(  # noqa: PLR0913 - what there is to know of an error
    detail: Any,  # noqa: ANN401 - pydantic_core.ErrorDetails
    model: type[BaseModel],
    nodes: Mapping[str, Node],
    templates: Collection[Path],
    path: Path,
    faults: Faults,
) -> None:
    kind, location = detail["type"], detail["loc"]
    if kind == "missing" and len(location) == 1:
        return  # noted already, with the keys of blocks and conditions
    place, whole = _place(nodes, location[:-1] if kind == "missing" else location)
    if not place:
        if not templates and nodes:
            position = next(iter(nodes.values())).position
            message = "the parameters do not go together"
            faults.add("command.wrong_parameter", message, path, position, expected=_expected(detail))
        return
    if not whole and _any_within(templates, place[:1]):
        return
    node = _at(nodes, place)
    if _any_within(templates, place) and not _is_certain(kind, place, templates):
        return
    if kind == "extra_forbidden":
        keys = tuple(_known_keys(model.model_json_schema(), place[:-1]))
        key = str(place[-1])
        message = f"`{shown(key)}` is not a key here"
        position = _key_position(nodes, place)
        faults.add(
            "command.unknown_key", message, (*path, *place), position, found=key, expected=listed(keys), known=keys
        )
    elif kind == "missing":
        name = location[-1]
        faults.add("command.missing_key", f"`{name}` is missing", (*path, *place), node.position, expected=str(name))
    else:
        name = next(str(part) for part in reversed(place) if isinstance(part, str))
        known = _QUOTED.findall(detail["ctx"]["expected"]) if kind == "literal_error" else ()
        name = name if isinstance(place[-1], str) else f"{name}[]"
        is_whole = kind == "value_error" and isinstance(node, MappingNode)
        faults.add(
            "command.wrong_parameter",
            f"the keys of `{name}` do not go together" if is_whole else cannot_be(name, node),
            (*path, *place),
            node.position,
            found=found_in(node),
            expected=listed(known) if known else _expected(detail),
            known=known,
        )


def _expected(detail: Any) -> str:  # noqa: ANN401 - pydantic_core.ErrorDetails
    """What should be there, in the words of command files."""
    if "expected" in detail:
        return str(detail["expected"])
    words = _WORDS.get(detail["type"])
    if words is not None and detail.get("ctx", {}).get("min_length") == 1:
        return "one that is not empty"
    if words is not None:
        return words.format(**detail.get("ctx", {}))
    return _SHOULD.sub("", detail["msg"].removeprefix("Value error, "))


def _place(nodes: Mapping[str, Node], location: tuple[str | int, ...]) -> tuple[Path, bool]:
    """As much of pydantic's location as is in the file (it names branches of unions too), and whether that is all."""
    place: list[str | int] = []
    node: Node | None = None
    whole = True
    for part in location:
        below = nodes.get(str(part)) if not place else _child(node, part)
        if below is None:
            whole = False
            continue
        node = below
        place.append(part)
    return tuple(place), whole


def _child(node: Node | None, part: str | int) -> Node | None:
    if isinstance(node, MappingNode):
        return node.get(str(part))
    if isinstance(node, ListNode) and isinstance(part, int) and part < len(node.items):
        return node.items[part]
    return None


def _at(nodes: Mapping[str, Node], place: Path) -> Node:
    node = nodes[str(place[0])]
    for part in place[1:]:
        node = _child(node, part) or node
    return node


def _key_position(nodes: Mapping[str, Node], place: Path) -> Position:
    """Where the last key of a place stands."""
    holder = _at(nodes, place[:-1])
    return holder.entries[str(place[-1])].key.position if isinstance(holder, MappingNode) else holder.position


def _any_within(templates: Collection[Path], place: Path) -> bool:
    return any(template[: len(place)] == place for template in templates)


def _is_certain(kind: str, place: Path, templates: Collection[Path]) -> bool:
    """Whether an error stands whatever the templates at or below its place evaluate to."""
    if kind in {"missing", "extra_forbidden"}:
        return True
    # A mapping is no list and no word, whatever it holds; and a template is one item, whatever it becomes.
    return (kind.endswith("_type") or kind in {"literal_error", "too_long", "too_short"}) and place not in templates


def _known_keys(schema: Mapping[str, Any], place: Path) -> Iterator[str]:
    """Keys that a model's JSON Schema has at a place."""
    definitions = schema.get("$defs", {})
    branches = [schema]
    for part in place:
        branches = [inner for branch in branches for inner in _below(_resolved(branch, definitions), part)]
    for branch in branches:
        for option in _resolved(branch, definitions):
            yield from option.get("properties", {})


def _resolved(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """A schema behind its reference, and each of its alternatives."""
    if "$ref" in schema:
        schema = definitions.get(str(schema["$ref"]).rpartition("/")[2], {})
    options = [inner for option in schema.get("anyOf", ()) for inner in _resolved(option, definitions)]
    return [schema, *options]


def _below(options: list[Mapping[str, Any]], part: str | int) -> Iterator[Mapping[str, Any]]:
    for option in options:
        named = option.get("properties", {}).get(part, option.get("additionalProperties"))
        inner = option.get("items") if isinstance(part, int) else named
        if isinstance(inner, Mapping):
            yield inner
