"""Whatever is in a file, the notes reader returns a note that can be stored, or a fault."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from dsl.errors import Fault, RecordInvalid
from dsl.notes import Note, parse_note
from dsl.records import is_same, json_text, merge_patch

YAML_LIKE = st.text(alphabet="ab:- \n[]{}'\"#&*!|>?%@`,~.0123456789\t\\é\0\u2028", max_size=200)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def check(data: bytes) -> None:
    result = parse_note(data, "folder/note.md")
    if isinstance(result, Fault):
        assert result.path == "folder/note.md"
        assert result.message
        return
    assert isinstance(result, Note)
    assert result.title
    for text in (result.title, result.content, *result.tags):
        assert "\0" not in text
        text.encode()
    json.loads(json_text("metadata", result.metadata))


@given(st.binary(max_size=500))
def test_arbitrary_bytes_are_a_note_or_a_fault(data: bytes) -> None:
    check(data)


@given(YAML_LIKE, st.text(max_size=50))
def test_arbitrary_front_matter_is_a_note_or_a_fault(front: str, body: str) -> None:
    check(f"---\n{front}\n---\n{body}".encode(errors="surrogatepass"))


@given(st.sampled_from(["title", "type", "tags", "created", "updated", "date"]), YAML_LIKE)
def test_arbitrary_values_of_known_keys_are_a_note_or_a_fault(key: str, value: str) -> None:
    check(f"---\n{key}: {value}\n---\n".encode())


@given(JSON, JSON)
def test_a_merge_patch_twice_is_a_merge_patch_once(target: object, patch: object) -> None:
    once = merge_patch(target, patch)
    assert is_same(merge_patch(once, patch), once)


@given(JSON)
def test_json_text_is_refused_exactly_when_it_holds_a_nul(value: object) -> None:
    holds_nul = "\\u0000" in json.dumps(value).replace("\\\\", "")
    try:
        text = json_text("value", value)
    except RecordInvalid:
        assert holds_nul
    else:
        assert not holds_nul
        assert is_same(json.loads(text), value)
