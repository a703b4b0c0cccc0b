"""Whatever arrives in the stream: it is stored or counted, never raised, and never refused by Postgres afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import msgspec
import pytest
from fixtures.samples import make_scope, now_us, one_of_each
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from telemetry.batch import FORMAT, BatchHeader, BatchMalformed, Limits, cut, decode_batch, encode_batch
from telemetry.clock import SystemClock
from telemetry.connections import connect
from telemetry.intake import Delivery, Intake
from telemetry.measures import BUILT_IN

HEADER = BatchHeader(FORMAT, "test-1", bytes(16), 0, {})

#: Made once: an example must not depend on clock and chance.
SAMPLES = one_of_each(make_scope(), now_us())

#: Values of an event, and what a hostile or broken producer may put in their place.
odd_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 63), (1 << 64) - 1),
    st.floats(),
    st.text(max_size=20),
    st.binary(max_size=20),
    st.sampled_from([b"\x00" * 16, 1 << 31, 1 << 15, -1, "", "\x00", "a b", "x" * 2000, "éé", [], {}, ["a"]]),
    st.dictionaries(
        st.sampled_from(["items", "rows", "branch", "title"]), st.integers() | st.text(max_size=5), max_size=3
    ),
)


@pytest.fixture
def intake(database_url: str) -> Iterator[Intake]:
    intake = Intake(partial(connect, database_url, name="test"), clock=SystemClock(), partitions_ahead=1)
    yield intake
    intake.close()


@st.composite
def mutilated_events(draw: st.DrawFn) -> bytes:
    """An event of any type, some of its values (or of its scope's) replaced by odd ones, some bytes changed."""
    event = msgspec.to_builtins(draw(st.sampled_from(SAMPLES)), builtin_types=(bytes,))
    for _ in range(draw(st.integers(0, 2))):
        part = draw(st.sampled_from([event, event[3]])) if isinstance(event[3], list) else event
        part[draw(st.integers(0, len(part) - 1))] = draw(odd_values)
    if draw(st.booleans()):
        event = event[: draw(st.integers(0, len(event)))] + draw(st.lists(odd_values, max_size=2))
    try:
        data = bytearray(msgspec.msgpack.encode(event))
    except (OverflowError, UnicodeEncodeError):
        return b""
    if draw(st.integers(0, 9)) == 0:
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data)


@pytest.mark.req("C-13", "S-02")
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.lists(mutilated_events() | st.binary(max_size=50), min_size=1, max_size=40))
def test_any_bytes_are_stored_or_counted_and_a_row_is_never_refused(intake: Intake, events: list[bytes]) -> None:
    tally = intake.store(Delivery(events))

    assert tally.rows + tally.outside + tally.malformed.total() == len(events)
    assert not [reason for reason in tally.malformed if reason.startswith("refused")]


@given(st.binary(max_size=200))
def test_any_bytes_are_an_entry_or_refused_as_none(data: bytes) -> None:
    try:
        header, events = decode_batch(data)
    except BatchMalformed:
        return
    assert decode_batch(encode_batch(header, events)) == (header, events)


@given(st.lists(mutilated_events() | st.binary(max_size=60)), st.integers(1, 10), st.integers(1, 600))
def test_cutting_keeps_every_event_in_order_and_every_limit(events: list[bytes], count: int, size_bytes: int) -> None:
    batches = list(cut(events, Limits(count, size_bytes, 0)))

    assert [event for batch in batches for event in batch.events] == events
    for batch in batches:
        assert 1 <= len(batch.events) <= count
        assert batch.size_bytes == sum(map(len, batch.events))
        assert batch.size_bytes <= size_bytes or len(batch.events) == 1


@given(st.dictionaries(st.text(max_size=5) | st.sampled_from(["items", "rows", "branch", "channel"]), odd_values))
def test_what_measures_are_allowed_can_be_encoded_and_holds_no_text(measures: dict[str, object]) -> None:
    allowed = BUILT_IN.allowed(measures)

    assert set(allowed) <= {"items", "rows", "branch", "channel"}
    assert all(
        value in {"then", "else", "none", "inbox", "log", "webhook", "email"}
        for value in allowed.values()
        if isinstance(value, str)
    )
    assert msgspec.json.decode(msgspec.json.encode(allowed)) == allowed
