"""The collector takes what a program says of its requests: nothing raises, nothing waits, what is wrong is counted."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest

from telemetry.collector import Collector, RequestId
from telemetry.events import ChatRequestCompleted, ChatRequestFailed, ChatRequestStarted
from telemetry.privacy import Pseudonyms
from telemetry.rows import RowEncoder
from telemetry.testing import ManualClock
from workers.testing import RememberingRecorder

pytestmark = pytest.mark.req("A-04")


@pytest.fixture
def kept() -> RememberingRecorder:
    return RememberingRecorder()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def collector(kept: RememberingRecorder, clock: ManualClock) -> Collector:
    return Collector(kept, clock, Pseudonyms(b"a key"), {"small"}, max_open=3)


def test_a_request_is_told_from_its_beginning_to_its_end(
    collector: Collector, kept: RememberingRecorder, clock: ManualClock
) -> None:
    space, trace = UUID(int=7), UUID(int=9)
    request = collector.start_request(user="ada", space_id=space, correlation_id=trace)
    clock.advance(timedelta(milliseconds=900))

    collector.complete_request(
        request,
        model="small",
        context_time=timedelta(milliseconds=100),
        model_time=timedelta(milliseconds=800),
        prompt_tokens=120,
        completion_tokens=60,
        cache="miss",
    )

    started, completed = kept.events
    assert isinstance(started, ChatRequestStarted)
    assert isinstance(completed, ChatRequestCompleted)
    assert started.request_id == completed.request_id == request.bytes
    assert (completed.scope.correlation_id, completed.scope.space_id) == (trace.bytes, space.bytes)
    assert completed.scope.user_id == Pseudonyms(b"a key").user("ada")
    assert (completed.duration_us, completed.context_us, completed.model_us) == (900_000, 100_000, 800_000)
    assert (completed.prompt_tokens, completed.completion_tokens, completed.cache) == (120, 60, "miss")
    assert not collector.faults
    for event in kept.events:
        RowEncoder().encode(event)


def test_request_ids_are_unique(collector: Collector) -> None:
    assert len({collector.start_request() for _ in range(1000)}) == 1000


def test_an_error_is_told_by_its_class_or_its_category(collector: Collector, kept: RememberingRecorder) -> None:
    collector.record_error(collector.start_request(), TimeoutError("the secret plan"))
    collector.record_error(collector.start_request(), "rate_limit")

    failed = [event for event in kept.events if isinstance(event, ChatRequestFailed)]
    assert [(each.error.error_type, each.error.error_category) for each in failed] == [
        ("TimeoutError", "timeout"),
        ("reported", "rate_limit"),
    ]


def test_what_is_not_open_is_counted_and_not_told(collector: Collector, kept: RememberingRecorder) -> None:
    request = collector.start_request()
    collector.complete_request(request)
    told = len(kept.events)

    collector.complete_request(request)
    collector.record_error(RequestId(UUID(int=1)), "server")

    assert len(kept.events) == told
    assert collector.faults == {"not_open": 2}


def test_parts_that_are_longer_than_the_whole_are_left_out(
    collector: Collector, kept: RememberingRecorder, clock: ManualClock
) -> None:
    request = collector.start_request()
    clock.advance(timedelta(milliseconds=10))

    collector.complete_request(request, context_time=timedelta(milliseconds=6), model_time=timedelta(milliseconds=5))

    (completed,) = (event for event in kept.events if isinstance(event, ChatRequestCompleted))
    assert (completed.duration_us, completed.context_us, completed.model_us) == (10_000, None, None)
    assert collector.faults == {"too_long": 1}


def test_numbers_below_zero_are_left_out(collector: Collector, kept: RememberingRecorder) -> None:
    collector.complete_request(collector.start_request(), prompt_tokens=-1, model_time=timedelta(seconds=-1))

    (completed,) = (event for event in kept.events if isinstance(event, ChatRequestCompleted))
    assert (completed.prompt_tokens, completed.model_us) == (None, None)
    assert collector.faults == {"negative": 2}


def test_more_tokens_than_there_can_be_are_left_out(collector: Collector, kept: RememberingRecorder) -> None:
    """As when somebody takes a time for a count: the sum of a few of these has no room in a bucket."""
    collector.complete_request(collector.start_request(), prompt_tokens=1_763_000_000_000_000_000, completion_tokens=7)

    (completed,) = (event for event in kept.events if isinstance(event, ChatRequestCompleted))
    assert (completed.prompt_tokens, completed.completion_tokens) == (None, 7)
    assert collector.faults == {"too_many": 1}


def test_a_model_that_nobody_registered_is_a_hash(collector: Collector, kept: RememberingRecorder) -> None:
    collector.complete_request(collector.start_request(), model="my secret project")
    collector.complete_request(collector.start_request())

    models = [event.model for event in kept.events if isinstance(event, ChatRequestCompleted)]
    assert models[0].startswith("unknown:")
    assert "secret" not in models[0]
    assert models[1] == "none"
    assert collector.faults == {"unknown_model": 1}


def test_of_too_many_open_ones_the_oldest_is_given_up(collector: Collector) -> None:
    oldest, *others = [collector.start_request() for _ in range(4)]

    for request in [oldest, *others]:
        collector.complete_request(request)

    assert collector.faults == {"given_up": 1, "not_open": 1}


def test_with_telemetry_off_nothing_is_made(collector: Collector, kept: RememberingRecorder) -> None:
    kept.enabled = False

    collector.complete_request(collector.start_request())

    assert kept.events == []
