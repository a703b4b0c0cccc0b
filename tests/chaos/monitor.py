"""Looks at the database while things go wrong: how much is going on, and which worker is which process."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Self
from uuid import UUID

import psycopg

from telemetry.connections import connect
from telemetry.errors import StoreUnavailable

#: Seconds between two looks.
_INTERVAL = 0.2

_STATES = "select state, count(*) from command_executions group by state"
_WORKERS = "select id, process_id from workers"
_LOST = "select count(*) from command_attempts where reason = 'worker_lost'"

FINAL = frozenset({"succeeded", "failed", "cancelled", "expired", "dead"})


@dataclass(frozen=True, slots=True)
class Seen:
    """One look.

    Attributes:
        states: Executions by state.
        lost: Attempts that lost their worker so far.
    """

    states: dict[str, int] = field(default_factory=dict)
    lost: int = 0

    @property
    def final(self) -> int:
        """Executions that have ended."""
        return sum(number for state, number in self.states.items() if state in FINAL)

    @property
    def going_on(self) -> int:
        """Executions that have not."""
        return sum(number for state, number in self.states.items() if state not in FINAL)


class Monitor:
    """A thread that looks, past all links; a Postgres that is away is looked for again.

    Attributes:
        seen: The last look.
        process_of: By worker, the process that had its lease.
    """

    def __init__(self, database_url: str) -> None:
        self._url = database_url
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chaos-monitor", daemon=True)
        self.seen = Seen()
        self.looks = 0
        self.process_of: dict[UUID, int] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with connect(self._url, name="weir chaos", autocommit=True) as connection:
                    while not self._stop.wait(_INTERVAL):
                        self._look(connection)
            except (StoreUnavailable, psycopg.Error):
                self._stop.wait(_INTERVAL)

    def _look(self, connection: psycopg.Connection) -> None:
        lost = connection.execute(_LOST).fetchone() or (0,)
        self.process_of.update(connection.execute(_WORKERS).fetchall())
        self.seen = Seen(dict(connection.execute(_STATES).fetchall()), lost[0])
        self.looks += 1
