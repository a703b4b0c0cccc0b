"""`/api/fragments`: the built-in records, to read; and the door through which notes come in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from flask import Response
from flask.views import MethodView

from api.parsing import Blueprint
from api.problems import RequestInvalid
from api.resources.answers import id_from_cursor, json_answer, make_cursor, page, page_limit
from api.resources.context import resources
from api.schemas.answers import FragmentDetailShape, FragmentPage, ImportedShape
from api.schemas.requests import FragmentQuery, ImportShape
from api.tracing import current_trace
from dsl import fragments
from dsl.errors import Fault
from dsl.fragment_selection import FIELDS, Field, Filter
from dsl.notes import Note
from workers.executions import reaching_store
from workers.imports import Imports

#: Whole fragments of a page when none are asked for, and at most.
WHOLE, MAX_WHOLE = 20, 100

blueprint = Blueprint("fragments", __name__, url_prefix="/api/fragments", description="The built-in records.")

#: A list shows the beginning of a content, unless it is asked for the whole.
_LISTED: Final[tuple[Field, ...]] = (
    "id",
    "type",
    "title",
    "excerpt",
    "state",
    "tags",
    "metadata",
    "space",
    "source",
    "created_at",
    "updated_at",
)


@blueprint.route("")
class Fragments(MethodView):
    """All fragments."""

    @blueprint.arguments(FragmentQuery, location="query")
    @blueprint.response(200, FragmentPage)
    @blueprint.alt_response(400, "BAD_REQUEST")
    def get(self, query: Mapping[str, Any]) -> Response:
        """List fragments, newest first, with the beginning of their contents, or the whole."""
        is_whole = query["contents"] == "whole"
        limit = _whole_limit(query["limit"]) if is_whole else page_limit(query["limit"])
        which = Filter(
            space=query["space"],
            type=query["type"],
            tags=[tag.strip() for tag in (query["tag"] or "").split(",") if tag.strip()],
            text=query["q"],
            before=id_from_cursor("fragment", query["cursor"]),
        )
        with reaching_store(), resources().pool.connection() as connection:
            rows = fragments.query(connection, which, limit=limit + 1, fields=FIELDS if is_whole else _LISTED)
        return json_answer(page(rows, limit, _as_is, lambda row: make_cursor("fragment", UUID(row["id"]))))


@blueprint.route("/<uuid:fragment_id>")
class OneFragment(MethodView):
    """One fragment."""

    @blueprint.response(200, FragmentDetailShape)
    @blueprint.alt_response(404, "NOT_FOUND")
    def get(self, fragment_id: UUID) -> Response:
        """Show one fragment with its content."""
        with reaching_store(), resources().pool.connection() as connection:
            return json_answer(fragments.get(connection, fragment_id).to_json())


@blueprint.route("/import")
class Import(MethodView):
    """Notes to be fragments."""

    @blueprint.arguments(ImportShape)
    @blueprint.response(200, ImportedShape)
    def post(self, body: Mapping[str, Any]) -> Response:
        """Store notes, all or none; those that an earlier import stored are brought up to date."""
        held, trace = resources(), current_trace()
        imports = Imports(held.pool, held.clock, held.recorder)
        space = imports.space_id(body["space"])
        trace.user_id, trace.space_id = held.pseudonyms.user(body["user"]), space.bytes
        imported = imports.run(_notes(body["notes"]), space, body["user"], trace.scope())
        return json_answer({"created": imported.created, "updated": imported.updated, "unchanged": imported.unchanged})


def _notes(given: Sequence[Mapping[str, Any]]) -> list[Note]:
    return [
        Note(
            source=note["source"],
            title=note["title"],
            content=note["content"],
            type=note["type"],
            tags=tuple(note["tags"]),
            metadata=note["metadata"],
            created=note["created_at"],
            updated=note["updated_at"],
            id=note["id"],
            state=note["state"],
        )
        for note in given
    ]


def _whole_limit(given: int | None) -> int:
    """How many whole fragments a page may have: each may hold megabytes.

    Raises:
        RequestInvalid: More were asked for.
    """
    if given is not None and given > MAX_WHOLE:
        raise RequestInvalid([Fault("request.invalid_value", f"limit: at most {MAX_WHOLE} whole ones", path="limit")])
    return WHOLE if given is None else given


def _as_is(row: Mapping[str, Any]) -> Mapping[str, Any]:
    return row
