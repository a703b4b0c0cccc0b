from __future__ import annotations

import msgspec
import pytest
from fixtures.samples import encoded, make_step

from telemetry.batch import FORMAT, NEVER_US, BatchHeader, BatchMalformed, Limits, cut, decode_batch, encode_batch

LIMITS = Limits(events=3, size_bytes=100, age_us=50_000)
HEADER = BatchHeader(FORMAT, "worker-1", bytes(16), 123, {"dsl.step.executed": 7})


@pytest.mark.parametrize(
    ("events", "size_bytes", "age_us", "ready"),
    [
        (0, 0, 1_000_000, False),
        (1, 10, 49_999, False),
        (1, 10, 50_000, True),
        (3, 10, 0, True),
        (1, 100, 0, True),
    ],
)
def test_a_batch_is_ready_by_count_bytes_or_age_and_never_empty(
    events: int, size_bytes: int, age_us: int, ready: bool
) -> None:
    assert LIMITS.are_reached(events, size_bytes, age_us) is ready


@pytest.mark.parametrize(("mean_bytes", "events"), [(1, 3), (40, 2), (5000, 1), (0, 3)])
def test_bytes_limit_how_many_events_make_a_batch(mean_bytes: int, events: int) -> None:
    assert LIMITS.events_of(mean_bytes) == events


def test_events_are_cut_in_order_by_count_and_by_bytes() -> None:
    events = [b"x" * size for size in [10, 10, 10, 10, 60, 60, 500, 1]]

    batches = list(cut(events, LIMITS))

    assert [[len(event) for event in batch.events] for batch in batches] == [[10, 10, 10], [10, 60], [60], [500], [1]]
    assert [batch.size_bytes for batch in batches] == [30, 70, 60, 500, 1]


def test_a_batch_knows_its_oldest_event_whatever_the_order() -> None:
    events = encoded(*(make_step(at_us=at_us) for at_us in (3_000_000, 1_000_000, 2_000_000)))

    (batch,) = cut(events, Limits(events=10, size_bytes=10_000, age_us=0))

    assert batch.oldest_us == 1_000_000


@pytest.mark.parametrize("event", [b"", b"\xc1", b"\x91\xff", *encoded(make_step(occurred_at_us="today"))])
def test_an_event_that_does_not_say_when_it_was_is_no_reason_to_stop(event: bytes) -> None:
    (batch,) = cut([event], LIMITS)

    assert batch.oldest_us == NEVER_US


def test_an_entry_gives_back_what_was_put_into_it() -> None:
    assert decode_batch(encode_batch(HEADER, [b"one", b"", b"three"])) == (HEADER, [b"one", b"", b"three"])


@pytest.mark.parametrize(
    "entry",
    [
        b"",
        b"\xc1",
        b"hello",
        encode_batch(HEADER, [b"one"])[:-1],
        encode_batch(HEADER, [b"one"]) + b"\0",
        msgspec.msgpack.encode([HEADER, ["text"]]),
        msgspec.msgpack.encode({"header": 1}),
        msgspec.msgpack.encode([[FORMAT + 1, "worker-1", bytes(16), 0, {}], []]),
    ],
)
def test_anything_else_is_refused_without_being_quoted(entry: bytes) -> None:
    with pytest.raises(BatchMalformed) as refused:
        decode_batch(entry)

    assert str(refused.value) in {"not a batch", f"format {FORMAT + 1}"}
    assert refused.value.__cause__ is None


def test_a_header_that_says_more_than_we_know_is_read() -> None:
    known = [FORMAT, "worker-1", bytes(16), 5, {}, 7, False, "spooling"]
    longer = msgspec.msgpack.encode([[*known, "a later field"], [b"one"]])

    assert decode_batch(longer) == (BatchHeader(FORMAT, "worker-1", bytes(16), 5, {}, 7, False, "spooling"), [b"one"])


def test_a_header_of_before_there_were_numbers_is_read() -> None:
    shorter = msgspec.msgpack.encode([[FORMAT, "worker-1", bytes(16), 5, {}], [b"one"]])

    assert decode_batch(shorter) == (BatchHeader(FORMAT, "worker-1", bytes(16), 5, {}), [b"one"])
