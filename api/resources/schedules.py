"""`/api/schedules`: what runs by itself, when, and what became of each due time; one file, for one resource."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from itertools import islice
from typing import Any

from flask import Response
from flask.views import MethodView

from api.parsing import Blueprint
from api.problems import CursorInvalid, RequestInvalid, fault_json
from api.resources.answers import id_from_cursor, json_answer, make_cursor, number_from_cursor, page, page_limit
from api.resources.context import resources
from api.schemas.requests import EmptyShape
from api.schemas.schedules import (
    ORIGINS,
    BackfilledShape,
    BackfillShape,
    NewSchedule,
    NextPage,
    NextQuery,
    OccurrencePage,
    OccurrenceQuery,
    OccurrenceShape,
    ScheduleDetailShape,
    SchedulePage,
    ScheduleQuery,
    ScheduleWords,
)
from api.tracing import current_trace
from dsl.checking.schedules import template_faults
from dsl.errors import CommandInvalid, Fault, SecretsMissing, UnknownCommand
from dsl.expressions import compiler
from dsl.faults import nearest
from dsl.inputs import check_inputs
from dsl.schedule_inputs import has_templates
from dsl.scheduling.errors import TimingInvalid
from dsl.scheduling.spec import ScheduleSpec, complete, faults_of
from dsl.scheduling.timing import FIRST_YEAR, LAST_YEAR
from dsl.scheduling.zones import zone_named
from telemetry.clock import from_unix_us, to_unix_us
from telemetry.settings import format_duration
from workers.errors import ConcurrencyFull
from workers.occurrences import Occurrence
from workers.schedule import Schedule

blueprint = Blueprint("schedules", __name__, url_prefix="/api/schedules", description="What runs by itself, and when.")

#: Due times ahead that a schedule shows.
_NEXT = 5

#: Words that say when it is due; with one of them given, the others are forgotten.
_TIMING = ("cron", "every", "at")

#: Origins as a cursor counts them: in the order of the list.
_ORIGINS = sorted(ORIGINS)


@blueprint.route("")
class Schedules(MethodView):
    """All schedules."""

    @blueprint.arguments(ScheduleQuery, location="query")
    @blueprint.response(200, SchedulePage)
    @blueprint.refuses(400, 503)
    def get(self, query: Mapping[str, Any]) -> Response:
        """List schedules, newest first; not those that were removed."""
        limit = page_limit(query["limit"])
        before = id_from_cursor("schedule", query["cursor"])
        rows = resources().schedules.page(limit=limit + 1, before=before, command=query["command"])
        return json_answer(page(rows, limit, schedule_json, lambda row: make_cursor("schedule", row.id)))

    @blueprint.arguments(NewSchedule)
    @blueprint.response(
        201, ScheduleDetailShape, headers={"Location": {"schema": {"type": "string"}, "description": "Where it is."}}
    )
    @blueprint.refuses(404, 409, 503)
    def post(self, body: Mapping[str, Any]) -> Response:
        """Make a schedule; its first due time is the next one from now."""
        spec = _spec(ScheduleSpec(), body)
        _refuse_past(body, spec)
        _check_command(body["command"], spec)
        schedule = resources().schedules.create(body["name"], body["command"], spec)
        return json_answer(_detail(schedule), 201, {"Location": f"/api/schedules/{schedule.id}"})


@blueprint.route("/<name>")
class OneSchedule(MethodView):
    """One schedule, by its name or id."""

    @blueprint.response(200, ScheduleDetailShape)
    @blueprint.refuses(404, 503)
    def get(self, name: str) -> Response:
        """Show one schedule and its next due times; by its id also a removed one."""
        return json_answer(_detail(resources().schedules.get(name)))

    @blueprint.arguments(ScheduleWords)
    @blueprint.response(200, ScheduleDetailShape)
    @blueprint.refuses(404, 409, 503)
    def patch(self, body: Mapping[str, Any], name: str) -> Response:
        """Change what is given of a schedule; with another timing it goes on with the next due time from now."""
        held = resources().schedules
        schedule = held.get(name)
        spec = _spec(schedule.spec, body)
        _refuse_past(body, spec)
        command = body.get("command", schedule.slug)
        _check_command(command, spec)
        return json_answer(_detail(held.change(schedule, body.get("name", schedule.name), command, spec)))

    @blueprint.response(200, ScheduleDetailShape)
    @blueprint.refuses(404, 409, 503)
    def delete(self, name: str) -> Response:
        """Remove a schedule; its history stays and is found by its id."""
        held = resources().schedules
        return json_answer(_detail(held.remove(held.get(name))))


@blueprint.route("/<name>/next")
class Next(MethodView):
    """Due times that are to come."""

    @blueprint.arguments(NextQuery, location="query")
    @blueprint.response(200, NextPage)
    @blueprint.refuses(404, 503)
    def get(self, query: Mapping[str, Any], name: str) -> Response:
        """List the next due times; of a paused schedule those there would be."""
        schedule = resources().schedules.get(name)
        items = list(islice(_ahead(schedule), query["count"] or _NEXT))
        return json_answer({"items": items, "next_cursor": None})


@blueprint.route("/<name>/occurrences")
class Occurrences(MethodView):
    """What became of due times."""

    @blueprint.arguments(OccurrenceQuery, location="query")
    @blueprint.response(200, OccurrencePage)
    @blueprint.refuses(400, 404, 503)
    def get(self, query: Mapping[str, Any], name: str) -> Response:
        """List what became of its due times, newest first."""
        held, limit = resources().schedules, page_limit(query["limit"])
        rows = held.occurrences(
            held.get(name),
            limit=limit + 1,
            state=query["state"],
            before=_place(number_from_cursor("occurrence", query["cursor"])),
        )
        return json_answer(page(rows, limit, occurrence_json, _cursor))


@blueprint.route("/<name>/pause")
class Pause(MethodView):
    """Stopping for a while."""

    @blueprint.arguments(EmptyShape, required=False)
    @blueprint.response(200, ScheduleDetailShape)
    @blueprint.refuses(404, 503)
    def post(self, _: Mapping[str, Any], name: str) -> Response:
        """Run nothing until it is resumed."""
        held = resources().schedules
        return json_answer(_detail(held.pause(held.get(name))))


@blueprint.route("/<name>/resume")
class Resume(MethodView):
    """Going on."""

    @blueprint.arguments(EmptyShape, required=False)
    @blueprint.response(200, ScheduleDetailShape)
    @blueprint.refuses(404, 503)
    def post(self, _: Mapping[str, Any], name: str) -> Response:
        """Go on with the next due time from now; those meanwhile are skipped."""
        held = resources().schedules
        return json_answer(_detail(held.resume(held.get(name))))


@blueprint.route("/<name>/run")
class RunNow(MethodView):
    """Once more than the calendar says."""

    @blueprint.arguments(EmptyShape, required=False)
    @blueprint.response(202, OccurrenceShape)
    @blueprint.refuses(404, 409, 503)
    def post(self, _: Mapping[str, Any], name: str) -> Response:
        """Run it now, whatever its calendar, pause and overlap say; 202 means that it will run."""
        held = resources().schedules
        schedule = held.get(name)
        _check_command(schedule.slug, schedule.spec)
        occurrence, is_accepted = held.run_now(schedule, current_trace().correlation_id)
        if not is_accepted and occurrence.reason == "overlap":
            raise ConcurrencyFull(
                f"{schedule.slug} rejects it: as many as may run at once have not ended",
                hint="Run it when one has ended.",
            )
        if not is_accepted:
            message = f"the inputs of this schedule are not what {schedule.slug} takes"
            # An error quotes nothing but its own request; what was found is shown with the schedule.
            why = [replace(fault, found=None) for fault in _input_faults(schedule, occurrence.due_at)]
            raise RequestInvalid([Fault("request.schedule_inputs", message, path="inputs"), *why])
        return json_answer(occurrence_json(occurrence), 202)


@blueprint.route("/<name>/backfill")
class Backfill(MethodView):
    """Due times once more."""

    @blueprint.arguments(BackfillShape)
    @blueprint.response(200, BackfilledShape)
    @blueprint.refuses(404, 503)
    def post(self, body: Mapping[str, Any], name: str) -> Response:
        """Run the due times of a range that passed and were not run; with `preview` only say which."""
        held = resources()
        start, end = body["start"], body["end"] or held.clock.now()
        _refuse_far(start=start, end=end)
        if start >= end:
            name, expected = ("end", "an instant after `start`") if body["end"] else ("start", "an instant that passed")
            message = f"`{name}` leaves no range: it is from {start.isoformat()} to {end.isoformat()}"
            raise RequestInvalid([Fault("request.timing", message, path=name, expected=expected)])
        schedule = held.schedules.get(name)
        found = held.schedules.backfill(schedule, start, end, preview=body["preview"])
        due_times = found.due_times
        return json_answer(
            {
                "preview": body["preview"],
                "paused": found.paused,
                "count": len(due_times),
                "first": due_times[0] if due_times else None,
                "last": due_times[-1] if due_times else None,
                "run_before": found.run_before,
                "due_times": due_times,
            }
        )


def schedule_json(schedule: Schedule) -> dict[str, Any]:
    """A schedule as lists show it."""
    spec, own = schedule.spec, f"/api/schedules/{schedule.id}"
    return {
        "id": schedule.id,
        "name": schedule.name,
        "command": schedule.slug,
        "declared": schedule.declared_id is not None,
        "state": schedule.state,
        "timing": _in_words(schedule),
        "cron": spec.cron,
        "every": None if spec.every is None else format_duration(spec.every),
        "anchor": spec.anchor,
        "at": spec.at,
        "timezone": spec.timezone,
        "jitter": format_duration(spec.jitter) if spec.jitter else None,
        "misfire": spec.misfire,
        "window": format_duration(spec.window),
        "overlap": spec.overlap,
        "pause_after": spec.pause_after,
        "inputs": spec.inputs,
        "user": spec.user,
        "space": spec.space,
        "priority": spec.priority,
        "next_due_at": schedule.next_due_at,
        "wake_at": schedule.wake_at,
        "paused_at": schedule.paused_at,
        "pause_reason": schedule.pause_reason,
        "created_at": schedule.created_at,
        "updated_at": schedule.updated_at,
        "removed_at": schedule.removed_at,
        "links": {"self": own, "occurrences": f"{own}/occurrences"},
    }


def occurrence_json(row: Occurrence) -> dict[str, Any]:
    """A row of the ledger of due times."""
    return {
        "due_at": row.due_at,
        "last_due_at": row.last_due_at,
        "due_times": row.due_times,
        "origin": row.origin,
        "state": row.state,
        "reason": row.reason,
        "fire_at": row.fire_at,
        "occurred_at": row.occurred_at,
        "lateness_ms": None if row.lateness_us is None else row.lateness_us / 1000,
        "command": row.slug,
        "execution_id": row.execution_id,
        "correlation_id": row.correlation_id,
    }


def _detail(schedule: Schedule) -> dict[str, Any]:
    runs = list(islice(_ahead(schedule), _NEXT))
    wrong = _input_faults(schedule, runs[0]["due_at"]) if runs else ()
    return schedule_json(schedule) | {"next_runs": runs, "wrong_inputs": [fault_json(fault) for fault in wrong]}


def _input_faults(schedule: Schedule, due_at: datetime) -> tuple[Fault, ...]:
    """Why its command would not take its inputs for a due time; nothing is said of one that is not there."""
    try:
        return resources().occurrences.input_faults(schedule, due_at)
    except (CommandInvalid, UnknownCommand):
        return ()


def _ahead(schedule: Schedule) -> Iterator[dict[str, Any]]:
    """Due times from now on; none of a removed schedule, or of one in a zone that is not known any more."""
    if schedule.removed_at is not None:
        return
    try:
        timing, zone = schedule.timing, zone_named(schedule.timezone)
    except TimingInvalid:
        return
    fire_at = schedule.fire_at(timing)
    due = schedule.next_due_at if schedule.paused_at is None else timing.next(resources().clock.now())
    while due is not None:
        yield {"due_at": due, "local_time": due.astimezone(zone).isoformat(), "fire_at": fire_at(due)}
        due = timing.next(due)


def _in_words(schedule: Schedule) -> str:
    try:
        said = str(schedule.timing)
    except TimingInvalid as invalid:
        return invalid.message
    return said if schedule.cron is None else f"{said} ({schedule.timezone})"


def _spec(before: ScheduleSpec, body: Mapping[str, Any]) -> ScheduleSpec:
    """A schedule's words with those of a body in their place.

    Raises:
        RequestInvalid: They cannot be meant.
    """
    words = {key: value for key, value in body.items() if key not in {"name", "command", "anchor", "at"}}
    if any(key in body for key in _TIMING):
        before = replace(before, cron=None, every=None, anchor=None, at=None)
    spec, anchor, at = replace(before, **words), body.get("anchor"), body.get("at")
    faults = [
        Fault(
            "request.timing",
            invalid.message,
            path=invalid.key,
            expected=invalid.expected,
            nearest=nearest(str(body.get(invalid.key, "")), invalid.known),
        )
        for invalid in faults_of(spec, anchor, at)
    ]
    if faults:
        raise RequestInvalid(faults)
    return complete(spec, anchor, at)


def _refuse_past(body: Mapping[str, Any], spec: ScheduleSpec) -> None:
    """Refuse the one time of a body when it has passed: it would never be due.

    Raises:
        RequestInvalid: It has.
    """
    if "at" in body and spec.at is not None and spec.at <= resources().clock.now():
        message = f"`at` has passed: {spec.at.isoformat()}"
        expected = "a time to come; what is to run now needs no schedule: `weir run`, or POST /api/executions"
        raise RequestInvalid([Fault("request.timing", message, path="at", expected=expected)])


def _refuse_far(**instants: datetime) -> None:
    """Refuse instants outside of the years that every clock here can tell.

    Raises:
        RequestInvalid: Some are; each is named.
    """
    expected = f"a year from {FIRST_YEAR + 1} to {LAST_YEAR - 1}"
    faults = [
        Fault("request.timing", f"{name}: expected {expected}", path=name, expected=expected)
        for name, instant in instants.items()
        if not FIRST_YEAR < instant.year < LAST_YEAR
    ]
    if faults:
        raise RequestInvalid(faults)


def _check_command(slug: str, spec: ScheduleSpec) -> None:
    """Whether the command could be submitted now, as far as that can be known before it is due.

    Raises:
        UnknownCommand: There is none.
        CommandInvalid: Its file is faulty.
        SecretsMissing: It needs some.
        InputsInvalid: They are not what it takes.
        RequestInvalid: Their templates can never be evaluated.
    """
    command = resources().library.get(slug)
    if command.secrets:
        raise SecretsMissing(f"{slug} requires secrets, and this version keeps none: {', '.join(command.secrets)}")
    if not has_templates(spec.inputs):
        check_inputs(command, spec.inputs)
    elif faults := template_faults(spec.inputs, compiler(resources().workers.dsl)):
        raise RequestInvalid(faults)


def _cursor(row: Occurrence) -> str:
    return make_cursor("occurrence", to_unix_us(row.due_at) * len(_ORIGINS) + _ORIGINS.index(row.origin))


def _place(number: int | None) -> tuple[datetime, str] | None:
    """Due time and origin in a cursor made with `_cursor`."""
    if number is None:
        return None
    due_us, origin = divmod(number, len(_ORIGINS))
    try:
        return from_unix_us(due_us), _ORIGINS[origin]
    except (OverflowError, ValueError, OSError) as error:
        raise CursorInvalid("the cursor was not made by this list", hint="Leave it out to begin again.") from error
