"""Where an onlooker goes on: nothing is left out, nothing is told twice, and what can never come is not waited for."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.executions import StepRecord
from workers.progress import MAX_RANGES, PAGE, Position, PositionInvalid

STEP = StepRecord(
    path="a",
    step_type="transform",
    outcome="succeeded",
    attempt=1,
    step_try=1,
    ordinal=1,
    occurred_at=datetime(2026, 1, 1, tzinfo=UTC),
    duration_us=1,
    mutations_count=0,
    fragment_id=None,
    output=None,
    error=None,
    measures=None,
)


def step(ordinal: int, attempt: int = 1) -> StepRecord:
    return replace(STEP, ordinal=ordinal, attempt=attempt)


def read(ledger: list[StepRecord], position: Position) -> list[StepRecord]:
    """As the statement `news` does."""
    between = [row for row in ledger if row.ordinal in position.open]
    after = sorted((row for row in ledger if row.ordinal > position.last), key=lambda row: row.ordinal)
    return sorted([*between, *after[:PAGE]], key=lambda row: row.ordinal)


@given(st.permutations(range(1, 9)), st.data())
def test_wherever_it_is_cut_off_every_step_is_told_once(ended: list[int], data: st.DataObject) -> None:
    ledger: list[StepRecord] = []
    told: list[int] = []
    position = Position()
    for ordinal in ended:
        ledger.append(step(ordinal))
        page = read(ledger, position)
        for row in data.draw(st.permutations(page)):
            position.tell(row)
            told.append(row.ordinal)
            if data.draw(st.booleans()):  # cut off: whoever comes back knows this much
                position = Position.parse(str(position))
                break
        else:
            position.settle(page)
    while page := read(ledger, position):
        for row in page:
            position.tell(row)
            told.append(row.ordinal)

    assert sorted(told) == list(range(1, 9))
    assert position.open == set()


def test_what_an_attempt_had_begun_and_nobody_ended_is_not_waited_for() -> None:
    position = Position()
    page = [step(2), step(3), step(5, attempt=2)]  # 1 and 4 have steps inside; the first died in 1, the second is in 4

    for row in page:
        position.tell(row)
    assert position.open == {1, 4}
    position.settle(page)

    assert position.open == {4}
    again = [step(4, attempt=2), step(6, attempt=3)]
    for row in again:
        position.tell(row)
    position.settle(again)
    assert position.open == set()


def test_what_another_execution_left_has_no_open_steps() -> None:
    position = Position()
    page = [step(3, attempt=0), step(9, attempt=0), step(11, attempt=1)]
    for row in page:
        position.tell(row)

    assert str(position) == "11!10"


@pytest.mark.parametrize("text", ["0", "7", "7!2", "7!2-3,5", "7!2~running.1", "0~queued.0", "12~dead.3"])
def test_a_position_is_written_as_it_is_read(text: str) -> None:
    assert str(Position.parse(text)) == text


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5", "7!", "7!2-", "7~running", "7~runing.1", "7\n", "1" * 10, " 7"])
def test_anything_else_is_no_position(text: str) -> None:
    with pytest.raises(PositionInvalid):
        Position.parse(text)


@pytest.mark.parametrize("text", ["7!9", "7!5-3", "7!7", "999999999!1-999999998"])
def test_ranges_that_cannot_be_meant_cost_nothing(text: str) -> None:
    assert Position.parse(text).open == set()


def test_a_text_names_so_many_ranges_and_no_more() -> None:
    position = Position(last=1001, open=set(range(1, 1000, 2)))

    assert len(Position.parse(str(position)).open) == MAX_RANGES
    assert max(Position.parse(str(position)).open) == 999
