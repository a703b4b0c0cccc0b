from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
import pytest
from fixtures.samples import make_scope, make_step, now_us, one_of_each

from telemetry.events import (
    CATALOGUE,
    MAX_FAILED_FIELDS,
    MAX_FIELD,
    ChatRequestCompleted,
    CommandValidationFailed,
    Event,
    ExecutionFailed,
    FieldFault,
    ScheduleTriggered,
    StepFailed,
)
from telemetry.ids import mint
from telemetry.rows import COLUMNS, MOST, MOST_TOKENS, MalformedEvent, RowEncoder

encode = RowEncoder().encode


def columns_of(event: Event) -> dict[str, bytes | None]:
    """The row of an event, taken apart again: each column's bytes, None for null."""
    row = encode(event)
    assert int.from_bytes(row[:2]) == len(COLUMNS)
    at, values = 2, []
    while at < len(row):
        length = int.from_bytes(row[at : at + 4], signed=True)
        at += 4
        values.append(None if length < 0 else row[at : at + length])
        at += max(0, length)
    return dict(zip(COLUMNS, values, strict=True))


def test_there_is_a_sample_of_every_event_type() -> None:
    assert {type(event) for event in one_of_each()} == set(CATALOGUE)


@pytest.mark.req("S-01", "C-03")
@pytest.mark.parametrize("event", one_of_each(), ids=lambda event: type(event).__name__)
def test_every_event_type_makes_a_row_of_all_columns_with_its_scope(event: Event) -> None:
    columns = columns_of(event)

    assert columns["event_id"] == event.event_id
    assert columns["correlation_id"] == event.scope.correlation_id
    assert columns["execution_id"] == event.scope.execution_id
    assert columns["command_slug"] == b"todo.add"
    assert columns["user_id"] == event.scope.user_id
    assert columns["request_source"] == b"api"
    assert columns["dry_run"] == b"\0"
    assert columns["attempt"] == b"\0\1"
    assert columns["parent_id"] is None


@pytest.mark.req("S-01")
def test_the_operation_is_the_registered_name_of_what_was_done() -> None:
    operations = {type(event).__name__: columns_of(event)["operation"] for event in one_of_each()}

    assert operations == {
        "HttpRequestCompleted": b"/api/commands/<slug>/executions",
        "CommandValidationFailed": b"todo.add",
        "ExecutionQueued": b"todo.add",
        "ExecutionStarted": b"todo.add",
        "StepExecuted": b"fragment.create",
        "StepFailed": b"validate",
        "StepSkipped": b"notify",
        "ChatRequestStarted": b"started",
        "ChatRequestCompleted": b"small",
        "ChatRequestFailed": b"small",
        "FragmentCreated": b"created",
        "FragmentUpdated": b"updated",
        "FragmentDeleted": b"deleted",
        "ExecutionRetried": b"todo.add",
        "ScheduleTriggered": b"triggered",
        "ScheduleMissed": b"missed",
        "ScheduleSkipped": b"skipped",
        "AlertFired": b"latency",
        "AlertResolved": b"latency",
        "RecorderState": b"state",
        "SinkState": b"state",
        "ExecutionCompleted": b"todo.add",
        "ExecutionFailed": b"todo.add",
        "ExecutionCancelled": b"todo.add",
    }


@pytest.mark.req("C-04", "C-08")
def test_what_has_no_column_is_a_measure() -> None:
    at_us, some_id = 1_768_305_600_000_000, str(UUID(bytes=mint(1_768_305_600_000_000)))
    measures = {
        type(event).__name__: msgspec.json.decode(found[1:]) | ids_of(event, some_id)
        for event in one_of_each(at_us=at_us)
        if (found := columns_of(event)["measures"])
    }
    due = {"schedule_id": some_id, "due_at_us": at_us}

    alert = {"metric": "total_latency", "severity": "warning", "value": 6123.5, "threshold": 5000.0}
    counts = {
        "queue_wait_us": 3000,
        "elapsed_us": 130_000,
        "steps_executed": 4,
        "steps_successful": 3,
        "steps_failed": 1,
        "steps_skipped": 1,
    }
    assert measures == {
        "HttpRequestCompleted": {"method": "POST", "status": 202},
        "CommandValidationFailed": {
            "faults_count": 2,
            "failed_fields": [
                {"field": "inputs.body", "rule": "required"},
                {"field": "inputs.<unknown>", "rule": "unknown"},
            ],
        },
        "ExecutionQueued": {"priority": 5},
        "ExecutionStarted": {"queue_wait_us": 3000},
        "ExecutionRetried": {"reason": "step_failed", "delay_us": 2_000_000},
        "StepExecuted": {"items": 3, "branch": "then"},
        "StepFailed": {"faults": 1, "failed_fields": [{"field": "rules[0]", "rule": "pattern"}]},
        "ChatRequestStarted": {"request_id": some_id},
        "ChatRequestCompleted": {
            "request_id": some_id,
            "context_us": 20_000,
            "model_us": 800_000,
            "prompt_tokens": 120,
            "completion_tokens": 60,
            "cache": "miss",
        },
        "ChatRequestFailed": {"request_id": some_id, "context_us": 20_000, "cache": "none"},
        "ExecutionCompleted": counts,
        "ExecutionFailed": counts
        | {
            "slow": True,
            "slowest_step": "triage[17].note",
            "slowest_step_type": "transform",
            "slowest_step_us": 90_000,
            "stopped": "killed",
        },
        "ExecutionCancelled": counts | {"stopped": "interrupted"},
        "ScheduleTriggered": due | {"lateness_us": 4000, "punctuality": "fired", "origin": "calendar"},
        "ScheduleMissed": due | {"last_due_at_us": at_us + 60_000_000, "due_times": 2, "reason": "window"},
        "ScheduleSkipped": due | {"last_due_at_us": at_us, "due_times": 1, "reason": "overlap"},
        "AlertFired": alert,
        "AlertResolved": alert,
        "RecorderState": {
            "rung": "spooling",
            "handed_over_count": 1200,
            "waiting_count": 3,
            "spooled_count": 40,
            "spooled_bytes": 9000,
            "dropped_count": 7,
            "failures_count": 2,
        },
        "SinkState": {
            "interval_us": 60_000_000,
            "entries_count": 12,
            "events_count": 340,
            "stored_count": 330,
            "duplicates_count": 4,
            "skipped_count": 6,
            "malformed_count": 2,
            "quarantined_count": 1,
            "too_old_count": 1,
            "too_new_count": 1,
            "waits_count": 1,
            "lag_us": 70_000,
            "stream_entries_count": 900,
            "stream_waiting_count": 20,
            "stream_bytes": 1_000_000,
        },
    }


def ids_of(event: Event, known: str) -> dict[str, str]:
    """Ids that are other ones in each run."""
    return {name: known for name in ("schedule_id", "request_id") if hasattr(event, name)}


@pytest.mark.req("C-11")
def test_the_schedule_of_an_event_is_written_as_a_uuid_and_one_of_another_size_is_malformed() -> None:
    triggered = next(event for event in one_of_each() if isinstance(event, ScheduleTriggered))
    encoded = columns_of(triggered)["measures"]
    assert encoded is not None

    assert msgspec.json.decode(encoded[1:])["schedule_id"] == str(UUID(bytes=triggered.schedule_id))
    with pytest.raises(MalformedEvent):
        encode(msgspec.structs.replace(triggered, schedule_id=b"short"))


@pytest.mark.req("C-04")
def test_the_duration_of_an_execution_is_its_running_time() -> None:
    completed = next(event for event in one_of_each() if type(event).__name__ == "ExecutionCompleted")

    assert columns_of(completed)["duration_us"] == (120_000).to_bytes(8)


@pytest.mark.req("C-14")
def test_measures_that_are_not_allowed_are_left_out_and_counted() -> None:
    encoder = RowEncoder()
    event = make_step(measures={"rows": 2, "title": "a secret", "branch": "a secret"})

    row = encoder.encode(event)

    assert b"secret" not in row
    assert row.endswith(b'\x01{"rows":2}')
    assert encoder.dropped_measures == 2


@pytest.mark.req("C-06", "C-14")
@pytest.mark.parametrize(
    "fields",
    [
        [FieldFault("what somebody wrote", "required")],
        [FieldFault("x" * (MAX_FIELD + 1), "required")],
        [FieldFault(f"inputs.a[{number}]", "type") for number in range(MAX_FAILED_FIELDS + 1)],
    ],
    ids=["sentence", "long", "many"],
)
def test_failed_fields_of_another_form_than_ours_make_no_row(fields: list[FieldFault]) -> None:
    at_us = now_us()
    event = CommandValidationFailed(mint(at_us), at_us, make_scope(), 1, tuple(fields))

    with pytest.raises(MalformedEvent) as refused:
        encode(event)

    assert fields[0].field not in str(refused.value)


@pytest.mark.req("C-06", "C-14")
def test_a_rule_that_is_not_ours_is_no_event() -> None:
    at_us = now_us()
    event = CommandValidationFailed(mint(at_us), at_us, make_scope(), 1, (FieldFault("inputs.a", "sécret"),))  # type: ignore[arg-type]  # what no caller may do

    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.Decoder(CommandValidationFailed).decode(msgspec.msgpack.encode(event))


@pytest.mark.parametrize(("cls", "appended"), [(ExecutionFailed, 5), (StepFailed, 1)], ids=["execution", "step"])
def test_an_event_of_before_a_field_was_appended_is_still_read(cls: type[Event], appended: int) -> None:
    [event] = [event for event in one_of_each() if type(event) is cls]
    fields = msgspec.msgpack.decode(msgspec.msgpack.encode(event))

    old = msgspec.msgpack.Decoder(cls).decode(msgspec.msgpack.encode(fields[:-appended]))

    assert old.event_id == event.event_id
    assert (getattr(old, "slow", False), getattr(old, "failed_fields", ())) == (False, ())
    assert columns_of(old)["occurred_at"] == columns_of(event)["occurred_at"]


SCOPE = make_scope()


@pytest.mark.req("C-14", "S-02")
@pytest.mark.parametrize(
    "changes",
    [
        {"event_id": b"short"},
        {"event_id": bytes(16)},  # not minted from occurred_at
        {"occurred_at_us": 1 << 70},
        {"occurred_at_us": "today"},
        {"duration_us": 1 << 63},
        {"duration_us": "long"},
        {"duration_us": None},
        {"step_try": 40_000},
        {"mutations_count": 1 << 40},
        {"fragment_id": b"short"},
        {"fragment_id": "text"},
        {"step_path": "buy milk at the corner"},
        {"step_path": "x" * 1001},
        {"step_path": "nul\0"},
        {"step_path": "\ud800"},
        {"step_path": ""},
        {"step_type": "a sentence of somebody"},
        {"step_type": None},
        {"step_type": ["list"]},
        {"measures": 5},
        {"scope": None},
        {"scope": msgspec.structs.replace(SCOPE, correlation_id=b"short")},
        {"scope": msgspec.structs.replace(SCOPE, correlation_id=None)},
        {"scope": msgspec.structs.replace(SCOPE, user_id=b"alice")},
        {"scope": msgspec.structs.replace(SCOPE, command_slug="my secret plan")},
        {"scope": msgspec.structs.replace(SCOPE, attempt=1 << 20)},
    ],
)
def test_an_event_that_is_no_row_is_refused_without_being_quoted(changes: dict[str, Any]) -> None:
    event = msgspec.structs.replace(make_step(SCOPE), **changes)

    with pytest.raises(MalformedEvent) as refused:
        encode(event)

    assert refused.value.__cause__ is None
    assert not any(str(value) in str(refused.value) for value in changes.values() if value not in ("", 5))


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt_tokens": MOST_TOKENS + 1},
        {"context_us": MOST + 1},
        {"duration_us": MOST + 1},
        {"duration_us": -MOST - 1},
    ],
    ids=str,
)
def test_numbers_that_sums_have_no_room_for_make_no_row(changes: dict[str, int]) -> None:
    at_us = now_us()
    request = ChatRequestCompleted(mint(at_us), at_us, make_scope(), mint(at_us), "small", 10)
    assert encode(msgspec.structs.replace(request, prompt_tokens=MOST_TOKENS, context_us=MOST, duration_us=MOST))
    with pytest.raises(MalformedEvent, match="a number that cannot be"):
        encode(msgspec.structs.replace(request, **changes))
    if "duration_us" in changes:
        with pytest.raises(MalformedEvent):
            encode(make_step(make_scope(), at_us, duration_us=changes["duration_us"]))
