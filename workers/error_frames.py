"""Where errors arose: noted once for each fingerprint, from the rows of steps and executions that failed.

Whoever fails writes its frames into its own row anyway, and pays nothing more. Maintenance looks for fingerprints that
are new, and copies. Killed at any line, it notes the rest in its next round; what is noted twice is noted once.
"""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import Any, Final

from psycopg import Connection

from telemetry.clock import Clock, to_unix_us
from telemetry.ids import least_id_at, new_id
from telemetry.sql import queries
from telemetry.written_frames import written_frames

SQL = queries(__file__)

#: Errors that one round notes, and how many there may be of all of them.
MAX_NEW: Final = 100
MAX_KNOWN: Final = 10_000
#: Events of one error whose rows are looked at: samples and what was brought in have none.
_EVENTS: Final = 20


def note_frames(connection: Connection[Any], clock: Clock) -> int:
    """Note the frames of errors of today and yesterday that are new; how many that were.

    Raises:
        psycopg.Error: Postgres did not answer; what was noted stays.
    """
    yesterday = (clock.now().astimezone(UTC) - timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    bounds = {"since_id": least_id_at(to_unix_us(yesterday)), "events": _EVENTS, "errors": MAX_NEW, "known": MAX_KNOWN}
    noted = 0
    for fingerprint, error_type, frames in connection.execute(SQL["unknown"], bounds).fetchall():
        values = {
            "id": new_id(clock.unix_us()),
            "fingerprint": fingerprint,
            "error_type": error_type,
            "frames": written_frames(frames),
        }
        noted += connection.execute(SQL["note"], values).rowcount
    return noted
