"""`/api/executions/bulk`: many submissions in one request, each with a verdict of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from http import HTTPStatus
from typing import Any
from uuid import UUID

from flask import Response
from flask.views import MethodView

from api import problems
from api.parsing import parse_part
from api.problems import BodyMalformed, RequestInvalid
from api.resources import executions
from api.resources.answers import json_answer
from api.resources.context import admission, resources
from api.resources.executions import KEY_HEADER, header_key
from api.resources.submissions import key_fault, mark_of, submission_of
from api.schemas.bulk import BulkAnswerShape, BulkItemShape, BulkShape
from api.tracing import RequestTrace, current_trace
from dsl.command import Command
from dsl.errors import Fault
from telemetry.errors import WeirError
from workers.bulk import MAX_ITEMS, Bulk, BulkKeys, Item, Verdict, WholeKey
from workers.errors import QueueFull
from workers.idempotency import Idempotency, Mark

#: Of all operations on executions, this among them.
blueprint = executions.blueprint

_KEY_HEADER = KEY_HEADER | {
    "description": "Of the caller's choice. The same request sent again within 24 hours has the same answer."
}
_HEADERS = {
    "Idempotent-Replay": {"schema": {"type": "string"}, "description": "`true`, if all of it was sent before."},
    "Retry-After": {
        "schema": {"type": "integer"},
        "description": "Seconds after which to send those again that a full lane refused, if there are some.",
    },
}


@blueprint.route("/executions/bulk")
class BulkSubmissions(MethodView):
    """Many executions to be."""

    @blueprint.takes(_KEY_HEADER)
    @blueprint.arguments(BulkShape)
    @blueprint.response(200, BulkAnswerShape, headers=_HEADERS)
    @blueprint.refuses(409, 503)
    def post(self, body: Mapping[str, Any]) -> Response:
        """Submit up to 1,000 commands at once; each is accepted or refused by itself.

        Those that are accepted are committed together. The answer says of each what a single submission would have been
        answered with, in order. With `Idempotency-Key`, all of it sent again is answered as it was the first time.
        """
        given: Sequence[object] = body["items"]
        if len(given) > MAX_ITEMS:
            message = f"items: at most {MAX_ITEMS:,} in one request, and there are {len(given):,}"
            raise RequestInvalid([Fault("request.too_many_items", message, path="items", expected=f"<= {MAX_ITEMS}")])
        held, whole = resources(), _whole_key(body)
        kept = None if whole is None else BulkKeys(held.pool).answer(whole)
        if kept is not None:
            return _answered(kept, is_replay=True)
        items = _admitted(_submissions(given))
        answer, is_replay = Bulk(held.pool, held.executions, held.hints).submit(items, _answer, whole)
        return _answered(answer, is_replay=is_replay)


def _submissions(given: Sequence[object]) -> list[Item | Verdict | WeirError]:
    """The items of one request; those that were accepted before whatever became of their commands since."""
    # A command is looked up once: looking whether its file has changed is most of the work.
    held, trace = resources(), current_trace()
    reader = _Reader(BulkItemShape(), trace, cache(held.library.get))
    bodies = [reader.body(item) for item in given]
    marks = [body.mark for body in bodies if isinstance(body, _Body) and body.mark is not None]
    known = Idempotency(held.pool, held.executions).find_all(marks)
    items: list[Item | Verdict | WeirError] = []
    for body in bodies:
        if not isinstance(body, _Body):
            items.append(body)
        elif body.mark is not None and (owner := known.get(body.mark)) is not None:
            items.append(Verdict(owner, is_replay=True) if isinstance(owner, UUID) else owner)
        else:
            items.append(reader.item(body))
    return items


def _admitted(items: Sequence[Item | Verdict | WeirError]) -> list[Item | Verdict | WeirError]:
    """The items, those refused whose lanes do not take them all; what was accepted before is answered all the same."""
    held = resources()
    keys, found = Idempotency(held.pool, held.executions), list(items)
    lanes = Counter(item.submission.lane for item in items if isinstance(item, Item))
    for lane, count in lanes.items():
        try:
            admission().admit(lane, count)
        except QueueFull as refusal:
            mine = {n: item for n, item in enumerate(items) if isinstance(item, Item) and item.submission.lane == lane}
            # Some may have been accepted since they were looked up, by who was sent the same.
            known = keys.find_all([item.mark for item in mine.values() if item.mark is not None])
            found = [refusal if n in mine and mine[n].mark not in known else item for n, item in enumerate(found)]
    return found


def _whole_key(body: Mapping[str, Any]) -> WholeKey | None:
    key = header_key()
    try:
        return None if key is None else WholeKey.of(key, body)
    except RecursionError as error:
        raise BodyMalformed("the body is nested too deeply") from error


@dataclass(frozen=True, slots=True)
class _Body:
    """An item as it was sent, in shape; and its key, if it has one."""

    fields: Mapping[str, Any]
    mark: Mark | None


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads the items of one request; what goes wrong with one is nothing to the others."""

    shape: BulkItemShape
    trace: RequestTrace
    find: Callable[[str], Command]

    def body(self, given: object) -> _Body | WeirError:
        """One item as it was sent, or why it is refused."""
        try:
            fields = parse_part(self.shape, given)
            key = fields["idempotency_key"]
            if key is not None and (fault := key_fault(key, "idempotency_key")):
                return RequestInvalid([fault])
            return _Body(fields, None if key is None else mark_of(key, fields["command"], fields))
        except WeirError as refusal:
            return _own(refusal)

    def item(self, body: _Body) -> Item | WeirError:
        """What an item asks for, or why it is refused."""
        own = replace(self.trace)
        try:
            own.correlation_id = body.fields["correlation_id"] or self.trace.correlation_id
            return Item(submission_of(body.fields["command"], body.fields, own, self.find), body.mark)
        except WeirError as refusal:
            return _own(refusal)


def _own(refusal: WeirError) -> WeirError:
    """The refusal of one item; what is the server's fault is that of all of them."""
    if problems.of_error(refusal).status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise refusal
    return refusal


def _answer(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    items = [_verdict_json(index, verdict) for index, verdict in enumerate(verdicts)]
    counts = Counter(item["verdict"] for item in items)
    return {name: counts[name] for name in ("accepted", "replayed", "refused")} | {"items": items}


def _verdict_json(index: int, verdict: Verdict) -> dict[str, Any]:
    facts: dict[str, Any] = {"index": index, "id": None, "location": None, "problem": None}
    if verdict.refusal is not None:
        problem = problems.of_error(verdict.refusal)
        return facts | {"verdict": "refused", "status": problem.status, "problem": problem.body}
    facts |= {"id": str(verdict.execution_id), "location": f"/api/executions/{verdict.execution_id}"}
    return facts | {"verdict": "replayed" if verdict.is_replay else "accepted", "status": int(HTTPStatus.ACCEPTED)}


def _answered(body: Mapping[str, Any], *, is_replay: bool) -> Response:
    headers = {"Idempotent-Replay": "true"} if is_replay else {}
    if any(item["status"] == HTTPStatus.TOO_MANY_REQUESTS for item in body["items"]):
        headers["Retry-After"] = str(problems.RETRY_AFTER_S)
    return json_answer(body, 200, headers)
