"""The catalogue: one closed type per event. What is not a field here cannot be recorded.

There is no field for text from a user, a model or a row: only ids, enums, numbers, hashes and names that are
registered (command slugs and step ids of loaded command files, step types, routes). Events are msgspec structs encoded
as arrays whose first element is the event type, so a field may only ever be appended, with a default. A program that
does not know it yet keeps such an event aside until it does (telemetry.misfits), instead of losing the field.
`docs/reference/events.md` is generated from here. It is one long file because it is one closed list.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, TypeAlias

from msgspec import Struct

Level = Literal["debug", "info", "warning", "error"]
Source = Literal["api", "cli", "schedule", "chat", "command"]
#: What an event is due to: a door, or the system itself. The last two never happened here: samples
#: (`weir telemetry test`), and what was brought in from another system (`weir telemetry import`).
Origin = Literal["api", "cli", "schedule", "chat", "command", "weir", "sample", "import"]
#: How an execution was brought to its end that did not end by itself.
Stoppage = Literal["before_start", "cooperatively", "interrupted", "killed"]
#: Why an execution is run again.
RetryReason = Literal["failed", "step_failed", "worker_lost", "worker_stopped", "store_lost"]
Category = Literal["network", "timeout", "rate_limit", "server", "validation", "internal"]

#: What a value can break: keywords of JSON Schema that inputs may use, checks of `validate`, and `unknown` (nobody
#: declared it), `text` and `number` (nothing can keep it), `too_deep`. Whatever else there may be is `other`.
Rule = Literal[
    "required",
    "unknown",
    "type",
    "enum",
    "const",
    "pattern",
    "format",
    "min_length",
    "max_length",
    "minimum",
    "maximum",
    "exclusive_minimum",
    "exclusive_maximum",
    "multiple_of",
    "min_items",
    "max_items",
    "unique_items",
    "contains",
    "min_properties",
    "max_properties",
    "property_names",
    "any_of",
    "one_of",
    "not",
    "min",
    "max",
    "in",
    "text",
    "number",
    "too_deep",
    "other",
]


class Scope(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Who caused it: what all events of one request or one attempt share. Built once, referred to by each event.

    Attributes:
        correlation_id: 16 bytes; the same from the HTTP request to the last fragment.
        request_source: The door it came through; `weir` for what nobody asked for; `sample` and `import` for what did
            not happen in this installation.
        user_id: Keyed hash of the user's name, 16 bytes (telemetry.privacy).
        space_id: 16 bytes; a row of `spaces`.
        execution_id: 16 bytes.
        parent_id: Execution this one is linked to, 16 bytes.
        command_slug: Slug of a loaded command.
        definition_hash: First 16 bytes of the SHA-256 of the command's canonical form.
        dry_run: Whether everything was rolled back.
        attempt: Which claim of the execution, from 1; 0 before the first.
    """

    correlation_id: bytes
    request_source: Origin
    user_id: bytes | None = None
    space_id: bytes | None = None
    execution_id: bytes | None = None
    parent_id: bytes | None = None
    command_slug: str | None = None
    definition_hash: bytes | None = None
    dry_run: bool = False
    attempt: int = 0


class ErrorFacts(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What telemetry may know of an error: never its message.

    Attributes:
        error_type: The exception's class name.
        error_category: One of `Category`.
        error_fingerprint: 8 bytes; hash of class and in-app frames (telemetry.privacy).
    """

    error_type: str
    error_category: Category
    error_fingerprint: bytes


#: Fields that one event tells of, and characters of each, at most.
MAX_FAILED_FIELDS, MAX_FIELD = 20, 100


class FieldFault(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A field that did not validate, and the rule it broke: never the value.

    Attributes:
        field: Where, in names that the command declares (`inputs.tags[3]`); `<unknown>` stands for any other name. Of
            a `validate` step the rule, by its number: `rules[0]`.
        rule: One of `Rule`.
    """

    field: str
    rule: Rule


class Event(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What every event has.

    Class attributes:
        component: Which part of Weir it is about.
        level: How loud it is.
        version: Raised when a field is appended.

    Attributes:
        event_id: UUIDv7, 16 bytes, minted from `occurred_at_us`.
        occurred_at_us: Microseconds since 1970 UTC; the end of what is described.
        scope: Who caused it.
    """

    component: ClassVar[str] = ""
    level: ClassVar[Level] = "info"
    version: ClassVar[int] = 1

    event_id: bytes
    occurred_at_us: int
    scope: Scope


class HttpRequestCompleted(Event, frozen=True, tag="http.request.completed"):
    """The API answered a request. Not recorded for health, metrics and telemetry reads.

    Attributes:
        route: Template of the matched route (`/api/commands/<slug>/executions`), or `unmatched`; never the path.
        method: HTTP method.
        status: HTTP status of the answer.
        duration_us: From the first byte read to the answer made.
        outcome: `succeeded` below 400, else `failed`.
    """

    component: ClassVar[str] = "http"

    route: str
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"]
    status: int
    duration_us: int
    outcome: Literal["succeeded", "failed"]


class CommandValidationFailed(Event, frozen=True, tag="command.validation.failed"):
    """A submission was refused because its inputs are not what the command declares.

    Attributes:
        faults_count: How many faults the inputs had; the first hundred are counted.
        failed_fields: The first 20 fields that are wrong, each once for each rule it broke.
    """

    component: ClassVar[str] = "command"
    level: ClassVar[Level] = "warning"
    version: ClassVar[int] = 2

    faults_count: int
    failed_fields: tuple[FieldFault, ...] = ()


class ExecutionQueued(Event, frozen=True, tag="command.execution.queued"):
    """An execution was accepted: its row is committed.

    Attributes:
        priority: 0 is the most urgent, 9 the least.
    """

    component: ClassVar[str] = "command"

    priority: int


class ExecutionStarted(Event, frozen=True, tag="command.execution.started"):
    """A worker claimed the execution.

    Attributes:
        queue_wait_us: From being due to being claimed.
    """

    component: ClassVar[str] = "command"

    queue_wait_us: int


class ExecutionRetried(Event, frozen=True, tag="command.execution.retried"):
    """An attempt ended without ending its execution: there will be another.

    Attributes:
        reason: `failed`: the command is tried again; `step_failed`: one of its steps is; `worker_lost`: the worker's
            lease lapsed; `worker_stopped`: it handed over; `store_lost`: Postgres went away in the middle of it.
        delay_us: Until the execution is due again; 0 is at once.
        step_path: The step that is tried again, if that is the reason.
        error: What the attempt or the step failed with, if it failed.
    """

    component: ClassVar[str] = "command"
    level: ClassVar[Level] = "warning"

    reason: RetryReason
    delay_us: int
    step_path: str | None = None
    error: ErrorFacts | None = None


class _ExecutionEnded(Event, frozen=True):
    """What is said of every execution that has come to its end."""

    component: ClassVar[str] = "command"

    total_duration_us: int
    queue_wait_us: int
    elapsed_us: int
    steps_executed: int
    steps_successful: int
    steps_failed: int
    steps_skipped: int
    mutations_count: int


class ExecutionCompleted(_ExecutionEnded, frozen=True, tag="command.execution.completed"):
    """The execution succeeded. `steps_*` count distinct paths by their last run.

    Attributes:
        total_duration_us: Running time over all attempts.
        queue_wait_us: From being due to the first claim.
        elapsed_us: From being accepted to being final.
        steps_executed: Paths that ran (succeeded or failed).
        steps_successful: Paths whose last run succeeded.
        steps_failed: Paths whose last run failed.
        steps_skipped: Paths whose condition was false, or whose branch was not taken.
        mutations_count: Rows created, updated or deleted.
        slow: True when `total_duration_us` is more than WEIR_WORKER_SLOW_COMMAND_THRESHOLD; else left out.
        slowest_step: Of a slow execution, the path of the step run that took longest, not counting steps that only
            run others (`list.map`, `condition`); none when no step ran.
        slowest_step_type: Registered name of its type.
        slowest_step_us: How long it ran.
    """

    version: ClassVar[int] = 2

    outcome: Literal["succeeded"] = "succeeded"
    slow: bool = False
    slowest_step: str | None = None
    slowest_step_type: str | None = None
    slowest_step_us: int | None = None


class ExecutionFailed(_ExecutionEnded, frozen=True, tag="command.execution.failed"):
    """The execution ended in another final state than success or cancellation.

    Fields as in `command.execution.completed`.

    Attributes:
        outcome: `failed`, `expired` or `dead`.
        error: What failed it, if something did.
        stopped: How it was brought to its end, if it took too long.
    """

    level: ClassVar[Level] = "error"
    version: ClassVar[int] = 2

    outcome: Literal["failed", "expired", "dead"]
    error: ErrorFacts | None = None
    slow: bool = False
    slowest_step: str | None = None
    slowest_step_type: str | None = None
    slowest_step_us: int | None = None
    stopped: Stoppage | None = None


class ExecutionCancelled(_ExecutionEnded, frozen=True, tag="command.execution.cancelled"):
    """Somebody cancelled the execution. Fields as in `command.execution.completed`.

    Attributes:
        stopped: `before_start`; `cooperatively`: between two steps; `interrupted` or `killed`: inside one.
    """

    level: ClassVar[Level] = "warning"

    stopped: Stoppage
    outcome: Literal["cancelled"] = "cancelled"
    slow: bool = False
    slowest_step: str | None = None
    slowest_step_type: str | None = None
    slowest_step_us: int | None = None


#: What steps may report of themselves: numbers (none) and enums (their words), by name.
Measures: TypeAlias = Mapping[str, tuple[str, ...] | None]

#: Those of the built-in step types. Tables that are declared and step types of users add theirs when a process starts;
#: any other key or word is dropped and counted.
MEASURES: Measures = {
    "items": None,  # list.map: how many there were
    "succeeded": None,  # list.map: how many went well
    "failed": None,  # list.map: how many did not
    "rows": None,  # queries: how many came back; fragment.delete, model.*, database.update: how many were changed
    "fields": None,  # fragment.update, model.update, database.update: how many were set
    "model": ("fragments",),  # model.*, database.update: the table; those that the configuration declares join it
    "faults": None,  # validate: how many rules were broken
    "branch": ("then", "else", "none"),  # condition: which was taken
    "channel": ("inbox", "log", "webhook", "email"),  # notify
    "message_level": ("info", "warning", "error"),  # notify
}


class StepExecuted(Event, frozen=True, tag="dsl.step.executed"):
    """A step succeeded.

    Attributes:
        step_path: Address of the step run, made of registered ids and indexes: `triage[17].note`.
        step_type: Registered name of its type.
        duration_us: Monotonic time it ran.
        step_try: Which try within the attempt, from 1.
        mutations_count: Rows it created, updated or deleted (in a dry run: would have).
        fragment_id: The fragment it was about, 16 bytes.
        measures: Its type's own numbers and enums; keys of `MEASURES` only.
    """

    component: ClassVar[str] = "dsl"

    step_path: str
    step_type: str
    duration_us: int
    step_try: int = 1
    mutations_count: int = 0
    fragment_id: bytes | None = None
    measures: dict[str, int | float | str] | None = None
    outcome: Literal["succeeded"] = "succeeded"


class StepFailed(Event, frozen=True, tag="dsl.step.failed"):
    """A step failed. Fields as in `dsl.step.executed`.

    Attributes:
        error: Class, category and fingerprint of what it raised.
        failed_fields: When values did not validate: which, and the rules they broke, as in `command.validation.failed`.
            Of a `validate` step, of a step whose parameters are not what its type declares (`with.title`), and of a
            `command.run` whose inputs are not what the other command declares.
    """

    component: ClassVar[str] = "dsl"
    level: ClassVar[Level] = "error"
    version: ClassVar[int] = 2

    step_path: str
    step_type: str
    duration_us: int
    error: ErrorFacts
    step_try: int = 1
    mutations_count: int = 0
    fragment_id: bytes | None = None
    measures: dict[str, int | float | str] | None = None
    outcome: Literal["failed"] = "failed"
    failed_fields: tuple[FieldFault, ...] = ()


class StepSkipped(Event, frozen=True, tag="dsl.step.skipped"):
    """A step did not run: its condition was false, or it is in the branch that was not taken."""

    component: ClassVar[str] = "dsl"
    level: ClassVar[Level] = "debug"

    step_path: str
    step_type: str
    outcome: Literal["skipped"] = "skipped"


class ChatRequestStarted(Event, frozen=True, tag="chat.request.started"):
    """Somebody asked, and is being answered.

    Attributes:
        request_id: 16 bytes.
    """

    component: ClassVar[str] = "chat"

    request_id: bytes


class ChatRequestCompleted(Event, frozen=True, tag="chat.request.completed"):
    """A request was answered.

    Attributes:
        request_id: 16 bytes.
        model: Registered name of the language model, `none`, or `unknown:` and a hash for one that is not registered.
        duration_us: From being asked to being answered.
        context_us: Of that, gathering what the answer is made from.
        model_us: Of that, waiting for the model. Together with `context_us` not more than `duration_us`.
        prompt_tokens: That the model was given.
        completion_tokens: That it gave.
        cache: Whether the answer was there already: `hit` or `miss`; `none` where nobody looked.
    """

    component: ClassVar[str] = "chat"

    request_id: bytes
    model: str
    duration_us: int
    context_us: int | None = None
    model_us: int | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cache: Literal["hit", "miss", "none"] = "none"
    outcome: Literal["succeeded"] = "succeeded"


class ChatRequestFailed(Event, frozen=True, tag="chat.request.failed"):
    """A request was not answered. Fields as in `chat.request.completed`.

    Attributes:
        error: Class, category and fingerprint of what went wrong.
    """

    component: ClassVar[str] = "chat"
    level: ClassVar[Level] = "error"

    request_id: bytes
    model: str
    duration_us: int
    error: ErrorFacts
    context_us: int | None = None
    model_us: int | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cache: Literal["hit", "miss", "none"] = "none"
    outcome: Literal["failed"] = "failed"


class FragmentCreated(Event, frozen=True, tag="fragment.created"):
    """A fragment was stored.

    Attributes:
        fragment_id: 16 bytes.
        step_path: The step that did it; none for a change from outside: an import, an edit over REST.
        mutations_count: Rows; more than 1 only in the summary of a step that made more than 100.
    """

    component: ClassVar[str] = "fragment"

    fragment_id: bytes | None
    step_path: str | None = None
    mutations_count: int = 1


class FragmentUpdated(Event, frozen=True, tag="fragment.updated"):
    """A fragment was changed. Fields as in `fragment.created`."""

    component: ClassVar[str] = "fragment"

    fragment_id: bytes | None
    step_path: str | None = None
    mutations_count: int = 1


class FragmentDeleted(Event, frozen=True, tag="fragment.deleted"):
    """A fragment was removed. Fields as in `fragment.created`."""

    component: ClassVar[str] = "fragment"

    fragment_id: bytes | None
    step_path: str | None = None
    mutations_count: int = 1


class ScheduleTriggered(Event, frozen=True, tag="schedule.triggered"):
    """An execution was accepted because it was due; both rows are committed together, and share the correlation id.

    Attributes:
        schedule_id: 16 bytes.
        due_at_us: When it was due, in microseconds since 1970 UTC.
        lateness_us: From when it was to be acted on (due, and its jitter) to being accepted.
        punctuality: `fired` in time; `late`; `caught_up`: one of several that had passed, or one of a backfill.
        origin: The schedule's own `calendar`, a `backfill`, or a run now (`manual`).
    """

    component: ClassVar[str] = "schedule"

    schedule_id: bytes
    due_at_us: int
    lateness_us: int
    punctuality: Literal["fired", "late", "caught_up"]
    origin: Literal["calendar", "backfill", "manual"]


class ScheduleMissed(Event, frozen=True, tag="schedule.missed"):
    """Due times passed with nobody there, and are not run.

    Attributes:
        schedule_id: 16 bytes.
        due_at_us: The due time, in microseconds since 1970 UTC; of several in a row the first.
        last_due_at_us: The last of them.
        due_times: How many in a row; 10,000 for as many or more.
        reason: `late`: nothing that is late is run; `superseded` by a newer one; `window`: too old.
    """

    component: ClassVar[str] = "schedule"
    level: ClassVar[Level] = "warning"

    schedule_id: bytes
    due_at_us: int
    last_due_at_us: int
    due_times: int
    reason: Literal["late", "superseded", "window"]


class ScheduleSkipped(Event, frozen=True, tag="schedule.skipped"):
    """Due times were not run on purpose, or could not be. Fields as in `schedule.missed`.

    Attributes:
        reason: `overlap`: the execution before was not final; `queue_full`: too many waited for it; the schedule was
            `paused` or `removed`; or the command could not be submitted.
    """

    component: ClassVar[str] = "schedule"

    schedule_id: bytes
    due_at_us: int
    last_due_at_us: int
    due_times: int
    reason: Literal[
        "overlap",
        "queue_full",
        "paused",
        "removed",
        "command_unknown",
        "command_invalid",
        "inputs_invalid",
        "secrets_missing",
    ]


class AlertFired(Event, frozen=True, tag="alert.fired"):
    """What a rule watches has been out of its bounds for long enough: an alert begins.

    Attributes:
        rule: Name of the rule.
        metric: What it watches.
        severity: How bad that is.
        value: What was measured; none where no data is what is wrong.
        threshold: What it was compared with.
    """

    component: ClassVar[str] = "alert"
    level: ClassVar[Level] = "warning"

    rule: str
    metric: str
    severity: Literal["info", "warning", "critical"]
    value: float | None
    threshold: float


class AlertResolved(Event, frozen=True, tag="alert.resolved"):
    """What a rule watches is within its bounds again: its alert ends. Fields as in `alert.fired`.

    Attributes:
        value: What was measured when it began.
    """

    component: ClassVar[str] = "alert"

    rule: str
    metric: str
    severity: Literal["info", "warning", "critical"]
    value: float | None
    threshold: float


class RecorderState(Event, frozen=True, tag="telemetry.recorder.state"):
    """How hard a recorder is pressed: told when its rung changes, and once a minute while that is not normal.

    Also told when events were lost; and always only when there is somewhere to tell it: the stream, or the disk. Its
    correlation id is the recorder's epoch.

    Attributes:
        rung: `normal`; `spooling`: events wait on disk; `dropping`: there is no room for all of them.
        handed_over_count: Events that the stream took from it.
        waiting_count: Events in its memory.
        spooled_count: Events that it has on disk.
        spooled_bytes: What they take there.
        dropped_count: Events that it lost.
        failures_count: Times that the stream took nothing.
    """

    component: ClassVar[str] = "telemetry"

    rung: Literal["normal", "spooling", "dropping"]
    handed_over_count: int
    waiting_count: int
    spooled_count: int
    spooled_bytes: int
    dropped_count: int
    failures_count: int


class SinkState(Event, frozen=True, tag="telemetry.sink.state"):
    """What a sink did since it told the last time: once a minute, and when it ends. Each sink tells of itself.

    Its correlation id is the same as long as the process lives. A sink that tells nothing for minutes does not run, or
    stands still.

    Attributes:
        interval_us: Since the last time, or since it began; monotonic.
        entries_count: Entries of the stream that were dealt with.
        events_count: Events that were in them; one of them may be the last event of this kind.
        stored_count: Events that are in the store because of it.
        duplicates_count: Events that were there already.
        skipped_count: Events of entries that came again, and had been dealt with.
        malformed_count: Events that are none of the catalogue, or that Postgres refused, and entries that are no batch.
        quarantined_count: How many of those are kept.
        too_old_count: Events of days whose partition is gone, or never was.
        too_new_count: Events of days that have no partition yet.
        waits_count: Times that Postgres or the stream was away.
        lag_us: The longest that an entry had been in the stream when it was stored, by two clocks.
        stream_entries_count: Entries of the stream at the last look.
        stream_waiting_count: How many of them were not dealt with.
        stream_bytes: What the stream took of Redis.
    """

    component: ClassVar[str] = "telemetry"

    interval_us: int
    entries_count: int
    events_count: int
    stored_count: int
    duplicates_count: int
    skipped_count: int
    malformed_count: int
    quarantined_count: int
    too_old_count: int
    too_new_count: int
    waits_count: int
    lag_us: int
    stream_entries_count: int
    stream_waiting_count: int
    stream_bytes: int


#: Every event type there is, in the order of the reference page.
CATALOGUE: tuple[type[Event], ...] = (
    HttpRequestCompleted,
    CommandValidationFailed,
    ExecutionQueued,
    ExecutionStarted,
    ExecutionRetried,
    ExecutionCompleted,
    ExecutionFailed,
    ExecutionCancelled,
    StepExecuted,
    StepFailed,
    StepSkipped,
    ChatRequestStarted,
    ChatRequestCompleted,
    ChatRequestFailed,
    FragmentCreated,
    FragmentUpdated,
    FragmentDeleted,
    ScheduleTriggered,
    ScheduleMissed,
    ScheduleSkipped,
    AlertFired,
    AlertResolved,
    RecorderState,
    SinkState,
)


def event_type(event: type[Event] | Event) -> str:
    """The full name of an event's type: `dsl.step.executed`."""
    return str(event.__struct_config__.tag)
