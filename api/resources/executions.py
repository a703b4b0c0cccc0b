"""`/api/executions`, and submitting: what was asked to run, and how it went."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from flask import Response, request
from flask.views import MethodView

from api.idempotency_key import MAX_KEY
from api.parsing import Blueprint
from api.problems import RequestInvalid
from api.resources.answers import id_from_cursor, json_answer, make_cursor, number_from_cursor, page, page_limit
from api.resources.context import admission, resources
from api.resources.submissions import key_fault, mark_of, submission_of
from api.resources.waiting import PREFER_HEADER, wait_until, wished_wait_s
from api.schemas.answers import ExecutionDetailShape, ExecutionPage, StepPage
from api.schemas.requests import ExecutionQuery, StepQuery, SubmissionShape
from api.tracing import current_trace
from dsl.checking.shape import SLUG
from dsl.errors import Fault
from telemetry.errors import StoreUnavailable
from workers.errors import QueueFull
from workers.executions import Effect, Execution, ExecutionSummary, StepRecord, Submission
from workers.idempotency import Idempotency, Mark

blueprint = Blueprint("executions", __name__, url_prefix="/api", description="What was run, and how it went.")

KEY_HEADER = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY, "pattern": "^[ -~]+$"},
    "description": "Of the caller's choice. Sent again by the same user within 24 hours, it is the same execution.",
}

REPLAY_HEADER = {
    "Idempotent-Replay": {"schema": {"type": "string"}, "description": "`true`, if the key was sent before."},
}

_SUBMISSION_HEADERS = REPLAY_HEADER | {
    "Location": {"schema": {"type": "string"}, "description": "Where the execution is."},
    "Preference-Applied": {"schema": {"type": "string"}, "description": "`wait=N`, if it became final in time."},
}


@blueprint.route("/commands/<slug>/executions")
class Submissions(MethodView):
    """Executions to be."""

    @blueprint.takes(PREFER_HEADER, KEY_HEADER)
    @blueprint.arguments(SubmissionShape, required=False)
    @blueprint.response(202, ExecutionDetailShape, headers=_SUBMISSION_HEADERS)
    @blueprint.alt_response(200, schema=ExecutionDetailShape, headers=_SUBMISSION_HEADERS)
    @blueprint.refuses(404, 409, 429, 503)
    def post(self, body: Mapping[str, Any], slug: str) -> Response:
        """Submit a command; 202 means that it will run."""
        held, trace, key = resources(), current_trace(), header_key()
        # No other text is a command's, or could be looked up.
        mark = None if key is None or SLUG.fullmatch(slug) is None else mark_of(key, slug, body)
        # First of all: what was accepted is answered whatever became of the command since.
        found = None if mark is None else Idempotency(held.pool, held.executions).find(mark)
        if found is not None:
            trace.command_slug, trace.dry_run = slug, body["dry_run"]
            trace.user_id = held.pseudonyms.user(body["user"])
            return replayed(_accepted(found))
        submission = submission_of(slug, body, trace)
        execution_id, is_replay = _submit(submission, mark)
        if not _is_put_off(submission):
            # What is due later has nobody to wake now: the sweeper does it then.
            held.hints.wake(submission.lane, trace.correlation_id, execution_id)
        answer = _accepted(execution_id, submission)
        return replayed(answer) if is_replay else answer


def _submit(submission: Submission, mark: Mark | None) -> tuple[UUID, bool]:
    """The execution, and whether it was there already under this key; what was accepted before is never refused."""
    held = resources()
    keys = Idempotency(held.pool, held.executions)
    try:
        admission().admit(submission.lane)
    except QueueFull:
        found = None if mark is None else keys.find(mark)
        if found is None:
            raise
        return found, True
    if mark is None:
        return held.executions.submit(submission), False
    return keys.submit(submission, mark)


def replayed(answer: Response) -> Response:
    """An answer that says that its key was sent before."""
    answer.headers["Idempotent-Replay"] = "true"
    return answer


def header_key() -> str | None:
    """The caller's key for this request, if he sent one.

    Raises:
        RequestInvalid: It is empty, too long, or holds more than printable ASCII.
    """
    key = request.headers.get("Idempotency-Key")
    if key is not None and (fault := key_fault(key, "Idempotency-Key")):
        raise RequestInvalid([fault])
    return key


def _accepted(execution_id: UUID, submission: Submission | None = None) -> Response:
    """200 when it became final while we waited, else 202. It was accepted, so nothing is an error from here on.

    Args:
        execution_id: What was accepted.
        submission: Just now; none if that was another time, and Postgres alone knows of it.

    Raises:
        StoreUnavailable: It was accepted another time, and Postgres does not answer.
    """
    headers = {"Location": f"/api/executions/{execution_id}"}
    wait_s, executions = wished_wait_s(), resources().executions
    try:
        execution = wait_until(lambda: executions.get(execution_id), _is_final, wait_s)
        body = execution_json(execution, effects=executions.effects(execution_id))
    except StoreUnavailable:
        if submission is None:
            raise
        return json_answer(_unseen(execution_id, submission), 202, headers)
    if wait_s and execution.is_final:
        return json_answer(body, 200, headers | {"Preference-Applied": f"wait={wait_s}"})
    return json_answer(body, 202, headers)


@blueprint.route("/executions")
class Executions(MethodView):
    """All executions."""

    @blueprint.arguments(ExecutionQuery, location="query")
    @blueprint.response(200, ExecutionPage)
    @blueprint.refuses(400, 503)
    def get(self, query: Mapping[str, Any]) -> Response:
        """List executions, newest first; without their inputs and results."""
        limit = page_limit(query["limit"])
        rows = resources().executions.page(
            limit=limit + 1,
            before=id_from_cursor("execution", query["cursor"]),
            state=query["state"],
            command=query["command"],
            correlation_id=query["correlation_id"],
            slow=query["slow"],
        )
        return json_answer(page(rows, limit, _listed, lambda row: make_cursor("execution", row.id)))


@blueprint.route("/executions/<id:execution_id>")
class OneExecution(MethodView):
    """One execution."""

    @blueprint.response(200, ExecutionDetailShape)
    @blueprint.refuses(404, 503)
    def get(self, execution_id: UUID) -> Response:
        """Show one execution: inputs, result or error, and what it changed."""
        executions = resources().executions
        execution = executions.get(execution_id)
        return json_answer(execution_json(execution, effects=executions.effects(execution_id)))


@blueprint.route("/executions/<id:execution_id>/steps")
class Steps(MethodView):
    """Steps of one execution."""

    @blueprint.takes(PREFER_HEADER)
    @blueprint.arguments(StepQuery, location="query")
    @blueprint.response(200, StepPage)
    @blueprint.refuses(400, 404, 503)
    def get(self, query: Mapping[str, Any], execution_id: UUID) -> Response:
        """List the steps that have ended, in the order in which they began.

        With `Prefer: wait=N`, an empty page is held back until a step has ended, or the execution is final.
        """
        if query["after"] is not None and query["cursor"] is not None:
            raise RequestInvalid([Fault("request.exclusive", "after and cursor exclude each other", path="after")])
        executions = resources().executions
        limit = page_limit(query["limit"])
        after = query["after"] or number_from_cursor("step", query["cursor"]) or 0

        def look() -> tuple[bool, list[StepRecord]]:
            # The state first: what is final now has all its steps in the ledger.
            is_final = executions.get(execution_id).is_final
            return is_final, executions.steps(execution_id, after=after, limit=limit + 1)

        _, rows = wait_until(look, any, wished_wait_s())
        return json_answer(page(rows, limit, step_json, lambda row: make_cursor("step", row.ordinal)))


def execution_json(execution: Execution, *, effects: list[Effect]) -> dict[str, Any]:
    """An execution in full."""
    return _listed(execution) | {
        "inputs": execution.inputs,
        "result": execution.result,
        "effects": [
            {"entity": effect.entity, "operation": effect.operation, "rows": effect.rows} for effect in effects
        ],
    }


def step_json(step: StepRecord) -> dict[str, Any]:
    """A row of the step ledger."""
    return {
        "path": step.path,
        "step_type": step.step_type,
        "outcome": step.outcome,
        "attempt": step.attempt,
        "try": step.step_try,
        "ordinal": step.ordinal,
        "occurred_at": step.occurred_at,
        "duration_ms": None if step.outcome == "skipped" else step.duration_us / 1000,
        "mutations_count": step.mutations_count,
        "fragment_id": step.fragment_id,
        "output": step.output,
        "error": step.error,
        "measures": step.measures,
    }


def _listed(execution: ExecutionSummary) -> dict[str, Any]:
    has_run = execution.is_final or execution.running_us > 0
    return {
        "id": execution.id,
        "command": execution.slug,
        "definition_hash": execution.definition_hash.hex(),
        "state": execution.state,
        "dry_run": execution.dry_run,
        "user": execution.user_name,
        "space": execution.space,
        "request_source": execution.request_source,
        "correlation_id": execution.correlation_id,
        "parent_id": execution.parent_id,
        "link": execution.link,
        "schedule_id": execution.schedule_id,
        "lane": execution.lane,
        "priority": execution.priority,
        "attempt": execution.attempt,
        "failures": execution.failures,
        "deaths": execution.deaths,
        "error": execution.error,
        "queued_at": execution.queued_at,
        "run_at": execution.run_at,
        "expires_at": execution.expires_at,
        "started_at": execution.started_at,
        "finished_at": execution.finished_at,
        "queue_wait_ms": None if execution.queue_wait_us is None else execution.queue_wait_us / 1000,
        "total_duration_ms": execution.running_us / 1000 if has_run else None,
        "elapsed_ms": _between_ms(execution.queued_at, execution.finished_at),
        "waiting_for": execution.waiting_for,
        "steps_executed": execution.steps_executed,
        "steps_successful": execution.steps_successful,
        "steps_failed": execution.steps_failed,
        "steps_skipped": execution.steps_skipped,
        "mutations_count": execution.mutations_count,
        "slow": execution.slow,
        "slowest_step": _slowest_step(execution),
        "links": _links(execution.id),
    }


def _slowest_step(execution: ExecutionSummary) -> dict[str, Any] | None:
    if execution.slowest_step_us is None:
        return None
    return {
        "path": execution.slowest_step,
        "step_type": execution.slowest_step_type,
        "duration_ms": execution.slowest_step_us / 1000,
    }


def _unseen(execution_id: UUID, submission: Submission) -> dict[str, Any]:
    """What can be said of an execution that was accepted just before the database went away."""
    return {
        "id": execution_id,
        "command": submission.command.slug,
        "state": "scheduled" if _is_put_off(submission) else "queued",
        "dry_run": submission.dry_run,
        "correlation_id": submission.correlation_id,
        "links": _links(execution_id),
    }


def _is_put_off(submission: Submission) -> bool:
    return submission.run_at is not None and submission.run_at > resources().clock.now()


def _is_final(execution: Execution) -> bool:
    return execution.is_final


def _links(execution_id: UUID) -> dict[str, str]:
    own = f"/api/executions/{execution_id}"
    return {"self": own, "steps": f"{own}/steps", "trace": f"/api/telemetry/traces/{execution_id}"}


def _between_ms(start: datetime, end: datetime | None) -> float | None:
    """Milliseconds; never negative, whatever the clocks of two machines say."""
    return None if end is None else max(0, (end - start) // timedelta(microseconds=1)) / 1000
