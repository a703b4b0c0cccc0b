from __future__ import annotations

import math

import pytest

from telemetry.measures import BUILT_IN


@pytest.mark.req("C-14", "C-08")
def test_numbers_and_words_of_registered_keys_pass() -> None:
    measures = {"items": 3, "rows": 1.5, "branch": "then", "channel": "inbox"}

    assert BUILT_IN.allowed(measures) == measures


@pytest.mark.req("C-14", "C-08")
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("items", "a text"),
        ("items", True),
        ("items", None),
        ("items", [1]),
        ("items", 1 << 63),
        ("items", math.nan),
        ("items", math.inf),
        ("branch", "a text"),
        ("branch", 1),
        ("channel", ""),
        ("title", "a text"),
        ("title", 1),
    ],
)
def test_everything_else_is_left_out(key: str, value: object) -> None:
    assert BUILT_IN.allowed({key: value, "rows": 1}) == {"rows": 1}
