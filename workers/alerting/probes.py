"""How the installation is, as rules about it have it: read from Postgres and the disk, without Redis.

So a Redis that is dead is no silence: events stop arriving, and `sink_lag` says so.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from psycopg import Connection

from telemetry.alerts import measuring
from telemetry.alerts.measuring import Probe, count
from telemetry.sql import queries

SQL = queries(__file__)

#: How long after its lease a worker's executions may be left lying.
_LEFT_LYING: Final = timedelta(seconds=30)


def probes(home: Path | None, silence: timedelta) -> Mapping[str, Probe]:
    """How each metric of the system is measured.

    Args:
        home: Where data is kept; this folder, if there is no home.
        silence: After which a recorder is not heard of.
    """
    folder = home if home is not None and home.exists() else Path.cwd()

    def free(_connection: Connection[Any], _now: datetime, _window: timedelta) -> float:
        return float(shutil.disk_usage(folder).free)

    return {
        **measuring.probes(silence),
        "missed_schedules": _missed,
        "stuck_leases": lambda connection, _now, _window: count(connection, SQL["stuck"], patience=_LEFT_LYING),
        "disk_free": free,
    }


def _missed(connection: Connection[Any], now: datetime, window: timedelta) -> float:
    return count(connection, SQL["missed"], since=now - window, until=now)
