"""Where records of an export come from: pages in the order of their ids, of what was stored when it began."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from psycopg import Connection

from telemetry import query
from telemetry.event_fields import EVENT_FIELDS
from telemetry.export.request import ExportRequest
from telemetry.query import EventFilters, event_json

#: Ids and what is exported of each, in the order of the ids.
Page = Sequence[tuple[UUID, Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class Source:
    """A kind of records.

    Attributes:
        name: Of the kind.
        fields: What each record has, in this order.
        count: How many were stored before a position, of `telemetry.query.position`.
        page: Of those, the next ones after an id, at most so many.
        part: Which file a record goes to, by a word; all go to one, without.
    """

    name: str
    fields: Sequence[str]
    count: Callable[[Connection[Any], int], int]
    page: Callable[[Connection[Any], int, UUID | None, int], Page]
    part: Callable[[Mapping[str, Any]], str] | None = None


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

    def page(connection: Connection[Any], stored_before: int, after: UUID | None, limit: int) -> Page:
        found = query.stored_before(connection, filters, stored_before, limit, after)
        return [(event.event_id, event_json(event)) for event in found]

    def count(connection: Connection[Any], stored_before: int) -> int:
        return query.count(connection, filters, stored_before)

    part = None if request.split_by is None else _PARTS[request.split_by]
    return Source("events", EVENT_FIELDS, count, page, part)
