"""Looks at telemetry: are events recorded, moved, stored, complete."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import UUID

from psycopg.rows import dict_row, scalar_row

from telemetry.clock import to_unix_us
from telemetry.completeness import look_at_completeness
from telemetry.connections import open_redis
from telemetry.ids import least_id_at
from telemetry.partitions import first_day, list_partitions, name_of
from telemetry.sql import queries
from telemetry.stream import oldest_waiting_us
from workers.checkup.finding import Check, Finding, Surroundings, graded
from workers.readiness import PATIENCE

SQL = queries(__file__)

#: Of how many events, and how long back, the error rate is; and of how few it says nothing.
_SAMPLE: Final = 20_000
_BACK: Final = timedelta(minutes=5)
_LEAST: Final = 20
#: How far back what came into quarantine is news.
_DAY: Final = timedelta(days=1)
#: Shares of the spool that are worth a word, in percent.
_SPOOL_PERCENT: Final = (50, 90)
_SECOND_US: Final = 1_000_000


def look_at_buffers(check: Check, at: Surroundings) -> Iterable[Finding]:
    """Whether recorders have room for what they are given."""
    silence = at.workers.dsl.telemetry.producer_silence
    with at.database.cursor(row_factory=dict_row) as cursor:
        found = cursor.execute(SQL["recorders"], {"silence": silence}).fetchone()
    assert found is not None  # noqa: S101 - an aggregate has a row
    if found["dropping"]:
        detail = f"{found['dropping']} of {found['recorders']} recorders have no room, and lost {found['lost']} events"
        yield check.found("critical", detail, found["lost"], "events")
    elif found["spooling"]:
        detail = f"{found['spooling']} of {found['recorders']} recorders keep events on disk: the stream takes none"
        yield check.found("warning", detail, found["lost"], "events")
    elif found["lost"]:
        detail = f"recorders that run have lost {found['lost']} events since they began"
        yield check.found("warning", detail, found["lost"], "events")
    else:
        yield check.found("healthy", f"{found['recorders']} recorders have room", 0, "events")


def look_at_spool(check: Check, at: Surroundings) -> Iterable[Finding]:
    """How full the disk's share of waiting events is, on this machine."""
    settings = at.workers.dsl.telemetry
    if settings.spool_dir is None:
        return
    used = _size_of(settings.spool_dir)
    warning, critical = (settings.spool_max_bytes * percent / 100 for percent in _SPOOL_PERCENT)
    detail = f"{used:,} of {settings.spool_max_bytes:,} bytes wait on disk"
    yield check.found(graded(used, warning, critical), detail, used, "bytes")


def look_at_lag(check: Check, at: Surroundings) -> Iterable[Finding]:
    """How long the oldest entry of the stream has waited to be stored, by the clock of Redis."""
    settings, limits = at.workers.dsl.telemetry, at.workers.checkup
    with open_redis(settings.redis_url or at.servers.redis_url or "", timeout=PATIENCE, retries=0) as client:
        waited_s = oldest_waiting_us(client, settings.stream) / _SECOND_US
    warning, critical = limits.lag_warning.total_seconds(), limits.lag_critical.total_seconds()
    detail = f"the oldest event that is not stored has waited {waited_s:.1f} s" if waited_s else "nothing waits"
    yield check.found(graded(waited_s, warning, critical), detail, waited_s, "seconds")


def look_at_account(check: Check, at: Surroundings) -> Iterable[Finding]:
    """Whether events arrive, and whether some are known to be missing."""
    states = look_at_completeness(at.database, at.workers.dsl.telemetry.producer_silence)
    for name, state in states.items():
        found = check.found("healthy" if state == "ok" else "warning", state)
        yield Finding(name, found.component, found.status, found.detail, fix=found.fix)


def look_at_quarantine(check: Check, at: Surroundings) -> Iterable[Finding]:
    """Whether events came in lately that could not be stored."""
    with at.database.cursor(row_factory=scalar_row) as cursor:
        count = cursor.execute(SQL["quarantined"], {"first_id": _least(at.clock.now() - _DAY)}).fetchone() or 0
    detail = f"{count} events of the last day could not be stored" if count else "nothing came in during the last day"
    yield check.found("warning" if count else "healthy", detail, count, "events")


def look_at_partitions(check: Check, at: Surroundings) -> Iterable[Finding]:
    """Whether events of the days to come can be stored."""
    there, today = set(list_partitions(at.database)), at.clock.now()
    wanted = at.workers.dsl.telemetry.partitions_ahead
    ahead = next((days for days in range(wanted + 1) if name_of(today + days * _DAY) not in there), wanted + 1) - 1
    # On a new day, one less until maintenance comes round.
    status = graded(-ahead, 2 - wanted, 0 if wanted > 1 else 1)
    detail = "events of today cannot be stored" if ahead < 0 else f"{ahead} days ahead are made"
    yield check.found(status, detail, ahead, "days")


def look_at_errors(check: Check, at: Surroundings) -> Iterable[Finding]:
    """What share of what was attempted lately has failed, by component of the events."""
    limits = at.workers.checkup
    bounds = {"first_id": _least(at.clock.now() - _BACK), "events": _SAMPLE}
    with at.database.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(SQL["failures"], bounds).fetchall()
    for row in rows:
        percent = 100 * row["failures"] / row["ended"]
        detail = f"{row['failures']} of the last {row['ended']} failed"
        is_few = row["ended"] < _LEAST
        status = "healthy" if is_few else graded(percent, limits.error_percent_warning, limits.error_percent_critical)
        found = check.found(status, detail, percent, "percent")
        fix = None if found.fix is None else f"{found.fix} --component {row['component']}"
        yield Finding(check.name, row["component"], found.status, found.detail, found.value, found.unit, fix)


def look_at_storage(check: Check, at: Surroundings) -> Iterable[Finding]:
    """What stored telemetry takes of the disk, and how far back it goes. Never bad: the disk's own look says that."""
    with at.database.cursor(row_factory=scalar_row) as cursor:
        size = cursor.execute(SQL["size"]).fetchone() or 0
    first = first_day(list_partitions(at.database))
    since = "" if first is None else f", since {first:%Y-%m-%d}"
    yield check.found("healthy", f"telemetry takes {size:,} bytes of the database{since}", size, "bytes")


def _size_of(folder: Path) -> int:
    """Bytes of all files below; those that go meanwhile do not count."""
    size = 0
    for path in folder.rglob("*"):
        try:
            size += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return size


def _least(instant: datetime) -> UUID:
    return least_id_at(to_unix_us(instant))
