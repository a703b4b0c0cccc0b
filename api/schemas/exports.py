"""Shapes of exports."""

from __future__ import annotations

from marshmallow import fields, validate

from api.schemas.answers import page_of
from api.schemas.requests import EventFilterQuery, QueryShape, StrictBoolean, WholeNumber, cursor_field, limit_field
from api.schemas.shape import Shape, said
from telemetry.export.request import DIMENSIONS, FORMS, SPLITS, WIDTHS

STATES = ("waiting", "running", "done", "failed")


class NewExport(EventFilterQuery):
    """What is to be exported: events by the filters of `GET /api/telemetry/events`, and how."""

    format = fields.String(load_default="jsonl", validate=validate.OneOf(FORMS), metadata=said("Of the files."))
    compress = StrictBoolean(load_default=False, metadata=said("Whether the files are gzip."))
    split_by = fields.String(
        allow_none=True, validate=validate.OneOf(SPLITS), metadata=said("A file for the events of each.")
    )
    include_metrics = StrictBoolean(load_default=False, metadata=said("Metrics, bin by bin, in a file of their own."))
    metrics_width = fields.String(
        load_default="hour", validate=validate.OneOf(WIDTHS), metadata=said("How long a bucket of metrics is.")
    )
    metrics_by = fields.String(
        allow_none=True,
        validate=validate.OneOf(DIMENSIONS),
        metadata=said("What metrics tell apart; unless given, operations, or the user or the space of the filter."),
    )
    include_health = StrictBoolean(load_default=False, metadata=said("What check-ups found, in a file of its own."))
    include_performance = StrictBoolean(load_default=False, metadata=said("Performance, in a file of its own."))
    max_bytes = WholeNumber(
        allow_none=True,
        validate=validate.Range(1, 2**53),
        metadata=said("Of all files together; WEIR_EXPORT_MAX_BYTES_EACH unless less is given."),
    )


class ExportQuery(QueryShape):
    """Which page."""

    limit = limit_field()
    cursor = cursor_field()


class ExportFileShape(Shape):
    """A file."""

    name = fields.String(required=True)
    source = fields.String(required=True, metadata=said("`events`, `metrics`, `health` or `performance`."))
    rows = fields.Integer(required=True)
    bytes = fields.Integer(required=True)
    sha256 = fields.String(required=True)
    url = fields.String(required=True, metadata=said("Where it is."))


class ExportErrorShape(Shape):
    """Why it failed."""

    code = fields.String(required=True)
    detail = fields.String(required=True)


class ExportShape(Shape):
    """An export, and how far it is."""

    id = fields.UUID(required=True)
    state = fields.String(required=True, validate=validate.OneOf(STATES))
    created_at = fields.AwareDateTime(format="iso", required=True)
    finished_at = fields.AwareDateTime(format="iso", required=True, allow_none=True)
    expires_at = fields.AwareDateTime(format="iso", required=True, allow_none=True, metadata=said("When its files go."))
    format = fields.String(required=True, validate=validate.OneOf(FORMS))
    compress = fields.Boolean(required=True)
    split_by = fields.String(required=True, allow_none=True, validate=validate.OneOf(SPLITS))
    filter = fields.String(
        required=True, metadata=said("All filters as one; users and spaces as events have them, times fixed.")
    )
    max_bytes = fields.Integer(required=True)
    rows = fields.Integer(required=True, metadata=said("Written so far."))
    total_rows = fields.Integer(
        required=True, allow_none=True, metadata=said("To be written; none before they were counted.")
    )
    bytes = fields.Integer(required=True, metadata=said("Of all files, so far."))
    lacks_newest = fields.Boolean(
        required=True, metadata=said("Whether a transaction that was open for long kept the newest events out.")
    )
    files = fields.List(fields.Nested(ExportFileShape), required=True, metadata=said("Once it is done."))
    error = fields.Nested(ExportErrorShape, required=True, allow_none=True)


ExportPage = page_of(ExportShape, "ExportPage")
