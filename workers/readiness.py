"""Whether a process has what it needs: looked at when somebody asks, each look no longer than a moment."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta

import psycopg
import redis
from psycopg_pool import PoolTimeout

from migrations.runner import require_current
from telemetry.connections import open_redis
from telemetry.errors import SchemaOutOfDate, StoreUnavailable
from telemetry.patience import waiting
from telemetry.pulse import Pulse
from telemetry.recorder import Recorder
from telemetry.settings import TelemetrySettings
from telemetry.sink_figures import SinkFigures
from workers.health import WARNING

#: How long Redis and Postgres may take to answer, and a pool to hand out a connection.
PATIENCE = timedelta(seconds=1)
#: How long a loop may stay away beyond the time it waits for work. A turn is a transaction at most.
SILENCE = timedelta(seconds=30)

_AWAY = "does not answer"


def look_at_postgres(connect: Callable[[], AbstractContextManager[psycopg.Connection]]) -> dict[str, str]:
    """Of Postgres and of its schema: `ok`, or what is wrong.

    Args:
        connect: A connection, as this process gets those it works with.
    """
    try:
        with connect() as connection, waiting(connection, PATIENCE):
            require_current(connection)
    except SchemaOutOfDate as error:
        return {"postgres": "ok", "schema": error.detail}
    except (PoolTimeout, psycopg.Error, StoreUnavailable):
        return {"postgres": _AWAY, "schema": "cannot be seen"}
    return {"postgres": "ok", "schema": "ok"}


def look_at_redis(url: str) -> dict[str, str]:
    """Of Redis: `ok`, or what is wrong."""
    try:
        with open_redis(url, timeout=PATIENCE, retries=0) as client:
            client.ping()
    except redis.RedisError:
        return {"redis": _AWAY}
    return {"redis": "ok"}


def look_at_loop(pulse: Pulse, wait: timedelta) -> dict[str, str]:
    """Of the loop that does the work: `ok`, or how long it has not come round.

    Args:
        pulse: Beaten at each turn.
        wait: How long one turn waits for work.
    """
    age = pulse.age
    if age <= wait + SILENCE:
        return {"loop": "ok"}
    return {"loop": f"has not come round for {age // timedelta(seconds=1)} s"}


def look_at_recorder(recorder: Recorder) -> dict[str, str]:
    """Of what takes this process's events: `ok`, or a warning. Whatever it is, the process works as before."""
    stats = recorder.stats()
    if stats.rung == "dropping":
        return {"recorder": f"{WARNING}has no room for all events, and has lost {sum(stats.dropped.values())} so far"}
    if stats.rung == "spooling":
        return {"recorder": f"{WARNING}keeps {stats.spooled} events on disk, for the telemetry stream takes none"}
    if not stats.is_reachable:
        return {"recorder": f"{WARNING}keeps {stats.waiting} events in memory, for the telemetry stream takes none"}
    return {"recorder": "ok"}


def look_at_stream(figures: SinkFigures, settings: TelemetrySettings) -> dict[str, str]:
    """Of the telemetry stream's size, as the sink saw it last: `ok`, or what it nears, which the sink cannot help."""
    backlog = figures.backlog
    match figures.warning(settings):
        case "stream_warn_bytes":
            state = f"{WARNING}it uses {backlog.size_bytes} bytes of Redis, and {backlog.waiting} entries wait"
            return {"stream": state}
        case "stream_max_entries":
            return {"stream": f"{WARNING}it holds {backlog.entries} of {settings.stream_max_entries} entries"}
        case _:
            return {"stream": "ok"}
