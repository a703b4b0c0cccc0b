"""`/api/executions/{id}/events`: an execution as it goes on, and where a reader that was cut off goes on."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any
from uuid import UUID

import structlog
from flask import Response, request
from flask.views import MethodView

from api import problems, streaming
from api.problems import RequestInvalid
from api.resources import executions
from api.resources.answers import json_bytes
from api.resources.context import progress, resources, streams
from api.resources.executions import execution_json, step_json
from api.schemas.requests import ProgressQuery
from api.streaming import OpenStream
from dsl.errors import Fault
from telemetry.errors import StoreUnavailable
from workers.executions import Executions
from workers.progress import POSITION, Position, PositionInvalid, Progress, State

log = structlog.get_logger(__name__)

#: Of all operations on executions, this among them.
blueprint = executions.blueprint

#: Seconds between two looks whether the reader is still there.
_LOOK_S = 1.0

_LAST_EVENT_HEADER = {
    "name": "Last-Event-ID",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "pattern": f"^{POSITION}$"},
    "description": "`id` of the last event that was received; counts more than `after`.",
}


@blueprint.route("/executions/<id:execution_id>/events")
class ExecutionEvents(MethodView):
    """One execution as it goes on."""

    @blueprint.takes(_LAST_EVENT_HEADER)
    @blueprint.arguments(ProgressQuery, location="query")
    @blueprint.response(200, content_type=streaming.MEDIA_TYPE)
    @blueprint.alt_response(204, description="It is final, and the reader has been told everything.")
    @blueprint.refuses(404, 503)
    def get(self, query: Mapping[str, Any], execution_id: UUID) -> Response:
        """Stream an execution as server-sent events: each step as it ends, each state it is seen in, then the end.

        `step` has what the list of steps has, `state` where the execution stands, `final` the whole execution; after
        that the stream ends. Sent again with the `id` of the last event it received, a reader goes on after it: no step
        is left out, none is told twice. With nothing to say, a comment comes every 15 seconds.
        """
        position = _position(query["after"])
        teller = _Teller(progress(), resources().executions, execution_id, position)
        if teller.knows_all():
            return Response(status=204)
        if request.method == "HEAD":
            return Response(mimetype=streaming.MEDIA_TYPE, headers=streaming.HEADERS)
        stream = streams().open(request.environ)
        response = Response(_stream(teller, stream), mimetype=streaming.MEDIA_TYPE, headers=streaming.HEADERS)
        # Also where nobody came to read the first event.
        response.call_on_close(stream.close)
        return response


def _position(after: str | None) -> Position:
    """Where to go on: after what the header says, for a browser repeats the address when it comes back.

    Raises:
        RequestInvalid: No stream has given that.
    """
    header = request.headers.get("Last-Event-ID")
    given, path = (after or "0", "after") if header is None else (header, "Last-Event-ID")
    try:
        return Position.parse(given)
    except PositionInvalid as error:
        message = f"{path}: expected the `id` of an event, or the ordinal of a step"
        raise RequestInvalid([Fault("request.invalid_value", message, path=path)]) from error


def _stream(teller: _Teller, stream: OpenStream) -> Iterator[bytes]:
    """Everything, until the end of the execution, of the reader or of this process."""
    yield streaming.retry()
    with teller.progress.watching(teller.execution_id) as watched:
        said_at = time.monotonic()
        while True:
            # Before the rows are read: news that comes while they are is news.
            version = watched.version
            for said in teller.news():
                yield said
                said_at = time.monotonic()
            if teller.has_ended:
                return
            while not teller.progress.wait(watched, version, _LOOK_S):
                if teller.progress.is_closed:
                    yield streaming.retry()
                    return
                if stream.is_deserted():
                    return
                if time.monotonic() - said_at >= streaming.HEARTBEAT.total_seconds():
                    yield streaming.heartbeat()
                    said_at = time.monotonic()


@dataclass(slots=True)
class _Teller:
    """Tells one reader of one execution.

    Attributes:
        progress: Where the news is from.
        executions: Where the end is from.
        execution_id: Of which.
        position: What the reader knows.
        has_ended: Whether it was told everything that there ever will be, or nothing more can be told.
    """

    progress: Progress
    executions: Executions
    execution_id: UUID
    position: Position
    has_ended: bool = False

    def knows_all(self) -> bool:
        """Whether there is nothing more to tell, and never will be.

        Raises:
            ExecutionNotFound: There is none with this id.
            StoreUnavailable: Postgres did not answer.
        """
        state = self.progress.state(self.execution_id)
        return state.is_final and self._is_known(state) and not self.progress.steps(self.execution_id, self.position)

    def news(self) -> Iterator[bytes]:
        """Events that the reader does not know; when they cannot be read, why, and the stream has ended."""
        try:
            yield from self._news()
        except StoreUnavailable as away:
            yield from self._failed(problems.of_error(away))
        except Exception as error:
            # The answer has begun: nobody else could still say anything.
            log.exception("stream_crashed", exc_info=error)
            yield from self._failed(problems.internal())

    def _failed(self, problem: problems.Problem) -> Iterator[bytes]:
        self.has_ended = True
        yield streaming.retry(streaming.AWAY)
        yield streaming.event("problem", json_bytes(problem.body), self.position)

    def _news(self) -> Iterator[bytes]:
        # The state first: what is final now has all its steps in the ledger.
        state = self.progress.state(self.execution_id)
        while steps := self.progress.steps(self.execution_id, self.position):
            for step in sorted(steps, key=attrgetter("occurred_at", "ordinal")):
                self.position.tell(step)
                yield streaming.event("step", json_bytes(step_json(step)), self.position)
            self.position.settle(steps)
        if not self._is_known(state):
            yield self._told(state)
        self.has_ended = state.is_final

    def _told(self, state: State) -> bytes:
        self.position.state, self.position.state_attempt = state.state, state.attempt
        if not state.is_final:
            facts = {
                "id": self.execution_id,
                "state": state.state,
                "attempt": state.attempt,
                "run_at": state.run_at,
                "started_at": state.started_at,
            }
            return streaming.event("state", json_bytes(facts), self.position)
        execution = self.executions.get(self.execution_id)
        body = execution_json(execution, effects=self.executions.effects(self.execution_id))
        return streaming.event("final", json_bytes(body), self.position)

    def _is_known(self, state: State) -> bool:
        return (state.state, state.attempt) == (self.position.state, self.position.state_attempt)
