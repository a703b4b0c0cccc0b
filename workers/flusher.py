"""The thread that lets no ledger row wait too long."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from workers.ledger import WriteBehindLedger


class Flusher:
    """One thread a worker process: commits rows that waited too long because their run does something slow."""

    def __init__(self, interval: timedelta) -> None:
        self._interval = interval
        self._watched: set[WriteBehindLedger] = set()
        self._changed = threading.Condition()
        self._stopping = False
        self._is_parked = False
        self._thread = threading.Thread(target=self._run, name="ledger-flusher", daemon=True)

    def start(self) -> None:
        """Start the thread; after a fork, in the child."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread; idempotent."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    @contextmanager
    def watching(self, ledger: WriteBehindLedger) -> Iterator[None]:
        """Look after a ledger while its run lasts."""
        with self._changed:
            self._watched.add(ledger)
            if self._is_parked:
                self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._watched.discard(ledger)

    def _run(self) -> None:
        while True:
            with self._changed:
                # Nothing running: no wake-ups at all. Otherwise twice an interval: no row waits longer than one.
                self._is_parked = True
                self._changed.wait_for(lambda: self._stopping or bool(self._watched))
                self._is_parked = False
                if self._stopping:
                    return
                watched = list(self._watched)
            for ledger in watched:
                ledger.flush_if_older(self._interval / 2)
            with self._changed:
                self._changed.wait(self._interval.total_seconds() / 2)
