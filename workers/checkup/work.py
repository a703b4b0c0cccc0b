"""Looks at who works: workers and their leases, lanes, the processes of the stack, and the check-ups themselves."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from psycopg.rows import scalar_row

from telemetry.sql import queries
from workers.checkup.finding import Check, Finding, Surroundings

SQL = queries(__file__)

#: How long after its lease a worker's executions may be left lying.
_LEFT_LYING: Final = timedelta(seconds=30)
#: Kinds of processes that a stack has.
KINDS: Final = ("api", "worker", "sink", "scheduler", "maintenance")
#: Windows after which a process, or the check-up, that says nothing is missed.
_WINDOWS: Final = 3


def look_at_leases(check: Check, at: Surroundings) -> Iterable[Finding]:
    """Whether executions run for nobody: their worker is gone, and nobody took them."""
    with at.database.cursor(row_factory=scalar_row) as cursor:
        stuck = cursor.execute(SQL["stuck"], {"patience": _LEFT_LYING}).fetchone() or 0
    detail = (
        f"{stuck} executions wait for the scheduler to take them from a lost worker" if stuck else "no lease is stuck"
    )
    yield check.found("critical" if stuck else "healthy", detail, stuck, "executions")


def look_at_lanes(check: Check, at: Surroundings) -> Iterable[Finding]:
    """Whether there is a worker for each lane that something waits in."""
    lanes = [lane for (lane,) in at.database.execute(SQL["forsaken"])]
    if lanes:
        yield check.found("critical", f"no worker takes from: {', '.join(lanes)}", len(lanes), "lanes")
    else:
        yield check.found("healthy", "every lane that something waits in has a worker", 0, "lanes")


def look_at_processes(check: Check, at: Surroundings) -> Iterable[Finding]:
    """Whether a process of each kind has told of itself in the last windows."""
    back = _WINDOWS * at.workers.checkup.interval
    told = {name for (name,) in at.database.execute(SQL["told"], {"back": back})}
    missing = [kind for kind in KINDS if kind not in told]
    if missing:
        yield check.found("warning", f"not heard of lately: {', '.join(missing)}", len(missing), "processes")
    else:
        yield check.found("healthy", "a process of each kind was heard of", 0, "processes")


def look_at_checkups(check: Check, at: Surroundings) -> Iterable[Finding]:
    """Whether check-ups are made: how long ago the last one that is stored was."""
    with at.database.cursor(row_factory=scalar_row) as cursor:
        age = cursor.execute(SQL["age"]).fetchone()
    if age is None:
        yield check.found("warning", "no check-up has been stored yet")
        return
    limit = _WINDOWS * at.workers.checkup.interval
    detail = f"the last check-up was {age // timedelta(seconds=1)} s ago"
    yield check.found("warning" if age > limit else "healthy", detail, age.total_seconds(), "seconds")
