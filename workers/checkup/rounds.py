"""One round of the check-up, stored: how everything is, and how fast it was in the window before.

Windows are stretches of `CheckupSettings.interval`, aligned to the database's clock. A round belongs to the window it
is made in and is stored in one transaction, once: killed anywhere, nothing of it is; of two at once, one finds the
window taken. Nobody makes up for windows in which there was no maintenance: that they are missing says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from psycopg import Connection
from psycopg.rows import scalar_row

from telemetry.clock import to_unix_us
from telemetry.ids import least_id_at, new_id
from telemetry.sql import queries
from workers.checkup.finding import STATUSES, Finding, Status, Surroundings, worst
from workers.checkup.look import CHECKS, look_at_all

SQL = queries(__file__)

#: Rows that one statement forgets, at most.
FORGET_ROWS: Final = 10_000

#: How long all looks of a round may take, about: nobody waits for it.
_PATIENCE: Final = timedelta(minutes=1)
_MICROSECOND: Final = timedelta(microseconds=1)
#: What a round looks at: everything, but whether there are rounds.
_OTHERS: Final = [check for check in CHECKS if check.name != "checkup"]


@dataclass(frozen=True, slots=True)
class Round:
    """What one round did.

    Attributes:
        overall: How everything is together.
        findings: How each thing is.
        is_stored: Whether this round is the window's; another one was faster if not.
        measured: Commands, step types and lanes whose performance was stored.
        forgotten: Old rows that were deleted.
    """

    overall: Status
    findings: tuple[Finding, ...]
    is_stored: bool
    measured: int
    forgotten: int


def is_wanted(connection: Connection[Any], interval: timedelta) -> bool:
    """Whether the current window has no round yet.

    Raises:
        psycopg.Error: Postgres did not answer.
    """
    return bool(connection.cursor(row_factory=scalar_row).execute(SQL["is_wanted"], {"interval": interval}).fetchone())


def go_round(at: Surroundings) -> Round:
    """Look at everything, and store it with the performance of the window before.

    Raises:
        psycopg.Error: Postgres did not answer; nothing was stored.
    """
    connection, limits = at.database, at.workers.checkup
    findings = look_at_all(at, _OTHERS, _PATIENCE)
    measured = 0
    with connection.transaction():
        window = connection.cursor(row_factory=scalar_row).execute(SQL["window"], {"interval": limits.interval})
        window_at: datetime | None = window.fetchone()
        assert window_at is not None  # noqa: S101 - it has a row
        stored = connection.execute(SQL["store"], _rows(findings, window_at, at)).rowcount
        if stored:
            measured = _measure(at, window_at - limits.interval)
    forgotten = _forget(connection, limits.kept)
    return Round(worst(findings), tuple(findings), stored > 0, measured, forgotten)


def _rows(given: list[Finding], window_at: datetime, at: Surroundings) -> dict[str, Any]:
    """The worst of each name and component: there may be two servers of a kind."""
    by_bad = sorted(given, key=lambda finding: STATUSES.index(finding.status))
    findings = list({(finding.name, finding.component): finding for finding in by_bad}.values())
    return {
        "window_at": window_at,
        "ids": [new_id(at.clock.unix_us()) for _ in findings],
        "names": [finding.name for finding in findings],
        "components": [finding.component for finding in findings],
        "statuses": [finding.status for finding in findings],
        "values": [None if finding.value is None else float(finding.value) for finding in findings],
        "units": [finding.unit for finding in findings],
    }


def _measure(at: Surroundings, window_at: datetime) -> int:
    """Store how commands, step types and lanes did in a window; how many rows these are."""
    limits, unix_us = at.workers.checkup, to_unix_us(window_at)
    width_us = limits.interval // _MICROSECOND
    parameters = {
        "window_at": window_at,
        "window_us": width_us,
        "first_id": least_id_at(unix_us),
        "end_id": least_id_at(unix_us + width_us),
        "fast_us": limits.fast_below // _MICROSECOND,
        "slow_us": limits.slow_from // _MICROSECOND,
        "critical_us": limits.critical_from // _MICROSECOND,
    }
    durations = at.database.execute(SQL["measure_durations"], parameters).rowcount
    return durations + at.database.execute(SQL["measure_lanes"], parameters).rowcount


def _forget(connection: Connection[Any], kept: timedelta) -> int:
    parameters = {"kept": kept, "rows": FORGET_ROWS}
    return sum(connection.execute(SQL[name], parameters).rowcount for name in ("forget_checks", "forget_snapshots"))
