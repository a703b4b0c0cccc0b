"""Where records of an export come from: pages in the order of their ids, of what was stored when it began."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID

from psycopg import Connection

from telemetry import query
from telemetry.clock import from_unix_us
from telemetry.event_fields import EVENT_FIELDS
from telemetry.export.request import ExportRequest
from telemetry.ids import unix_ms_of
from telemetry.query import EventFilters, event_json
from telemetry.reading import one_view
from telemetry.rollups import records
from telemetry.rollups.records import Place

#: Ids, as texts, and what is exported of each, in the order of the ids.
Page = Sequence[tuple[str, Mapping[str, Any]]]


def time_of_uuid(record_id: str) -> str:
    """When what has this id was, to the millisecond."""
    return from_unix_us(unix_ms_of(UUID(record_id).bytes) * 1000).isoformat(timespec="milliseconds")


@dataclass(frozen=True, slots=True)
class Source:
    """A kind of records.

    Attributes:
        name: Of the kind.
        fields: What each record has, in this order.
        count: How many were stored before a position, of `telemetry.query.position`.
        page: Of those, the next ones after an id, at most so many.
        part: Which file a record goes to, by a word; all go to one, without.
        time: When the record of an id was.
    """

    name: str
    fields: Sequence[str]
    count: Callable[[Connection[Any], int], int]
    page: Callable[[Connection[Any], int, str | None, int], Page]
    part: Callable[[Mapping[str, Any]], str] | None = None
    time: Callable[[str], str] = time_of_uuid


_PARTS: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "component": lambda event: str(event["component"]),
    "event_type": lambda event: str(event["event_type"]),
    "day": lambda event: str(event["occurred_at"])[:10],
}


def events_source(request: ExportRequest) -> Source:
    """The events that a request asks for.

    Raises:
        FilterInvalid: Its filter is not one.
    """
    filters: EventFilters = request.events()

    def page(connection: Connection[Any], stored_before: int, after: str | None, limit: int) -> Page:
        found = query.stored_before(connection, filters, stored_before, limit, UUID(after) if after else None)
        return [(str(event.event_id), event_json(event)) for event in found]

    def count(connection: Connection[Any], stored_before: int) -> int:
        return query.count(connection, filters, stored_before)

    part = None if request.split_by is None else _PARTS[request.split_by]
    return Source("events", EVENT_FIELDS, count, page, part)


def metrics_source(request: ExportRequest) -> Source:
    """The buckets that a request asks for, each with all of its bins.

    Raises:
        RequestUnclear: Its filter names a user and a space, or another one than it tells apart.
    """
    wanted = request.buckets()

    def page(connection: Connection[Any], stored_before: int, after: str | None, limit: int) -> Page:
        with one_view(connection):
            found = records.page(
                connection,
                replace(wanted, stored_before=stored_before),
                limit,
                None if after is None else Place.of(after),
            )
        return [(place.text(), record) for place, record in found]

    def count(connection: Connection[Any], stored_before: int) -> int:
        with one_view(connection):
            return records.count(connection, replace(wanted, stored_before=stored_before))

    return Source(
        "metrics", records.FIELDS, count, page, time=lambda record_id: Place.of(record_id).starts_at.isoformat()
    )
