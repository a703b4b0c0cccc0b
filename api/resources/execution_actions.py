"""What can be done to an execution: cancel it, run it again, go on where it failed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from flask import Response
from flask.views import MethodView

from api.resources import executions
from api.resources.answers import json_answer
from api.resources.context import resources, settings
from api.resources.executions import KEY_HEADER, REPLAY_HEADER, execution_json, header_key, replayed
from api.schemas.answers import ExecutionDetailShape, ResumedShape
from api.schemas.requests import AgainShape, ResumeShape
from api.tracing import current_trace
from dsl.check import load
from dsl.command import Command
from workers.resumption import Again, Resumption
from workers.stops import Stops

#: Of all operations on executions, these among them.
blueprint = executions.blueprint

_HEADERS = REPLAY_HEADER | {"Location": {"schema": {"type": "string"}, "description": "Where the new execution is."}}

_KEY_HEADER = KEY_HEADER | {
    "description": "Of the caller's choice. The same request sent again within 24 hours is the same new execution. It "
    "shares its names with the keys of submissions by the execution's user of its command."
}


@blueprint.route("/executions/<id:execution_id>/cancel")
class Cancellation(MethodView):
    """The end of one execution."""

    @blueprint.response(200, ExecutionDetailShape)
    @blueprint.alt_response(202, schema=ExecutionDetailShape)
    @blueprint.refuses(404, 409, 503)
    def post(self, execution_id: UUID) -> Response:
        """Cancel an execution, and those that it waits for; 202 means that it runs, and was asked to stop."""
        held = resources()
        state = Stops(held.pool, held.executions, held.clock, held.recorder, held.hints).cancel(execution_id)
        return _shown(execution_id, 200 if state == "cancelled" else 202)


@blueprint.route("/executions/<id:execution_id>/retry")
class Retry(MethodView):
    """An execution once more."""

    @blueprint.takes(_KEY_HEADER)
    @blueprint.arguments(AgainShape, required=False)
    @blueprint.response(202, ExecutionDetailShape, headers=_HEADERS)
    @blueprint.refuses(404, 409, 422, 503)
    def post(self, body: Mapping[str, Any], execution_id: UUID) -> Response:
        """Run an execution that has ended again, from its beginning and with the same inputs, as a new one."""
        source, command = current_trace().source, _command(body["text"])
        return _accepted(_resumption().retry(execution_id, source, command, key=header_key()))


@blueprint.route("/executions/<id:execution_id>/resume")
class Resume(MethodView):
    """An execution from where it failed."""

    @blueprint.takes(_KEY_HEADER)
    @blueprint.arguments(ResumeShape, required=False)
    @blueprint.response(202, ResumedShape, headers=_HEADERS)
    @blueprint.refuses(404, 409, 422, 503)
    def post(self, body: Mapping[str, Any], execution_id: UUID) -> Response:
        """Go on where an execution failed, as a new one: steps that are done are taken over, and run no more.

        A `list.map` whose `items` or `as` the corrected text writes otherwise begins anew, with its new list:
        `runs_again` names it, for what it did is done again.
        """
        source, command = current_trace().source, _command(body["text"])
        again = _resumption().resume(execution_id, source, since=body["since"], command=command, key=header_key())
        return _accepted(again, {"runs_again": again.runs_again})


def _resumption() -> Resumption:
    held = resources()
    return Resumption(held.pool, held.executions, held.library)


def _command(text: str | None) -> Command | None:
    """A corrected definition, if one was sent.

    Raises:
        CommandInvalid: It is none; every fault.
    """
    if text is None:
        return None
    return load(text, resources().step_types.registry, settings().dsl, origin="text")


def _accepted(again: Again, facts: Mapping[str, Any] | None = None) -> Response:
    held = resources()
    execution = held.executions.get(again.id)
    held.hints.wake(execution.lane, execution.correlation_id, again.id)
    answer = _shown(again.id, 202, {"Location": f"/api/executions/{again.id}"}, facts)
    return replayed(answer) if again.is_replay else answer


def _shown(
    execution_id: UUID, status: int, headers: Mapping[str, str] | None = None, facts: Mapping[str, Any] | None = None
) -> Response:
    held = resources().executions
    body = execution_json(held.get(execution_id), effects=held.effects(execution_id))
    return json_answer(body | dict(facts or {}), status, headers)
