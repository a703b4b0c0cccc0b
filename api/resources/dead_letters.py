"""`/api/queues/dead`: executions that ended as dead or failed, until somebody runs them again or drops them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from flask import Response
from flask.views import MethodView

from api.parsing import Blueprint
from api.problems import RequestInvalid
from api.resources.answers import id_from_cursor, json_answer, make_cursor, page, page_limit
from api.resources.context import resources
from api.resources.executions import execution_json
from api.schemas.answers import ExecutionDetailShape
from api.schemas.dead_letters import (
    BatchShape,
    CausePage,
    DeadLetterPage,
    DeadLetterQuery,
    DeadLetterShape,
    HandlingShape,
    LettersShape,
    ManyLettersShape,
    PreviewShape,
    RequeueManyShape,
    RequeueShape,
)
from api.tracing import current_trace
from dsl.errors import Fault
from workers.dead_letters import STATES, Batch, Cause, DeadLetter, DeadLetters, Letters
from workers.resumption import Resumption

blueprint = Blueprint(
    "dead_letters", __name__, url_prefix="/api/queues/dead", description="Executions that ended as dead or failed."
)

_LOCATION = {"Location": {"schema": {"type": "string"}, "description": "Where the new execution is."}}

#: Of filters that both queries and bodies know.
_FILTERS = ("command", "fingerprint", "lane", "start", "end")


@blueprint.route("")
class DeadLetterList(MethodView):
    """All dead letters."""

    @blueprint.arguments(DeadLetterQuery, location="query")
    @blueprint.response(200, DeadLetterPage)
    @blueprint.refuses(400, 503)
    def get(self, query: Mapping[str, Any]) -> Response:
        """List the dead letters that nobody has dealt with, that which ended last first.

        Not among them: dry runs, and what a step of another execution waited for, which is run again with that.
        """
        limit = page_limit(query["limit"])
        before = id_from_cursor("dead_letter", query["cursor"])
        rows = _dead_letters().page(_letters(query), limit=limit + 1, before=before)
        return json_answer(page(rows, limit, letter_json, lambda row: make_cursor("dead_letter", row.id)))


@blueprint.route("/causes")
class Causes(MethodView):
    """What dead letters died of."""

    @blueprint.arguments(DeadLetterQuery, location="query")
    @blueprint.response(200, CausePage)
    @blueprint.refuses(400, 503)
    def get(self, query: Mapping[str, Any]) -> Response:
        """List them by command and fingerprint, that with the newest one first."""
        limit = page_limit(query["limit"])
        before = id_from_cursor("cause", query["cursor"])
        rows = _dead_letters().causes(_letters(query), limit=limit + 1, before=before)
        return json_answer(page(rows, limit, cause_json, lambda row: make_cursor("cause", row.newest_id)))


@blueprint.route("/preview")
class Previews(MethodView):
    """What many dead letters would be."""

    @blueprint.arguments(LettersShape, required=False)
    @blueprint.response(200, PreviewShape)
    @blueprint.refuses(503)
    def post(self, body: Mapping[str, Any]) -> Response:
        """Count what would be dealt with, and show the oldest of it. Nothing is changed."""
        preview = _dead_letters().preview(_letters(body))
        samples = [letter_json(each) for each in preview.samples]
        return json_answer({"count": preview.count, "samples": samples, "up_to": preview.up_to})


@blueprint.route("/requeue")
class RequeueMany(MethodView):
    """Many dead letters once more."""

    @blueprint.arguments(RequeueManyShape)
    @blueprint.response(200, BatchShape)
    @blueprint.refuses(400, 409, 503)
    def post(self, body: Mapping[str, Any]) -> Response:
        """Run the oldest of them again, at most 200, each as a new execution that is linked to it.

        Each is a transaction of its own and leaves the list with it: cut off anywhere, ask again for what remains.
        """
        letters, source = _confirmed(body), current_trace().source
        batch = _dead_letters().requeue_many(
            letters, body["count"], source, body["user"], from_start=body["from_start"]
        )
        held = resources()
        for lane in held.executions.unhinted_lanes(timedelta(0)) if batch.done else ():
            held.hints.wake(lane, current_trace().correlation_id)
        return _dealt_with(batch)


@blueprint.route("/drop")
class DropMany(MethodView):
    """Many dead letters that nobody wants."""

    @blueprint.arguments(ManyLettersShape)
    @blueprint.response(200, BatchShape)
    @blueprint.refuses(400, 409, 503)
    def post(self, body: Mapping[str, Any]) -> Response:
        """Take the oldest of them out of the list, at most 200; their executions stay and say who dropped them."""
        return _dealt_with(_dead_letters().drop_many(_confirmed(body), body["count"], body["user"]))


@blueprint.route("/<id:execution_id>")
class OneDeadLetter(MethodView):
    """One dead letter."""

    @blueprint.response(200, DeadLetterShape)
    @blueprint.refuses(404, 409, 503)
    def get(self, execution_id: UUID) -> Response:
        """Show one that is in the list, or was: its cause, its last step, and what to do about it."""
        return json_answer(letter_json(_dead_letters().get(execution_id)))


@blueprint.route("/<id:execution_id>/requeue")
class Requeue(MethodView):
    """A dead letter once more."""

    @blueprint.arguments(RequeueShape, required=False)
    @blueprint.response(202, ExecutionDetailShape, headers=_LOCATION)
    @blueprint.refuses(404, 409, 503)
    def post(self, body: Mapping[str, Any], execution_id: UUID) -> Response:
        """Run it again as a new execution: from where it ended, or from its beginning. Only once."""
        source = current_trace().source
        new = _dead_letters().requeue(execution_id, source, body["user"], from_start=body["from_start"])
        held = resources()
        execution = held.executions.get(new)
        held.hints.wake(execution.lane, execution.correlation_id, new)
        answer = execution_json(execution, effects=held.executions.effects(new))
        return json_answer(answer, 202, {"Location": f"/api/executions/{new}"})


@blueprint.route("/<id:execution_id>/drop")
class Drop(MethodView):
    """A dead letter that nobody wants."""

    @blueprint.arguments(HandlingShape, required=False)
    @blueprint.response(200, DeadLetterShape)
    @blueprint.refuses(404, 409, 503)
    def post(self, body: Mapping[str, Any], execution_id: UUID) -> Response:
        """Take it out of the list; its execution stays, and says who dropped it."""
        letters = _dead_letters()
        letters.drop(execution_id, body["user"])
        return json_answer(letter_json(letters.get(execution_id)))


def letter_json(letter: DeadLetter) -> dict[str, Any]:
    """A dead letter as lists and details show it."""
    handled = None
    if letter.action is not None:
        handled = {
            "action": letter.action,
            "user": letter.handled_by,
            "at": letter.handled_at,
            "execution_id": letter.requeued_as,
        }
    return {
        "id": letter.id,
        "command": letter.slug,
        "state": letter.state,
        "lane": letter.lane,
        "priority": letter.priority,
        "user": letter.user_name,
        "correlation_id": letter.correlation_id,
        "parent_id": letter.parent_id,
        "fingerprint": letter.fingerprint,
        "last_step": letter.last_step,
        "error": letter.error,
        "attempts": letter.attempt,
        "failures": letter.failures,
        "deaths": letter.deaths,
        "deaths_alone": letter.deaths_alone,
        "queued_at": letter.queued_at,
        "started_at": letter.started_at,
        "finished_at": letter.finished_at,
        "next_action": letter.next_action,
        "handled": handled,
    }


def cause_json(cause: Cause) -> dict[str, Any]:
    """Dead letters with one cause."""
    return {
        "command": cause.slug,
        "fingerprint": cause.fingerprint,
        "letters": cause.letters,
        "dead": cause.dead,
        "failed": cause.letters - cause.dead,
        "first_at": cause.first_at,
        "last_at": cause.last_at,
        "newest_id": cause.newest_id,
        "error": cause.error,
    }


def _dead_letters() -> DeadLetters:
    held = resources()
    return DeadLetters(held.pool, Resumption(held.pool, held.executions, held.library))


def _confirmed(body: Mapping[str, Any]) -> Letters:
    """Of a request to deal with many.

    Raises:
        RequestInvalid: It says neither how many that is, nor behind which ones to go on.
    """
    if body["count"] is None and body["cursor"] is None:
        message = "count is missing: how many dead letters that is, as /api/queues/dead/preview says"
        raise RequestInvalid([Fault("request.unconfirmed", message, path="count")])
    return _letters(body)


def _letters(given: Mapping[str, Any]) -> Letters:
    state = given["state"] or "dead"
    return Letters(
        states=STATES if state == "all" else (state,),
        **{name: given[name] for name in _FILTERS},
        ids=given.get("ids"),
        up_to=given.get("up_to"),
        # In a list the cursor goes back in time, here it goes on behind what is dealt with.
        after=id_from_cursor("letters", given.get("cursor")) if "count" in given else None,
    )


def _dealt_with(batch: Batch) -> Response:
    following = make_cursor("letters", batch.last) if batch.remaining and batch.last is not None else None
    return json_answer(
        {
            "done": [{"id": each, "execution_id": new} for each, new in batch.done.items()],
            "refused": [
                {"id": each, "code": error.code, "detail": error.detail} for each, error in batch.refused.items()
            ],
            "remaining": batch.remaining,
            "next_cursor": following,
        }
    )
