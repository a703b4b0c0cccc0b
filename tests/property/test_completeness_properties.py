"""Numbers that are missing are those that are not there, whatever the gaps."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from psycopg.types.multirange import Multirange
from psycopg.types.range import Range

from telemetry.transport import Numbers, in_both, missing_ranges

NUMBERS = st.sets(st.integers(1, 60))


def ranges(numbers: set[int]) -> tuple[Numbers, ...]:
    """As few ranges as there can be, in order, both ends included."""
    found: list[Numbers] = []
    for number in sorted(numbers):
        if found and found[-1][1] == number - 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return tuple(found)


def arrived(numbers: set[int]) -> Multirange[int]:
    """As Postgres keeps them."""
    return Multirange([Range(first, last + 1) for first, last in ranges(numbers)])


@given(NUMBERS, st.integers(0, 60))
def test_what_is_missing_and_what_arrived_are_all_that_was_given(seen: set[int], given: int) -> None:
    assert missing_ranges(arrived(seen), given) == ranges(set(range(1, given + 1)) - seen)


@given(NUMBERS, NUMBERS)
def test_what_was_missing_twice_is_what_both_looks_missed(one: set[int], other: set[int]) -> None:
    assert in_both(ranges(one), ranges(other)) == ranges(one & other)
