"""`/api/fragments`: the built-in records, to read and to edit; and the door through which notes come in."""

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
from api.resources.preconditions import (
    ETAG_HEADER,
    IF_MATCH_HEADER,
    IF_NONE_MATCH_HEADER,
    require_match,
    tagged,
)
from api.schemas.answers import FragmentDetailShape, FragmentPage, ImportedShape
from api.schemas.requests import AuthorQuery, ChangeShape, DraftShape, FragmentQuery, ImportShape, tags_of
from api.tracing import current_trace
from dsl import fragments
from dsl.errors import Fault
from dsl.fragment_selection import FIELDS, Field, Filter
from dsl.fragments import Change, Draft, Fragment
from dsl.notes import Note
from telemetry.events import Scope
from workers.edits import Edited, Edits
from workers.executions import reaching_store
from workers.imports import Imports

#: Whole fragments of a page when none are asked for, and at most.
WHOLE, MAX_WHOLE = 20, 100

blueprint = Blueprint("fragments", __name__, url_prefix="/api/fragments", description="The built-in records.")

_CREATED_HEADERS = {
    **ETAG_HEADER,
    "Location": {"schema": {"type": "string"}, "description": "Where the fragment is."},
}

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
    @blueprint.refuses(400, 503)
    def get(self, query: Mapping[str, Any]) -> Response:
        """List fragments, newest first, with the beginning of their contents, or the whole."""
        is_whole = query["contents"] == "whole"
        limit = _whole_limit(query["limit"]) if is_whole else page_limit(query["limit"])
        which = Filter(
            space=query["space"],
            type=query["type"],
            tags=tags_of(query["tag"]),
            text=query["q"],
            before=id_from_cursor("fragment", query["cursor"]),
        )
        with reaching_store(), resources().pool.connection() as connection:
            rows = fragments.query(connection, which, limit=limit + 1, fields=FIELDS if is_whole else _LISTED)
        return json_answer(page(rows, limit, _as_is, lambda row: make_cursor("fragment", UUID(row["id"]))))

    @blueprint.arguments(DraftShape)
    @blueprint.response(201, FragmentDetailShape, headers=_CREATED_HEADERS)
    @blueprint.refuses(503)
    def post(self, body: Mapping[str, Any]) -> Response:
        """Make a fragment."""
        draft = Draft(**{name: body[name] for name in ("type", "title", "content", "state", "tags", "metadata")})
        edited = _edits().create(draft, body["space"], body["user"], _scope(body["user"]))
        location = f"/api/fragments/{edited.fragment.id}"
        return tagged(_told(edited), 201, Location=location)


@blueprint.route("/<id:fragment_id>")
class OneFragment(MethodView):
    """One fragment."""

    @blueprint.takes(IF_NONE_MATCH_HEADER)
    @blueprint.response(200, FragmentDetailShape, headers=ETAG_HEADER)
    @blueprint.alt_response(304, headers=ETAG_HEADER)
    @blueprint.refuses(404, 503)
    def get(self, fragment_id: UUID) -> Response:
        """Show one fragment with its content."""
        with reaching_store(), resources().pool.connection() as connection:
            return tagged(fragments.get(connection, fragment_id).to_json())

    @blueprint.takes(IF_MATCH_HEADER)
    @blueprint.arguments(ChangeShape, required=False)
    @blueprint.response(200, FragmentDetailShape, headers=ETAG_HEADER)
    @blueprint.refuses(404, 412, 503)
    def patch(self, body: Mapping[str, Any], fragment_id: UUID) -> Response:
        """Change what is given of a fragment."""
        wish = Change(**{name: value for name, value in body.items() if name != "user"})
        edited = _edits().update(fragment_id, wish, body["user"], _scope(body["user"]), _is_as_said)
        return tagged(_told(edited))

    @blueprint.takes(IF_MATCH_HEADER)
    @blueprint.arguments(AuthorQuery, location="query")
    @blueprint.response(204)
    @blueprint.refuses(404, 412, 503)
    def delete(self, query: Mapping[str, Any], fragment_id: UUID) -> Response:
        """Remove a fragment."""
        _told(_edits().delete(fragment_id, query["user"], _scope(query["user"]), _is_as_said))
        return Response(status=204)


@blueprint.route("/import")
class Import(MethodView):
    """Notes to be fragments."""

    @blueprint.arguments(ImportShape)
    @blueprint.response(200, ImportedShape)
    @blueprint.refuses(503)
    def post(self, body: Mapping[str, Any]) -> Response:
        """Store notes, all or none; those that an earlier import stored are brought up to date."""
        held, trace = resources(), current_trace()
        imports = Imports(held.pool, held.clock, held.recorder)
        space = imports.space_id(body["space"])
        trace.user_id, trace.space_id = held.pseudonyms.user(body["user"]), space.bytes
        imported = imports.run(_notes(body["notes"]), space, body["user"], trace.scope())
        return json_answer({"created": imported.created, "updated": imported.updated, "unchanged": imported.unchanged})


def _edits() -> Edits:
    held = resources()
    return Edits(held.pool, held.clock, held.recorder, held.pseudonyms.content)


def _scope(user: str) -> Scope:
    """Who edits, for the events of the edit and of the request."""
    trace = current_trace()
    trace.user_id = resources().pseudonyms.user(user)
    return trace.scope()


def _told(edited: Edited) -> dict[str, Any]:
    """The fragment's JSON; the request's own event will name its space."""
    current_trace().space_id = edited.space_id.bytes
    return edited.fragment.to_json()


def _is_as_said(fragment: Fragment) -> None:
    """Raises `Stale` if the caller knows it otherwise."""
    require_match(fragment.to_json())


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
        raise RequestInvalid([Fault("request.limit", f"limit: at most {MAX_WHOLE} whole ones", path="limit")])
    return WHOLE if given is None else given


def _as_is(row: Mapping[str, Any]) -> Mapping[str, Any]:
    return row
