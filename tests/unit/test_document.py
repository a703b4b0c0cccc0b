"""YAML in, nodes or faults out."""

from __future__ import annotations

import pytest

from dsl.document import read
from dsl.nodes import Locator, MappingNode, ScalarNode, find, format_path
from dsl.settings import DslSettings

SETTINGS = DslSettings()


def codes(text: str | bytes, settings: DslSettings = SETTINGS) -> list[str]:
    return [fault.code for fault in read(text, settings).faults]


def value_of(text: str) -> object:
    document = read(text, SETTINGS)
    assert document.faults == ()
    assert document.root is not None
    return document.root.value()


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("true", True),
        ("False", False),
        ("on", "on"),
        ("yes", "yes"),
        ("~", None),
        ("null", None),
        ("", None),
        ("12", 12),
        ("-0", 0),
        ("+3", 3),
        ("010", "010"),
        ("0x1F", "0x1F"),
        ("0o17", "0o17"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("2026-11-20", "2026-11-20"),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("5.", 5.0),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
        ("'12'", "12"),
        ('"a\\nb"', "a\nb"),
        ("<<", "<<"),
    ],
)
def test_scalars_follow_yaml_1_2(written: str, value: object) -> None:
    found = value_of(f"a: {written}\n")
    assert found == {"a": value}
    assert isinstance(found, dict)
    assert type(found["a"]) is type(value)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"\xff\xfe", "file.not_utf8"),
        ("a: \x00", "file.forbidden_character"),
        ("a: \x1b[0m", "file.forbidden_character"),
        ("a: \ud800", "file.forbidden_character"),
        ("a: \u2028", "file.forbidden_character"),
        ('a: "\\0"', "file.forbidden_character"),
        ('a: "\\ud83d"', "yaml.syntax"),
        ("", "file.empty"),
        ("# nothing\n", "file.empty"),
        ("---\n...\n", "file.empty"),
        ("a: &x 1", "yaml.anchor"),
        ("a: !!str 1", "yaml.tag"),
        ("a: !local {b: 1}", "yaml.tag"),
        ("<<: {a: 1}", "yaml.merge_key"),
        ("a: 1\na: 2", "yaml.duplicate_key"),
        ("1: a", "yaml.key_not_text"),
        ("true: a", "yaml.key_not_text"),
        ("? [a]\n: 1", "yaml.key_not_text"),
        ("a: 1\n---\nb: 1", "yaml.several_documents"),
        ("%YAML 1.2\n---\na: 1", "yaml.directive"),
        ("a:\n\t- b", "yaml.tab"),
        ("a: 'x", "yaml.syntax"),
        ("a: b: c", "yaml.syntax"),
        ("a: 9223372036854775808", "yaml.number_too_large"),
        ("a: 1e999", "yaml.number_too_large"),
        ("a: .inf", "yaml.not_a_number"),
        ("a: .NaN", "yaml.not_a_number"),
    ],
)
def test_what_a_command_file_may_not_hold_is_a_fault(text: str | bytes, code: str) -> None:
    assert codes(text) == [code]


@pytest.mark.parametrize(
    "text",
    [
        "title: {{ inputs.title }}",
        "title: {{ inputs.title }} and more",
        "title: {{ inputs.title | default: 'none' }}",
        "title: {% if inputs.title %}x{% endif %}",
        "- {{ inputs.title }}",
        "{{ inputs.title }}",
    ],
)
def test_an_unquoted_template_is_told_to_be_quoted_once(text: str) -> None:
    faults = read(text, SETTINGS).faults
    assert [fault.code for fault in faults] == ["yaml.unquoted_template"]
    assert (faults[0].line, faults[0].column) == (1, text.index("{") + 1)


def test_reading_goes_on_behind_a_fault_as_if_it_had_been_meant() -> None:
    document = read("a: {{ x }}\nb: *y\nc: &z 3\n1: d\nb: 4\n", SETTINGS)
    assert [(fault.code, fault.path, fault.line) for fault in document.faults] == [
        ("yaml.unquoted_template", "a", 1),
        ("yaml.alias", "b", 2),
        ("yaml.anchor", "c", 3),
        ("yaml.key_not_text", "", 4),
        ("yaml.duplicate_key", "b", 5),
    ]
    assert document.root is not None
    assert document.root.value() == {"a": "{{ x }}", "b": "*y", "c": 3, "?": "d"}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("[" * 1_000_000, "yaml.too_deep"),
        ("{" * 1_000_000, "yaml.too_deep"),
        ("- " * 500_000, "yaml.too_deep"),
        ("? " * 500_000, "yaml.too_deep"),
        ("- a\n" * 200_000, "yaml.too_many_nodes"),
        ("a" * 1_048_577, "file.too_large"),
        (b"a" * 50_000_000, "file.too_large"),
        ("%TAG !a! b\n" * 90_000, "yaml.directive"),
    ],
)
def test_limits_end_the_reading(text: str | bytes, code: str) -> None:
    assert codes(text) == [code]


def test_billion_laughs_are_no_joke_because_aliases_stand_for_nothing() -> None:
    text = "a: &a [x, x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)}, *{chr(97 + n)}]\n" for n in range(20)
    )
    document = read(text, SETTINGS)
    assert {fault.code for fault in document.faults} == {"yaml.anchor", "yaml.alias"}
    assert document.root is not None
    assert len(str(document.root.value())) < 1000


def test_depth_and_size_are_settings() -> None:
    small = DslSettings(max_depth=4, max_nodes=100, max_file_bytes=1024)
    assert codes("a: [[[1]]]", small) == []
    assert codes("a: [[[[1]]]]", small) == ["yaml.too_deep"]
    assert codes("a: " + "x" * 1022, small) == ["file.too_large"]
    assert codes(f"a: [{'1,' * 97}1]", small) == []
    assert codes(f"a: [{'1,' * 98}1]", small) == ["yaml.too_many_nodes"]


def test_a_byte_order_mark_is_skipped() -> None:
    assert value_of("\ufeffa: 1") == {"a": 1}


def test_every_value_and_key_knows_its_place() -> None:
    root = read("a: 1\nsteps:\n  - id: x\n    with: {title: hello}\n", SETTINGS).root
    assert isinstance(root, MappingNode)
    title = find(root, ("steps", 0, "with", "title"))
    assert title.value() == "hello"
    assert (title.position.line, title.position.column) == (4, 19)
    step = find(root, ("steps", 0))
    assert isinstance(step, MappingNode)
    assert (step.entries["with"].key.position.line, step.entries["with"].key.position.column) == (4, 5)
    assert find(root, ("steps", 7, "with")) is root.get("steps")


@pytest.mark.parametrize(
    "text",
    [
        "a: x {{ Z }}",
        'a: "x \\"y\\" \\u00e9\\x41 {{ Z }}"',
        "a: 'it''s {{ Z }}'",
        "a: |\n    one\n      two\n    {{ Z }}\n",
        "a: |2\n    one\n   {{ Z }}\n",
        "a: >-\n    one\n    two\n\n    three {{ Z }} x\n    y\n",
        "a: one\n  two {{ Z }}",
        'a: "one\n   two \\\n   {{ Z }}"',
        "a: 'one\n\n   {{ Z }}'",
        "a:\r\n  - 'one\r\n    {{ Z }}'\r\n",
        "a: | # a comment\n  {{ Z }}\n",
    ],
)
def test_characters_of_a_text_are_found_in_the_file_however_it_was_written(text: str) -> None:
    root = read(text, SETTINGS).root
    assert root is not None
    node = find(root, ("a", 0))
    assert isinstance(node, ScalarNode)
    assert isinstance(node.scalar, str)
    position = Locator(node)(node.scalar.index("Z"))
    assert text.split("\n")[position.line - 1][position.column - 1] == "Z"


def test_paths_are_written_as_people_write_them() -> None:
    assert format_path(("steps", 0, "with", "title")) == "steps[0].with.title"
    assert format_path(("with", "a b", "$ref")) == "with['a b'].$ref"
    assert format_path(()) == ""
