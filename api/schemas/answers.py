"""What answers hold, for OpenAPI and for tests.

Answers are encoded straight from rows (`api/resources`), because walking ten thousand events field by field takes
seconds. Tests load answers with these, which refuse every field they do not know.
"""

from __future__ import annotations

from marshmallow import fields, validate

from api.schemas.shape import Shape
from workers.executions import STATES, WAITING_REASONS


class FaultShape(Shape):
    """One thing that is wrong, and where."""

    code = fields.String(required=True)
    message = fields.String(required=True)
    path = fields.String(required=True)
    line = fields.Integer()
    column = fields.Integer()
    found = fields.String()
    expected = fields.String()
    nearest = fields.String()


class ProblemShape(Shape):
    """A problem of RFC 9457."""

    type = fields.String(required=True)
    title = fields.String(required=True)
    status = fields.Integer(required=True)
    detail = fields.String(required=True)
    code = fields.String(required=True)
    hint = fields.String()
    errors = fields.List(fields.Nested(FaultShape))
    checks = fields.Dict(keys=fields.String(), values=fields.String())


class VerdictShape(Shape):
    """What is to be said of a command file, as `weir commands validate --format json` says it."""

    valid = fields.Boolean(required=True, metadata={"description": "Whether it would load."})
    source = fields.String(required=True, metadata={"description": "What the request called it."})
    slug = fields.String(required=True, allow_none=True, metadata={"description": "That it has, or claims to have."})
    errors = fields.List(fields.Nested(FaultShape), required=True)
    warnings = fields.List(fields.Nested(FaultShape), required=True, metadata={"description": "What it holds in vain."})
    in_place_of = fields.String(
        required=True, allow_none=True, metadata={"description": "The built-in command that it would replace."}
    )


class FileFaultsShape(Shape):
    """A command file that does not load."""

    source = fields.String(required=True)
    errors = fields.List(fields.Nested(FaultShape), required=True)


class PauseShape(Shape):
    """Since when nothing is begun, who asked for it, and when that ends by itself."""

    at = fields.AwareDateTime(required=True, format="iso")
    by = fields.String(required=True)
    until = fields.AwareDateTime(required=True, allow_none=True, format="iso")


class CommandShape(Shape):
    """A command as the list shows it."""

    slug = fields.String(required=True)
    name = fields.String(required=True)
    version = fields.String(required=True)
    description = fields.String(required=True)
    origin = fields.String(required=True)
    definition_hash = fields.String(required=True)
    steps = fields.Integer(required=True, metadata={"description": "How many, nested ones included."})
    lane = fields.String(required=True, metadata={"description": "Whose workers run it."})
    paused = fields.Nested(PauseShape, required=True, allow_none=True)
    inputs = fields.Dict(required=True, metadata={"description": "JSON Schema (2020-12) of an object."})


class CommandDetailShape(CommandShape):
    """A command in full."""

    source = fields.String(required=True, metadata={"description": "The text it was read from."})
    document = fields.Dict(required=True, metadata={"description": "The same as plain JSON."})


class EffectShape(Shape):
    """Rows of one kind that were changed."""

    entity = fields.String(required=True)
    operation = fields.String(required=True)
    rows = fields.Integer(required=True)


class LinksShape(Shape):
    """Where to go on."""

    self = fields.String(required=True)
    steps = fields.String(required=True)
    trace = fields.String(required=True)


class SlowestStepShape(Shape):
    """The step that made an execution slow."""

    path = fields.String(required=True)
    step_type = fields.String(required=True)
    duration_ms = fields.Float(required=True)


class WaitingForShape(Shape):
    """Why an execution does not run at this moment. What does not apply is not there."""

    reason = fields.String(
        required=True,
        validate=validate.OneOf(WAITING_REASONS),
        metadata={
            "description": "`worker`: its turn, or anybody to run it. `lane_paused`, `command_paused`. `concurrency`: a"
            " place among those with its key. `lane_limit`: a place in its lane. `children`: commands it has run."
            " `run_at`, `retry`: a time, which is `run_at`. `alone`: that nothing else runs in its process."
        },
    )
    executions = fields.List(fields.UUID(), metadata={"description": "Those that it waits for, 20 at most."})
    key = fields.String(metadata={"description": "Of concurrency; empty where all of the command are counted."})
    max = fields.Integer(metadata={"description": "How many may run at once."})
    by = fields.String(metadata={"description": "Who paused it."})
    until = fields.AwareDateTime(format="iso", metadata={"description": "When the pause ends by itself."})
    workers = fields.Integer(metadata={"description": "Worker processes of its lane."})


class ExecutionShape(Shape):
    """An execution as the list shows it. Counts of steps are of distinct paths by their last run."""

    id = fields.UUID(required=True)
    command = fields.String(required=True)
    definition_hash = fields.String(required=True)
    state = fields.String(required=True, validate=validate.OneOf(STATES))
    dry_run = fields.Boolean(required=True)
    user = fields.String(required=True)
    space = fields.String(required=True)
    request_source = fields.String(required=True)
    correlation_id = fields.UUID(required=True)
    parent_id = fields.UUID(required=True, allow_none=True)
    link = fields.String(required=True, allow_none=True)
    schedule_id = fields.UUID(required=True, allow_none=True)
    lane = fields.String(required=True)
    priority = fields.Integer(required=True)
    attempt = fields.Integer(
        required=True, metadata={"description": "Claims so far: also one for each time it waited and went on."}
    )
    failures = fields.Integer(
        required=True, metadata={"description": "Tries that failed and were followed by another."}
    )
    deaths = fields.Integer(required=True, metadata={"description": "Workers that were lost with it."})
    error = fields.Dict(required=True, allow_none=True)
    queued_at = fields.AwareDateTime(required=True, format="iso")
    run_at = fields.AwareDateTime(
        required=True,
        format="iso",
        metadata={"description": "When it is or was due; later, if it is to be tried again."},
    )
    expires_at = fields.AwareDateTime(
        required=True,
        allow_none=True,
        format="iso",
        metadata={"description": "If it was not begun by then, it expires."},
    )
    started_at = fields.AwareDateTime(required=True, allow_none=True, format="iso")
    finished_at = fields.AwareDateTime(required=True, allow_none=True, format="iso")
    queue_wait_ms = fields.Float(required=True, allow_none=True)
    total_duration_ms = fields.Float(required=True, allow_none=True)
    elapsed_ms = fields.Float(required=True, allow_none=True)
    steps_executed = fields.Integer(required=True)
    steps_successful = fields.Integer(required=True)
    steps_failed = fields.Integer(required=True)
    steps_skipped = fields.Integer(required=True)
    mutations_count = fields.Integer(required=True)
    slow = fields.Boolean(
        required=True, metadata={"description": "Whether it ran longer than WEIR_WORKER_SLOW_COMMAND_THRESHOLD."}
    )
    slowest_step = fields.Nested(
        SlowestStepShape,
        required=True,
        allow_none=True,
        metadata={"description": "Of a slow one: the step run that took longest, of those with no steps inside."},
    )
    waiting_for = fields.Nested(
        WaitingForShape,
        required=True,
        allow_none=True,
        metadata={"description": "Why it does not run; null while it runs, and once it has ended."},
    )
    links = fields.Nested(LinksShape, required=True)


class ExecutionDetailShape(ExecutionShape):
    """An execution in full."""

    inputs = fields.Dict(required=True)
    result = fields.Raw(required=True, allow_none=True)
    effects = fields.List(fields.Nested(EffectShape), required=True)


class ResumedShape(ExecutionDetailShape):
    """An execution that goes on from another."""

    runs_again = fields.List(
        fields.String(),
        required=True,
        metadata={
            "description": "Maps that had begun and begin anew, for their list is written otherwise now, by path "
            "without indexes: what they did is done again."
        },
    )


class StepShape(Shape):
    """A row of the step ledger."""

    path = fields.String(required=True)
    step_type = fields.String(required=True)
    outcome = fields.String(required=True)
    attempt = fields.Integer(required=True)
    try_ = fields.Integer(required=True, data_key="try")
    ordinal = fields.Integer(required=True, metadata={"description": "Order in which steps began."})
    occurred_at = fields.AwareDateTime(required=True, format="iso", metadata={"description": "When it ended."})
    duration_ms = fields.Float(required=True, allow_none=True)
    mutations_count = fields.Integer(required=True)
    fragment_id = fields.UUID(required=True, allow_none=True)
    output = fields.Raw(required=True, allow_none=True)
    error = fields.Dict(required=True, allow_none=True)
    measures = fields.Dict(required=True, allow_none=True)


class FragmentShape(Shape):
    """A fragment as the list shows it."""

    id = fields.UUID(required=True)
    type = fields.String(required=True)
    title = fields.String(required=True)
    excerpt = fields.String(metadata={"description": "The first 500 characters of the content."})
    content = fields.String(metadata={"description": "All of it, in place of `excerpt`, with `contents=whole`."})
    state = fields.Dict(required=True)
    tags = fields.List(fields.String(), required=True)
    metadata = fields.Dict(required=True)
    space = fields.String(required=True)
    source = fields.String(required=True, allow_none=True)
    created_at = fields.AwareDateTime(required=True, format="iso")
    updated_at = fields.AwareDateTime(required=True, format="iso")


class FragmentDetailShape(FragmentShape):
    """A fragment in full."""

    class Meta(FragmentShape.Meta):  # noqa: D106 - marshmallow's
        exclude = ("excerpt",)

    content = fields.String(required=True)


class ImportedShape(Shape):
    """What an import did."""

    created = fields.Integer(required=True)
    updated = fields.Integer(required=True)
    unchanged = fields.Integer(required=True)


class EventShape(Shape):
    """A stored event. Every field is there in every event; what does not apply is null."""

    event_id = fields.UUID(required=True)
    occurred_at = fields.AwareDateTime(required=True, format="iso")
    event_type = fields.String(required=True)
    component = fields.String(required=True)
    operation = fields.String(required=True)
    level = fields.String(required=True)
    correlation_id = fields.UUID(required=True)
    execution_id = fields.UUID(required=True, allow_none=True)
    parent_id = fields.UUID(required=True, allow_none=True)
    step_path = fields.String(required=True, allow_none=True)
    step_id = fields.String(required=True, allow_none=True)
    step_type = fields.String(required=True, allow_none=True)
    command_slug = fields.String(required=True, allow_none=True)
    definition_hash = fields.String(required=True, allow_none=True)
    user_id = fields.String(required=True, allow_none=True)
    space_id = fields.UUID(required=True, allow_none=True)
    request_source = fields.String(required=True)
    dry_run = fields.Boolean(required=True)
    attempt = fields.Integer(required=True, allow_none=True)
    try_ = fields.Integer(required=True, allow_none=True, data_key="try")
    duration_ms = fields.Float(required=True, allow_none=True)
    outcome = fields.String(required=True, allow_none=True)
    error_type = fields.String(required=True, allow_none=True)
    error_category = fields.String(required=True, allow_none=True)
    error_fingerprint = fields.String(required=True, allow_none=True)
    fragment_id = fields.UUID(required=True, allow_none=True)
    mutations_count = fields.Integer(required=True, allow_none=True)
    measures = fields.Dict(required=True, metadata={"description": "What its type, or the step's type, adds."})


class HealthShape(Shape):
    """The process answers."""

    status = fields.String(required=True)


class ReadyShape(HealthShape):
    """What the process needs is there."""

    checks = fields.Dict(keys=fields.String(), values=fields.String(), required=True)


def page_of(item: type[Shape], name: str) -> type[Shape]:
    """The shape of a page of items."""
    found: type[Shape] = Shape.from_dict(  # type: ignore[assignment]  # a subclass of the class it is called on
        {
            "items": fields.List(fields.Nested(item), required=True),
            "next_cursor": fields.String(required=True, allow_none=True),
        },
        name=name,
    )
    return found


CommandPage = page_of(CommandShape, "CommandPage")
ExecutionPage = page_of(ExecutionShape, "ExecutionPage")
StepPage = page_of(StepShape, "StepPage")
FragmentPage = page_of(FragmentShape, "FragmentPage")
EventPage = page_of(EventShape, "EventPage")


class StoredPage(EventPage):  # type: ignore[valid-type,misc]  # made just above
    """A page of events, how far storing had come, and how many there are in all, if that was asked."""

    count = fields.Integer(
        required=True, allow_none=True, metadata={"description": "Events of all pages, if `count` was asked for."}
    )

    position = fields.String(
        required=True, metadata={"description": "Pass it as `after` to see what is stored from now on."}
    )


class CommandListShape(CommandPage):  # type: ignore[valid-type,misc]  # made just above
    """Every command, and the files that do not load."""

    faults = fields.List(fields.Nested(FileFaultsShape), required=True)
