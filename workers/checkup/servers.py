"""Looks at Postgres and Redis."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import psycopg
import redis
from psycopg.rows import dict_row

from migrations.runner import require_current
from telemetry.connections import open_redis
from telemetry.errors import SchemaOutOfDate
from telemetry.sql import queries
from workers.checkup.finding import Check, Finding, Surroundings, graded
from workers.readiness import PATIENCE

SQL = queries(__file__)

#: Shares of connections and of memory that are worth a word, in percent.
_PERCENT: Final = (80, 95)


def look_at_database(check: Check, at: Surroundings) -> Iterable[Finding]:
    """Whether Postgres answers and has connections left."""
    if at.connection is None:
        yield check.found("critical", "Postgres does not answer")
        return
    try:
        with at.connection.cursor(row_factory=dict_row) as cursor:
            found = cursor.execute(SQL["database"]).fetchone()
    except psycopg.OperationalError:
        if not at.connection.closed:  # it answers: that it is too slow is for the caller to tell
            raise
        yield check.found("critical", "Postgres does not answer")
        return
    assert found is not None  # noqa: S101 - it has a row
    percent = 100 * found["taken"] / found["most"]
    detail = f"{found['taken']} of {found['most']} connections are taken; the database has {found['size']:,} bytes"
    yield check.found(graded(percent, *_PERCENT), detail, percent, "percent")


def look_at_schema(check: Check, at: Surroundings) -> Iterable[Finding]:
    """Whether the database has the schema of this program."""
    try:
        require_current(at.database)
    except SchemaOutOfDate as error:
        yield check.found("critical", error.detail)
    else:
        yield check.found("healthy", "all migrations are applied")


def look_at_redis(check: Check, at: Surroundings) -> Iterable[Finding]:
    """Whether Redis answers, and how full its memory is: of the queue, and of the stream if that has its own."""
    for which, facts in _each_redis(at):
        if isinstance(facts, redis.RedisError):
            yield check.found("critical", f"Redis of the {which} does not answer ({type(facts).__name__})")
            continue
        used, most = int(facts.get("used_memory", 0)), int(facts.get("maxmemory", 0))
        percent = 100 * used / most if most else 0.0
        detail = f"Redis of the {which} uses {used:,} bytes" + (f" of {most:,}" if most else "; it has no limit")
        yield check.found(graded(percent, *_PERCENT), detail, used, "bytes")


def look_at_durability(check: Check, at: Surroundings) -> Iterable[Finding]:
    """Whether Redis keeps what it has over a restart, and throws nothing away when it is full."""
    for which, facts in _each_redis(at):
        if isinstance(facts, redis.RedisError):
            raise facts
        policy = facts.get("maxmemory_policy", "noeviction")
        if policy != "noeviction" and int(facts.get("maxmemory", 0)):
            yield check.found("critical", f"Redis of the {which} throws keys away when it is full ({policy})")
        elif not int(facts.get("aof_enabled", 0)):
            yield check.found("warning", f"Redis of the {which} is not append-only: what waits in it ends with it")
        elif facts.get("aof_last_write_status", "ok") != "ok":
            yield check.found("critical", f"Redis of the {which} cannot write its append-only file")
        else:
            yield check.found("healthy", f"Redis of the {which} is append-only")


def _each_redis(at: Surroundings) -> Iterator[tuple[str, dict[str, Any] | redis.RedisError]]:
    """What each Redis tells of its memory and of its disk, or why it does not."""
    queue, stream = at.servers.redis_url, at.workers.dsl.telemetry.redis_url
    urls = {"queue": queue or "", "telemetry stream": stream} if stream and stream != queue else {"queue": queue or ""}
    for which, url in urls.items():
        try:
            with open_redis(url or "", timeout=PATIENCE, retries=0) as client:
                yield which, {**client.info("memory"), **client.info("persistence")}
        except redis.RedisError as error:
            yield which, error
