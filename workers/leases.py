"""Leases: which workers are alive, by their own word and the database's clock.

One row and one heartbeat a process, on a connection of its own: a heartbeat for each execution would wait behind the
lock of its own effect. A worker that is given up (it was stopped or cut off for longer than its lease) finds its row
gone, and begins again under another id; what it ran is behind another fence by then.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import structlog
from psycopg import Connection

from telemetry.clock import Clock
from telemetry.errors import WeirError
from telemetry.ids import new_id
from telemetry.sql import queries

SQL = queries(__file__)

log = structlog.get_logger(__name__)


class Lease:
    """The lease of this process.

    Args:
        connect: Opens a connection in autocommit mode; called when there is none, or the last one failed.
        clock: Makes ids.
        lane: Whose executions it takes.
        length: How long the lease lasts without a heartbeat.
    """

    def __init__(self, connect: Callable[[], Connection[Any]], clock: Clock, *, lane: str, length: timedelta) -> None:
        self._connect = connect
        self._clock = clock
        self._lane = lane
        self._length_ms = length // timedelta(milliseconds=1)
        self._connection: Connection[Any] | None = None
        self._is_registered = False
        self.worker_id = new_id(clock.unix_us())

    def fileno(self) -> int | None:
        """What becomes readable when somebody wants an execution stopped; none without a connection."""
        try:
            return None if self._connection is None else self._connection.fileno()
        except psycopg.Error as error:
            log.warning("lease_connection_lost", reason=type(error).__name__)
            self._disconnect()
            return None

    def stops(self) -> list[UUID]:
        """Executions of this worker that somebody wants stopped. Never raises: the next heartbeat asks again."""
        if self._connection is None:
            return []
        try:
            self._connection.pgconn.consume_input()
            return [row[0] for row in self._connection.execute(SQL["stops"], {"id": self.worker_id}).fetchall()]
        except psycopg.Error as error:
            log.warning("stops_not_read", reason=type(error).__name__)
            self._disconnect()
            return []

    def hold(self) -> bool:
        """Register, or renew; whether it is held now. Never raises: without Postgres nobody can claim either."""
        try:
            if self._connection is None:
                self._connection = self._connect()
                # That there is something to hear is all it says; kept for nobody, it would pile up.
                self._connection.add_notify_handler(lambda _: None)
                self._connection.execute(SQL["listen"])
            if self._is_registered and not self._renew(self._connection):
                log.warning("worker_given_up", worker_id=str(self.worker_id))
                self._is_registered, self.worker_id = False, new_id(self._clock.unix_us())
            if not self._is_registered:
                self._register(self._connection)
                self._is_registered = True
        except (psycopg.Error, WeirError) as error:
            log.warning("lease_not_renewed", reason=type(error).__name__)
            self._disconnect()
            return False
        return True

    def leave(self) -> None:
        """Give it back; idempotent. Without Postgres it lapses."""
        try:
            if self._connection is not None and self._is_registered:
                self._connection.execute(SQL["leave"], {"id": self.worker_id})
        except psycopg.Error as error:
            log.warning("lease_not_given_back", reason=type(error).__name__)
        self._is_registered = False
        self._disconnect()

    def _renew(self, connection: Connection[Any]) -> bool:
        renewed = connection.execute(SQL["renew"], {"id": self.worker_id, "lease_ms": self._length_ms}).fetchone()
        return renewed is not None

    def _register(self, connection: Connection[Any]) -> None:
        facts = {"lane": self._lane, "host": socket.gethostname(), "process_id": os.getpid()}
        connection.execute(SQL["register"], {"id": self.worker_id, "lease_ms": self._length_ms, **facts})

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Heartbeat:
    """The thread that holds a lease, and hears of executions that somebody wants stopped.

    Args:
        lease: Held from `start` to `stop`.
        interval: Between two heartbeats.
        stop_executions: Told of those of this worker, possibly more than once.
        held: Called after each heartbeat but the first, with the worker's id.
    """

    def __init__(
        self,
        lease: Lease,
        interval: timedelta,
        stop_executions: Callable[[list[UUID]], None] = lambda _: None,
        held: Callable[[UUID], object] = lambda _: None,
    ) -> None:
        self._lease = lease
        self._interval_s = interval.total_seconds()
        self._stop_executions = stop_executions
        self._held = held
        self._end, self._ended = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="lease-heartbeat", daemon=True)

    def start(self) -> None:
        """Begin; after a fork, in the child. The first beat is over when this returns."""
        self._lease.hold()
        self._thread.start()

    def stop(self) -> None:
        """End, and give the lease back."""
        self._end.close()
        if self._thread.is_alive():
            self._thread.join()
        self._ended.close()
        self._lease.leave()

    def _run(self) -> None:
        due = time.monotonic() + self._interval_s
        while True:
            heard = self._lease.fileno()
            watched = [self._ended] if heard is None else [self._ended, heard]
            readable, _, _ = select.select(watched, [], [], max(0.0, due - time.monotonic()))
            if self._ended in readable:
                return
            # However much there is to hear: a lease that is not renewed is lost.
            if time.monotonic() >= due:
                due = time.monotonic() + self._interval_s
                if self._lease.hold():
                    self._held(self._lease.worker_id)
            stops = self._lease.stops()
            if stops:
                self._stop_executions(stops)
