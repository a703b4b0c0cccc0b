"""Query parameters that say which events: all of them become one filter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg import Connection

from api.problems import RequestInvalid
from api.resources.context import resources
from dsl import fragments
from dsl.errors import Fault
from telemetry.filters.conditions import resolved
from telemetry.filters.kinds import EARLIEST, LATEST
from telemetry.filters.parsing import parse
from telemetry.filters.syntax import Clause, Filter, Is
from telemetry.query import EventFilters
from telemetry.settings import parse_duration

_SECOND, _MINUTE, _HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)


def read_filter(query: Mapping[str, Any]) -> Filter:
    """`filter`, and the names of user and space with it; not yet looked up.

    Raises:
        FilterInvalid: The text is not a filter.
    """
    names = [Clause(name, (Is(query[name]),)) for name in ("user", "space") if query[name] is not None]
    return parse(query["filter"] or "").and_also(Filter(tuple(names)))


def filters_of(
    connection: Connection[Any],
    query: Mapping[str, Any],
    asked: Filter,
    period: tuple[datetime | None, datetime | None],
    user: Callable[[str], bytes] | None = None,
) -> EventFilters:
    """What `EventFilterQuery` asks for.

    Args:
        connection: To look up spaces.
        query: Its values.
        asked: `read_filter` of them.
        period: From when, until when.
        user: Gives pseudonyms; where no application does.
    """

    def space_id(name: str) -> UUID | None:
        found = connection.execute(fragments.SQL["find_space"], {"name": name}).fetchone()
        return None if found is None else found[0]

    return EventFilters(
        event_type=query["event_type"],
        component=query["component"],
        level=query["level"],
        correlation_id=query["correlation_id"],
        execution_id=query["execution_id"],
        command=query["command"],
        step_type=query["step_type"],
        outcome=query["outcome"],
        since=period[0],
        until=period[1],
        more=resolved(asked, user or resources().pseudonyms.user, space_id),
    )


def period_of(query: Mapping[str, Any], now: datetime | None = None) -> tuple[datetime | None, datetime | None]:
    """From when, until when; either may be open. `now` is the application's unless given.

    Raises:
        RequestInvalid: `time_range` comes with `start`.
    """
    start, end, time_range = query["start"], query["end"], query["time_range"]
    if time_range is not None:
        if start is not None:
            message = "time_range and start exclude each other"
            raise RequestInvalid([Fault("request.exclusive", message, path="time_range")])
        start = _before_now(parse_duration_or_all(time_range), now)
    return _bounded(start), _bounded(end)


def whole_period_of(query: Mapping[str, Any], usual: timedelta) -> tuple[datetime, datetime | None]:
    """As `period_of`, with a beginning: `usual` ago unless given.

    One that was told as how long ago is moved back to a whole minute, or second if it is less than an hour ago: then
    who asks the same soon again asks the very same.
    """
    start, end = period_of(query)
    if query["start"] is not None and start is not None:
        return start, end
    start = start or _before_now(usual)
    step = _MINUTE if resources().clock.now() - start >= _HOUR else _SECOND
    return start - (start - EARLIEST) % step, end


def parse_duration_or_all(text: str) -> timedelta:
    """How far back; all there is, where that is longer than time is told."""
    try:
        return parse_duration(text)
    except OverflowError:
        return timedelta.max


def _before_now(duration: timedelta, now: datetime | None = None) -> datetime:
    now = now or resources().clock.now()
    return EARLIEST if duration > now - EARLIEST else now - duration


def _bounded(instant: datetime | None) -> datetime | None:
    return None if instant is None else min(max(instant, EARLIEST), LATEST)
