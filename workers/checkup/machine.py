"""Looks at this machine: its disks and its clock."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

from psycopg import Connection
from psycopg.rows import scalar_row

from telemetry.clock import Clock, to_unix_us
from telemetry.sql import queries
from workers.checkup.finding import Check, Finding, Surroundings, graded
from workers.home import Home
from workers.stack.log_file import measure

SQL = queries(__file__)

_SECOND = timedelta(seconds=1)
#: Questions of which the quickest answer tells the time.
_ASKED = 3


def look_at_disk(check: Check, at: Surroundings) -> Iterable[Finding]:
    """How much is free where the home and the spool are."""
    limits = at.workers.checkup
    places = {"home": at.servers.home, "spool": at.workers.dsl.telemetry.spool_dir}
    for name, folder in places.items():
        if folder is None or (name == "spool" and _is_same_disk(folder, places["home"])):
            continue
        free = shutil.disk_usage(_existing(folder)).free
        status = graded(-free, -limits.disk_warning_bytes, -limits.disk_critical_bytes)
        yield check.found(status, f"{free:,} bytes are free where the {name} is", free, "bytes")


def look_at_logs(check: Check, at: Surroundings) -> Iterable[Finding]:
    """What log files take in the home, and how far back they go. Never bad: they are bounded."""
    if at.servers.home is None:
        return
    found = measure(Home(at.servers.home).logs)
    until = "" if found.oldest_at is None else f", the oldest of {found.oldest_at:%Y-%m-%d}"
    yield check.found("healthy", f"{found.files} log files take {found.bytes:,} bytes{until}", found.bytes, "bytes")


def look_at_clock(check: Check, at: Surroundings) -> Iterable[Finding]:
    """How far this machine's clock, and that of each process that told of itself, is from the database's."""
    limits = at.workers.checkup
    skew = clock_skew_us(at.database, at.clock)
    others = at.database.execute(SQL["skews"], {"back": 3 * limits.interval}).fetchall()
    host, furthest = max([("this machine", skew), *others], key=lambda each: abs(each[1]))
    seconds = abs(furthest) / 1e6
    status = graded(seconds, limits.skew_warning / _SECOND, limits.skew_critical / _SECOND)
    way = "ahead of" if furthest > 0 else "behind"
    yield check.found(status, f"the clock of {host} is {seconds:.3f} s {way} the database's", seconds, "seconds")


def clock_skew_us(connection: Connection[Any], clock: Clock) -> int:
    """By how much a clock is ahead of the database's, in microseconds; half a round trip may be wrong.

    Raises:
        psycopg.Error: Postgres did not answer.
    """
    answers = []
    with connection.cursor(row_factory=scalar_row) as cursor:
        for _ in range(_ASKED):
            before_us, began_us = clock.unix_us(), clock.monotonic_us()
            server = cursor.execute(SQL["clock"]).fetchone()
            took_us = clock.monotonic_us() - began_us
            assert server is not None  # noqa: S101 - it has a row
            answers.append((took_us, before_us + took_us // 2 - to_unix_us(server)))
    return min(answers)[1]


def _is_same_disk(folder: Path, other: Path | None) -> bool:
    return other is not None and _existing(folder).stat().st_dev == _existing(other).stat().st_dev


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    return next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
