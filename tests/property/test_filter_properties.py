"""Filters as texts: whatever is read is written, whatever is written is read."""

from __future__ import annotations

import pytest
from fixtures.filtering import FILTERS
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry.errors import FilterInvalid
from telemetry.filters.fields import BY_NAME
from telemetry.filters.parsing import MAX_TEXT, parse
from telemetry.filters.printing import show
from telemetry.filters.syntax import Filter

MANY = settings(max_examples=150, deadline=None)

#: What texts of filters are made of, in no order.
PIECES = st.sampled_from([*BY_NAME, *':-*,"\\<>=. \n', "..", ">=", "failed", "2s", "dsl", "5"]) | st.text(max_size=3)
NEARLY_FILTERS = st.lists(PIECES, max_size=25).map("".join)


@MANY
@given(FILTERS)
def test_a_filter_that_is_written_is_read_as_the_same(asked: Filter) -> None:
    text = show(asked)
    if len(text) <= MAX_TEXT:
        assert parse(text) == asked
        assert show(parse(text)) == text


@MANY
@given(NEARLY_FILTERS | st.text(max_size=50))
def test_any_text_is_a_filter_or_refused_with_a_place_in_it(text: str) -> None:
    refused = refusal_of(text)
    if refused is None:
        asked = parse(text)
        assert parse(show(asked)) == asked
        return
    assert 0 <= refused.offset <= len(text)
    before = text[: refused.offset].split("\n")
    assert (refused.line, refused.column) == (len(before), len(before[-1]) + 1)
    assert refused.expected


def refusal_of(text: str) -> FilterInvalid | None:
    try:
        parse(text)
    except FilterInvalid as refused:
        return refused
    return None


@pytest.mark.parametrize(
    "text", ['command:"' + "\\" * 1900, "a" * 2000, "-" * 2000, "command:" + "x*," * 600, '"' * 2000]
)
def test_no_text_takes_long(text: str) -> None:
    with pytest.raises(FilterInvalid):
        parse(text)
