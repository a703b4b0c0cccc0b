"""Everything that is looked at, in one list; and one look at all of it, which nothing that is wrong can stop."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

import psycopg
import redis

from telemetry.errors import WeirError
from workers.checkup import events, machine, servers, work
from workers.checkup.finding import Check, Finding, Surroundings

#: How long all looks together may take, about.
PATIENCE: Final = timedelta(seconds=5)

#: What is looked at, in the order it is told.
CHECKS: Final[tuple[Check, ...]] = (
    Check("database", "database", servers.look_at_database, in_database=False, fix="weir doctor"),
    Check("migrations", "database", servers.look_at_schema, fix="weir migrate"),
    Check("storage", "database", events.look_at_storage),
    Check("redis", "redis", servers.look_at_redis, in_database=False, fix="weir doctor"),
    Check(
        "append_only", "redis", servers.look_at_durability, in_database=False, fix="redis-cli config set appendonly yes"
    ),
    Check("disk", "disk", machine.look_at_disk, in_database=False, fix="weir doctor"),
    Check("logs", "disk", machine.look_at_logs, in_database=False),
    Check("clock", "clock", machine.look_at_clock, fix="timedatectl set-ntp true"),
    Check("buffer", "recorder", events.look_at_buffers, fix="weir health sink"),
    Check("spool", "recorder", events.look_at_spool, in_database=False, fix="weir health sink"),
    Check("lag", "sink", events.look_at_lag, in_database=False, fix="weir health sink"),
    Check("quarantine", "sink", events.look_at_quarantine, fix="weir telemetry quarantine list"),
    Check("partitions", "sink", events.look_at_partitions, fix="weir health maintenance"),
    Check("account", "account", events.look_at_account, fix="weir telemetry verify"),
    Check("error_rate", "events", events.look_at_errors, fix="weir telemetry events --outcome failed --last 1h"),
    Check("leases", "workers", work.look_at_leases, fix="weir health scheduler"),
    Check("lanes", "workers", work.look_at_lanes, fix="weir serve worker"),
    Check("processes", "processes", work.look_at_processes),
    Check("checkup", "processes", work.look_at_checkups, fix="weir health maintenance"),
)


def look_at_all(at: Surroundings, checks: Sequence[Check] = CHECKS, patience: timedelta = PATIENCE) -> list[Finding]:
    """Look at everything once. What cannot be seen is a finding too.

    Args:
        at: What there is to look at; without a connection, what is in the database is unknown.
        checks: What to look at.
        patience: After which no look is begun: what is left is unknown. A look takes no longer than its servers may. It
            begins anew once, when Postgres went away meanwhile: the rest does without.
    """
    patience_us = patience // timedelta(microseconds=1)
    deadline_us = at.clock.monotonic_us() + patience_us
    findings: list[Finding] = []
    for check in checks:
        if at.clock.monotonic_us() > deadline_us:
            findings.append(_unseen(check, "not looked at, for the looks before it took too long"))
        else:
            findings += _look(check, at)
        if at.connection is not None and at.connection.closed:
            at = replace(at, connection=None)
            deadline_us = at.clock.monotonic_us() + patience_us
    return findings


def about(findings: Iterable[Finding], component: str | None) -> list[Finding]:
    """Those of one component, or all."""
    return [finding for finding in findings if component in {None, finding.component}]


def _look(check: Check, at: Surroundings) -> list[Finding]:
    if check.in_database and at.connection is None:
        return [_unseen(check, "cannot be seen without Postgres")]
    try:
        return list(check.look(check, at))
    except (psycopg.Error, redis.RedisError, WeirError, OSError) as error:
        return [_unseen(check, f"cannot be seen ({type(error).__name__})")]


def _unseen(check: Check, detail: str) -> Finding:
    """Nothing to mend here: what keeps it from being seen is a finding of its own, with its own fix."""
    return replace(check.found("unknown", detail), fix=None)
