"""Cells of CSV: harmless in a spreadsheet, and the same again for whoever reads them."""

from __future__ import annotations

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.export.forms import FORMS, GUARDED, cell


def read(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode(), newline="")))


@pytest.mark.req("S-07")
@pytest.mark.parametrize("sign", GUARDED)
def test_no_text_is_a_formula(sign: str) -> None:
    ((found,),) = read(FORMS["csv"].body([{"text": f"{sign}cmd|' /C calc'!A0"}], True))

    assert found == f"'{sign}cmd|' /C calc'!A0"


@pytest.mark.req("S-07")
def test_numbers_stay_numbers() -> None:
    values = {"a": -5, "b": -1.5, "c": 0.25, "d": 10**15, "e": None, "f": True, "g": {"x": "=1"}}

    (found,) = read(FORMS["csv"].body([values], True))

    assert found == ["-5", "-1.5", "0.25", "1000000000000000", "", "true", '{"x":"=1"}']


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).map(lambda text: {"t": text}), min_size=1)
)
def test_whoever_takes_away_the_first_apostrophe_has_every_text_again(records: list[dict[str, str]]) -> None:
    rows = read(FORMS["csv"].body(records, True))

    assert [row[0].removeprefix("'") for row in rows] == [record["t"] for record in records]
    assert not any(str(cell(record["t"])).startswith(GUARDED[:-1]) for record in records)


@given(st.lists(st.integers(1, 3), max_size=4))
def test_an_array_is_one_however_many_pages_it_has(pages: list[int]) -> None:
    form, data, number = FORMS["json"], b"", 0
    for rows in pages:
        data += form.body([{"n": number + index} for index in range(rows)], number == 0)
        number += rows
    text = form.head(("n",)) + data + form.tail(number > 0)

    assert json.loads(text) == [{"n": each} for each in range(number)]
