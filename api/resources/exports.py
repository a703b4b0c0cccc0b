"""`/api/telemetry/exports`: events as files, written in the background, to be fetched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from flask import Response, send_file
from flask.views import MethodView

from api.parsing import Blueprint
from api.resources.answers import id_from_cursor, json_answer, make_cursor, page, page_limit
from api.resources.context import reading, resources
from api.resources.event_filters import filters_of, period_of, read_filter
from api.resources.executions import KEY_HEADER, REPLAY_HEADER, header_key
from api.schemas.exports import ExportPage, ExportQuery, ExportShape, NewExport
from telemetry.errors import ExportNotFound, ExportNotReady
from telemetry.export.request import ExportRequest, request_for
from telemetry.whole_files import checksum_of
from workers.actors import WRITE_EXPORTS
from workers.exports import ExportJob, Exports, export_folder
from workers.rounds import ask_for

blueprint = Blueprint(
    "exports", __name__, url_prefix="/api/telemetry/exports", description="Events as files, written in the background."
)

_PATH = "/api/telemetry/exports"
_LOCATION = {"Location": {"schema": {"type": "string"}, "description": "Where to look how far it is."}}
_KEY = KEY_HEADER | {
    "description": "Of the caller's choice. Sent again for as long as the export is kept, it is the same export."
}
_BESIDE = ("metrics", "health", "performance")
_BINARY = "application/octet-stream"


@blueprint.route("")
class ManyExports(MethodView):
    """All of them."""

    @blueprint.arguments(ExportQuery, location="query")
    @blueprint.response(200, ExportPage)
    @blueprint.refuses(400, 503)
    def get(self, query: Mapping[str, Any]) -> Response:
        """List exports, newest first."""
        limit, before = page_limit(query["limit"]), id_from_cursor("export", query["cursor"])
        rows = _exports().page(limit=limit + 1, before=before)
        return json_answer(page(rows, limit, export_json, lambda row: make_cursor("export", row.id)))

    @blueprint.takes(_KEY)
    @blueprint.arguments(NewExport, required=False)
    @blueprint.response(202, ExportShape, headers=_LOCATION | REPLAY_HEADER)
    @blueprint.refuses(409, 429, 503)
    def post(self, body: Mapping[str, Any]) -> Response:
        """Export events as they are now; 202 means that it will be written.

        Look at `Location` until `state` is `done` or `failed`. What is stored later is not in it.
        """
        key = header_key()
        said = {name: value if value is None else str(value) for name, value in body.items()}
        export_id, is_replay = _exports().create(_request(body), body["max_bytes"], key, said)
        if not is_replay:
            ask_for(resources().broker, WRITE_EXPORTS)
        headers = {"Location": f"{_PATH}/{export_id}", **({"Idempotent-Replay": "true"} if is_replay else {})}
        return json_answer(export_json(_exports().get(export_id)), 202, headers)


@blueprint.route("/<id:export_id>")
class OneExport(MethodView):
    """One of them."""

    @blueprint.response(200, ExportShape)
    @blueprint.refuses(404, 503)
    def get(self, export_id: UUID) -> Response:
        """Show how far an export is, and where its files are once it is done."""
        return json_answer(export_json(_exports().get(export_id)))

    @blueprint.response(204)
    @blueprint.refuses(404, 503)
    def delete(self, export_id: UUID) -> Response:
        """Give an export up, or take away its files, whatever its state."""
        _exports().remove(export_id)
        ask_for(resources().broker, WRITE_EXPORTS)
        return Response(status=204)


@blueprint.route("/<id:export_id>/file")
class OnlyFile(MethodView):
    """The file of an export that has one."""

    @blueprint.response(200, content_type=_BINARY)
    @blueprint.alt_response(206, description="The part that `Range` asks for.")
    @blueprint.alt_response(304, description="`If-None-Match` names what it is.")
    @blueprint.refuses(404, 409, 416, 503)
    def get(self, export_id: UUID) -> Response:
        """Fetch the file of events. `ETag` is its SHA-256; with `Range` what was broken off is gone on with."""
        job = _done(export_id)
        found = [file for file in _files(job) if file["source"] == "events"]
        if len(found) != 1:
            raise ExportNotReady(
                f"export {export_id} has {len(found)} files of events", hint="Each is at its own address: see `files`."
            )
        return _send(job, str(found[0]["name"]))


@blueprint.route("/<id:export_id>/files/<name>")
class NamedFile(MethodView):
    """A file of an export."""

    @blueprint.response(200, content_type=_BINARY)
    @blueprint.alt_response(206, description="The part that `Range` asks for.")
    @blueprint.alt_response(304, description="`If-None-Match` names what it is.")
    @blueprint.refuses(404, 409, 416, 503)
    def get(self, export_id: UUID, name: str) -> Response:
        """Fetch a file by its name, or its checksum with `.sha256` after the name."""
        return _send(_done(export_id), name)


def export_json(job: ExportJob) -> dict[str, Any]:
    """As lists show it."""
    request, manifest = job.request, job.manifest or {}
    keep = resources().workers.exports.keep
    return {
        "id": job.id,
        "state": job.state,
        "created_at": job.created_at,
        "finished_at": job.finished_at,
        "expires_at": None if job.finished_at is None else job.finished_at + keep,
        "format": request["form"],
        "compress": request["is_compressed"],
        "split_by": request["split_by"],
        "filter": request["filter"],
        "max_bytes": job.max_bytes,
        "rows": job.rows,
        "total_rows": job.total,
        "bytes": job.bytes,
        "lacks_newest": manifest.get("lacks_newest", False),
        "files": [_file_json(job, file) for file in _files(job)],
        "error": None if job.error_code is None else {"code": job.error_code, "detail": job.error_detail},
    }


def _file_json(job: ExportJob, file: Mapping[str, Any]) -> dict[str, Any]:
    shown = {name: file[name] for name in ("name", "source", "rows", "bytes", "sha256")}
    return {**shown, "url": f"{_PATH}/{job.id}/files/{file['name']}"}


def _exports() -> Exports:
    held = resources()
    return Exports(held.pool, held.clock, held.workers.exports)


def _request(body: Mapping[str, Any]) -> ExportRequest:
    """What a body asks for, as of now.

    Raises:
        RequestInvalid, FilterInvalid: It asks for what there cannot be.
    """
    asked, period = read_filter(body), period_of(body)
    with reading() as connection:
        filters = filters_of(connection, body, asked, period)
    return request_for(
        filters,
        form=body["format"],
        is_compressed=body["compress"],
        split_by=body["split_by"],
        beside=tuple(name for name in _BESIDE if body[f"include_{name}"]),
        metrics_width=body["metrics_width"],
        metrics_by=body["metrics_by"],
    )


def _done(export_id: UUID) -> ExportJob:
    """An export that has files.

    Raises:
        ExportNotFound: There is none of this id.
        ExportNotReady: It has none, or not yet.
    """
    job = _exports().get(export_id)
    if job.state != "done":
        raise ExportNotReady(f"export {export_id} is {job.state}", hint="Fetch it once its `state` is `done`.")
    return job


def _files(job: ExportJob) -> list[Mapping[str, Any]]:
    return list((job.manifest or {}).get("files", ()))


def _send(job: ExportJob, name: str) -> Response:
    """One of the files that the export says it has: no other name is looked for.

    Raises:
        ExportNotFound: It has none of this name, or it is not where this process looks.
    """
    held = resources()
    file = next((file for file in _files(job) if name in {file["name"], f"{file['name']}.sha256"}), None)
    if file is None:
        raise ExportNotFound(f"export {job.id} has no such file", hint="`files` names those that it has.")
    folder = export_folder(held.servers, held.workers.exports)
    whole = folder.absolute() / str(job.id) / str(file["name"])
    is_sum = name != file["name"]
    path = checksum_of(whole) if is_sum else whole
    if not path.is_file():
        raise ExportNotFound(
            f"the files of export {job.id} are not where this process looks for them",
            hint="WEIR_EXPORT_DIR has to be the same folder for the API and for maintenance.",
        )
    etag = f"{file['sha256']}-sum" if is_sum else str(file["sha256"])
    answer = send_file(path, mimetype=_BINARY, as_attachment=True, download_name=name, conditional=True, etag=etag)
    # Nobody but who asked keeps it.
    answer.headers["Cache-Control"] = "private, no-cache"
    return answer
