"""`/api/telemetry/quarantine`: events that could not be stored, to look at, to store after all, or to drop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from functools import partial
from typing import Any
from uuid import UUID

from flask import Response
from flask.views import MethodView
from psycopg import Connection

from api.parsing import Blueprint
from api.problems import RequestInvalid
from api.resources.answers import id_from_cursor, json_answer, make_cursor, page, page_limit
from api.resources.context import resources, settings
from api.schemas.quarantine import (
    ManyQuarantinedShape,
    QuarantineBatchShape,
    QuarantinedShape,
    QuarantinePage,
    QuarantinePreviewShape,
    QuarantineQuery,
    SelectionShape,
)
from dsl.errors import Fault
from telemetry import quarantine
from telemetry.connections import connect
from telemetry.errors import QuarantineChanged, QuarantinedNotFound
from telemetry.intake import Intake
from telemetry.quarantine import Quarantined, Selection
from telemetry.replay import AT_ONCE, Replayed, replay
from workers.executions import reaching_store

blueprint = Blueprint(
    "quarantine", __name__, url_prefix="/api/telemetry/quarantine", description="Events that could not be stored."
)

#: Rows that a preview shows.
_SAMPLES = 5


@blueprint.route("")
class QuarantineList(MethodView):
    """All of it."""

    @blueprint.arguments(QuarantineQuery, location="query")
    @blueprint.response(200, QuarantinePage)
    @blueprint.refuses(400, 503)
    def get(self, query: Mapping[str, Any]) -> Response:
        """List what could not be stored, newest first: why not, and its shape, never what is in it."""
        limit = page_limit(query["limit"])
        before = id_from_cursor("quarantine", query["cursor"])
        with reaching_store(), resources().pool.connection() as connection:
            rows = quarantine.page(connection, _selection(query), limit=limit + 1, before=before)
        return json_answer(page(rows, limit, quarantined_json, lambda row: make_cursor("quarantine", row.id)))


@blueprint.route("/preview")
class Previews(MethodView):
    """What many of them would be."""

    @blueprint.arguments(SelectionShape, required=False)
    @blueprint.response(200, QuarantinePreviewShape)
    @blueprint.refuses(503)
    def post(self, body: Mapping[str, Any]) -> Response:
        """Count what would be dealt with, and show the oldest of it. Nothing is changed."""
        with reaching_store(), resources().pool.connection() as connection:
            newest = body["up_to"] or quarantine.newest(connection)
            ids, count = quarantine.matching(connection, _selection(body), _SAMPLES)
            samples = quarantine.page(connection, Selection(ids=ids), limit=_SAMPLES)
        shown = [quarantined_json(row) for row in reversed(samples)]
        return json_answer({"count": count, "samples": shown, "up_to": newest})


@blueprint.route("/replay")
class Replays(MethodView):
    """Many of them, stored after all."""

    @blueprint.arguments(ManyQuarantinedShape)
    @blueprint.response(200, QuarantineBatchShape)
    @blueprint.refuses(400, 409, 503)
    def post(self, body: Mapping[str, Any]) -> Response:
        """Store the oldest of them that are kept, at most 1,000, as a sink does; what is stored leaves the quarantine.

        An event that is stored already is not stored twice. Cut off anywhere, ask again for what remains.
        """
        return _deal(body, _replay)


@blueprint.route("/drop")
class Drops(MethodView):
    """Many of them that nobody wants."""

    @blueprint.arguments(ManyQuarantinedShape)
    @blueprint.response(200, QuarantineBatchShape)
    @blueprint.refuses(400, 409, 503)
    def post(self, body: Mapping[str, Any]) -> Response:
        """Delete the oldest of them, at most 1,000. They are gone."""
        return _deal(body, _drop)


@blueprint.route("/<id:row_id>")
class OneQuarantined(MethodView):
    """One of them."""

    @blueprint.response(200, QuarantinedShape)
    @blueprint.refuses(404, 503)
    def get(self, row_id: UUID) -> Response:
        """Show one: why it was not stored, and its shape."""
        with reaching_store(), resources().pool.connection() as connection:
            found = quarantine.page(connection, Selection(ids=[row_id]), limit=1)
        if not found:
            raise QuarantinedNotFound(
                f"nothing in quarantine has the id {row_id}", hint="`weir telemetry quarantine list` shows what is."
            )
        return json_answer(quarantined_json(found[0]))


def quarantined_json(row: Quarantined) -> dict[str, Any]:
    """As lists and details show it."""
    return asdict(row)


def _selection(given: Mapping[str, Any], after: UUID | None = None) -> Selection:
    return Selection(
        reason=given.get("reason"),
        event_type=given.get("event_type"),
        kept_only=given["kept"],
        ids=given.get("ids"),
        up_to=given.get("up_to"),
        after=after,
    )


def _deal(body: Mapping[str, Any], act: Callable[[Connection[Any], Sequence[UUID]], Replayed]) -> Response:
    """Do something with the oldest of those that are meant.

    Raises:
        RequestInvalid: The request says neither how many that is, nor behind which ones to go on.
        QuarantineChanged: It is another number.
    """
    count = body["count"]
    if count is None and body["cursor"] is None:
        message = "count is missing: how many that is, as /api/telemetry/quarantine/preview says"
        raise RequestInvalid([Fault("request.unconfirmed", message, path="count")])
    selection = _selection(body, id_from_cursor("quarantined", body["cursor"]))
    with reaching_store(), resources().pool.connection() as connection:
        ids, found = quarantine.matching(connection, selection, AT_ONCE)
        if count is not None and count != found:
            raise QuarantineChanged(
                f"that would be {found} by now, not {count}", hint="Preview it again; nothing was done."
            )
        done = act(connection, ids)
    remaining = found - len(ids)
    return json_answer(
        {
            "done": done.stored,
            "refused": [{"id": each, "code": obstacle} for each, obstacle in done.kept.items()],
            "remaining": remaining,
            "next_cursor": make_cursor("quarantined", ids[-1]) if remaining else None,
        }
    )


def _drop(connection: Connection[Any], ids: Sequence[UUID]) -> Replayed:
    return Replayed(quarantine.drop(connection, ids), {})


def _replay(connection: Connection[Any], ids: Sequence[UUID]) -> Replayed:
    held, telemetry = resources(), settings().telemetry
    connecting = partial(connect, held.servers.database_url or "", name="weir api replay")
    intake = Intake(
        connecting,
        clock=held.clock,
        partitions_ahead=telemetry.partitions_ahead,
        measures=held.step_types.measures,
    )
    with closing(intake):
        return replay(connection, intake, ids)
