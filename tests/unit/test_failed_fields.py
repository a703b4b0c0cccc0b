"""Which inputs were wrong, as telemetry may know it: names that were declared, rules of a closed set, never a value."""

from __future__ import annotations

import json
import random
import string
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsl.check import load
from dsl.errors import InputsInvalid, StepFailed
from dsl.failed_fields import failed_fields_of
from dsl.inputs import check_inputs
from dsl.settings import DslSettings
from dsl.steps import REGISTRY
from telemetry.events import MAX_FAILED_FIELDS, MAX_FIELD, FieldFault, Rule

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["title"],
    "additionalProperties": False,
    "$defs": {"person": {"type": "object", "properties": {"email": {"type": "string", "pattern": "@"}}}},
    "properties": {
        "title": {"type": "string", "minLength": 2, "maxLength": 10},
        "priority": {"enum": ["low", "high"]},
        "count": {"type": "integer", "minimum": 1, "maximum": 9, "multipleOf": 2},
        "tags": {"type": "array", "maxItems": 3, "uniqueItems": True, "items": {"type": "string"}},
        "who": {"$ref": "#/$defs/person"},
        "open": {"type": "object", "additionalProperties": {"type": "integer"}},
        "closed": {"type": "object", "properties": {"a": {"const": 1}}, "additionalProperties": False},
        "by-pattern": {"type": "object", "patternProperties": {"^x": {"type": "integer"}}},
        "named": {"type": "object", "propertyNames": {"maxLength": 3}},
        "either": {"anyOf": [{"type": "integer"}, {"type": "object", "required": ["id"]}]},
        "at": {"type": "string", "format": "date"},
        "odd name": {"type": "integer"},
    },
}


def refused(inputs: dict[str, Any], schema: dict[str, Any] | None = None) -> InputsInvalid:
    text = json.dumps(
        {"slug": "a", "inputs": schema or SCHEMA, "steps": [{"id": "x", "type": "transform", "with": {"template": 1}}]}
    )
    with pytest.raises(InputsInvalid) as caught:
        check_inputs(load(text, REGISTRY, DslSettings(), origin="test"), inputs)
    return caught.value


def told(inputs: dict[str, Any]) -> list[tuple[str, str]]:
    return [(each.field, each.rule) for each in refused(inputs).failed_fields]


@pytest.mark.req("C-06")
@pytest.mark.parametrize(
    ("inputs", "field", "rule"),
    [
        ({}, "inputs.title", "required"),
        ({"title": 3}, "inputs.title", "type"),
        ({"title": "x"}, "inputs.title", "min_length"),
        ({"title": "x" * 11}, "inputs.title", "max_length"),
        ({"title": "a\0b"}, "inputs.title", "text"),
        ({"priority": "urgent"}, "inputs.priority", "enum"),
        ({"count": 0}, "inputs.count", "minimum"),
        ({"count": 10}, "inputs.count", "maximum"),
        ({"count": 3}, "inputs.count", "multiple_of"),
        ({"count": 1 << 70}, "inputs.count", "number"),
        ({"tags": ["a", "b", "c", "d"]}, "inputs.tags", "max_items"),
        ({"tags": ["a", "a"]}, "inputs.tags", "unique_items"),
        ({"tags": ["a", 2]}, "inputs.tags[1]", "type"),
        ({"who": {"email": "x"}}, "inputs.who.email", "pattern"),
        ({"closed": {"a": 2}}, "inputs.closed.a", "const"),
        ({"at": "soon"}, "inputs.at", "format"),
        ({"either": "x"}, "inputs.either", "any_of"),
        # what nobody declared
        ({"secret": 1}, "inputs.<unknown>", "unknown"),
        ({"open": {"secret": "x"}}, "inputs.open.<unknown>", "type"),
        ({"open": {"secret": {"deeper": "\0"}}}, "inputs.open.<unknown>", "text"),
        ({"closed": {"secret": 1}}, "inputs.closed.<unknown>", "unknown"),
        ({"by-pattern": {"xsecret": "x"}}, "inputs.by-pattern.<unknown>", "type"),
        ({"named": {"secret": 1}}, "inputs.named", "property_names"),
        ({"either": {"secret": 1}}, "inputs.either", "any_of"),
        ({"odd name": "x"}, "inputs.<unknown>", "type"),
        ({"tags": [{"a": {"secret": "\0"}}]}, "inputs.tags[0].a.<unknown>", "text"),
    ],
)
def test_a_field_is_told_by_names_that_were_declared_and_its_rule(
    inputs: dict[str, Any], field: str, rule: str
) -> None:
    given = {"title": "fine", **inputs} if inputs else {}
    assert told(given) == [(field, rule)]
    assert "secret" not in str(told(given))


@pytest.mark.req("C-06")
def test_fields_are_few_and_short_and_each_is_told_once() -> None:
    many = refused({"title": "fine", "tags": list(range(1000))})
    assert len(many.faults) == 100
    assert len(many.failed_fields) == MAX_FAILED_FIELDS
    assert told({"title": "fine", **{f"secret {number}": 1 for number in range(50)}}) == [
        ("inputs.<unknown>", "unknown")
    ]
    deep: Any = "\0"
    for _ in range(20):
        deep = {"email": [deep]}
    [only] = refused({"title": "fine", "open": {"a": 1}, "who": deep}).failed_fields
    assert only.field.startswith("inputs.who.email[0].email[0].")
    assert only.field.endswith(".<deeper>")
    assert len(only.field) <= MAX_FIELD


@pytest.mark.req("C-06", "C-14")
def test_of_five_hundred_secrets_as_keys_and_values_none_is_told() -> None:
    chosen = random.Random(1)
    secrets = ["zq" + "".join(chosen.choices(string.ascii_lowercase + string.digits, k=22)) for _ in range(500)]
    words = iter(secrets)
    names = list(SCHEMA["properties"])
    seen: list[FieldFault] = []
    while (word := next(words, None)) is not None:
        place = chosen.choice([None, *names])
        value: Any = chosen.choice([word, {word: word}, [word], {word: {word: [word]}}, {"a": word, word: "\0"}])
        inputs = {word: value} if place is None else {place: value, **({word: 1} if chosen.random() < 0.5 else {})}
        seen += refused(inputs).failed_fields
    assert len(seen) >= len(secrets)
    assert not [secret for secret in secrets if any(secret in each.field for each in seen)]
    assert {each.rule for each in seen} <= set(get_args(Rule))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)


@pytest.mark.req("C-06", "C-14")
@given(inputs=st.dictionaries(st.sampled_from(list(SCHEMA["properties"])) | st.text(max_size=8), JSON, max_size=5))
def test_whatever_is_given_only_declared_names_are_told(inputs: dict[str, Any]) -> None:
    text = json.dumps(
        {"slug": "a", "inputs": SCHEMA, "steps": [{"id": "x", "type": "transform", "with": {"template": 1}}]}
    )
    try:
        check_inputs(load(text, REGISTRY, DslSettings(), origin="test"), inputs)
    except InputsInvalid as invalid:
        fields = invalid.failed_fields
    else:
        return
    names = {*SCHEMA["properties"], "email", "a", "id", "inputs", "<unknown>", "<deeper>"}
    assert fields
    for each in fields:
        assert {part.partition("[")[0] for part in each.field.split(".")} <= names


def test_a_schema_that_declares_nothing_tells_nothing() -> None:
    [only] = refused({"secret": "\0"}, {"type": "object"}).failed_fields
    assert (only.field, only.rule) == ("inputs.<unknown>", "text")


def test_names_in_defaults_and_examples_are_not_declared() -> None:
    open_one = {"type": "object", "default": {"properties": {"a": 1}}, "examples": [{"required": ["b"]}]}
    [only] = refused({"o": {"a": "\0"}}, {"type": "object", "properties": {"o": open_one}}).failed_fields
    assert only.field == "inputs.o.<unknown>"


@pytest.mark.parametrize(
    "nonsense",
    [
        *(None, 3, "secret", ["secret"], ("secret", 3), (None,)),
        (FieldFault("what somebody wrote", "type"),),
        (FieldFault("x" * (MAX_FIELD + 1), "type"), FieldFault("", "type")),
        (FieldFault("a", "a rule of one's own"),),  # type: ignore[arg-type]  # what a step type may do
        (FieldFault(3, "type"),),  # type: ignore[arg-type]  # likewise
    ],
    ids=str,
)
def test_what_a_step_type_says_in_another_form_is_not_told(nonsense: Any) -> None:  # noqa: ANN401 - any value
    assert failed_fields_of(StepFailed("no", failed_fields=nonsense)) == ()
    assert failed_fields_of(ValueError("no")) == ()
