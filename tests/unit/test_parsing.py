from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.parsing import parse_body
from api.problems import BodyMalformed, RequestInvalid


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"{", "line 1, column 2"),
        (b"\xff", "UTF-8"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "Infinity"),
        (b'{"a": 1, "a": 2}', "'a' is given twice"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not JSON"),
        (b'{"a": "\x00"}', "not JSON"),
    ],
)
def test_what_is_not_json_is_malformed(raw: bytes, said: str) -> None:
    with pytest.raises(BodyMalformed, match=said):
        parse_body(raw)


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (rb'{"inputs": {"body": "a\u0000b"}}', "inputs.body"),
        (rb'{"inputs": {"list": ["ok", "\ud800"]}}', "inputs.list[1]"),
        (rb'{"a\u0000": 1}', ""),
        (b'{"a": 1e400}', "a"),
        (b'{"a": 9223372036854775808}', "a"),
    ],
)
def test_what_cannot_be_stored_is_named(raw: bytes, path: str) -> None:
    with pytest.raises(RequestInvalid) as refused:
        parse_body(raw)

    assert [fault.path for fault in refused.value.faults] == [path]


def test_pairs_of_surrogates_are_characters() -> None:
    assert parse_body(rb'"\ud83d\ude42"') == "🙂"


@given(st.binary(max_size=200))
def test_any_bytes_are_json_or_refused(raw: bytes) -> None:
    try:
        body = parse_body(raw)
    except (BodyMalformed, RequestInvalid):
        return
    json.dumps(body, allow_nan=False).encode()
