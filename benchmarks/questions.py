"""What people ask of the telemetry, over REST and in SQL: a new question is a line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from psycopg import Connection
from psycopg_pool import ConnectionPool

from benchmarks.servers import BenchmarkFailed
from telemetry import chains, performance
from telemetry import query as stored
from telemetry.clock import to_unix_us
from telemetry.error_groups import error_groups
from telemetry.filters.conditions import resolved
from telemetry.filters.parsing import parse
from telemetry.filters.syntax import Filter
from telemetry.ids import least_id_at
from telemetry.overview import look
from telemetry.reading import reading
from telemetry.sql import queries
from telemetry.stats import groups

SQL = queries(__file__)

_SECOND, _HOUR, _DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)
_COMMAND: Final = "sample.web.clip"
_NOBODY: Final = "nobody-of-this-name"
_PATIENCE: Final = timedelta(seconds=30)
#: A panel is asked again after this long.
REFRESH: Final = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Question:
    """A question, and how long its answer may take.

    Attributes:
        name: As it is printed.
        path: Its address over REST when it is asked for the nth time: another one each time, so that no answer is one
            that was kept.
        run: The same in this process, over a connection of its own; none where that would show nothing more.
        limit_ms: What is asked of every installation, at the most; none where nothing is.
        goal_ms: What we aim at.
        may_refuse: Whether it may be too much: then the answer is a 503 within the timeout of a statement.
        is_panel: Whether a dashboard asks it again and again.
    """

    name: str
    path: Callable[[int], str]
    run: Callable[[int], object] | None
    limit_ms: float | None
    goal_ms: float
    may_refuse: bool = False
    is_panel: bool = False


def questions(connection: Connection[Any], pool: ConnectionPool[Any], now: datetime) -> tuple[Question, ...]:
    """Every question that is measured.

    Args:
        connection: To the database with the events, in autocommit mode.
        pool: Of connections to it, for what is read in one view.
        now: Until when they are.

    Raises:
        BenchmarkFailed: There is nothing to ask for.
    """
    return tuple(_Maker(connection, pool, now).all())


class _Maker:
    def __init__(self, connection: Connection[Any], pool: ConnectionPool[Any], now: datetime) -> None:
        self._connection = connection
        self._pool = pool
        self._now = now
        self._traces = _some_traces(connection, now)

    def all(self) -> Sequence[Question]:
        hours, filtered, traces = self._grouped, self._page, self._traces
        return (
            hours("overview, 1 h", "/api/telemetry/overview", _HOUR, look, (500, 30), is_panel=True),
            hours("overview, 24 h", "/api/telemetry/overview", _DAY, look, (None, 30)),
            hours("performance, 24 h", "/api/telemetry/performance", _DAY, _timings, (1000, 50)),
            Question(
                "one trace",
                lambda number: f"/api/telemetry/traces/{traces[number % len(traces)]}",
                lambda number: stored.trace(self._connection, traces[number % len(traces)]),
                limit_ms=200,
                goal_ms=10,
                is_panel=True,
            ),
            self._rolled("analytics of commands, 24 h", "analytics", _DAY, 50, by="command"),
            self._rolled("analytics of steps, p95, 7 d", "analytics", 7 * _DAY, 100, by="step", metric="p95,errors"),
            self._rolled("spikes of commands, 24 h", "spikes", _DAY, 100),
            self._rolled("spikes of steps by 5 m, 6 h", "spikes", 6 * _HOUR, 100, by="step"),
            self._errors("errors, 6 h", 6 * _HOUR, is_panel=True),
            self._errors("errors, 24 h", _DAY),
            self._stats("statistics, 1 h", _HOUR, is_panel=True),
            self._stats("statistics, 24 h", _DAY),
            Question(
                "chains, newest 100",
                lambda number: f"/api/telemetry/chains?limit=100&time_range={_DAY // _SECOND + number}s",
                lambda number: chains.page(self._connection, limit=100, since=self._window(_DAY, number)[0]),
                limit_ms=None,
                goal_ms=50,
                is_panel=True,
            ),
            filtered("events, newest 100", _DAY, "", is_panel=True),
            filtered("events, newest 1,000", _DAY, "", size=1000),
            filtered("events, a command, failed, 24 h", _DAY, f"command:{_COMMAND} outcome:failed"),
            filtered("events, errors, 7 d", 7 * _DAY, "level:error"),
            filtered("events, slow, not of a type, 24 h", _DAY, "duration:>2s -type:transform"),
            filtered("events, a user, 24 h", _DAY, "user:sample-user-12"),
            filtered("events, a user there is not, 24 h", _DAY, f"user:{_NOBODY}"),
            filtered("events, a space there is not, 24 h", _DAY, f"space:{_NOBODY}"),
            filtered("events, a user there is not, all", 90 * _DAY, f"user:{_NOBODY}", goal_ms=5000, may_refuse=True),
            filtered("events, newest 10,000", _DAY, "", size=10_000, goal_ms=500),
        )

    def _grouped(  # noqa: PLR0913 - what it is told of a question
        self,
        name: str,
        route: str,
        back: timedelta,
        read: Callable[[Connection[Any], Filter, datetime, datetime], object],
        bounds: tuple[float | None, float],
        *,
        is_panel: bool = False,
    ) -> Question:
        def run(number: int) -> object:
            since, until = self._window(back, number)
            with reading(self._pool, _PATIENCE) as connection:
                return read(connection, stored.EventFilters(since=since, until=until).whole(), since, until)

        def path(number: int) -> str:
            return self._address(route, back, number)

        return Question(name, path, run, *bounds, is_panel=is_panel)

    def _rolled(self, name: str, route: str, back: timedelta, goal_ms: float, **more: str) -> Question:
        """Of whole minutes: another one each time is another minute."""

        def path(number: int) -> str:
            return self._address(f"/api/metrics/{route}", back, 60 * number, **more)

        return Question(name, path, None, None, goal_ms)

    def _errors(self, name: str, back: timedelta, *, is_panel: bool = False) -> Question:
        def run(number: int) -> object:
            since, until = self._window(back, number)
            whole = stored.EventFilters(since=since, until=until).whole()
            return error_groups(self._connection, whole, since, until, 20)

        return Question(
            name, lambda number: self._address("/api/telemetry/errors", back, number), run, 500, 50, is_panel=is_panel
        )

    def _stats(self, name: str, back: timedelta, *, is_panel: bool = False) -> Question:
        def run(number: int) -> object:
            since, until = self._window(back, number)
            with reading(self._pool, _PATIENCE) as connection:
                return groups(connection, stored.EventFilters(since=since, until=until).whole())

        def path(number: int) -> str:
            return self._address("/api/telemetry/stats", back, number)

        return Question(name, path, run, None, 50, is_panel=is_panel)

    def _page(  # noqa: PLR0913 - likewise
        self,
        name: str,
        back: timedelta,
        text: str,
        *,
        size: int = 100,
        goal_ms: float = 50,
        may_refuse: bool = False,
        is_panel: bool = False,
    ) -> Question:
        def run(number: int) -> object:
            since, until = self._window(back, number)
            # Whoever is meant, it is nobody: no pseudonym of this process is one of the API's.
            more = resolved(parse(text), lambda _name: bytes(16), lambda _name: None)
            return stored.events(self._connection, stored.EventFilters(since=since, until=until, more=more), size)

        def path(number: int) -> str:
            return self._address("/api/telemetry/events", back, number, limit=size, filter=text)

        is_of_user = "user:" in text
        return Question(
            name, path, None if is_of_user else run, None, goal_ms, may_refuse=may_refuse, is_panel=is_panel
        )

    def _window(self, back: timedelta, number: int) -> tuple[datetime, datetime]:
        until = self._now - number * _SECOND
        return until - back, until

    def _address(self, route: str, back: timedelta, number: int, **more: object) -> str:
        since, until = self._window(back, number)
        given = {"start": since.isoformat(), "end": until.isoformat(), **more}
        return f"{route}?{urlencode({name: value for name, value in given.items() if value != ''})}"


def _timings(connection: Connection[Any], whole: Filter, _since: datetime, _until: datetime) -> object:
    return performance.read(connection, performance.real(whole), "command")


def size_of(connection: Connection[Any]) -> tuple[int, int]:
    """Bytes of all stored events with their indexes, and how many there are."""
    size, count = connection.execute(SQL["size"]).fetchone() or (0, 0)
    return int(size), int(count)


def _some_traces(connection: Connection[Any], now: datetime, count: int = 50) -> list[UUID]:
    window: Mapping[str, Any] = {
        "since_id": least_id_at(to_unix_us(now - _DAY)),
        "until_id": least_id_at(to_unix_us(now)),
        "count": count,
    }
    found = connection.execute(SQL["pick_traces"], window).fetchall()
    if not found:
        raise BenchmarkFailed("there is no trace in the last day")
    return [correlation_id for (correlation_id,) in found]
