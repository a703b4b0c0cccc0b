"""What a submission gives a command, checked and coerced."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from dsl.check import load
from dsl.command import Command
from dsl.errors import InputsInvalid
from dsl.inputs import check_inputs, coerce
from dsl.settings import DslSettings
from dsl.steps import REGISTRY

DECLARED = """
  body: {type: string, minLength: 1, maxLength: 10, required: true}
  priority: {enum: [low, medium, high], default: medium}
  count: {type: integer, minimum: 1, maximum: 5}
  ratio: {type: number}
  urgent: {type: boolean}
  tags: {type: array, items: {type: string}, default: []}
  extra: {type: object, properties: {due: {type: string, format: date}}, required: [due], additionalProperties: false}
  either: {type: [integer, "null"]}
  code: {pattern: "^[A-Z]+$"}
  choice: {enum: [1, 2, auto]}
"""


def make(declared: str = DECLARED) -> Command:
    text = f"slug: a\ninputs:{declared}\nsteps: [{{id: s, type: respond, with: {{value: 1}}}}]\n"
    return load(text, REGISTRY, DslSettings(), origin="test")


COMMAND = make()


def faults_of(given: dict[str, Any], command: Command = COMMAND) -> list[tuple[str, str]]:
    with pytest.raises(InputsInvalid) as caught:
        check_inputs(command, given)
    return [(fault.code, fault.path) for fault in caught.value.faults]


def test_defaults_are_filled_in_and_what_was_given_is_not_changed() -> None:
    given = {"body": "x", "tags": ["a"]}
    before = copy.deepcopy(given)
    assert check_inputs(COMMAND, given) == {"body": "x", "priority": "medium", "tags": ["a"]}
    assert given == before
    first, second = check_inputs(COMMAND, {"body": "x"}), check_inputs(COMMAND, {"body": "y"})
    first["tags"].append("mine")
    assert second["tags"] == []


@pytest.mark.parametrize(
    ("given", "code", "path"),
    [
        ({}, "inputs.required", "inputs.body"),
        ({"body": 1}, "inputs.type", "inputs.body"),
        ({"body": ""}, "inputs.min_length", "inputs.body"),
        ({"body": "x" * 11}, "inputs.max_length", "inputs.body"),
        ({"body": "x", "priority": "hihg"}, "inputs.enum", "inputs.priority"),
        ({"body": "x", "count": 0}, "inputs.minimum", "inputs.count"),
        ({"body": "x", "count": True}, "inputs.type", "inputs.count"),
        ({"body": "x", "tags": ["a", 2]}, "inputs.type", "inputs.tags[1]"),
        ({"body": "x", "extra": {}}, "inputs.required", "inputs.extra.due"),
        ({"body": "x", "extra": {"due": "soon"}}, "inputs.format", "inputs.extra.due"),
        ({"body": "x", "extra": {"due": "2026-01-01", "z": 1}}, "inputs.unknown", "inputs.extra"),
        ({"body": "x", "code": "abc"}, "inputs.pattern", "inputs.code"),
        ({"body": "x", "bdoy": 1}, "inputs.unknown", "inputs.bdoy"),
        ({"body": "a\0b"}, "inputs.text", "inputs.body"),
        ({"body": "x", "tags": ["\ud800"]}, "inputs.text", "inputs.tags[0]"),
        ({"body": "x", "extra": {"\0": 1}}, "inputs.text", "inputs.extra"),
        ({"body": "x", "count": 2**63}, "inputs.number", "inputs.count"),
        ({"body": "x", "ratio": float("nan")}, "inputs.number", "inputs.ratio"),
        ({"body": "x", "ratio": float("inf")}, "inputs.number", "inputs.ratio"),
        ({"body": object()}, "inputs.type", "inputs.body"),
        ({"body": b"x"}, "inputs.type", "inputs.body"),
    ],
)
def test_a_fault_names_the_field_and_the_rule(given: dict[str, Any], code: str, path: str) -> None:
    assert faults_of(given) == [(code, path)]


def test_all_faults_are_told_at_once() -> None:
    assert sorted(faults_of({"count": 9, "bdoy": "x", "priority": "x"})) == [
        ("inputs.enum", "inputs.priority"),
        ("inputs.maximum", "inputs.count"),
        ("inputs.required", "inputs.body"),
        ("inputs.unknown", "inputs.bdoy"),
    ]


def test_a_fault_says_what_was_expected_and_probably_meant() -> None:
    with pytest.raises(InputsInvalid) as caught:
        check_inputs(COMMAND, {"body": 7, "priority": "hihg", "bdoy": 1})
    unknown, body, priority = sorted(caught.value.faults, key=lambda fault: fault.path)
    assert (unknown.path, unknown.nearest) == ("inputs.bdoy", "body")
    assert (body.expected, body.found) == ("a text", "7")
    assert (priority.nearest, priority.expected) == ("high", "one of low, medium, high")


def test_a_value_that_is_far_too_long_is_not_repeated() -> None:
    with pytest.raises(InputsInvalid) as caught:
        check_inputs(COMMAND, {"body": "x" * 100_000})
    fault = caught.value.faults[0]
    assert len(fault.message) + len(fault.found or "") < 200


def test_endless_faults_and_endless_depth_end() -> None:
    assert len(faults_of({"body": "x", "tags": [1] * 100_000})) == 100
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    assert [code for code, _ in faults_of({"body": "x", "tags": deep})] == ["inputs.too_deep"]
    assert len(faults_of({"body": "x"} | {f"k{n}": 1 for n in range(100_000)})) == 100


def test_without_declared_inputs_anything_that_can_be_kept_is_taken() -> None:
    command = load("slug: a\nsteps: [{id: s, type: respond, with: {value: 1}}]", REGISTRY, DslSettings(), origin="t")
    assert check_inputs(command, {"anything": [1, {"a": None}]}) == {"anything": [1, {"a": None}]}
    assert faults_of({"a": "\0"}, command) == [("inputs.text", "inputs.a")]


def test_a_command_that_declares_no_input_takes_none() -> None:
    assert check_inputs(make(" {}"), {}) == {}
    assert faults_of({"a": 1}, make(" {}")) == [("inputs.unknown", "inputs.a")]


def test_a_pattern_that_makes_others_hang_does_not() -> None:
    command = make(' {a: {type: string, pattern: "^(a+)+$"}}')
    assert faults_of({"a": "a" * 50_000 + "b"}, command) == [("inputs.pattern", "inputs.a")]


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("buy milk", "body", "buy milk"),
        ("12", "body", "12"),
        ("12", "count", 12),
        ("-3", "count", -3),
        ("1.5", "count", "1.5"),
        ("many", "count", "many"),
        ("1.5", "ratio", 1.5),
        ("2", "ratio", 2),
        ("nan", "ratio", "nan"),
        ("true", "urgent", True),
        ("False", "urgent", False),
        ("yes", "urgent", "yes"),
        ('["a", "b"]', "tags", ["a", "b"]),
        ("a,b", "tags", "a,b"),
        ("[NaN]", "tags", "[NaN]"),
        ("[1e999]", "tags", "[1e999]"),
        (" 4\n", "count", 4),
        ("0\x1f", "count", 0),
        ('{"due": "2026-01-01"}', "extra", {"due": "2026-01-01"}),
        ("[1]", "extra", "[1]"),
        ("[" * 100_000, "extra", "[" * 100_000),
        ("7", "either", 7),
        ("null", "either", None),
        ("2", "choice", 2),
        ("auto", "choice", "auto"),
        ("3", "choice", "3"),
        ("low", "priority", "low"),
        ("9" * 30, "count", "9" * 30),
        ("1", "unknown", "1"),
    ],
)
def test_texts_become_what_the_command_declares_or_stay_text(text: str, name: str, value: object) -> None:
    coerced = coerce(COMMAND.inputs, {name: text})
    assert coerced == {name: value}
    assert type(coerced[name]) is type(value)


def test_coercing_by_a_schema_without_properties_leaves_texts() -> None:
    assert coerce({"type": "object"}, {"a": "1"}) == {"a": "1"}
