"""What the columns of records can hold."""

from __future__ import annotations

import json

import pytest

from dsl.errors import RecordInvalid
from dsl.records import (
    MAX_JSON_DEPTH,
    MAX_TAGS,
    checked_name,
    checked_tags,
    checked_text,
    is_same,
    json_text,
    merge_patch,
)


@pytest.mark.parametrize("name", ["a", "0", "todo", "a.b_c-d", "x" * 63])
def test_a_plain_name_is_one(name: str) -> None:
    assert checked_name("type", name) == name


@pytest.mark.parametrize("name", ["", "Capital", "-dash", "a b", "x" * 64, "a\0", "a\n", "é"])
def test_any_other_name_is_refused(name: str) -> None:
    with pytest.raises(RecordInvalid):
        checked_name("type", name)


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "x" * 11])
def test_text_that_a_column_cannot_hold_is_refused(text: str) -> None:
    with pytest.raises(RecordInvalid):
        checked_text("title", text, 10)


def test_tags_are_trimmed_and_kept_once_in_their_order() -> None:
    assert checked_tags([" b", "a ", "b"]) == ["b", "a"]


@pytest.mark.parametrize("tags", [[" "], ["a\0"], ["x" * 101], [str(number) for number in range(MAX_TAGS + 1)]])
def test_tags_that_cannot_be_kept_are_refused(tags: list[str]) -> None:
    with pytest.raises(RecordInvalid):
        checked_tags(tags)


@pytest.mark.parametrize(
    "value", [["\0"], {"\0": 1}, {"k": ["\\\0"]}, float("nan"), {"k": "\ud800"}, object(), "x" * 300_000]
)
def test_json_that_a_column_cannot_hold_is_refused(value: object) -> None:
    with pytest.raises(RecordInvalid):
        json_text("state", value)


@pytest.mark.parametrize("shape", ['{"a":', "["])
def test_json_is_kept_up_to_a_depth_that_whoever_reads_it_can_take(shape: str) -> None:
    def nested(levels: int) -> object:
        return json.loads(shape * levels + "1" + ("}" if shape[0] == "{" else "]") * levels)

    assert json_text("state", nested(MAX_JSON_DEPTH))
    for levels in (MAX_JSON_DEPTH + 1, 900):
        with pytest.raises(RecordInvalid, match="nested deeper than 128 levels"):
            json_text("state", nested(levels))


def test_an_escape_that_is_only_written_is_no_nul() -> None:
    assert json_text("state", "\\u0000") == '"\\\\u0000"'


@pytest.mark.parametrize(
    ("target", "patch", "merged"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
        (["a"], {"a": 1}, {"a": 1}),
    ],
)
def test_a_merge_patch_does_what_rfc_7396_shows(target: object, patch: object, merged: object) -> None:
    assert merge_patch(target, patch) == merged


def test_true_is_not_the_same_as_one() -> None:
    assert not is_same({"a": True}, {"a": 1})
    assert is_same({"a": 1, "b": [2]}, {"b": [2], "a": 1})
